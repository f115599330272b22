import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";

/** Forgets file content, names and attributes: the kernel's, not the drivers'. */
export function dropCaches(): void {
	writeFileSync("/proc/sys/vm/drop_caches", "3");
}

/**
 * Uses so much memory for a moment. A virtual machine gives what is free back to its host after seconds, and pays for it when it is used
 * again: several times what a filesystem does with a page, so that whoever is measured first would look slow.
 */
export function warmMemory(sizeBytes: number): void {
	execFileSync("dd", ["if=/dev/zero", "of=/dev/null", `bs=${sizeBytes}`, "count=1", "iflag=fullblock"], {
		stdio: "ignore",
	});
}

/** The process and all below it, zombies included. */
export function processTree(root: number): number[] {
	const parents = new Map<number, number[]>();
	for (const name of readdirSync("/proc")) {
		if (!/^\d+$/.test(name)) continue;
		const parent = Number(statFields(Number(name))?.[1]);
		parents.set(parent, [...(parents.get(parent) ?? []), Number(name)]);
	}
	const found = [root];
	for (const pid of found) found.push(...(parents.get(pid) ?? []));
	return found;
}

/** Those below `root`, itself excluded, that have /dev/fuse open, and what is below them: the filesystem, whoever started it. */
export function fuseServers(root: number): number[] {
	const servers = processTree(root).filter((pid) => pid !== root && holdsFuse(pid));
	return [...new Set(servers.flatMap(processTree))];
}

function holdsFuse(pid: number): boolean {
	try {
		return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === "/dev/fuse");
	} catch {
		// It has ended, or closed what was just listed.
		return false;
	}
}

/** User and system time, with that of children that have ended and were waited for. Resolution: 10 ms. */
export function cpuSeconds(pids: readonly number[]): number {
	let ticks = 0;
	for (const pid of pids) {
		const fields = statFields(pid);
		for (const index of [11, 12, 13, 14]) ticks += Number(fields?.[index] ?? 0);
	}
	return ticks / 100;
}

/** Time on a processor of each thread that lives, by its id. */
export function threadSeconds(pids: readonly number[]): ReadonlyMap<number, number> {
	const seconds = new Map<number, number>();
	for (const pid of pids) {
		for (const thread of names(`/proc/${pid}/task`)) {
			const [nanoseconds = ""] = read(`/proc/${pid}/task/${thread}/schedstat`).split(" ");
			if (nanoseconds !== "") seconds.set(Number(thread), Number(nanoseconds) / 1e9);
		}
	}
	return seconds;
}

/** Of the thread that has used most in between. */
export function busiestSeconds(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number {
	return Math.max(0, ...after.entries().map(([thread, seconds]) => seconds - (before.get(thread) ?? 0)));
}

/** Highest resident memory since `resetPeakMemory`, in bytes, summed up. */
export function peakMemoryBytes(pids: readonly number[]): number {
	let kibibytes = 0;
	for (const pid of pids) kibibytes += Number(/^VmHWM:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
	return kibibytes * 1024;
}

export function resetPeakMemory(pids: readonly number[]): void {
	for (const pid of pids) {
		try {
			writeFileSync(`/proc/${pid}/clear_refs`, "5");
		} catch {
			// It has ended: it has no memory.
		}
	}
}

/** What follows the name in /proc/<pid>/stat: the state is field 0. */
function statFields(pid: number): string[] | undefined {
	const text = read(`/proc/${pid}/stat`);
	// The name may hold anything, parentheses too.
	return text === "" ? undefined : text.slice(text.lastIndexOf(")") + 2).split(" ");
}

function names(folder: string): string[] {
	try {
		return readdirSync(folder);
	} catch {
		// It has ended.
		return [];
	}
}

function read(path: string): string {
	try {
		return readFileSync(path, "utf8");
	} catch {
		// It has ended.
		return "";
	}
}
