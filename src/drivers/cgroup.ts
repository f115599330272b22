import { readFile } from "node:fs/promises";

async function read(path: string): Promise<string> {
	try {
		return await readFile(path, "utf8");
	} catch {
		// Another cgroup version, or none: then there is no limit to know of.
		return "";
	}
}

/** The container's memory limit in bytes, from cgroup v2 or v1; undefined without one. */
export async function containerMemoryLimit(): Promise<number | undefined> {
	const text = (await read("/sys/fs/cgroup/memory.max")) || (await read("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
	const bytes = Number.parseInt(text, 10);
	// v1 writes "no limit" as a number near 2^63.
	return Number.isNaN(bytes) || bytes > 2 ** 50 ? undefined : bytes;
}

/** How many processes of the container the kernel has killed for want of memory. */
export async function oomKills(): Promise<number> {
	const text = (await read("/sys/fs/cgroup/memory.events")) || (await read("/sys/fs/cgroup/memory/memory.oom_control"));
	return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}
