/** The same numbers again for the same seed. */
export class Random {
	#state: number;

	constructor(seed: number) {
		this.#state = seed >>> 0;
	}

	/** From 0 to 1, without 1. */
	next(): number {
		// mulberry32, by bryc.
		this.#state = (this.#state + 0x6d_2b_79_f5) >>> 0;
		let value = this.#state;
		value = Math.imul(value ^ (value >>> 15), value | 1);
		value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
		return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
	}

	/** From 0 to `limit`, without `limit`. */
	below(limit: number): number {
		return Math.floor(this.next() * limit);
	}

	/** Both included. */
	between(low: number, high: number): number {
		return low + this.below(high - low + 1);
	}

	chance(probability: number): boolean {
		return this.next() < probability;
	}

	pick<T>(items: readonly [T, ...T[]]): T;
	pick<T>(items: readonly T[]): T | undefined;
	pick<T>(items: readonly T[]): T | undefined {
		return items[this.below(items.length)];
	}

	/** A key, as often as its weight says. */
	weighted<Key extends string>(weights: Readonly<Record<Key, number>>): Key {
		const entries = Object.entries(weights) as [Key, number][];
		let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
		for (const [key, weight] of entries) {
			left -= weight;
			if (left < 0) return key;
		}
		throw new Error("nothing to choose from");
	}
}
