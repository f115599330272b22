/** Lets so many pieces of work go on at once; the others wait in the order of asking. */
export class Turns {
	readonly #limit: number;
	readonly #waiting: (() => void)[] = [];
	#running = 0;

	constructor(limit = 1) {
		this.#limit = limit;
	}

	/** Nothing is going on. */
	get isIdle(): boolean {
		return this.#running === 0;
	}

	async take<T>(work: () => Promise<T>): Promise<T> {
		if (this.#running < this.#limit) this.#running++;
		else await new Promise<void>((resolve) => this.#waiting.push(resolve));
		try {
			return await work();
		} finally {
			// The turn goes on to who waits, so that nobody comes in between.
			const next = this.#waiting.shift();
			if (next === undefined) this.#running--;
			else next();
		}
	}
}

/** Does the work for all items, so many at a time. After a failure none is begun any more; it is thrown when all have ended. */
export async function inParallel<T>(
	items: readonly T[],
	limit: number,
	work: (item: T) => Promise<void>,
): Promise<void> {
	const left = items.values();
	const failures: unknown[] = [];
	const worker = async (): Promise<void> => {
		for (const item of left) {
			if (failures.length > 0) return;
			try {
				await work(item);
			} catch (error) {
				failures.push(error);
			}
		}
	};
	await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
	if (failures.length > 0) throw failures[0];
}
