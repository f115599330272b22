import { mkdirSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";

/** Longer than any process lets its own folder look unused. */
const abandonedAfterMs = 24 * 3_600_000;

/** Where one process keeps what is written until it is in its bucket. */
export function makeStagingFolder(folder: string): void {
	mkdirSync(folder, { recursive: true, mode: 0o700 });
}

export function showStagingFolderIsUsed(folder: string): void {
	const now = new Date();
	utimesSync(folder, now, now);
}

export function removeStagingFolder(folder: string): void {
	rmSync(folder, { recursive: true, force: true });
}

/** What processes that were killed together with their launcher have left beside it: nobody can make objects of it any more. */
export function removeAbandoned(beside: string): void {
	const parent = dirname(beside);
	let names: string[] = [];
	try {
		names = readdirSync(parent);
	} catch {
		// There is none yet.
	}
	for (const name of names) {
		const path = join(parent, name);
		const usedAtMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
		if (usedAtMs !== undefined && Date.now() - usedAtMs > abandonedAfterMs)
			rmSync(path, { recursive: true, force: true });
	}
}
