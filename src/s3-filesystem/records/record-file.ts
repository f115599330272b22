import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

/** Records that were written with one call: all of them are there, or none. */
const frameHeaderBytes = 4;
const idBytes = 16;
/** Each file begins with what identifies it, and with what identifies the one that it adds to. */
const fileHeaderBytes = 2 * idBytes;

/** What is true by now; what is about to take its place, and adds to it until then; and what counts only when it has taken it. */
const names = { present: "records", next: "records.new", whole: "records.whole" } as const;

/**
 * Records in a file that outlives the process, by frames: each is in the hands of the operating system when `append` returns. A second file takes
 * the first one's place when it has all that is still true.
 */
export class RecordFile {
	readonly #directory: string;
	#fd: number | undefined;
	#sizeBytes = 0;
	/** About to take the other one's place. */
	#begun: { readonly path: string; readonly id: Buffer } | undefined;
	/** What is true by now is in this file. */
	#presentId: Buffer = Buffer.alloc(idBytes);

	constructor(directory: string) {
		this.#directory = directory;
	}

	get sizeBytes(): number {
		return this.#sizeBytes;
	}

	/** Begins the file that is to take the other one's place. */
	begin(kind: "next" | "whole"): void {
		this.close();
		mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
		const begun = (this.#begun = { path: join(this.#directory, names[kind]), id: randomBytes(idBytes) });
		const fd = (this.#fd = openSync(begun.path, "w", 0o600));
		this.#sizeBytes = 0;
		this.#write(fd, Buffer.concat([begun.id, this.#presentId]));
	}

	/** All that is still true is in the file that was begun. */
	replacePresent(): void {
		if (this.#begun === undefined) return;
		renameSync(this.#begun.path, join(this.#directory, names.present));
		this.#presentId = this.#begun.id;
		this.#begun = undefined;
		// Of a process that has died while it had begun another. It adds to what is not there any more: nobody reads it.
		rmSync(join(this.#directory, names.next), { force: true });
	}

	get isBeginning(): boolean {
		return this.#begun !== undefined;
	}

	/** The frame's first four bytes are for its length. */
	append(frame: Buffer): void {
		if (this.#fd === undefined) return;
		frame.writeUInt32LE(frame.length - frameHeaderBytes, 0);
		this.#write(this.#fd, frame);
	}

	#write(fd: number, bytes: Buffer): void {
		for (let written = 0; written < bytes.length;) {
			written += writeSync(fd, bytes, written, bytes.length - written);
		}
		this.#sizeBytes += bytes.length;
	}

	close(): void {
		if (this.#fd !== undefined) closeSync(this.#fd);
		this.#fd = undefined;
	}
}

/** Removes all of it: nobody can go on from there. */
export function removeRecords(directory: string): void {
	for (const name of Object.values(names)) rmSync(join(directory, name), { force: true });
}

/** The frames of a process that has died, in the order in which they were written. The last one may be torn: what it says was told to nobody. */
export function* readFrames(directory: string): Generator<Buffer> {
	let presentId: Buffer | undefined;
	for (const name of [names.present, names.next]) {
		let bytes: Buffer;
		try {
			bytes = readFileSync(join(directory, name));
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
			throw error;
		}
		if (bytes.length < fileHeaderBytes) continue;
		if (presentId !== undefined && !presentId.equals(bytes.subarray(idBytes, fileHeaderBytes))) continue;
		presentId ??= bytes.subarray(0, idBytes);
		for (let at = fileHeaderBytes; at + frameHeaderBytes <= bytes.length;) {
			const start = at + frameHeaderBytes;
			at = start + bytes.readUInt32LE(at);
			if (at > bytes.length) break;
			yield bytes.subarray(start, at);
		}
	}
}

/** So that every frame has room for its length. */
export function beginFrame(encoder: { uint32(value: number): void }): void {
	encoder.uint32(0);
}
