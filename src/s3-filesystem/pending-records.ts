import { unlinkSync } from "node:fs";
import { basename, join } from "node:path";
import type { FilesystemSettings } from "./names/volume.ts";
import { keyOf, modeOf, type FileNode } from "./names/nodes.ts";
import { formatMetadata } from "./names/posix-metadata.ts";
import type { Draft } from "./writing/draft.ts";
import type { DraftWatcher } from "./writing/draft-options.ts";
import { recordPath, writeRecord, type FoundRecord, type PendingRecord } from "./writing/pending-record.ts";
import { syncToDisk } from "./writing/sync-to-disk.ts";

/** A file of so many bytes is in its record, so that the disk has to be waited for once and not twice. */
const smallBytes = 64 * 1024;
const nothing: Buffer = Buffer.alloc(0);

interface Kept {
	readonly draft: Draft;
	readonly sinceMs: number;
	/** Newest last: an older one stays until the disk has the newest. */
	paths: string[];
	text: string;
	count: number;
	/** The disk has this one, and all that it refers to. */
	syncedCount: number;
	/** Nothing has been changed since it was written. */
	isCurrent: boolean;
}

/**
 * Writes down, beside what is staged, which files were closed and are not in their buckets yet: so that whoever has the folder next can make
 * objects of them. A record goes when its file is stored, removed or given up, and is written anew before something goes that it refers to.
 */
export class PendingRecords {
	readonly #directory: string;
	readonly #log: FilesystemSettings["log"];
	readonly #records = new Map<FileNode, Kept>();

	constructor(directory: string, log: FilesystemSettings["log"]) {
		this.#directory = directory;
		this.#log = log;
	}

	has(node: FileNode): boolean {
		return this.#records.has(node);
	}

	/** What is written down is what the file is now. */
	isCurrent(node: FileNode): boolean {
		return this.#records.get(node)?.isCurrent === true;
	}

