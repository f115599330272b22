/** Before the nth try of one request, in milliseconds: anything up to a bound that doubles, so that those who failed together do not come back together. */
export function backoffMs(retries: number, baseMs: number, random: () => number = Math.random): number {
	return random() * Math.min(longestBackoffMs, baseMs * 2 ** Math.min(retries, 20));
}

/** Applications wait: what all retries come to is bounded by their pace, and not by the patience of each. */
const longestBackoffMs = 5000;

const burst = 64;
const retriesPerSecond = 20;
/** Of what a success gives back. */
const perSuccess = 0.25;

/**
 * Bounds how many requests of a store are tried again, all together: a bucket of tokens that time and successes fill. A server that
 * fails gets hardly more requests than one that does not.
 */
export class RetryPace {
	#tokens = burst;
	#filledAt: number;
	readonly #now: () => number;

	constructor(now: () => number = () => performance.now()) {
		this.#now = now;
		this.#filledAt = now();
	}

	/** How long the next retry has to wait, in milliseconds. It is counted. */
	reserve(): number {
		const now = this.#now();
		this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * retriesPerSecond);
		this.#filledAt = now;
		this.#tokens--;
		return this.#tokens >= 0 ? 0 : (-this.#tokens / retriesPerSecond) * 1000;
	}

	succeeded(): void {
		this.#tokens = Math.min(burst, this.#tokens + perSuccess);
	}
}
