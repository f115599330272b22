import { mebibyte } from "../../bytes.ts";

/** What is known of names, and can be forgotten. */
export interface Forgettable {
	readonly sizeBytes: number;
	forget(): void;
}

/** Some 200,000 names, twice as many as find(1) asks for at a time: fewer would be listed again for each few of them. */
const leastBytes = 16 * mebibyte;

/** Bounds what all listings together remember: what was not used for the longest time goes first, and is listed again if it is wanted. */
export class NamesMemory {
	readonly limitBytes: number;
	/** How often something was forgotten for want of memory. */
	forgotten = 0;
	readonly #onFull: (() => void) | undefined;
	#usedBytes = 0;
	/** In the order of their last use. */
	readonly #kept = new Map<Forgettable, number>();

	/** `onFull` is told once, when something is forgotten for the first time. */
	constructor(limitBytes: number, onFull?: () => void) {
		this.limitBytes = limitBytes;
		this.#onFull = onFull;
	}

	/** Of a filesystem whose parts have so much. */
	static besides(memoryBytes: number, onFull: (limitBytes: number) => void): NamesMemory {
		const limitBytes = Math.max(leastBytes, memoryBytes / 4);
		return new NamesMemory(limitBytes, () => onFull(limitBytes));
	}

	get usedBytes(): number {
		return this.#usedBytes;
	}

	/** Counts it, as large as it is now; what is added last stays, however large. */
	keep(known: Forgettable): void {
		this.release(known);
		const { sizeBytes } = known;
		this.#kept.set(known, sizeBytes);
		this.#usedBytes += sizeBytes;
		for (const oldest of this.#kept.keys()) {
			if (this.#usedBytes <= this.limitBytes || oldest === known) return;
			oldest.forget();
			this.release(oldest);
			if (this.forgotten++ === 0) this.#onFull?.();
		}
	}

	used(known: Forgettable): void {
		const sizeBytes = this.#kept.get(known);
		if (sizeBytes === undefined) return;
		this.#kept.delete(known);
		this.#kept.set(known, sizeBytes);
	}

	release(known: Forgettable): void {
		this.#usedBytes -= this.#kept.get(known) ?? 0;
		this.#kept.delete(known);
	}
}
