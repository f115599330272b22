import { serialize } from "node:v8";
import type { KernelConnection } from "../fuse/filesystem.ts";
import { dropOldest, kinds, type Beginning, type Outcome } from "./journal-records.ts";
import type { KeptReader } from "./names/directory-reader.ts";
import { encodeNode } from "./names/node-records.ts";
import type { FileNode, Node, NodeTable, NodeWatcher, OpenFile } from "./names/nodes.ts";
import { Encoder } from "./records/encoder.ts";
import type { DraftWatcher } from "./writing/draft-options.ts";
import type { Past } from "./recall.ts";
import { beginFrame, RecordFile, removeRecords } from "./records/record-file.ts";

/** What the process that dies knows, in the order in which it is to be told again. */
export interface JournalSource {
	readonly nodes: NodeTable;
	readonly files: () => Iterable<OpenFile>;
	readonly directories: () => Iterable<readonly [handle: number, directory: JournalledReader]>;
	readonly nextHandle: () => number;
	/** What identifies the buckets, by their folders. */
	readonly volumes: () => ReadonlyMap<string, string>;
	/** Why nobody could go on from what is written; undefined: somebody can. */
	readonly obstacle: () => string | undefined;
}

export interface JournalledReader {
	readonly directory: { readonly id: number };
	keep(): KeptReader;
	readonly place: { readonly offset: number; readonly key: string };
	readonly hasOwnNames: boolean;
}

/** Records of nodes that are gone wait for others, up to so many. */
const goneAtATime = 1000;
/** A file that has grown by so much beyond twice what is true is written anew. */
const slackBytes = 4 * 1024 ** 2;
const nodesAtATime = 500;
/** After a write that failed. */
const againMs = 60_000;

/**
 * Writes down what the kernel and applications are told, before they are: a process that takes the place of one that has died goes on
 * from there. What has changed is collected, and written with one call before the next answer.
 */
export class Journal implements NodeWatcher {
	readonly #directory: string;
	readonly #version: string;
	readonly #mountId: string;
	readonly #onTrouble: (error: unknown) => void;
	readonly #file: RecordFile;
	readonly #frame = new Encoder();
	readonly #nodes = new Set<Node>();
	readonly #files = new Map<OpenFile, number>();
	readonly #drafts = new Set<FileNode>();
	readonly #parts = new Map<FileNode, Set<number>>();
	#gone: number[] = [];
	#source: JournalSource | undefined;
	#connection: KernelConnection | undefined;
	/** What is written already has to be sent with it: nothing but nodes, files and what is gone waits. */
	#isWaiting = false;
	/** Of the file when it was written anew. */
	#trueBytes = 0;
	#brokenAt: number | undefined;
	#obstacle: string | undefined;
	/** Of requests that are under way, by what identifies them. */
	readonly #steps: Map<number, unknown>;
	readonly #repeated: Map<number, number>;
	/** Of those that may not be answered. */
	readonly #outcomes: Map<number, Outcome>;

	constructor(options: {
		readonly directory: string;
		readonly version: string;
		readonly mountId: string;
		/** Nothing is written for a while: were the process to die, nobody could go on. */
		readonly onTrouble: (error: unknown) => void;
		/** What the process before this one has written. */
		readonly past?: Past;
	}) {
		this.#steps = new Map(options.past?.steps);
		this.#repeated = new Map(options.past?.repeated);
		this.#outcomes = new Map(options.past?.outcomes);
		this.#directory = options.directory;
		this.#version = options.version;
		this.#mountId = options.mountId;
		this.#onTrouble = options.onTrouble;
		this.#file = new RecordFile(options.directory);
	}

	/** Writes what is there already; then whoever dies leaves something to go on with. */
	begin(source: JournalSource, connection: KernelConnection): void {
		this.#source = source;
		this.#connection = connection;
		source.nodes.watcher = this;
		this.#rewrite();
	}

	changed(node: Node): void {
		this.#nodes.add(node);
	}

	gone(id: number, kept: { readonly path: string; readonly ino: number } | undefined): void {
		this.#gone.push(id);
		if (kept !== undefined || this.#gone.length > goneAtATime) this.#begun(kinds.gone, () => this.#putGone(kept));
	}

	/** `unique` identifies the request that has opened it; 0: none, it has changed since. */
	opened(file: OpenFile, unique: number): void {
		this.#files.set(file, unique || (this.#files.get(file) ?? 0));
		if (unique !== 0) this.#keepOutcome(unique, { node: file.node.id, handle: file.handle });
	}

	closed(file: OpenFile): void {
		this.#files.delete(file);
		this.#begun(kinds.closed, () => this.#frame.number(file.handle));
	}

	/** For the draft that this file gets. */
	watcherOf(node: FileNode): DraftWatcher {
		return {
			changed: () => void this.#drafts.add(node),
			partChanged: (index) => this.#partChanged(node, index),
			written: (index, start, end) => this.#written(node, index, start, end),
			flush: () => this.flush(),
		};
	}

	#partChanged(node: FileNode, index: number): void {
		const parts = this.#parts.get(node);
		if (parts === undefined) this.#parts.set(node, new Set([index]));
		else parts.add(index);
	}

