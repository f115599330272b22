import { sizes } from "./abi.ts";
import { encodeEntry, encodeNoEntry, readUint64, writeUint64 } from "./encode.ts";
import type { Attributes, DirectoryPage, Entry } from "./filesystem.ts";

/** A part of a directory in the kernel's format, in a buffer that can be used again. The first bytes are left for the header. */
export class Page implements DirectoryPage {
	plus = false;
	readonly bytes: Buffer;
	usedBytes: number = sizes.replyHeader;
	readonly #view: DataView;
	#end = 0;

	/** For replies of at most `sizeBytes`. */
	constructor(sizeBytes: number) {
		this.bytes = Buffer.allocUnsafeSlow(sizes.replyHeader + sizeBytes);
		this.#view = new DataView(this.bytes.buffer);
	}

	/** Makes it empty, for a reply of at most `sizeBytes`; false when it is too small for that. */
	begin(sizeBytes: number, plus: boolean): boolean {
		this.plus = plus;
		this.usedBytes = sizes.replyHeader;
		this.#end = sizes.replyHeader + sizeBytes;
		return this.#end <= this.bytes.length;
	}

	add(name: string, { ino, mode }: Pick<Attributes, "ino" | "mode">, nextOffset: number, entry?: Entry): boolean {
		const direntAt = this.usedBytes + (this.plus ? sizes.entry : 0);
		const nameAt = direntAt + sizes.direntHeader;
		// No character of UTF-16 takes more than three bytes: a name that surely fits is not measured first.
		if (nameAt + name.length * 3 + 8 > this.#end) {
			const padded = (Buffer.byteLength(name) + 7) & ~7;
			if (nameAt + padded > this.#end) return false;
		}
		const nameBytes = this.bytes.write(name, nameAt);
		const end = nameAt + ((nameBytes + 7) & ~7);
		this.bytes.fill(0, nameAt + nameBytes, end);
		if (this.plus) {
			// The kernel never counts these two as looked up.
			if (entry === undefined || name === "." || name === "..") encodeNoEntry(this.#view, this.usedBytes);
			else encodeEntry(this.#view, this.usedBytes, entry);
		}
		writeUint64(this.#view, direntAt, ino);
		writeUint64(this.#view, direntAt + 8, nextOffset);
		this.#view.setUint32(direntAt + 16, nameBytes, true);
		// DT_DIR and the others are the file type's bits of the mode.
		this.#view.setUint32(direntAt + 20, (mode & 0o170_000) >> 12, true);
		this.usedBytes = end;
		return true;
	}

	/** The nodes of its entries, each of which counts when the kernel gets it. */
	*nodes(): Generator<number> {
		if (!this.plus) return;
		for (let at = sizes.replyHeader; at < this.usedBytes;) {
			const node = readUint64(this.#view, at);
			if (node !== 0) yield node;
			const nameBytes = this.#view.getUint32(at + sizes.entry + 16, true);
			at += sizes.entry + sizes.direntHeader + ((nameBytes + 7) & ~7);
		}
	}
}
