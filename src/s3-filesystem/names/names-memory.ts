/** What is known of names, and can be forgotten. */
export interface Forgettable {
	readonly sizeBytes: number;
	forget(): void;
}

/** Bounds what all listings together remember: what was not used for the longest time goes first, and is listed again if it is wanted. */
export class NamesMemory {
	readonly limitBytes: number;
	#usedBytes = 0;
	/** In the order of their last use. */
	readonly #kept = new Map<Forgettable, number>();

	constructor(limitBytes: number) {
		this.limitBytes = limitBytes;
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
