import { ftruncateSync, openSync, readSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { unlink } from "node:fs/promises";
import { crc32 } from "node:zlib";

import type { ByteRange } from "../../bytes.ts";
import type { UploadBody } from "../../s3/object-store.ts";
import { ByteRanges } from "./byte-ranges.ts";
import type { Staging } from "./staging.ts";
import { syncToDisk } from "./sync-to-disk.ts";

/** What tmpfs and most disks give to a file at least. */
const blockBytes = 4096;

/** Above this, giving back a file's memory takes long enough to be another thread's work. */
const largeBytes = 1024 ** 2;

/** Is told what is staged, and what is not any more, before that goes. */
interface StagedPartWatcher {
	changed(): void;
	written(start: number, end: number): void;
	flush(): void;
}

interface Checksum {
	readonly value: number;
	readonly sizeBytes: number;
}

const noBytes: Checksum = { value: 0, sizeBytes: 0 };

/**
 * The changed bytes of one part, in a sparse file of their own: what was not written reads as zeros there. Synchronous, since the
 * file is in memory and a trip to libuv's pool costs twice as much CPU as the copy itself.
 */
export class StagedPart {
	readonly #staging: Staging;
	readonly path: string;
	/** Of the draft that it is in. */
	watcher: StagedPartWatcher | undefined;
	#ranges = new ByteRanges();
	#chargedBytes = 0;
	#exists = false;
	/** The disk has it all, whatever happens to the machine. */
	#isSynced = false;
	/** CRC-32 of the first bytes, for as long as they are written in order; undefined once they were not. */
	#checksum: Checksum | undefined = noBytes;

	/** `edges` are of what a process that has died has staged there. */
	constructor(staging: Staging, path: string, edges: readonly number[] = []) {
		this.#staging = staging;
		this.path = path;
		if (edges.length === 0) return;
		this.#ranges = ByteRanges.from(edges);
		this.#exists = true;
		this.#checksum = undefined;
		this.#chargedBytes = this.#ranges.blockBytes(blockBytes);
		staging.reserveBeyondLimit(this.#chargedBytes);
	}

	get edges(): readonly number[] {
		return this.#ranges.edges;
	}

	/** What it takes of the staging limit. */
	get chargedBytes(): number {
		return this.#chargedBytes;
	}

	get isEmpty(): boolean {
		return this.#ranges.isEmpty;
	}

	/** How many bytes were written from the start on, each once and in order. */
	get inOrderBytes(): number {
		return this.#checksum?.sizeBytes ?? 0;
	}

	/** How much more of the limit a write of these bytes takes: reserve it first. */
	cost(start: number, end: number): number {
		return this.#ranges.newBlockBytes(start, end, blockBytes);
	}

	has(start: number, end: number): boolean {
		return this.#ranges.has(start, end);
	}

	gaps(start: number, end: number): readonly ByteRange[] {
		return this.#ranges.gaps(start, end);
	}

	/** Returns how much could be written; throws NO_SPACE when nothing could. Gives back what was reserved for the rest. */
	write(start: number, data: Uint8Array): number {
		const reservedBytes = this.cost(start, start + data.length);
		let written = 0;
		try {
			const { files } = this.#staging;
			const descriptor = this.#staging.onDisk(() => (this.#exists ? files.get(this.path) : files.create(this.path)));
			this.#exists = true;
			this.#isSynced = false;
			while (written < data.length) {
				const already = written;
				written += this.#staging.onDisk(() =>
					writeSync(descriptor, data, already, data.length - already, start + already),
				);
			}
		} catch (error) {
			if (written === 0) {
				this.#staging.release(reservedBytes);
				throw error;
			}
		}
		const usedBytes = written === data.length ? reservedBytes : this.cost(start, start + written);
		if (usedBytes !== reservedBytes) this.#staging.release(reservedBytes - usedBytes);
		this.#chargedBytes += usedBytes;
		this.#ranges.add(start, start + written);
		this.watcher?.written(start, start + written);
		if (this.#checksum?.sizeBytes === start) {
			const value = crc32(written === data.length ? data : data.subarray(0, written), this.#checksum.value);
			this.#checksum = { value, sizeBytes: start + written };
		} else this.#checksum = undefined;
		return written;
	}

	/** Copies what is staged of these bytes to where it belongs in `into`, which starts at `start`. */
	readInto(into: Buffer, start: number): void {
		for (const range of this.#ranges.within(start, start + into.length)) {
			let position = range.start;
			while (position < range.end) {
				const from = position;
				const count = this.#staging.fromDisk(() =>
					readSync(this.#staging.files.get(this.path), into, from - start, range.end - from, from),
				);
				if (count === 0) throw new Error(`${this.path} was truncated by somebody else`);
				position += count;
			}
		}
	}

	/** Resolves when the disk has what is staged. Nothing may be written meanwhile; what is removed meanwhile is not needed any more. */
	async sync(): Promise<void> {
		if (this.#isSynced || !this.#exists) return;
		try {
			await syncToDisk(this.path);
			this.#isSynced = true;
		} catch (error) {
			if (this.#exists) throw error;
		}
	}

	/** Forgets everything from `sizeBytes` on. */
	truncate(sizeBytes: number): void {
		if (!this.#exists) return;
		const before = this.#ranges.copy();
		this.#ranges.remove(sizeBytes, Infinity);
		this.watcher?.changed();
		this.watcher?.flush();
		try {
			// So that nothing of it comes back as what should be zeros.
			this.#staging.onDisk(() => ftruncateSync(this.#staging.files.get(this.path), sizeBytes));
		} catch (error) {
			this.#ranges = before;
			this.watcher?.changed();
			throw error;
		}
		if (this.inOrderBytes > sizeBytes) this.#checksum = undefined;
		this.#chargeAgain();
	}

	/** Unstages these bytes. Node cannot punch a hole into a file, so the rest moves to another. */
	forget(gaps: readonly ByteRange[]): void {
		const ranges = this.#ranges.copy();
		for (const { start, end } of gaps) ranges.remove(start, end);
		if (ranges.isEmpty) {
			this.remove();
			return;
		}
		const path = `${this.path}.new`;
		const chunk = this.#staging.takeChunk();
		try {
			const descriptor = this.#staging.files.create(path);
			for (const { start, end } of ranges.within(0, Infinity)) {
				for (let position = start; position < end;) {
					const piece = chunk.subarray(0, Math.min(chunk.length, end - position));
					this.readInto(piece, position);
					position += writeSync(descriptor, piece, 0, piece.length, position);
				}
			}
			// First: a process that goes on must not take for staged what is not in the smaller file.
			this.#ranges = ranges;
			this.watcher?.changed();
			this.watcher?.flush();
			renameSync(path, this.path);
		} catch (error) {
			// It only takes more room than it has to.
			this.#staging.trouble(error, "could not make a staged file smaller");
			try {
				unlinkSync(path);
			} catch {
				// It could not be made, or goes with the directory.
			}
			return;
		} finally {
			this.#staging.giveChunk(chunk);
			this.#staging.files.close(path);
		}
		this.#staging.files.close(this.path);
		this.#isSynced = false;
		this.#checksum = undefined;
		this.#chargeAgain();
	}

	#chargeAgain(): void {
		const chargedBytes = this.#ranges.blockBytes(blockBytes);
		this.#staging.release(this.#chargedBytes - chargedBytes);
		this.#chargedBytes = chargedBytes;
	}

	/** The first bytes for an upload, with zeros where nothing was written. Nothing may be written meanwhile. */
	body(sizeBytes: number): UploadBody {
		return {
			sizeBytes,
			...(this.#checksum?.sizeBytes === sizeBytes && { crc32: this.#checksum.value }),
			...(this.#ranges.has(0, sizeBytes) && { open: () => this.#openAgain() }),
			read: () => this.#chunks(sizeBytes),
		};
	}

	/** The same file, wherever it is by now, for somebody who may still read it when this one closes it. */
	#openAgain(): number {
		return this.#staging.fromDisk(() => openSync(`/proc/self/fd/${this.#staging.files.get(this.path)}`, "r"));
	}

	/** Nothing is staged any more, and the file goes; what it took of the limit is given back once its memory is free. */
	remove(): void {
		this.#staging.unkeep(this);
		if (!this.#exists) return;
		this.#exists = false;
		this.#staging.files.close(this.path);
		const bytes = this.#chargedBytes;
		this.#chargedBytes = 0;
		this.#ranges = new ByteRanges();
		this.#checksum = noBytes;
		this.watcher?.changed();
		this.watcher?.flush();
		try {
			if (bytes > largeBytes) {
				// Renamed first: the part may be written again at once.
				const path = this.#staging.nextRemovedPath();
				renameSync(this.path, path);
				const removal = unlink(path).catch((error: unknown) => this.#failedToRemove(error));
				// Nobody waits for it but who needs the room.
				this.#staging.removing(removal.then(() => this.#staging.release(bytes)));
				return;
			}
			unlinkSync(this.path);
		} catch (error) {
			this.#failedToRemove(error);
		}
		this.#staging.release(bytes);
	}

	#failedToRemove(error: unknown): void {
		this.#staging.trouble(error, "could not remove a staged file");
	}

	*#chunks(sizeBytes: number): Generator<Uint8Array> {
		const chunk = this.#staging.takeChunk();
		try {
			for (let offset = 0; offset < sizeBytes; offset += chunk.length) {
				const piece = chunk.subarray(0, Math.min(chunk.length, sizeBytes - offset));
				if (!this.#ranges.has(offset, offset + piece.length)) piece.fill(0);
				this.readInto(piece, offset);
				yield piece;
			}
		} finally {
			this.#staging.giveChunk(chunk);
		}
	}
}

const zeros = Buffer.alloc(1024 ** 2);

export function zeroBody(sizeBytes: number): UploadBody {
	return {
		sizeBytes,
		*read() {
			for (let left = sizeBytes; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
		},
	};
}
