import type { PooledBuffer } from "./memory.ts";

interface RangeWaiter {
	readonly filledBytes: number;
	readonly resolve: () => void;
	readonly reject: (reason: unknown) => void;
}

/** A range of one version that is in memory, or on its way there: its bytes arrive in order. */
export class Part {
	readonly start: number;
	readonly end: number;
	/** Bytes that are there, from the start on. They stay when the rest fails to come. */
	filledBytes = 0;
	/** Nothing more will come. */
	isSettled = false;
	/** Found by reads; otherwise it only lives for those who hold it. */
	isListed = true;
	/** Nobody had asked for it when it was begun. */
	readonly isAhead: boolean;
	/** Somebody has read of it. */
	wasRead = false;
	/** How many need its bytes to stay. */
	pins = 0;
	#memory: PooledBuffer;
	#waiters: RangeWaiter[] = [];
	#failure: { readonly reason: unknown } | undefined;
	#abort: AbortController | undefined = new AbortController();

	constructor(start: number, end: number, memory: PooledBuffer, isAhead = false) {
		this.start = start;
		this.end = end;
		this.#memory = memory;
		this.isAhead = isAhead;
	}

	get sizeBytes(): number {
		return this.end - this.start;
	}

	/** What is in the file from here to before this position is there. */
	get filledEnd(): number {
		return this.start + this.filledBytes;
	}

	get buffer(): Buffer {
		return this.#memory.buffer;
	}

	/** Of the file's bytes; no copy. */
	view(start: number, end: number): Buffer {
		return this.#memory.buffer.subarray(start - this.start, end - this.start);
	}

	/** Resolves as soon as so many bytes are there; rejects with what keeps them from coming, or the signal's reason. */
	async untilFilled(filledBytes: number, signal: AbortSignal | undefined): Promise<void> {
		if (this.filledBytes >= filledBytes) return;
		if (this.#failure !== undefined) throw this.#failure.reason;
		signal?.throwIfAborted();
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		const waiter = { filledBytes, resolve, reject };
		this.#waiters.push(waiter);
		const leave = (): void => {
			this.#waiters = this.#waiters.filter((other) => other !== waiter);
			reject(signal?.reason);
		};
		signal?.addEventListener("abort", leave, { once: true });
		try {
			await promise;
		} finally {
			signal?.removeEventListener("abort", leave);
		}
	}

	/** Resolves as soon as nothing more comes. */
	async untilSettled(): Promise<void> {
		await this.untilFilled(this.sizeBytes, undefined).catch(() => undefined);
	}

	/** More bytes are there. */
	progressed(filledBytes: number): void {
		// A request that begins anew does not take back what was there.
		if (filledBytes <= this.filledBytes) return;
		this.filledBytes = filledBytes;
		if (this.#waiters.length === 0) return;
		const served = this.#waiters.filter((waiter) => waiter.filledBytes <= filledBytes);
		if (served.length === 0) return;
		this.#waiters = this.#waiters.filter((waiter) => waiter.filledBytes > filledBytes);
		for (const { resolve } of served) resolve();
	}

	/** For what fetches it. */
	get signal(): AbortSignal | undefined {
		return this.#abort?.signal;
	}

	abort(reason: unknown): void {
		this.#abort?.abort(reason);
	}

	succeeded(): void {
		this.progressed(this.sizeBytes);
		this.#settled();
	}

	failed(reason: unknown): void {
		this.#failure = { reason };
		const waiters = this.#waiters;
		this.#waiters = [];
		this.#settled();
		for (const { reject } of waiters) reject(reason);
	}

	#settled(): void {
		this.isSettled = true;
		this.#abort = undefined;
	}

	/** Somebody may write where nothing is filled yet, until that has resolved: what comes goes into other memory, which is in no budget. */
	leaveMemory(ended: Promise<void>): void {
		const left = this.#memory;
		const buffer = Buffer.allocUnsafeSlow(this.sizeBytes);
		left.buffer.copy(buffer, 0, 0, this.filledBytes);
		this.#memory = { buffer, free: () => void ended.then(() => left.free()) };
	}

	/** Nobody has it any more. */
	free(): void {
		this.#memory.free();
	}
}