	/** Somebody was told that it is safe. */
	isPromised(node: FileNode): boolean {
		return (this.#records.get(node)?.syncedCount ?? 0) > 0;
	}

	/** For the draft that this file gets. */
	watcherOf(node: FileNode): DraftWatcher {
		const changed = (): void => {
			const kept = this.#records.get(node);
			if (kept !== undefined) kept.isCurrent = false;
		};
		return { changed, partChanged: changed, written: changed, flush: () => this.refresh(node, true) };
	}

	/** Resolves when the disk has the file as it is now, or the server. Throws what the disk says. */
	async keep(node: FileNode): Promise<void> {
		const { draft } = node;
		await draft?.hold(async () => {
			const known = this.#records.get(node);
			if (known !== undefined && known.isCurrent && known.syncedCount === known.count) return;
			const content = draft.stagedContent(smallBytes);
			if (content === undefined) await draft.sync();
			// A part that was on its way may have been the last.
			if (node.draft !== draft || !draft.isDirty || !hasKey(node)) return;
			await this.#settle(node, this.#write(node, draft, content));
		});
	}

	/** In the hands of the operating system when it returns. `isSynced`: on the disk, since something is about to go that is written down. */
	refresh(node: FileNode, isSynced = false): void {
		const known = this.#records.get(node);
		if (known === undefined) return;
		const { draft } = node;
		if (draft === undefined || !draft.isDirty || !hasKey(node)) {
			this.drop(node);
			return;
		}
		try {
			if (known.text === this.#textOf(node, draft, known.sinceMs)) return;
			const kept = this.#write(node, draft, draft.stagedContent(smallBytes), isSynced);
			this.#settle(node, kept).catch((error: unknown) => this.#failed(error));
		} catch (error) {
			this.#failed(error);
		}
	}

	/** Nobody is to make an object of it any more. */
	drop(node: FileNode): void {
		const known = this.#records.get(node);
		if (known === undefined) return;
		this.#records.delete(node);
		this.#remove(known.paths);
	}

	/** The file is forgotten here, and its record stays for whoever comes next. */
	leave(node: FileNode): void {
		this.#records.delete(node);
	}

	/** The file is one that was written down before. `isSame`: and has not changed since. */
	attach(node: FileNode, { paths, count, record: { sinceMs } }: FoundRecord, isSame: boolean): void {
		const { draft } = node;
		if (draft === undefined) return;
		const text = isSame ? this.#textOf(node, draft, sinceMs) : "";
		const kept: Kept = { draft, sinceMs, paths: [...paths], text, count, syncedCount: count, isCurrent: isSame };
		this.#records.set(node, kept);
		this.refresh(node);
	}

	#write(node: FileNode, draft: Draft, content: Buffer = nothing, isSynced = false): Kept {
		const before = this.#records.get(node);
		const known = before?.draft === draft ? before : undefined;
		const sinceMs = before?.sinceMs ?? Date.now();
		const count = (known?.count ?? 0) + 1;
		const text = this.#textOf(node, draft, sinceMs);
		const { id } = draft.keep();
		const path = recordPath(this.#directory, id, count);
		writeRecord(path, text, content, isSynced);
		const paths = [...(before?.paths ?? []), path];
		const kept: Kept = { draft, sinceMs, paths, text, count, syncedCount: known?.syncedCount ?? 0, isCurrent: true };
		this.#records.set(node, kept);
		return kept;
	}

	/** Until the disk has it, the one before is there as well. */
	async #settle(node: FileNode, kept: Kept): Promise<void> {
		const path = kept.paths.at(-1);
		if (path === undefined) return;
		const { count } = kept;
		try {
			await syncToDisk(path);
			await syncToDisk(this.#directory);
			// Otherwise it would look like somebody else's that it replaces what was removed before.
			await node.volume.removals?.sync(keyOf(node));
		} catch (error) {
			// Otherwise another is in its place, or the file is stored.
			if (this.#records.get(node) === kept) throw error;
			return;
		}
		kept.syncedCount = count;
		const index = kept.paths.indexOf(path);
		this.#remove(kept.paths.slice(0, index));
		kept.paths = kept.paths.slice(index);
	}

	#remove(paths: readonly string[]): void {
		for (const path of paths) {
			try {
				unlinkSync(path);
			} catch (error) {
				if ((error as NodeJS.ErrnoException).code !== "ENOENT") this.#failed(error);
			}
		}
	}

	#failed(error: unknown): void {
		const facts = { err: error, directory: this.#directory };
		this.#log?.("error", facts, "what is pending cannot be written down: a process after this one may miss some of it");
	}

	#textOf(node: FileNode, draft: Draft, sinceMs: number): string {
		const { identity, prefix } = node.volume;
		const kept = draft.keepAll();
		const { committing } = kept;
		const record: PendingRecord = {
			identity,
			prefix,
			key: keyOf(node),
			sinceMs,
			metadata: formatMetadata({ ...node.posix, mode: modeOf(node) }),
			posixEtag: node.posixEtag,
			changed: node.changed,
			statusChanged: node.statusChanged,
			draft: {
				...kept,
				id: basename(kept.id),
				// What one request may have stored is told by its looks.
				committing: committing?.parts === undefined ? undefined : committing,
				// What is here is sent again: it may be changed before it is written down once more.
				parts: kept.parts.map(({ index, path, edges, uploaded }) => ({
					index,
					path: basename(path),
					edges,
					uploaded: edges.length === 0 ? uploaded : undefined,
				})),
			},
		};
		return JSON.stringify(record);
	}
}

/** Its paths lead into that folder. */
export function draftIn(directory: string, { draft }: PendingRecord): PendingRecord["draft"] {
	const parts = draft.parts.map((part) => ({ ...part, path: join(directory, part.path) }));
	return { ...draft, id: join(directory, draft.id), parts };
}

/** Its name leads to it: an object can be made of it. */
function hasKey({ parent, unlinkedKey }: FileNode): boolean {
	return parent !== undefined && unlinkedKey === undefined;
}
