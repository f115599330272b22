/** How fast something has to go forward. */
export interface Pace {
	readonly limitMs: number;
	/** In each such time. */
	readonly leastBytes: number;
	/** From its begin to its end. */
	readonly wholeMs?: number;
}

/** Told once what is wrong, and since when (of performance.now) too little has gone forward. */
type TooSlow = (problem: string, since: number) => void;

/** A timer this late shows that the process was busy or asleep. */
const lateShare = 1 / 4;
const lateAtLeastMs = 20;

/** Looks whether something goes forward. Bytes that only trickle do not keep it alive. */
export class Watch {
	readonly #pace: Pace;
	readonly #tooSlow: TooSlow;
	readonly #begunAt = performance.now();
	#since = this.#begunAt;
	#bytes = 0;
	#seenBytes = 0;
	#endsAt: number;
	#timer: NodeJS.Timeout;
	#isEnded = false;

	constructor(pace: Pace, tooSlow: TooSlow) {
		const { limitMs, wholeMs = Number.POSITIVE_INFINITY } = pace;
		this.#pace = pace;
		this.#tooSlow = tooSlow;
		this.#endsAt = this.#since + wholeMs;
		this.#timer = setTimeout(() => this.#look(), Math.min(limitMs, wholeMs));
	}

	forward(bytes: number): void {
		this.#seenBytes += bytes;
		this.#bytes += bytes;
		if (this.#bytes < this.#pace.leastBytes) return;
		this.#bytes = 0;
		this.#since = performance.now();
	}

	end(): void {
		this.#isEnded = true;
		clearTimeout(this.#timer);
	}

	get #leftMs(): number {
		return Math.min(this.#since + this.#pace.limitMs, this.#endsAt) - performance.now();
	}

	#look(): void {
		const { limitMs } = this.#pace;
		const leftMs = this.#leftMs;
		if (leftMs > 0) {
			this.#timer = setTimeout(() => this.#look(), leftMs);
			return;
		}
		const seenBytes = this.#seenBytes;
		// If this process was busy or asleep for that long, the bytes wait to be read.
		setImmediate(() => {
			if (this.#isEnded) return;
			const wasAsleep = -leftMs > Math.max(lateAtLeastMs, limitMs * lateShare) && this.#seenBytes > seenBytes;
			if (wasAsleep) {
				this.#since = performance.now();
				this.#endsAt -= leftMs;
			}
			if (this.#leftMs > 0) this.#look();
			else this.#fail();
		});
	}

	#fail(): void {
		const { limitMs, leastBytes, wholeMs = 0 } = this.#pace;
		this.end();
		if (performance.now() >= this.#endsAt)
			this.#tooSlow(`the server did not end its answer within ${Math.round(wholeMs)} ms`, this.#begunAt);
		else if (this.#bytes === 0) this.#tooSlow(`the server was silent for ${limitMs} ms`, this.#since);
		else if (Number.isFinite(leastBytes))
			this.#tooSlow(`no more than ${this.#bytes} bytes in ${limitMs} ms`, this.#since);
		else this.#tooSlow(`the server did not end its headers within ${limitMs} ms`, this.#since);
	}
}
