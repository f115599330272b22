import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";

/**
 * What this process may use at most: the smallest limit of its control groups, of version 1 or 2, or the machine's memory.
 * https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
 */
export function containerMemoryBytes(root = "/"): number {
	const limits = limitFiles(root).map(readBytes);
	return Math.min(totalmem(), ...limits);
}

function limitFiles(root: string): string[] {
	const mounted = join(root, "sys/fs/cgroup");
	const files: string[] = [];
	// A container sees its own group at the mount's top, whatever path its processes are listed with.
	for (const line of ["0::/", "0:memory:/", ...readLines(join(root, "proc/self/cgroup"))]) {
		const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
		if (controllers === undefined || path === undefined) continue;
		const isVersion2 = controllers === "";
		if (!isVersion2 && !controllers.split(",").includes("memory")) continue;
		const top = isVersion2 ? mounted : join(mounted, "memory");
		for (let group = join("/", path); ; group = dirname(group)) {
			if (isVersion2) files.push(join(top, group, "memory.max"), join(top, group, "memory.high"));
			else files.push(join(top, group, "memory.limit_in_bytes"));
			if (group === "/") break;
		}
	}
	return files;
}

function readLines(file: string): string[] {
	try {
		return readFileSync(file, "utf8").split("\n");
	} catch {
		// Not on Linux, or /proc is hidden.
		return [];
	}
}

function readBytes(file: string): number {
	try {
		const bytes = Number(readFileSync(file, "utf8"));
		return bytes > 0 ? bytes : Number.POSITIVE_INFINITY;
	} catch {
		// The other version of control groups, or none.
		return Number.POSITIVE_INFINITY;
	}
}
