import { mebibyte } from "../../bytes.ts";
import { containerMemoryBytes } from "./container-memory.ts";
import type { Memory, MemoryBudget, PooledBuffer, Urgency } from "./memory.ts";
import { OwnMemory } from "./own-memory.ts";
import { SharedMemory } from "./shared-memory.ts";

const pageBytes = 4096;
/** Up to here each size has its own buffers. */
const exactBytes = 256 * 1024;
/** So many times what is wished for is reclaimed for it. */
const wishTimes = 2;

/**
 * Of reads alone a few MiB are needed at least; what is asked for beyond the limit is refused, not waited for. `isShared`: all threads are to see
 * what is in its buffers.
 */
export function createMemoryBudget(
	limitBytes: number,
	{ isShared = false }: { readonly isShared?: boolean } = {},
): MemoryBudget {
	return new Budget(limitBytes, (isShared ? sharedMemory(limitBytes) : undefined) ?? new OwnMemory(limitBytes));
}

/** Undefined: the system does not even promise so much in one piece. */
function sharedMemory(limitBytes: number): SharedMemory | undefined {
	try {
		return new SharedMemory(limitBytes);
	} catch (error) {
		if (error instanceof RangeError) return undefined;
		throw error;
	}
}

/** A quarter of what the container may use, or of the machine; at least 32 MiB and at most 512 MiB. */
export function defaultBudgetBytes(memoryBytes: number = containerMemoryBytes()): number {
	const quarter = Math.floor(memoryBytes / 4 / pageBytes) * pageBytes;
	return Math.max(32 * mebibyte, Math.min(512 * mebibyte, quarter));
}

class Budget implements MemoryBudget {
	readonly limitBytes: number;
	readonly #memory: Memory;
	readonly #reclaimers: ((wantedBytes: number, urgency: Urgency) => number)[] = [];
	readonly #listeners: (() => void)[] = [];

	constructor(limitBytes: number, memory: Memory) {
		this.limitBytes = limitBytes;
		this.#memory = memory;
	}

	get isShared(): boolean {
		return this.#memory instanceof SharedMemory;
	}

	get usedBytes(): number {
		return this.#memory.usedBytes;
	}

	addReclaimer(reclaim: (wantedBytes: number, urgency: Urgency) => number): void {
		this.#reclaimers.push(reclaim);
	}

	onFree(listener: () => void): void {
		this.#listeners.push(listener);
	}

	tryAllocate(sizeBytes: number, urgency: Urgency = "need"): PooledBuffer | undefined {
		const wholeBytes = allocatedBytes(sizeBytes);
		let whole = this.#memory.take(wholeBytes);
		// Where memory is cut up, enough of it may not be one piece: a wish is not worth all that others have.
		let leftBytes = urgency === "wish" ? wishTimes * wholeBytes : Number.POSITIVE_INFINITY;
		for (const reclaim of this.#reclaimers) {
			while (whole === undefined && leftBytes > 0) {
				const reclaimedBytes = reclaim(this.#memory.missing(wholeBytes), urgency);
				whole = this.#memory.take(wholeBytes);
				if (reclaimedBytes <= 0) break;
				leftBytes -= reclaimedBytes;
			}
		}
		return whole && this.#lend(whole, sizeBytes);
	}

	#lend(whole: Buffer, sizeBytes: number): PooledBuffer {
		let isLent = true;
		return {
			buffer: whole.subarray(0, sizeBytes),
			free: () => {
				if (!isLent) return;
				isLent = false;
				this.#memory.give(whole);
				for (const listener of this.#listeners) listener();
			},
		};
	}
}

/** Whole pages for small ones. Of the others there are four sizes to each power of two, so that most fit what was given back before. */
function allocatedBytes(sizeBytes: number): number {
	if (sizeBytes <= exactBytes - pageBytes) return Math.ceil(Math.max(1, sizeBytes) / pageBytes) * pageBytes;
	const stepBytes = Math.max(pageBytes, 2 ** Math.floor(Math.log2(sizeBytes)) / 4);
	return Math.ceil(sizeBytes / stepBytes) * stepBytes;
}
