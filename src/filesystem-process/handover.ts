import { readFileSync, writeFileSync } from "node:fs";
import { deserialize, serialize } from "node:v8";
import type { KernelConnection } from "../fuse/filesystem.ts";
import type { PausableSession } from "../fuse/session.ts";
import type { KeptFilesystem, S3Filesystem } from "../s3-filesystem/index.ts";
import { version } from "../version.ts";
import { within } from "../within.ts";

/** What the kernel remembers of a mount, for the next process that serves it. */
export interface Memory {
	/** Of the program that wrote it: another one may mean something else by it. */
	readonly version: string;
	readonly connection: KernelConnection;
	readonly filesystem: KeptFilesystem;
}

export interface HandOver {
	readonly session: PausableSession;
	readonly filesystem: S3Filesystem;
	readonly file: string;
	/** For what is written to be stored while the kernel is answered; then for the rest, and for what is under way to be answered. */
	readonly storeMs: number;
	readonly quietMs: number;
	/** Aborted when this process is to serve on after all. */
	readonly signal: AbortSignal;
	/** The kernel is answered no more. */
	readonly onPause: () => void;
}

/** Leaves the mount to another process: nothing is under way then. Rejects with what keeps it from that, and then serves on. */
export async function handOver(options: HandOver): Promise<void> {
	const { session, filesystem, file, storeMs, quietMs, signal, onPause } = options;
	// What takes long is done while the kernel is still answered.
	await inTime(filesystem.drain(), storeMs);
	signal.throwIfAborted();
	onPause();
	try {
		await session.pause(quietMs);
		const { connection } = session;
		if (connection === undefined) throw new Error("the kernel has not begun yet");
		const kept = await inTime(filesystem.keep(), quietMs);
		signal.throwIfAborted();
		const memory: Memory = { version, connection, filesystem: kept };
		writeFileSync(file, serialize(memory), { mode: 0o600 });
	} catch (error) {
		session.resume();
		throw error;
	}
}

/** What is being stored then goes on, and is waited for by nobody. */
async function inTime<T>(work: Promise<T>, limitMs: number): Promise<T> {
	const stored = await within(
		work.then((value) => ({ value })),
		limitMs,
	);
	if (stored === undefined) throw new Error(`what was written was not stored within ${limitMs / 1000} s`);
	return stored.value;
}

/** Throws when the memory is not for this program. */
export function readMemory(file: string): Memory {
	const memory = deserialize(readFileSync(file)) as Memory;
	if (memory.version !== version)
		throw new Error(`${file} was written by version ${memory.version}, this is ${version}`);
	return memory;
}
