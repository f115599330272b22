/** What a program prints, as lines of bounded length and rate. */
export interface LineOptions {
	/** Longer lines are cut here, in bytes. */
	readonly maximumBytes: number;
	/** Lines a second that are kept; as many again may come in a burst. */
	readonly linesPerSecond: number;
	readonly onLine: (line: string, truncatedBytes: number) => void;
	/** Lines that were not kept, reported at most once a second. */
	readonly onDropped: (count: number) => void;
}

/**
 * Splits chunks into lines without ever keeping more than one line's maximum: a megabyte without a newline and a
 * flood of lines cost the same little memory.
 */
export class LineSplitter {
	readonly #options: LineOptions;
	#kept: Buffer[] = [];
	#keptBytes = 0;
	#cutBytes = 0;
	#tokens: number;
	#refilledAt = performance.now();
	#dropped = 0;
	#reportTimer: NodeJS.Timeout | undefined;

	constructor(options: LineOptions) {
		this.#options = options;
		this.#tokens = options.linesPerSecond;
	}

	push(chunk: Buffer): void {
		let start = 0;
		for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
			this.#keep(chunk.subarray(start, end));
			this.#emit();
			start = end + 1;
		}
		this.#keep(chunk.subarray(start));
	}

	/** The last line, if it had no newline, and what is still to report. */
	end(): void {
		if (this.#keptBytes > 0 || this.#cutBytes > 0) this.#emit();
		this.#reportDropped();
	}

	#keep(part: Buffer): void {
		const room = this.#options.maximumBytes - this.#keptBytes;
		const fitting = part.subarray(0, room);
		// A copy, because a small rest must not keep its whole chunk in memory.
		if (fitting.length > 0) this.#kept.push(Buffer.from(fitting));
		this.#keptBytes += fitting.length;
		this.#cutBytes += part.length - fitting.length;
	}

	#emit(): void {
		const line = Buffer.concat(this.#kept).toString().replace(/\r$/, "");
		const cut = this.#cutBytes;
		this.#kept = [];
		this.#keptBytes = 0;
		this.#cutBytes = 0;
		if (line === "") return;
		if (!this.#takeToken()) {
			this.#dropped++;
			this.#reportTimer ??= setTimeout(() => this.#reportDropped(), 1000).unref();
			return;
		}
		this.#options.onLine(line, cut);
	}

	#takeToken(): boolean {
		const { linesPerSecond } = this.#options;
		const now = performance.now();
		this.#tokens = Math.min(2 * linesPerSecond, this.#tokens + ((now - this.#refilledAt) / 1000) * linesPerSecond);
		this.#refilledAt = now;
		if (this.#tokens < 1) return false;
		this.#tokens--;
		return true;
	}

	#reportDropped(): void {
		clearTimeout(this.#reportTimer);
		this.#reportTimer = undefined;
		if (this.#dropped === 0) return;
		this.#options.onDropped(this.#dropped);
		this.#dropped = 0;
	}
}
