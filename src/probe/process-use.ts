import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What a process has used since it began. */
export interface ProcessUse {
	readonly userSeconds: number;
	readonly systemSeconds: number;
	/** Of the one that has used most. */
	readonly busiestThreadSeconds: number;
	readonly residentBytes: number;
	readonly openFiles: number;
	readonly readBytes: number;
	readonly writtenBytes: number;
}

/** USER_HZ, which Linux shows to programs on every architecture. */
const ticksPerSecond = 100;

/** From /proc, synchronously: it is procfs, and must not wait behind a thread that hangs in a mount. Undefined: the process is gone, or not ours to see. */
export function readProcessUse(pid: number, proc = "/proc"): ProcessUse | undefined {
	const folder = join(proc, `${pid}`);
	try {
		const { user, system } = cpuTicks(join(folder, "stat"));
		const threads = readdirSync(join(folder, "task")).map((thread) =>
			threadTicks(join(folder, "task", thread, "stat")),
		);
		const status = readFileSync(join(folder, "status"), "latin1");
		const io = readFileSync(join(folder, "io"), "latin1");
		return {
			userSeconds: user / ticksPerSecond,
			systemSeconds: system / ticksPerSecond,
			busiestThreadSeconds: Math.max(0, ...threads) / ticksPerSecond,
			residentBytes: field(status, "VmRSS") * 1024,
			openFiles: readdirSync(join(folder, "fd")).length,
			readBytes: field(io, "rchar"),
			writtenBytes: field(io, "wchar"),
		};
	} catch {
		return undefined;
	}
}

/** proc_pid_stat(5). The second field is a name in parentheses, in which anything may stand. */
function cpuTicks(path: string): { readonly user: number; readonly system: number } {
	const text = readFileSync(path, "latin1");
	const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
	return { user: Number(fields[11]), system: Number(fields[12]) };
}

function threadTicks(path: string): number {
	try {
		const { user, system } = cpuTicks(path);
		return user + system;
	} catch {
		// It has ended meanwhile.
		return 0;
	}
}

function field(text: string, name: string): number {
	return Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(text)?.[1] ?? 0);
}
