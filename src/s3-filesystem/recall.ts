import { deserialize } from "node:v8";
import type { KernelConnection } from "../fuse/filesystem.ts";
import { kinds, dropOldest, type Beginning, type Outcome } from "./journal-records.ts";
import type { KeptReader } from "./names/directory-reader.ts";
import type { KeptNode } from "./names/kept-nodes.ts";
import { decodeNode } from "./names/node-records.ts";
import type { KeptFile } from "./names/nodes.ts";
import { Decoder } from "./records/decoder.ts";
import { readFrames } from "./records/record-file.ts";
import { ByteRanges } from "./writing/byte-ranges.ts";
import type { KeptDraft, KeptPart } from "./writing/draft-options.ts";

/** What a process that died had promised, for the next one. */
export interface Recalled {
	readonly connection: KernelConnection;
	readonly nodes: readonly KeptNode[];
	readonly nextId: number;
	readonly numbersOfNames: readonly (readonly [path: string, ino: number])[];
	readonly nextHandle: number;
	readonly files: readonly KeptFile[];
	readonly directories: readonly { readonly handle: number; readonly node: number; readonly reader: KeptReader }[];
	readonly past: Past;
	/** By the numbers of their nodes. */
	readonly drafts: ReadonlyMap<number, KeptDraft>;
	/** What identifies the buckets, by their folders. */
	readonly volumes: ReadonlyMap<string, string>;
}

/** Of requests that may not have been answered, by what identifies them. */
export interface Past {
	/** Unlike any other mount's, and the same for all processes that serve it one after the other. */
	readonly mountId: string;
	readonly outcomes: ReadonlyMap<number, Outcome>;
	/** How far they had come. */
	readonly steps: ReadonlyMap<number, unknown>;
	/** How many processes have died with them in their hands. */
	readonly repeated: ReadonlyMap<number, number>;
	/** Those processes have died by themselves. */
	readonly isDeadly: boolean;
}

/** What was written by a process that has died. Throws what keeps this program from going on with it. */
export function recall(directory: string, version: string): Recalled {
	return new Recall(version).of(directory);
}

interface RecalledDraft {
	readonly kept: Omit<KeptDraft, "parts">;
	readonly parts: Map<number, RecalledPart>;
	/** Since that was written down. */
	isWritten: boolean;
}

interface RecalledPart {
	readonly path: string;
	readonly ranges: ByteRanges;
	readonly uploaded: KeptPart["uploaded"];
}

function keptDraft({ kept, parts, isWritten }: RecalledDraft): KeptDraft {
	return {
		...kept,
		isChanged: kept.isChanged || isWritten,
		parts: Array.from(parts, ([index, { path, ranges, uploaded }]) => ({ index, path, edges: ranges.edges, uploaded })),
	};
}

class Recall {
	readonly #version: string;
	#beginning: Beginning | undefined;
	readonly #nodes = new Map<number, KeptNode>();
	readonly #changed = new Set<number>();
	readonly #drafts = new Map<number, RecalledDraft>();
	readonly #numbers = new Map<string, number>();
	readonly #files = new Map<number, KeptFile>();
	readonly #directories = new Map<number, { node: number; reader: KeptReader }>();
	readonly #outcomes = new Map<number, Outcome>();
	readonly #steps = new Map<number, unknown>();
	readonly #repeated = new Map<number, number>();
	#volumes: ReadonlyMap<string, string> = new Map();
	#nextId = 0;
	#nextHandle = 0;
	#obstacle = "";

	constructor(version: string) {
		this.#version = version;
	}

