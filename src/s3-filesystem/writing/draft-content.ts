import type { ByteRange } from "../../bytes.ts";
import type { ObjectVersion } from "../../s3/object-store.ts";
import { DraftParts, isOnlyUploaded } from "./draft-parts.ts";
import type { Committed, DraftOptions, DraftWatcher } from "./draft-options.ts";
import type { PartGrid } from "./part-grid.ts";
import type { StagedPart } from "./staged-part.ts";
import type { Staging } from "./staging.ts";

/** What a changed file consists of: an object, as far as its content is still the file's, parts that differ from it, and zeros. */
export class DraftContent {
	readonly parts: DraftParts;
	readonly #grid: PartGrid;
	#base: ObjectVersion | undefined;
	#baseModifiedMs: number | undefined;
	readonly #watcher: DraftWatcher | undefined;
	#baseBytes: number;
	#sizeBytes: number;
	#isChanged: boolean;
	#epoch = 0;

	constructor(staging: Staging, { base, sizeBytes, watcher, kept }: DraftOptions) {
		this.#watcher = watcher;
		this.parts = new DraftParts(staging, watcher, kept);
		this.#grid = staging.grid;
		this.#base = base;
		this.#baseModifiedMs = kept?.baseModifiedMs;
		this.#baseBytes = kept?.baseBytes ?? Math.min(base?.sizeBytes ?? 0, sizeBytes);
		this.#sizeBytes = sizeBytes;
		this.#isChanged = kept?.isChanged ?? sizeBytes !== (base?.sizeBytes ?? 0);
	}

	/** What is in the bucket; undefined: nothing yet. */
	get base(): ObjectVersion | undefined {
		return this.#base;
	}

	get baseModifiedMs(): number | undefined {
		return this.#baseModifiedMs;
	}

	/** As far as the base's content is the file's where nothing is changed; zeros follow. */
	get baseBytes(): number {
		return this.#baseBytes;
	}

	get sizeBytes(): number {
		return this.#sizeBytes;
	}

	/** It is not what the base has. */
	get isChanged(): boolean {
		return this.#isChanged;
	}

	/** Another one when bytes that were read before may be outdated: another base, or a truncation. */
	get epoch(): number {
		return this.#epoch;
	}

	/** Bytes were staged up to there. */
	written(end: number): void {
		this.#isChanged = true;
		this.#sizeBytes = Math.max(this.#sizeBytes, end);
	}

	/** What is staged or sent beyond is gone by now. */
	resized(sizeBytes: number): void {
		if (sizeBytes < this.#sizeBytes) this.#epoch++;
		this.#baseBytes = Math.min(this.#baseBytes, sizeBytes);
		this.#sizeBytes = sizeBytes;
		this.#isChanged = true;
		this.#watcher?.changed();
	}

	/** Nothing of the base was cut off. */
	get hasWholeBase(): boolean {
		return this.#base !== undefined && this.#baseBytes === this.#base.sizeBytes;
	}

	/** Of a file that was appended to, and has just been stored: its last part, if it is not full and all of it is staged. */
	takeTail(): { readonly index: number; readonly staged: StagedPart } | undefined {
		if (!this.hasWholeBase || this.#sizeBytes <= this.#baseBytes) return undefined;
		const index = this.#grid.indexAt(this.#sizeBytes - 1);
		const tailBytes = this.#sizeBytes - this.#grid.startOf(index);
		if (tailBytes === this.#grid.sizeOf(index)) return undefined;
		const staged = this.parts.takeStaged(index, tailBytes);
		return staged && { index, staged };
	}

	/** All of it is this object from now on. */
	adopt({ key, etag, sizeBytes, modifiedMs }: Committed): void {
		this.#base = { key, etag, sizeBytes };
		this.#baseModifiedMs = modifiedMs;
		this.#baseBytes = sizeBytes;
		this.#isChanged = false;
		this.#epoch++;
		// First: what is staged is not needed any more.
		this.#watcher?.changed();
		this.parts.clear();
		this.#watcher?.flush();
	}

	/** Another object is to be made of it, though its bytes are the base's. */
	outdate(): void {
		this.#isChanged = true;
		this.#watcher?.changed();
	}

	/** The same content has another key or another ETag now. */
	rebase(base: ObjectVersion): void {
		const { key, etag } = base;
		if (this.#base?.key === key && this.#base.etag === etag) return;
		this.#base = base;
		this.#epoch++;
		this.#watcher?.changed();
	}

	/** Some of these bytes are where nobody can read them. */
	isOnlyUploaded(start: number, end: number): boolean {
		return this.parts.between(start, end).some(isOnlyUploaded);
	}

	/** What only the base has of these bytes. */
	baseHull(start: number, end: number): ByteRange | undefined {
		const baseEnd = Math.min(end, this.#baseBytes);
		return start < baseEnd ? this.parts.unstagedHull(start, baseEnd) : undefined;
	}

	/** Into a buffer that has already what the base has. */
	readStaged(into: Buffer, offset: number): void {
		into.fill(0, Math.min(into.length, Math.max(0, this.#baseBytes - offset)));
		this.parts.readInto(into, offset);
	}
}
