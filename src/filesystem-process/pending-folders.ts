import { linkSync, rmSync, unlinkSync } from "node:fs";
import { basename, join } from "node:path";
import type { Logger } from "../log.ts";
import { readRecords, readRemovals, syncFolder, type PendingRecord } from "../s3-filesystem/index.ts";
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
	const removals = readRemovals(path);
	const ourRemovals = removals.found.filter((each) => isOf(each, mounts)).map(({ file }) => basename(file.path));
	const stagedOf = ({ draft }: PendingRecord): string[] =>
		draft.parts.filter(({ edges }) => edges.length > 0).map((part) => part.path);
	for (const { path: recordFile, record } of ours) {
		for (const name of [...stagedOf(record), basename(recordFile)])
			linkIfThere(join(path, name), join(directory, name));
	}
	for (const name of ourRemovals) linkIfThere(join(path, name), join(directory, name));
	syncFolder(directory);
	for (const { paths, record } of ours) {
		for (const each of paths) unlinkSync(each);
		for (const name of stagedOf(record)) rmSync(join(path, name), { force: true });
	}
	for (const name of ourRemovals) unlinkSync(join(path, name));
	const unread = [...unreadable, ...removals.unreadable];
	if (unread.length > 0) log.error({ records: unread }, "records of pending files cannot be read, and stay there");
	return found.length - ours.length + removals.found.length - ourRemovals.length + unread.length;
}

/** A file that is to be stored, or an object that is to go. */
export interface PendingThere extends Mounted {
	readonly key: string;
	/** Undefined: it is to go. */
	readonly sizeBytes: number | undefined;
}

/** Those of one folder, and what cannot be read there. */
export function pendingIn(directory: string): { readonly records: PendingThere[]; readonly unreadable: string[] } {
	const { found, unreadable } = readRecords(directory);
	const removals = readRemovals(directory);
	const files = found.map(({ record: { identity, prefix, key, draft } }) => {
		return { identity, prefix, key, sizeBytes: draft.sizeBytes };
	});
	const removed = removals.found.flatMap(({ identity, prefix, removed }) =>
		removed.map(({ key }) => ({ identity, prefix, key, sizeBytes: undefined })),
	);
	return { records: [...files, ...removed], unreadable: [...unreadable, ...removals.unreadable] };
}

/** What is pending in folders that nobody has. */
export interface Pending {
	readonly records: readonly PendingThere[];
	/** No file can be made of these. */
	readonly unreadable: readonly string[];
	/** How many other folders somebody has, who sees to what is in there. */
	readonly inUse: number;
}

export function lookAtPending(parent: string): Pending {
	const records: PendingThere[] = [];
	const unreadableFiles: string[] = [];
	let inUse = 0;
	for (const { path, unlock } of pendingFolders(parent)) {
		if (unlock === undefined) {
			inUse++;
			continue;
		}
		try {
			const there = pendingIn(path);
			records.push(...there.records);
			unreadableFiles.push(...there.unreadable);
		} finally {
			unlock();
		}
	}
	return { records, unreadable: unreadableFiles, inUse };
}

/** Whether it is pending for one of these mounts. */
export function isOf({ identity, prefix }: Mounted, mounts: readonly Mounted[]): boolean {
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
