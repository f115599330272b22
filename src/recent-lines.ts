/** The last lines of a log, for whoever asks later. */
export class RecentLines {
	readonly #maximumBytes: number;
	readonly #lines: string[] = [];
	#bytes = 0;

	constructor(maximumBytes: number) {
		this.#maximumBytes = maximumBytes;
	}

	add(line: string): void {
		this.#lines.push(line);
		this.#bytes += line.length;
		// Seldom, and many at a time: to take the first of an array moves the others.
		if (this.#bytes > 2 * this.#maximumBytes) this.#forget();
	}

	#forget(): void {
		let kept = this.#lines.length;
		for (let bytes = 0; kept > 0; kept--) {
			bytes += this.#lines[kept - 1]?.length ?? 0;
			if (bytes > this.#maximumBytes) break;
		}
		this.#lines.splice(0, kept);
		this.#bytes = this.#lines.reduce((sum, { length }) => sum + length, 0);
	}

	toString(): string {
		this.#forget();
		return this.#lines.join("");
	}
}
