import { linkSync, rmSync, unlinkSync } from "node:fs";
import { basename, join } from "node:path";
import type { Logger } from "../log.ts";
import { readRecords, syncFolder, type PendingRecord } from "../s3-filesystem/index.ts";
import { pendingFolders, removeStagingFolder } from "./staging-folders.ts";

/** What identifies a mount to what is pending. */
type Mounted = Pick<PendingRecord, "identity" | "prefix">;

/**
 * Takes over what processes that are gone have left pending for these mounts: into `directory`, which is locked by this one. Files get a second
 * name there before they lose the first, and records come last: whatever is interrupted is found again.
 */
export function takeOverPending(parent: string, directory: string, mounts: readonly Mounted[], log: Logger): void {
	for (const { path, unlock } of pendingFolders(parent)) {
		if (unlock === undefined) continue;
		try {
			const left = takeOverFrom(path, directory, mounts, log);
			if (left > 0) log.warn({ folder: path, files: left }, "files of other mounts are pending, and stay there");
			else void removeStagingFolder(path).catch(() => undefined);
		} catch (error) {
			log.error(
				{ err: error, folder: path },
				"pending files of a process before this one cannot be had, and stay there",
			);
		} finally {
			unlock();
		}
	}
}

/** Returns how much stays there. */
function takeOverFrom(path: string, directory: string, mounts: readonly Mounted[], log: Logger): number {
	const { found, unreadable } = readRecords(path);
	const ours = found.filter(({ record }) => isOf(record, mounts));
	const stagedOf = ({ draft }: PendingRecord): string[] =>
		draft.parts.filter(({ edges }) => edges.length > 0).map((part) => part.path);
	for (const { path: recordFile, record } of ours) {
		for (const name of [...stagedOf(record), basename(recordFile)])
			linkIfThere(join(path, name), join(directory, name));
	}
	syncFolder(directory);
	for (const { paths, record } of ours) {
		for (const each of paths) unlinkSync(each);
		for (const name of stagedOf(record)) rmSync(join(path, name), { force: true });
	}
	if (unreadable.length > 0)
		log.error({ records: unreadable }, "records of pending files cannot be read, and stay there");
	return found.length - ours.length + unreadable.length;
}

/** How many files are pending for these mounts that nobody is about to store. */
export function countPending(parent: string, mounts: readonly Mounted[]): number {
	let count = 0;
	for (const { path, unlock } of pendingFolders(parent)) {
		if (unlock === undefined) continue;
		try {
			count += readRecords(path).found.filter(({ record }) => isOf(record, mounts)).length;
		} finally {
			unlock();
		}
	}
	return count;
}

function isOf({ identity, prefix }: PendingRecord, mounts: readonly Mounted[]): boolean {
	return mounts.some((mount) => mount.identity === identity && mount.prefix === prefix);
}

/** What is missing is told by whoever goes on with it. */
function linkIfThere(from: string, to: string): void {
	try {
		linkSync(from, to);
	} catch (error) {
		// It may have been interrupted before.
		if (!/^(ENOENT|EEXIST)$/.test((error as NodeJS.ErrnoException).code ?? "")) throw error;
	}
}
