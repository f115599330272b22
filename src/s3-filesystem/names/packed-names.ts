import type { ObjectMetadata } from "../../s3/object-store.ts";
import { listedDirectory, listedKey, type Listed } from "./listed.ts";

// A record for each name: size and time as doubles, the end of its text, the lengths of ETag and key. Its text is key, ETag and metadata.
const recordBytes = 26;
const field = { sizeBytes: 0, modifiedMs: 8, textEnd: 16, etagBytes: 20, keyBytes: 24 } as const;

const slash = 47;

/**
 * Names in the order of their keys, in one buffer: about 70 bytes each, of which the garbage collector sees nothing and no answer of the
 * server is kept alive. Objects and strings of them would be four times as much.
 */
export class PackedNames {
	readonly count: number;
	readonly #bytes: Buffer;
	readonly #view: DataView;

	/** `entries` must be in the order of their keys, each there once. */
	static of(entries: readonly Listed[]): PackedNames {
		const texts = entries.map((entry) => ({
			key: listedKey(entry),
			metadata: entry.metadata === undefined ? "" : JSON.stringify(entry.metadata),
		}));
		let sizeBytes = entries.length * recordBytes;
		for (const [index, { key, metadata }] of texts.entries())
			sizeBytes += Buffer.byteLength(key) + Buffer.byteLength(entries[index]?.etag ?? "") + Buffer.byteLength(metadata);
		const packed = new PackedNames(entries.length, Buffer.allocUnsafeSlow(sizeBytes));
		const bytes = packed.#bytes;
		const view = packed.#view;
		let end = entries.length * recordBytes;
		for (const [index, entry] of entries.entries()) {
			const { key = "", metadata = "" } = texts[index] ?? {};
			const at = index * recordBytes;
			const keyBytes = bytes.write(key, end);
			const etagBytes = bytes.write(entry.etag, end + keyBytes);
			end += keyBytes + etagBytes + bytes.write(metadata, end + keyBytes + etagBytes);
			view.setFloat64(at + field.sizeBytes, entry.sizeBytes);
			view.setFloat64(at + field.modifiedMs, entry.modifiedMs);
			view.setUint32(at + field.textEnd, end);
			view.setUint32(at + field.etagBytes, etagBytes);
			view.setUint16(at + field.keyBytes, keyBytes);
		}
		return packed;
	}

	private constructor(count: number, bytes: Buffer) {
		this.count = count;
		this.#bytes = bytes;
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
	}

	get sizeBytes(): number {
		return this.#bytes.length;
	}

	/** The entry at that place, which must be one. */
	at(index: number): Listed {
		const bytes = this.#bytes;
		const at = index * recordBytes;
		const start = this.#textStart(index);
		const keyEnd = start + this.#view.getUint16(at + field.keyBytes);
		if (bytes[keyEnd - 1] === slash) return listedDirectory(bytes.toString("utf8", start, keyEnd - 1));
		const etagEnd = keyEnd + this.#view.getUint32(at + field.etagBytes);
		const end = this.#view.getUint32(at + field.textEnd);
		const listed: Listed = {
			name: bytes.toString("utf8", start, keyEnd),
			kind: "file",
			sizeBytes: this.#view.getFloat64(at + field.sizeBytes),
			modifiedMs: this.#view.getFloat64(at + field.modifiedMs),
			etag: bytes.toString("utf8", keyEnd, etagEnd),
		};
		if (end === etagEnd) return listed;
		return { ...listed, metadata: JSON.parse(bytes.toString("utf8", etagEnd, end)) as ObjectMetadata };
	}

	/** How many keys come before that one. */
	countBefore(key: string): number {
		return this.#search(Buffer.from(key), false);
	}

	/** How many keys come before that one, or are it. */
	countThrough(key: string): number {
		return this.#search(Buffer.from(key), true);
	}

	/** Where that key is; undefined if it is not there. */
	indexOf(key: string): number | undefined {
		const bytes = Buffer.from(key);
		const index = this.#search(bytes, false);
		return index < this.count && this.#compare(index, bytes) === 0 ? index : undefined;
	}

	slice(from: number, to: number): PackedNames {
		return PackedNames.#join([{ names: this, from, to }]);
	}

	/** The same with another entry in place of `removed` ones. */
	splice(index: number, removed: number, entry?: Listed): PackedNames {
		const before = { names: this, from: 0, to: index };
		const rest = { names: this, from: index + removed, to: this.count };
		if (entry === undefined) return PackedNames.#join([before, rest]);
		return PackedNames.#join([before, { names: PackedNames.of([entry]), from: 0, to: 1 }, rest]);
	}

	#textStart(index: number): number {
		if (index === 0) return this.count * recordBytes;
		return this.#view.getUint32((index - 1) * recordBytes + field.textEnd);
	}

	#search(key: Buffer, isKeyCounted: boolean): number {
		let low = 0;
		let high = this.count;
		while (low < high) {
			const middle = (low + high) >>> 1;
			const order = this.#compare(middle, key);
			if (order < 0 || (isKeyCounted && order === 0)) low = middle + 1;
			else high = middle;
		}
		return low;
	}

	/** S3's order is that of the bytes. */
	#compare(index: number, key: Buffer): number {
		const start = this.#textStart(index);
		const end = start + this.#view.getUint16(index * recordBytes + field.keyBytes);
		return this.#bytes.compare(key, 0, key.length, start, end);
	}

	static #join(pieces: readonly Piece[]): PackedNames {
		let count = 0;
		let textBytes = 0;
		for (const { names, from, to } of pieces) {
			count += to - from;
			textBytes += names.#textStart(to) - names.#textStart(from);
		}
		const joined = new PackedNames(count, Buffer.allocUnsafeSlow(count * recordBytes + textBytes));
		let at = 0;
		let text = count * recordBytes;
		for (const { names, from, to } of pieces) {
			const textFrom = names.#textStart(from);
			names.#bytes.copy(joined.#bytes, at, from * recordBytes, to * recordBytes);
			const moved = text - textFrom;
			for (const end = at + (to - from) * recordBytes; at < end; at += recordBytes) {
				joined.#view.setUint32(at + field.textEnd, joined.#view.getUint32(at + field.textEnd) + moved);
			}
			text += names.#bytes.copy(joined.#bytes, text, textFrom, names.#textStart(to));
		}
		return joined;
	}
}

interface Piece {
	readonly names: PackedNames;
	readonly from: number;
	readonly to: number;
}
