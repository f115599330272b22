import type { ByteRange } from "../../bytes.ts";

/** What fails faster is worth another try. */
const worthKeepingMs = 1000;
/** The kernel comes back at once. */
const keptMs = 1000;
const maximumKept = 16;

interface Failure extends ByteRange {
	readonly reason: unknown;
	readonly at: number;
}

/**
 * Reads that have failed a moment ago, after all the time that tries may take. The kernel reads ahead for a program, and when that fails it asks
 * for the program's own page once more: without this, the program would wait for its error twice as long.
 */
export class RecentFailures {
	readonly #now: () => number;
	#kept: Failure[] = [];

	constructor(now: () => number = () => performance.now()) {
		this.#now = now;
	}

	add({ start, end }: ByteRange, startedAt: number, reason: unknown): void {
		const at = this.#now();
		if (at - startedAt < worthKeepingMs) return;
		this.#kept = [...this.#kept.slice(1 - maximumKept), { start, end, reason, at }];
	}

	/** Throws the failure of a read that held this one's first byte, once. */
	throwFor(start: number): void {
		if (this.#kept.length === 0) return;
		const now = this.#now();
		this.#kept = this.#kept.filter(({ at }) => now - at < keptMs);
		const index = this.#kept.findIndex((failure) => failure.start <= start && start < failure.end);
		for (const { reason } of index === -1 ? [] : this.#kept.splice(index, 1)) throw reason;
	}
}
