import type { Memory } from "./memory.ts";

/** Buffers of this size and more are kept for the next one that needs such: fresh pages cost more than a copy. */
const smallestKeptBytes = 256 * 1024;

/** Memory of this thread alone, given back to the system as soon as it is of no use. */
export class OwnMemory implements Memory {
	usedBytes = 0;
	readonly #limitBytes: number;
	/** Buffers that nobody uses, by their size; the last one given back is the first to be used again. */
	readonly #kept = new Map<number, Buffer[]>();

	constructor(limitBytes: number) {
		this.#limitBytes = limitBytes;
	}

	take(sizeBytes: number): Buffer | undefined {
		const kept = this.#kept.get(sizeBytes)?.pop();
		if (kept !== undefined) return kept;
		this.#letGo(this.missing(sizeBytes));
		if (this.missing(sizeBytes) > 0) return undefined;
		this.usedBytes += sizeBytes;
		return Buffer.allocUnsafeSlow(sizeBytes);
	}

	missing(sizeBytes: number): number {
		return this.usedBytes + sizeBytes - this.#limitBytes;
	}

	give(buffer: Buffer): void {
		if (buffer.length < smallestKeptBytes) {
			this.#giveUp(buffer);
			return;
		}
		const kept = this.#kept.get(buffer.length);
		if (kept === undefined) this.#kept.set(buffer.length, [buffer]);
		else kept.push(buffer);
	}

	/** Gives up buffers that nobody uses, of whatever size. */
	#letGo(wantedBytes: number): void {
		let goneBytes = 0;
		for (const kept of this.#kept.values()) {
			while (goneBytes < wantedBytes) {
				const buffer = kept.pop();
				if (buffer === undefined) break;
				goneBytes += buffer.length;
				this.#giveUp(buffer);
			}
		}
	}

	#giveUp(buffer: Buffer): void {
		this.usedBytes -= buffer.length;
		// Its memory goes now. Otherwise that is up to the garbage collector, which knows nothing of the budget.
		(buffer.buffer as ArrayBuffer).transfer(0);
	}
}
