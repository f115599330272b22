import type { ObjectStore, ObjectVersion } from "../../s3/object-store.ts";
import type { Part } from "./part.ts";

/** What a read needs of an ObjectStore. */
export type ReadableStore = Pick<ObjectStore, "get">;

/** Where one program goes on to read, as far as others have to know. */
export interface Position {
	/** Everything before was read. */
	readonly next: number;
}

/** What is in memory of one version, for all who read it. */
export class CachedFile {
	readonly name: string;
	readonly identity: string;
	readonly version: ObjectVersion;
	/** The one that the version was opened with last: an older one may be closed. */
	store: ReadableStore;
	/** In the order of their starts; they never overlap. */
	readonly parts: Part[] = [];
	/** How many have it open. */
	readers = 0;
	/** Of those who read it in order. */
	readonly positions = new Set<Position>();

	constructor(name: string, identity: string, version: ObjectVersion, store: ReadableStore) {
		this.name = name;
		this.identity = identity;
		this.version = version;
		this.store = store;
	}

	/** The index of the first part that ends behind the position: if there is one for the position, that is it. */
	indexAt(position: number): number {
		const { parts } = this;
		let low = 0;
		let high = parts.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			const part = parts[middle];
			if (part !== undefined && part.end <= position) low = middle + 1;
			else high = middle;
		}
		return low;
	}

	partAt(position: number): Part | undefined {
		const part = this.parts[this.indexAt(position)];
		return part !== undefined && part.start <= position ? part : undefined;
	}

	/** Where the part after the position begins, or the file ends. */
	nextStart(position: number): number {
		return this.parts[this.indexAt(position)]?.start ?? this.version.sizeBytes;
	}

	add(part: Part): void {
		const index = this.indexAt(part.start);
		const next = this.parts[index];
		if (next !== undefined && next.start < part.end) throw new Error("parts of a file overlap");
		this.parts.splice(index, 0, part);
	}

	remove(part: Part): void {
		const index = this.indexAt(part.start);
		if (this.parts[index] === part) this.parts.splice(index, 1);
	}
}

export function nameOf(identity: string, { key, etag }: ObjectVersion): string {
	return `${identity}\0${key}\0${etag}`;
}
