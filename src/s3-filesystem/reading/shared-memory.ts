import type { Memory } from "./memory.ts";

interface Extent {
	start: number;
	end: number;
}

/** Smaller ones lie together at the other end, so that they do not cut up what large ones need. */
const smallBytes = 256 * 1024;

/**
 * Pieces of one piece of memory that all threads see. Such memory can neither be shrunk nor given back: it takes what was in use at the same
 * time, since the places that were used before are used first.
 */
export class SharedMemory implements Memory {
	usedBytes = 0;
	readonly #limitBytes: number;
	/** Takes no memory where nothing was written yet. */
	readonly #whole: SharedArrayBuffer;
	/** What nobody has, in order; no two touch each other. */
	readonly #free: Extent[];

	constructor(limitBytes: number) {
		this.#limitBytes = limitBytes;
		this.#whole = new SharedArrayBuffer(limitBytes);
		this.#free = [{ start: 0, end: limitBytes }];
	}

	take(sizeBytes: number): Buffer | undefined {
		const fits = ({ start, end }: Extent): boolean => end - start >= sizeBytes;
		const isSmall = sizeBytes < smallBytes;
		const index = isSmall ? this.#free.findLastIndex(fits) : this.#free.findIndex(fits);
		const extent = this.#free[index];
		if (extent === undefined) return undefined;
		const at = isSmall ? extent.end - sizeBytes : extent.start;
		if (isSmall) extent.end -= sizeBytes;
		else extent.start += sizeBytes;
		if (extent.start === extent.end) this.#free.splice(index, 1);
		this.usedBytes += sizeBytes;
		return Buffer.from(this.#whole, at, sizeBytes);
	}

	missing(sizeBytes: number): number {
		const missingBytes = this.usedBytes + sizeBytes - this.#limitBytes;
		// There is enough, but not in one place.
		return missingBytes > 0 ? missingBytes : sizeBytes;
	}

	give(buffer: Buffer): void {
		const start = buffer.byteOffset;
		const end = start + buffer.length;
		this.usedBytes -= buffer.length;
		let index = this.#free.findIndex((extent) => extent.start >= end);
		if (index === -1) index = this.#free.length;
		const [before, after] = [this.#free[index - 1], this.#free[index]];
		const touchesAfter = after?.start === end;
		if (before?.end === start) {
			before.end = touchesAfter ? after.end : end;
			if (touchesAfter) this.#free.splice(index, 1);
		} else if (touchesAfter) after.start = start;
		else this.#free.splice(index, 0, { start, end });
	}
}