	of(directory: string): Recalled {
		for (const frame of readFrames(directory)) {
			const from = new Decoder(frame);
			while (!from.isAtEnd) this.#take(from);
		}
		if (this.#beginning === undefined) throw new Error("it has not written down what it had promised");
		if (this.#obstacle !== "") throw new Error(this.#obstacle);
		for (const [id, node] of this.#nodes) {
			const isLost = this.#changed.has(id) && !this.#drafts.has(id);
			if (isLost) throw new Error(`what was written to ${node.name} is not written down`);
		}
		const { connection, mountId } = this.#beginning;
		return {
			connection,
			nodes: [...this.#nodes.values()],
			nextId: this.#nextId,
			numbersOfNames: [...this.#numbers],
			nextHandle: this.#nextHandle,
			files: [...this.#files.values()],
			directories: Array.from(this.#directories, ([handle, { node, reader }]) => ({ handle, node, reader })),
			past: { mountId, outcomes: this.#outcomes, steps: this.#steps, repeated: this.#repeated, isDeadly: false },
			volumes: this.#volumes,
			drafts: new Map(Array.from(this.#drafts, ([id, draft]) => [id, keptDraft(draft)])),
		};
	}

	#take(from: Decoder): void {
		const kind = from.byte();
		switch (kind) {
			case kinds.begin:
				this.#begins(deserialize(from.bytes()) as Beginning);
				return;
			case kinds.node:
				this.#takeNode(from);
				return;
			case kinds.gone:
				this.#takeGone(from);
				return;
			case kinds.file:
				this.#takeFile(from);
				return;
			case kinds.closed:
				this.#files.delete(from.number());
				return;
			case kinds.directory:
				this.#takeDirectory(from);
				return;
			case kinds.place:
				this.#takePlace(from);
				return;
			case kinds.closedDirectory:
				this.#directories.delete(from.number());
				return;
			case kinds.outcome:
				this.#takeOutcome(from.number(), { node: from.number(), handle: from.number() });
				return;
			case kinds.step:
				this.#steps.set(from.number(), deserialize(from.bytes()));
				dropOldest(this.#steps);
				return;
			case kinds.repeated: {
				const unique = from.number();
				this.#repeated.set(unique, (this.#repeated.get(unique) ?? 0) + 1);
				dropOldest(this.#repeated);
				return;
			}
			case kinds.obstacle:
				this.#obstacle = from.text();
				return;
			case kinds.draft:
				this.#takeDraft(from.number(), deserialize(from.bytes()) as Omit<KeptDraft, "parts">);
				return;
			case kinds.part:
				this.#takePart(from.number(), from.uint32(), deserialize(from.bytes()) as KeptPart | undefined);
				return;
			case kinds.written:
				this.#takeWritten(from.number(), from.uint32(), from.number(), from.number());
				return;
			case kinds.volumes:
				this.#volumes = deserialize(from.bytes()) as ReadonlyMap<string, string>;
				return;
			default:
				throw new Error(`a record of a kind that is not known: ${kind}`);
		}
	}

	#begins(beginning: Beginning): void {
		const { version, nextId, nextHandle, numbersOfNames } = beginning;
		if (version !== this.#version) throw new Error(`it was version ${version}, this is ${this.#version}`);
		this.#beginning = beginning;
		this.#nextId = Math.max(this.#nextId, nextId);
		this.#nextHandle = Math.max(this.#nextHandle, nextHandle);
		this.#obstacle = "";
		for (const [path, ino] of numbersOfNames) this.#numbers.set(path, ino);
	}

	#takeNode(from: Decoder): void {
		const { isChanged, ...node } = decodeNode(from);
		this.#nodes.set(node.id, node);
		this.#nextId = Math.max(this.#nextId, node.id + 1);
		if (isChanged) this.#changed.add(node.id);
		else this.#changed.delete(node.id);
		if (node.kind === "file" && !node.isDrafted) this.#drafts.delete(node.id);
	}

	#takeDraft(id: number, kept: Omit<KeptDraft, "parts">): void {
		const before = this.#drafts.get(id);
		const parts = before?.kept.id === kept.id ? before.parts : new Map<number, RecalledPart>();
		this.#drafts.set(id, { kept, parts, isWritten: false });
	}

	#takePart(id: number, index: number, part: KeptPart | undefined): void {
		const parts = this.#drafts.get(id)?.parts;
		if (part === undefined) parts?.delete(index);
		else parts?.set(index, { path: part.path, ranges: ByteRanges.from(part.edges), uploaded: part.uploaded });
	}

	#takeWritten(id: number, index: number, start: number, end: number): void {
		const draft = this.#drafts.get(id);
		if (draft === undefined) return;
		draft.isWritten = true;
		draft.parts.get(index)?.ranges.add(start, end);
	}

	#takeGone(from: Decoder): void {
		for (let left = from.uint32(); left > 0; left--) {
			const id = from.number();
			this.#nodes.delete(id);
			this.#changed.delete(id);
			this.#drafts.delete(id);
			this.#nextId = Math.max(this.#nextId, id + 1);
		}
		if (from.byte() === 1) this.#numbers.set(from.text(), from.number());
	}

	#takeFile(from: Decoder): void {
		const [handle, node, unique, flags] = [from.number(), from.number(), from.number(), from.byte()];
		const version = (flags & 2) === 0 ? undefined : { key: from.text(), etag: from.text(), sizeBytes: from.number() };
		this.#files.set(handle, { handle, node, writable: (flags & 1) !== 0, version });
		this.#nextHandle = Math.max(this.#nextHandle, handle + 1);
		if (unique !== 0) this.#takeOutcome(unique, { node, handle });
	}

	#takeDirectory(from: Decoder): void {
		const [handle, node, unique] = [from.number(), from.number(), from.number()];
		this.#directories.set(handle, { node, reader: deserialize(from.bytes()) as KeptReader });
		this.#nextHandle = Math.max(this.#nextHandle, handle + 1);
		if (unique !== 0) this.#takeOutcome(unique, { node, handle });
	}

	#takePlace(from: Decoder): void {
		const [handle, offset, key] = [from.number(), from.number(), from.text()];
		const directory = this.#directories.get(handle);
		if (directory === undefined) return;
		const { reader } = directory;
		directory.reader = { ...reader, places: [key], firstPlace: offset };
	}

	#takeOutcome(unique: number, outcome: Outcome): void {
		const before = this.#outcomes.get(unique);
		// An outcome that comes with an open file says more than the file alone.
		this.#steps.delete(unique);
		this.#outcomes.delete(unique);
		this.#outcomes.set(unique, {
			node: outcome.node || before?.node || 0,
			handle: outcome.handle || before?.handle || 0,
		});
		dropOldest(this.#outcomes);
	}
}
