import { mebibyte } from "../../bytes.ts";
import { containerMemoryBytes } from "./container-memory.ts";
import type { MemoryBudget, PooledBuffer, Urgency } from "./memory.ts";

const pageBytes = 4096;
/** Buffers of this size and more are kept for the next one that needs such: fresh pages cost more than a copy. */
const smallestKeptBytes = 256 * 1024;

/** Of reads alone a few MiB are needed at least; what is asked for beyond the limit is refused, not waited for. */
export function createMemoryBudget(limitBytes: number): MemoryBudget {
	return new Budget(limitBytes);
}

/** A quarter of what the container may use, or of the machine; at least 32 MiB and at most 512 MiB. */
export function defaultBudgetBytes(memoryBytes: number = containerMemoryBytes()): number {
	const quarter = Math.floor(memoryBytes / 4 / pageBytes) * pageBytes;
	return Math.max(32 * mebibyte, Math.min(512 * mebibyte, quarter));
}

class Budget implements MemoryBudget {
	readonly limitBytes: number;
	#usedBytes = 0;
	/** Buffers that nobody uses, by their size; the last one given back is the first to be used again. */
	readonly #kept = new Map<number, Buffer[]>();
	readonly #reclaimers: ((wantedBytes: number, urgency: Urgency) => number)[] = [];
	readonly #listeners: (() => void)[] = [];

	constructor(limitBytes: number) {
		this.limitBytes = limitBytes;
	}

	get usedBytes(): number {
		return this.#usedBytes;
	}

	addReclaimer(reclaim: (wantedBytes: number, urgency: Urgency) => number): void {
		this.#reclaimers.push(reclaim);
	}

	onFree(listener: () => void): void {
		this.#listeners.push(listener);
	}

	tryAllocate(sizeBytes: number, urgency: Urgency = "need"): PooledBuffer | undefined {
		const wholeBytes = allocatedBytes(sizeBytes);
		const missingBytes = (): number => this.#usedBytes + wholeBytes - this.limitBytes;
		const kept = this.#kept.get(wholeBytes);
		let buffer = kept?.pop();
		if (buffer === undefined && missingBytes() > 0) this.#letGo(missingBytes());
		for (const reclaim of this.#reclaimers) {
			while (buffer === undefined && missingBytes() > 0) {
				const reclaimedBytes = reclaim(missingBytes(), urgency);
				buffer = this.#kept.get(wholeBytes)?.pop();
				if (buffer === undefined) this.#letGo(missingBytes());
				if (reclaimedBytes <= 0) break;
			}
		}
		if (buffer === undefined) {
			if (missingBytes() > 0) return undefined;
			this.#usedBytes += wholeBytes;
			buffer = Buffer.allocUnsafeSlow(wholeBytes);
		}
		return this.#lend(buffer, sizeBytes);
	}

	#lend(whole: Buffer, sizeBytes: number): PooledBuffer {
		let isLent = true;
		return {
			buffer: whole.subarray(0, sizeBytes),
			free: () => {
				if (!isLent) return;
				isLent = false;
				if (whole.length < smallestKeptBytes) this.#giveUp(whole);
				else {
					const kept = this.#kept.get(whole.length);
					if (kept === undefined) this.#kept.set(whole.length, [whole]);
					else kept.push(whole);
				}
				for (const listener of this.#listeners) listener();
			},
		};
	}

	/** Gives up buffers that nobody uses, of whatever size. */
	#letGo(wantedBytes: number): void {
		let goneBytes = 0;
		for (const kept of this.#kept.values()) {
			while (goneBytes < wantedBytes) {
				const whole = kept.pop();
				if (whole === undefined) break;
				goneBytes += whole.length;
				this.#giveUp(whole);
			}
		}
	}

	#giveUp(whole: Buffer): void {
		this.#usedBytes -= whole.length;
		// Its memory goes now. Otherwise that is up to the garbage collector, which knows nothing of the budget.
		(whole.buffer as ArrayBuffer).transfer(0);
	}
}

/** Whole pages for small ones. Of the others there are four sizes to each power of two, so that most fit what was given back before. */
function allocatedBytes(sizeBytes: number): number {
	if (sizeBytes <= smallestKeptBytes - pageBytes) return Math.ceil(Math.max(1, sizeBytes) / pageBytes) * pageBytes;
	const stepBytes = Math.max(pageBytes, 2 ** Math.floor(Math.log2(sizeBytes)) / 4);
	return Math.ceil(sizeBytes / stepBytes) * stepBytes;
}
