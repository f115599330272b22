/** Who goes first when there is a queue: somebody waits for a read, writes are behind a buffer, and what is ahead nobody has asked for yet. */
export type Priority = "read" | "write" | "ahead";

/** The right to have one request under way: to be given back with how it went. */
export interface Turn {
	readonly startedAt: number;
}

interface SlotWaiter {
	readonly enter: () => void;
	readonly refuse: (reason: unknown) => void;
	isGone: boolean;
}

/** After so many reads in a row one of the others is let in, so that none is forgotten. */
const readsBeforeOthers = 8;

/**
 * How many requests may be under way at once. Grows slowly as long as it is used up and all goes well, and is halved when the
 * server throttles, once for all requests that were under way then (AIMD). First come, first served.
 */
export class Concurrency {
	readonly #maximum: number;
	readonly #queues: Readonly<Record<Priority, SlotWaiter[]>> = { read: [], write: [], ahead: [] };
	#limit: number;
	#running = 0;
	#cutAt = -Infinity;
	#readsInRow = 0;
	#isWritesTurn = false;

	constructor(maximum: number, start = 16) {
		this.#maximum = Math.max(1, maximum);
		this.#limit = Math.min(start, this.#maximum);
	}

	get limit(): number {
		return Math.floor(this.#limit);
	}

	get running(): number {
		return this.#running;
	}

	/** Waits for a turn; rejects with the signal's reason. */
	async take(priority: Priority, signal?: AbortSignal): Promise<Turn> {
		signal?.throwIfAborted();
		if (this.#running < this.limit && !this.#hasWaiters()) this.#running++;
		else await this.#wait(priority, signal);
		return { startedAt: performance.now() };
	}

	give(turn: Turn, outcome: "ok" | "throttled" | "other"): void {
		const isUsedUp = this.#running >= this.limit;
		this.#running--;
		if (outcome === "ok" && isUsedUp) {
			this.#limit = Math.min(this.#maximum, this.#limit + 1 / this.#limit);
		} else if (outcome === "throttled" && turn.startedAt > this.#cutAt) {
			this.#limit = Math.max(1, this.#limit / 2);
			this.#cutAt = performance.now();
		}
		while (this.#running < this.limit) {
			const next = this.#next();
			if (next === undefined) return;
			this.#running++;
			next.enter();
		}
	}

	/** Those who wait get the reason instead of a turn. */
	close(reason: unknown): void {
		for (const queue of Object.values(this.#queues)) {
			for (const waiter of queue.splice(0)) waiter.refuse(reason);
		}
	}

	#hasWaiters(): boolean {
		return Object.values(this.#queues).some((queue) => queue.length > 0);
	}

	async #wait(priority: Priority, signal: AbortSignal | undefined): Promise<void> {
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		const waiter: SlotWaiter = { enter: resolve, refuse: reject, isGone: false };
		const abort = (): void => {
			waiter.isGone = true;
			reject(signal?.reason);
		};
		signal?.addEventListener("abort", abort);
		this.#queues[priority].push(waiter);
		try {
			await promise;
		} finally {
			signal?.removeEventListener("abort", abort);
		}
	}

	#next(): SlotWaiter | undefined {
		const { read, write, ahead } = this.#queues;
		for (const queue of [read, write, ahead]) while (queue[0]?.isGone === true) queue.shift();
		const areOthersWaiting = write.length + ahead.length > 0;
		if (read.length > 0 && !(areOthersWaiting && this.#readsInRow >= readsBeforeOthers)) {
			this.#readsInRow++;
			return read.shift();
		}
		const isForced = read.length > 0;
		this.#readsInRow = 0;
		// Where reads are endless, both have their turns; otherwise writes come first.
		this.#isWritesTurn = !isForced || !this.#isWritesTurn;
		return this.#isWritesTurn ? (write.shift() ?? ahead.shift()) : (ahead.shift() ?? write.shift());
	}
}