	#written(node: FileNode, index: number, start: number, end: number): void {
		// It is about to be told with the others.
		if (this.#drafts.has(node) || this.#parts.has(node)) {
			this.#drafts.add(node);
			this.#partChanged(node, index);
			return;
		}
		this.#begun(kinds.written, () => {
			this.#frame.number(node.id);
			this.#frame.uint32(index);
			this.#frame.number(start);
			this.#frame.number(end);
		});
	}

	directoryOpened(handle: number, reader: JournalledReader, unique: number): void {
		const { offset, key } = reader.place;
		if (unique !== 0) this.#keepOutcome(unique, { node: reader.directory.id, handle });
		this.#begun(kinds.directory, () => {
			this.#frame.number(handle);
			this.#frame.number(reader.directory.id);
			this.#frame.number(unique);
			this.#frame.bytes(serialize({ ...reader.keep(), places: [key], firstPlace: offset }));
		});
	}

	/** `isAnew`: it began at the start. */
	directoryRead(handle: number, reader: JournalledReader, isAnew: boolean): void {
		if (isAnew || reader.hasOwnNames) {
			this.directoryOpened(handle, reader, 0);
			return;
		}
		const { offset, key } = reader.place;
		this.#begun(kinds.place, () => {
			this.#frame.number(handle);
			this.#frame.number(offset);
			this.#frame.text(key);
		});
	}

	directoryClosed(handle: number): void {
		this.#begun(kinds.closedDirectory, () => this.#frame.number(handle));
	}

	/** The request is carried out, and is not to be a second time. */
	done(unique: number, outcome: Outcome): void {
		this.forgetSteps(unique);
		this.#keepOutcome(unique, outcome);
		this.#putOutcome(unique, outcome);
	}

	/** One after the other may die before it has answered. */
	#keepOutcome(unique: number, outcome: Outcome): void {
		this.#outcomes.set(unique, outcome);
		dropOldest(this.#outcomes);
	}

	#putOutcome(unique: number, { node, handle }: Outcome): void {
		this.#begun(kinds.outcome, () => {
			this.#frame.number(unique);
			this.#frame.number(node);
			this.#frame.number(handle);
		});
	}

	/** The request has come so far, at once. */
	step(unique: number, step: unknown): void {
		this.#steps.set(unique, step);
		this.#putStep(unique, step);
		this.flush();
	}

	#putStep(unique: number, step: unknown): void {
		this.#begun(kinds.step, () => {
			this.#frame.number(unique);
			this.#frame.bytes(serialize(step));
		});
	}

	/** It is over. */
	forgetSteps(unique: number): void {
		this.#steps.delete(unique);
		this.#repeated.delete(unique);
	}

	/** A request comes again that a process had which has died, at once: this one may die of it, too. */
	repeated(unique: number): void {
		this.#repeated.set(unique, (this.#repeated.get(unique) ?? 0) + 1);
		this.#putRepeated(unique);
		this.flush();
	}

	#putRepeated(unique: number): void {
		this.#begun(kinds.repeated, () => this.#frame.number(unique));
	}

	/** Whether it can be gone on from here has changed. */
	obstacleChanged(): void {
		const obstacle = this.#source?.obstacle();
		if (obstacle === this.#obstacle) return;
		this.#obstacle = obstacle;
		this.#begun(kinds.obstacle, () => this.#frame.text(obstacle ?? ""));
	}

	/** There are others. */
	volumesChanged(): void {
		const volumes = this.#source?.volumes();
		this.#begun(kinds.volumes, () => this.#frame.bytes(serialize(volumes)));
	}

	/** Before each answer. */
	flush(): void {
		const isUnchanged = this.#nodes.size === 0 && this.#files.size === 0 && this.#drafts.size === 0;
		if (isUnchanged && this.#parts.size === 0 && !this.#isWaiting) return;
		if (this.#brokenAt !== undefined) {
			this.#forgetChanges();
			if (performance.now() > this.#brokenAt + againMs) this.#rewrite();
			return;
		}
		this.#collect();
		this.#write();
		if (!this.#file.isBeginning && this.#file.sizeBytes > 2 * this.#trueBytes + slackBytes) void this.#compact();
	}

	/** Nobody is to go on from here. */
	end(): void {
		this.#forgetChanges();
		this.#file.close();
		removeRecords(this.#directory);
	}

	#begun(kind: number, put: () => void): void {
		if (this.#frame.usedBytes === 0) beginFrame(this.#frame);
		this.#isWaiting = true;
		this.#frame.byte(kind);
		put();
	}

	#collect(): void {
		if (this.#frame.usedBytes === 0) beginFrame(this.#frame);
		const table = this.#source?.nodes;
		for (const node of this.#nodes) {
			if (table?.get(node.id) !== node) continue;
			this.#frame.byte(kinds.node);
			encodeNode(this.#frame, node);
		}
		for (const [file, unique] of this.#files) this.#putFile(file, unique);
		if (this.#gone.length > 0) {
			this.#frame.byte(kinds.gone);
			this.#putGone(undefined);
		}
		this.#collectDrafts();
		this.#nodes.clear();
		this.#files.clear();
	}

	#collectDrafts(): void {
		for (const node of this.#drafts) {
			if (node.draft === undefined) continue;
			this.#frame.byte(kinds.draft);
			this.#frame.number(node.id);
			this.#frame.bytes(serialize(node.draft.keep()));
		}
		for (const [node, indexes] of this.#parts) {
			if (node.draft === undefined) continue;
			for (const index of indexes) {
				this.#frame.byte(kinds.part);
				this.#frame.number(node.id);
				this.#frame.uint32(index);
				this.#frame.bytes(serialize(node.draft.keepPart(index)));
			}
		}
		this.#drafts.clear();
		this.#parts.clear();
	}

	#draftToo(node: Node): void {
		if (node.kind === "directory" || node.draft === undefined) return;
		this.#drafts.add(node);
		for (const index of node.draft.partIndexes) this.#partChanged(node, index);
	}

	#putFile({ handle, node, writable, version }: OpenFile, unique: number): void {
		this.#frame.byte(kinds.file);
		this.#frame.number(handle);
		this.#frame.number(node.id);
		this.#frame.number(unique);
		this.#frame.byte((writable ? 1 : 0) | (version === undefined ? 0 : 2));
		if (version === undefined) return;
		this.#frame.text(version.key);
		this.#frame.text(version.etag);
		this.#frame.number(version.sizeBytes);
	}

	#putGone(kept: { readonly path: string; readonly ino: number } | undefined): void {
		this.#frame.uint32(this.#gone.length);
		for (const id of this.#gone) this.#frame.number(id);
		this.#gone = [];
		this.#frame.byte(kept === undefined ? 0 : 1);
		if (kept === undefined) return;
		this.#frame.text(kept.path);
		this.#frame.number(kept.ino);
	}

	#write(): void {
		this.#isWaiting = false;
		try {
			this.#file.append(this.#frame.written);
		} catch (error) {
			this.#broken(error);
		}
		this.#frame.clear();
	}

	#broken(error: unknown): void {
		this.#brokenAt = performance.now();
		this.#onTrouble(error);
		try {
			this.end();
		} catch {
			// The next process finds a record that is torn, or none: what is told from now on is not in it.
		}
	}

	#forgetChanges(): void {
		this.#drafts.clear();
		this.#parts.clear();
		this.#nodes.clear();
		this.#files.clear();
		this.#gone = [];
		this.#frame.clear();
		this.#isWaiting = false;
	}

	/** All of it at once, in a file of its own: what a process that has died has written stays until then. */
	#rewrite(): void {
		const source = this.#source;
		if (source === undefined) return;
		try {
			this.#beginFile(source, "whole");
			for (const node of source.nodes.all()) {
				this.#nodes.add(node);
				this.#draftToo(node);
			}
			this.#collect();
			this.#file.append(this.#frame.written);
			this.#frame.clear();
			this.#isWaiting = false;
			this.#replace();
			this.#brokenAt = undefined;
		} catch (error) {
			this.#broken(error);
		}
	}

	/** The same while requests are answered. */
	async #compact(): Promise<void> {
		const source = this.#source;
		if (source === undefined) return;
		try {
			this.#beginFile(source, "next");
			let count = 0;
			for (const node of source.nodes.all()) {
				this.#nodes.add(node);
				this.#draftToo(node);
				if (++count % nodesAtATime !== 0) continue;
				this.flush();
				await new Promise((resolve) => {
					setImmediate(resolve);
				});
				if (this.#brokenAt !== undefined) return;
			}
			this.flush();
			if (this.#brokenAt === undefined) this.#replace();
		} catch (error) {
			this.#broken(error);
		}
	}

	#beginFile(source: JournalSource, kind: "next" | "whole"): void {
		this.#file.begin(kind);
		const { nodes, nextHandle, files, directories } = source;
		const beginning: Beginning = {
			version: this.#version,
			mountId: this.#mountId,
			connection: this.#connection as KernelConnection,
			nextId: nodes.nextId,
			nextHandle: nextHandle(),
			numbersOfNames: nodes.numbersOfNames,
		};
		this.#frame.clear();
		this.#begun(kinds.begin, () => this.#frame.bytes(serialize(beginning)));
		this.#obstacle = undefined;
		this.obstacleChanged();
		this.volumesChanged();
		for (const file of files()) this.opened(file, 0);
		for (const [handle, reader] of directories()) this.directoryOpened(handle, reader, 0);
		for (const [unique, outcome] of this.#outcomes) this.#putOutcome(unique, outcome);
		for (const [unique, step] of this.#steps) this.#putStep(unique, step);
		for (const [unique, times] of this.#repeated) for (let time = 0; time < times; time++) this.#putRepeated(unique);
	}

	#replace(): void {
		this.#file.replacePresent();
		this.#trueBytes = this.#file.sizeBytes;
	}
}
