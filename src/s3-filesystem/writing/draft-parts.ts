import type { UploadedPart } from "../../s3/object-store.ts";
import { DraftError } from "./draft-error.ts";
import type { DraftWatcher, KeptDraft, KeptPart } from "./draft-options.ts";
import type { DraftUpload } from "./draft-upload.ts";
import { StagedPart } from "./staged-part.ts";
import type { Staging } from "./staging.ts";

/** A part of the grid that differs from the object's: its bytes are staged here, or in our multipart upload, or both. */
export interface DraftPart {
	readonly index: number;
	readonly staged: StagedPart;
	/** What the multipart upload has of it, while that is the present content. */
	uploaded: { readonly part: UploadedPart; readonly sizeBytes: number; readonly to: DraftUpload } | undefined;
	/** On its way; never rejects. Nothing may be written meanwhile. */
	uploading: Promise<void> | undefined;
	/** Why sending it failed while it was written: the next commit tries again. */
	failure: { readonly error: unknown } | undefined;
	/** Somebody waits to change it once it is uploaded. */
	isAwaited: boolean;
}

/** All that is changed of one file, by parts of the grid. */
export class DraftParts {
	readonly #staging: Staging;
	/** Unlike that of any other draft. */
	readonly id: string;
	readonly #watcher: DraftWatcher | undefined;
	readonly #parts = new Map<number, DraftPart>();

	constructor(staging: Staging, watcher?: DraftWatcher, kept?: KeptDraft) {
		this.#staging = staging;
		this.#watcher = watcher;
		this.id = kept?.id ?? staging.nextPath();
		for (const { index, path, edges } of kept?.parts ?? []) this.add(index, new StagedPart(staging, path, edges));
	}

	/** Undefined: nothing of it is changed. */
	keepPart(index: number): KeptPart | undefined {
		const part = this.#parts.get(index);
		if (part === undefined) return undefined;
		const { staged, uploaded } = part;
		const { path, edges } = staged;
		return { index, path, edges, uploaded: uploaded && { part: uploaded.part, sizeBytes: uploaded.sizeBytes } };
	}

	/** What the multipart upload has of the part is another from now on; undefined: nothing. */
	setUploaded(part: DraftPart, uploaded: DraftPart["uploaded"]): void {
		part.uploaded = uploaded;
		this.#watcher?.partChanged(part.index);
	}

	get stagedBytes(): number {
		let bytes = 0;
		for (const { staged } of this.#parts.values()) bytes += staged.chargedBytes;
		return bytes;
	}

	get(index: number): DraftPart | undefined {
		return this.#parts.get(index);
	}

	all(): IterableIterator<DraftPart> {
		return this.#parts.values();
	}

	getOrAdd(index: number): DraftPart {
		return this.#parts.get(index) ?? this.add(index);
	}

	/** `staged`: what is here of it already. */
	add(index: number, staged = new StagedPart(this.#staging, `${this.#staging.nextPath()}.${index}`)): DraftPart {
		staged.watcher = this.#watcher && {
			changed: () => this.#watcher?.partChanged(index),
			written: (start: number, end: number) => this.#watcher?.written(index, start, end),
			flush: () => this.#watcher?.flush(),
		};
		this.#watcher?.partChanged(index);
		const part: DraftPart = {
			index,
			staged,
			uploaded: undefined,
			uploading: undefined,
			failure: undefined,
			isAwaited: false,
		};
		this.#parts.set(index, part);
		return part;
	}

	/** Gives the part away if so many of its bytes, from the first on, are all staged. */
	takeStaged(index: number, sizeBytes: number): StagedPart | undefined {
		const part = this.#parts.get(index);
		if (part === undefined || part.staged.isEmpty || !part.staged.has(0, sizeBytes)) return undefined;
		this.#parts.delete(index);
		this.#watcher?.partChanged(index);
		part.staged.watcher = undefined;
		return part.staged;
	}

	remove(part: DraftPart): void {
		this.#parts.delete(part.index);
		this.#watcher?.partChanged(part.index);
		part.staged.remove();
	}

	clear(): void {
		const parts = [...this.#parts.values()];
		this.#parts.clear();
		for (const { index } of parts) this.#watcher?.partChanged(index);
		for (const { staged } of parts) staged.remove();
	}

	/** The parts that hold bytes from `start` to before `end`. */
	between(start: number, end: number): DraftPart[] {
		const { grid } = this.#staging;
		if (start >= end) return [];
		const first = grid.indexAt(start);
		const last = grid.indexAt(end - 1);
		const parts: DraftPart[] = [];
		for (let index = first; index <= last; index++) {
			const part = this.#parts.get(index);
			if (part !== undefined) parts.push(part);
		}
		return parts;
	}

	/** The bytes of the window that are not staged, as the shortest range that holds them all. */
	unstagedHull(start: number, end: number): { readonly start: number; readonly end: number } | undefined {
		const { grid } = this.#staging;
		let hull: { readonly start: number; readonly end: number } | undefined;
		for (let offset = start; offset < end;) {
			const index = grid.indexAt(offset);
			const partStart = grid.startOf(index);
			const to = Math.min(end, partStart + grid.sizeOf(index));
			const gaps = this.#parts.get(index)?.staged.gaps(offset - partStart, to - partStart) ?? [
				{ start: offset - partStart, end: to - partStart },
			];
			const [first] = gaps;
			const last = gaps.at(-1);
			if (first !== undefined && last !== undefined) {
				hull = { start: hull?.start ?? first.start + partStart, end: last.end + partStart };
			}
			offset = to;
		}
		return hull;
	}

	/** Copies what is staged over what `into` has, which starts at `offset`. */
	readInto(into: Buffer, offset: number): void {
		const { grid } = this.#staging;
		for (const { index, staged } of this.between(offset, offset + into.length)) {
			const start = grid.startOf(index);
			const from = Math.max(offset, start);
			const to = Math.min(offset + into.length, start + grid.sizeOf(index));
			staged.readInto(into.subarray(from - offset, to - offset), from - start);
		}
	}
}

/** Only our multipart upload has the part's content, where nobody can read it. */
export function isOnlyUploaded({ uploaded, staged }: DraftPart): boolean {
	return uploaded !== undefined && staged.isEmpty;
}

export function lost(cause: unknown): DraftError {
	return new DraftError("LOST", "the multipart upload that held written data was ended by somebody else", cause);
}
