import { existsSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { FileContents } from "./file-contents.ts";
import type { PendingFiles } from "./pending-files.ts";
import { draftIn, type PendingRecords } from "./pending-records.ts";
import type { Namespace } from "./names/namespace.ts";
import type { DirectoryNode, FileNode } from "./names/nodes.ts";
import { parseMetadata } from "./names/posix-metadata.ts";
import type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
import type { KeptDraft } from "./writing/draft-options.ts";
import { readRecords, type FoundRecord } from "./writing/pending-record.ts";
import { readRemovals } from "./writing/removal-file.ts";

/** Goes on with files that were closed under a process before this one, which their buckets do not have. */
export class PendingRecall {
	readonly #namespace: Namespace;
	readonly #contents: FileContents;
	readonly #records: PendingRecords;
	readonly #files: PendingFiles;
	readonly #log: FilesystemSettings["log"];

	constructor(options: {
		readonly namespace: Namespace;
		readonly contents: FileContents;
		readonly records: PendingRecords;
		readonly files: PendingFiles;
		readonly log: FilesystemSettings["log"];
	}) {
		this.#namespace = options.namespace;
		this.#contents = options.contents;
		this.#records = options.records;
		this.#files = options.files;
		this.#log = options.log;
	}

	/** All that are written down in the folder, each at its name. What nothing can be made of stays there, and is told. */
	recall(directory: string, volumes: Iterable<VolumeOptions>): void {
		const present = [...volumes];
		this.#recallRemovals(directory, present);
		const { found, unreadable } = readRecords(directory);
		if (found.length + unreadable.length === 0) return;
		const drafted = new Map<string, FileNode>();
		for (const node of this.#namespace.nodes.all())
			if (node.kind === "file" && node.draft !== undefined) drafted.set(node.draft.keep().id, node);
		const left: string[] = [...unreadable];
		let files = 0;
		for (const each of found) {
			try {
				this.#recall(each, present, drafted);
				files++;
			} catch (error) {
				const { path, record } = each;
				left.push(path);
				// Whoever can make an object of it needs what it refers to.
				this.#contents.spare(draftIn(dirname(path), record).parts.map((part) => part.path));
				this.#log?.(
					"error",
					{ err: error, record: path, key: record.key },
					"a pending file cannot be gone on with, and stays on the disk",
				);
			}
		}
		if (unreadable.length > 0)
			this.#log?.("error", { records: unreadable }, "records of pending files cannot be read, and stay on the disk");
		this.#log?.("warn", { files, left: left.length, directory }, "files that were pending are gone on with");
	}

	#recallRemovals(directory: string, volumes: readonly VolumeOptions[]): void {
		const { found, unreadable } = readRemovals(directory);
		for (const each of found) volumeOf(each, volumes)?.removals?.recall(each);
		for (const { removals } of volumes) removals?.begin();
		if (unreadable.length > 0)
			this.#log?.("error", { files: unreadable }, "what was removed cannot be read, and stays on the disk");
	}

	#recall(found: FoundRecord, volumes: readonly VolumeOptions[], drafted: ReadonlyMap<string, FileNode>): void {
		const { record, path } = found;
		const draft = draftIn(dirname(path), record);
		const since = performance.now() - Math.max(0, Date.now() - record.sinceMs);
		// What the process before this one has written down of its open files says more.
		const known = drafted.get(draft.id);
		// It was about to be removed, and with it what it was changed to.
		if (known === undefined && volumeOf(record, volumes)?.removals?.has(record.key, draft.base?.etag) === true) {
			for (const each of found.paths) unlinkSync(each);
			return;
		}
		if (known === undefined) bringStaged(draft, found.content);
		const node = known ?? this.#makeNode(record, volumes);
		try {
			if (known === undefined) this.#contents.recall(node, draft, since);
		} catch (error) {
			this.#namespace.nodes.detach(node);
			this.#namespace.nodes.dropIfUnused(node);
			throw error;
		}
		this.#records.attach(node, found, known === undefined);
		this.#files.add(node, since);
	}

	#makeNode(record: FoundRecord["record"], volumes: readonly VolumeOptions[]): FileNode {
		const { identity, prefix, key, ...file } = record;
		const volume = volumeOf(record, volumes);
		if (volume === undefined) throw new Error(`no mount here has ${identity} ${prefix}`);
		const names = key.slice(prefix.length).split("/");
		const name = names.pop();
		let directory = this.#topOf(volume);
		if (name === undefined || directory === undefined) throw new Error("it has no name here");
		for (const each of names) directory = this.#directoryIn(directory, volume, each);
		if (directory.children.has(name)) throw new Error("another file is pending at its name");
		const node = this.#namespace.nodes.file(directory, volume, name);
		node.posix = parseMetadata(file.metadata);
		node.posixEtag = file.posixEtag;
		node.changed = file.changed;
		node.statusChanged = file.statusChanged;
		directory.children.set(name, node);
		return node;
	}

	#topOf(volume: VolumeOptions): DirectoryNode | undefined {
		for (const node of this.#namespace.nodes.all())
			if (node.kind === "directory" && node.isVolumeRoot && node.volume === volume) return node;
		return undefined;
	}

	#directoryIn(parent: DirectoryNode, volume: VolumeOptions, name: string): DirectoryNode {
		const known = parent.children.get(name);
		if (known?.kind === "directory") return known;
		if (known !== undefined || parent.overlay.has(name)) throw new Error(`${name} is not a directory of its bucket`);
		const made = this.#namespace.nodes.directory({ volume, parent, name });
		parent.children.set(name, made);
		return made;
	}
}

function volumeOf(
	{ identity, prefix }: Pick<VolumeOptions, "identity" | "prefix">,
	volumes: readonly VolumeOptions[],
): VolumeOptions | undefined {
	return volumes.find((volume) => volume.identity === identity && volume.prefix === prefix);
}

/** Sees to it that all is there that was staged; of a small file the record has it. Throws when it is not. */
function bringStaged({ parts }: KeptDraft, content: Buffer | undefined): void {
	for (const { path, edges } of parts) {
		// The disk was not waited for with what is staged of it, and may have no room for more.
		if (content !== undefined) writeFileSync(path, content, { mode: 0o600, flag: existsSync(path) ? "r+" : "w" });
		const sizeBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
		if (sizeBytes < (edges.at(-1) ?? 0)) throw new Error("what it had staged is gone: it may have been stored since");
	}
}
