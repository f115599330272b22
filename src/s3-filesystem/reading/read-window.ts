import { mebibyte } from "../../bytes.ts";

/** Less is not worth a request. */
export const smallestWindowBytes = 128 * 1024;
const largestFirstBytes = mebibyte;
/** Up to here a window grows whenever its reader waits: it costs little, and over so few bytes a rate says nothing. */
const cheapBytes = 16 * mebibyte;
/** A window twice as large that is not faster by that only holds memory, which has to be touched for the first time. */
const worthwhile = 1.1;
/** After a size that brought nothing, so many windows are read before it is tried again: the server or the line may be faster then. */
const windowsBetweenTries = 16;

/**
 * How far a stream is read ahead of, in bytes; 0: not at all. It doubles as long as the reader has to wait and a larger one makes it faster: where the
 * processor is what it waits for, it stays small, and where the distance to the server is, it gets large.
 */
export class ReadWindow {
	bytes = 0;
	/** Before this position there are bytes that were asked for with another size. */
	#settlesAt = 0;
	#measuredFrom: { readonly position: number; readonly atMs: number } | undefined;
	/** What it was before it was doubled, in bytes a millisecond. */
	#before: { readonly bytes: number; readonly rate: number } | undefined;

	/** For a stream whose reads are so long, of which several may be under way. */
	start(readBytes: number, readsUnderWay: number): void {
		this.bytes = Math.min(largestFirstBytes, Math.max(smallestWindowBytes, readBytes * readsUnderWay));
	}

	stop(): void {
		this.bytes = 0;
		this.#settlesAt = 0;
		this.#measuredFrom = undefined;
		this.#before = undefined;
	}

	/** There is no memory for it. */
	shrink(): void {
		this.bytes = Math.max(smallestWindowBytes, this.bytes / 2);
		this.#measuredFrom = undefined;
		this.#before = undefined;
	}

	/** The reader waits at a position; up to `requestedEnd` everything has been asked for. */
	waited(position: number, requestedEnd: number, limitBytes: number, nowMs: number): void {
		if (position < this.#settlesAt) return;
		const { bytes } = this;
		if (bytes < Math.min(cheapBytes, limitBytes)) {
			this.#resize(Math.min(bytes * 2, limitBytes), requestedEnd);
			return;
		}
		const from = (this.#measuredFrom ??= { position, atMs: nowMs });
		const readBytes = position - from.position;
		if (readBytes < bytes) return;
		const rate = readBytes / Math.max(1, nowMs - from.atMs);
		const before = this.#before;
		if (before !== undefined && rate < before.rate * worthwhile) {
			this.#before = undefined;
			this.#resize(before.bytes, position + windowsBetweenTries * bytes);
			return;
		}
		if (bytes >= limitBytes) return;
		this.#before = { bytes, rate };
		this.#resize(Math.min(bytes * 2, limitBytes), requestedEnd);
	}

	#resize(bytes: number, settlesAt: number): void {
		this.bytes = bytes;
		this.#settlesAt = settlesAt;
		this.#measuredFrom = undefined;
	}
}
