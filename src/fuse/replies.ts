import fs from "node:fs";
import { constants } from "node:os";
import { sizes } from "./abi.ts";
import type { Call } from "./call.ts";
import type { Page } from "./directory-page.ts";
import type { Encoder } from "./encode.ts";
import type { ReadResult } from "./filesystem.ts";

/** Tells what the kernel did not take, by its name in errno(3). */
type Refused = (call: Call, code: string) => void;

/**
 * Answers calls over /dev/fuse, each at once and with one system call: the kernel copies and never waits. So one buffer serves all
 * headers and all small replies.
 */
export class Replies {
	readonly #fd: number;
	readonly #refused: Refused;
	readonly #before: (() => void) | undefined;
	readonly #small = Buffer.alloc(sizes.replyHeader + 256);
	readonly #smallView = new DataView(this.#small.buffer, this.#small.byteOffset, this.#small.length);
	readonly #header = this.#small.subarray(0, sizes.replyHeader);

	/** `before` is called before each answer. */
	constructor(fd: number, refused: Refused, before?: () => void) {
		this.#fd = fd;
		this.#refused = refused;
		this.#before = before;
	}

	encoded<T>(call: Call, value: T, encode: Encoder<T>): void {
		const bodyBytes = encode(this.#smallView, sizes.replyHeader, value);
		this.#writeHeader(this.#smallView, call, bodyBytes, 0);
		this.#write(call, this.#small, sizes.replyHeader + bodyBytes);
	}

	bytes(call: Call, body: Uint8Array): void {
		this.#views(call, [body]);
	}

	/** Sends what was read without a copy, and gives it back to the filesystem. */
	data(call: Call, result: ReadResult): void {
		try {
			this.#views(call, result.views);
		} finally {
			result.release?.();
		}
	}

	page(call: Call, { bytes, usedBytes }: Page): void {
		this.#writeHeader(this.#smallView, call, usedBytes - sizes.replyHeader, 0);
		bytes.set(this.#header);
		this.#write(call, bytes, usedBytes);
	}

	error(call: Call, errno: number): void {
		this.#before?.();
		this.#writeHeader(this.#smallView, call, 0, errno);
		try {
			fs.writeSync(this.#fd, this.#header);
		} catch (error) {
			// There is nothing else that it could be told.
			if (!isGone(error)) this.#refused(call, codeOf(error));
		}
	}

	#views(call: Call, views: readonly Uint8Array[]): void {
		this.#before?.();
		let bodyBytes = 0;
		for (const view of views) bodyBytes += view.length;
		this.#writeHeader(this.#smallView, call, bodyBytes, 0);
		try {
			fs.writevSync(this.#fd, [this.#header, ...views]);
		} catch (error) {
			this.#writeFailed(call, error);
		}
	}

	#write(call: Call, buffer: Buffer, lengthBytes: number): void {
		this.#before?.();
		try {
			fs.writeSync(this.#fd, buffer, 0, lengthBytes);
		} catch (error) {
			this.#writeFailed(call, error);
		}
	}

	#writeFailed(call: Call, error: unknown): void {
		if (isGone(error)) return;
		this.#refused(call, codeOf(error));
		// The request is still there, such as when the reply was longer than what was asked for; its caller must not wait for ever.
		this.error(call, constants.errno.EIO);
	}

	#writeHeader(target: DataView, call: Call, bodyBytes: number, errno: number): void {
		target.setUint32(0, sizes.replyHeader + bodyBytes, true);
		target.setInt32(4, -errno, true);
		target.setUint32(8, call.uniqueLow, true);
		target.setUint32(12, call.uniqueHigh, true);
	}
}

/** ENOENT: nobody waits for this answer any more. ENODEV: unmounted, as the readers will find too. */
function isGone(error: unknown): boolean {
	const code = codeOf(error);
	return code === "ENOENT" || code === "ENODEV";
}

function codeOf(error: unknown): string {
	return (error as NodeJS.ErrnoException).code ?? String(error);
}
