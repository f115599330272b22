import { createHash } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";

/*
 * What programs are made of that play applications on a mount, each of which checks all that it sees. They use the thread's own calls, as most
 * programs do: a mount that hangs makes all of them hang.
 */

const [root = ""] = process.argv.slice(2);
/** How often each of them has done its work. */
export const counts: Record<string, number> = {};
const faults: string[] = [];
const pieceBytes = 256 * 1024;

export function path(...parts: string[]): string {
	return join(root, ...parts);
}

export function expectSame(what: string, found: unknown, expected: unknown): void {
	if (found !== expected) throw new Error(`${what}: ${String(found)} instead of ${String(expected)}`);
}

/** Does all of these again and again, until the parent tells them to end. Whatever one of them finds wrong ends it, and is told. */
export async function play(applications: Readonly<Record<string, () => void | Promise<void>>>): Promise<void> {
	const ending = new AbortController();
	process.on("message", () => ending.abort());
	const again = async ([name, work]: readonly [string, () => void | Promise<void>]): Promise<void> => {
		for (counts[name] = 0; !ending.signal.aborted; counts[name]++) {
			try {
				await work();
			} catch (error) {
				const fault = `${name}: ${error instanceof Error ? error.message : String(error)}`;
				faults.push(fault);
				process.send?.({ kind: "fault", fault });
				return;
			}
			await breathe();
		}
	};
	await Promise.all(Object.entries(applications).map(again));
}

/** `more`: what else the parent wants to know. */
export function tellEnd(more: Readonly<Record<string, unknown>> = {}): void {
	process.send?.({ kind: "done", counts, faults, ...more });
	process.disconnect();
}

/** One open(2) of a large file, in which each pass begins at its start again. */
export function readerOf(fd: number, digest: string): () => Promise<void> {
	const piece = Buffer.alloc(pieceBytes);
	return async () => {
		const hash = createHash("sha256");
		for (let bytes = -1, at = 0; bytes !== 0; at += bytes) {
			bytes = fs.readSync(fd, piece, 0, piece.length, at);
			hash.update(piece.subarray(0, bytes));
			await breathe();
		}
		expectSame("sum", hash.digest("hex"), digest);
	};
}

/** A reader of a directory of so many names, which stops after some and goes on later. */
export function listerOf(folder: string, names: number): () => Promise<void> {
	return async () => {
		const directory = fs.opendirSync(folder, { bufferSize: 32 });
		const found = new Set<string>();
		for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
			if (found.has(entry.name)) throw new Error(`${entry.name} came twice`);
			found.add(entry.name);
			if (found.size % 50 === 0) await breathe();
		}
		directory.closeSync();
		expectSame("names", found.size, names);
	};
}
