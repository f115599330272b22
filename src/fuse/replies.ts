import fs from "node:fs";
import { constants } from "node:os";
import { sizes } from "./abi.ts";
import type { Call } from "./call.ts";
import type { Page } from "./directory-page.ts";
import type { Encoder } from "./encode.ts";
import type { FarReplies } from "./far-replies.ts";
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
	readonly #far: FarReplies | undefined;
	#underWay = 0;
	readonly #small = Buffer.alloc(sizes.replyHeader + 256);
	readonly #smallView = new DataView(this.#small.buffer, this.#small.byteOffset, this.#small.length);
	readonly #header = this.#small.subarray(0, sizes.replyHeader);

	/** `before` is called before each answer. `far`: those who take over large ones. */
	constructor(fd: number, refused: Refused, before?: () => void, far?: FarReplies) {
		this.#far = far;
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
		if (this.#writesFar(call, result)) return;
		try {
			this.#views(call, result.views);
		} finally {
			result.release?.();
		}
	}

	#writesFar(call: Call, result: ReadResult): boolean {
		if (this.#far?.takes(result.views) !== true) return false;
		this.#before?.();
		this.#writeHeader(this.#smallView, call, lengthOf(result.views), 0);
		this.#underWay++;
		this.#far.write(this.#fd, this.#header, result.views, (code) => {
			this.#underWay--;
			result.release?.();
			if (code !== undefined) this.#writeFailed(call, code);
		});
		return true;
	}

	/** Answers that others write. */
	get underWay(): number {
		return this.#underWay;
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
			const code = codeOf(error);
			if (!isGone(code)) this.#refused(call, code);
		}
	}

	#views(call: Call, views: readonly Uint8Array[]): void {
		this.#before?.();
		this.#writeHeader(this.#smallView, call, lengthOf(views), 0);
		try {
			fs.writevSync(this.#fd, [this.#header, ...views]);
		} catch (error) {
			this.#writeFailed(call, codeOf(error));
		}
	}

	#write(call: Call, buffer: Buffer, lengthBytes: number): void {
		this.#before?.();
		try {
			fs.writeSync(this.#fd, buffer, 0, lengthBytes);
		} catch (error) {
			this.#writeFailed(call, codeOf(error));
		}
	}

	#writeFailed(call: Call, code: string): void {
		if (isGone(code)) return;
		this.#refused(call, code);
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
function isGone(code: string): boolean {
	return code === "ENOENT" || code === "ENODEV";
}

function lengthOf(views: readonly Uint8Array[]): number {
	return views.reduce((sum, { length }) => sum + length, 0);
}

function codeOf(error: unknown): string {
	return (error as NodeJS.ErrnoException).code ?? String(error);
}
