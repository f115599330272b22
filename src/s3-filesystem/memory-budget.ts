import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import type { MemoryBudget, PooledBuffer } from "./memory.ts";

/** Buffers of this size and more are kept for the next one that needs such: fresh pages cost more than a copy. */
const pooledBytes = 256 * 1024;
const pageBytes = 4096;

export function createMemoryBudget(limitBytes: number): MemoryBudget {
	return new Budget(limitBytes);
}

/** A quarter of what the container may use, or of the machine, and 512 MiB at most. */
export function defaultBudgetBytes(): number {
	const limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].map(readLimit);
	return Math.max(32 * 1024 ** 2, Math.min(512 * 1024 ** 2, Math.min(totalmem(), ...limits) / 4));
}

function readLimit(file: string): number {
	try {
		const bytes = Number(readFileSync(file, "utf8"));
		return bytes > 0 ? bytes : Number.POSITIVE_INFINITY;
	} catch {
		// The other version of cgroups, or none.
		return Number.POSITIVE_INFINITY;
	}
}

interface Waiter {
	readonly sizeBytes: number;
	readonly give: (buffer: PooledBuffer) => void;
}

class Budget implements MemoryBudget {
	readonly limitBytes: number;
	#usedBytes = 0;
	readonly #pools = new Map<number, Buffer[]>();
	readonly #reclaimers: ((wantedBytes: number) => number)[] = [];
	readonly #waiters: Waiter[] = [];
	#isServing = false;

	constructor(limitBytes: number) {
		this.limitBytes = limitBytes;
	}

	get usedBytes(): number {
		return this.#usedBytes;
	}

	addReclaimer(reclaim: (wantedBytes: number) => number): void {
		this.#reclaimers.push(reclaim);
	}

	tryAllocate(sizeBytes: number): PooledBuffer | undefined {
		// Who waits comes first.
		return this.#waiters.length > 0 ? undefined : this.#take(sizeBytes);
	}

	async allocate(sizeBytes: number, signal?: AbortSignal): Promise<PooledBuffer> {
		signal?.throwIfAborted();
		const at = this.tryAllocate(sizeBytes);
		if (at !== undefined) return at;
		const given = Promise.withResolvers<PooledBuffer>();
		const waiter: Waiter = { sizeBytes, give: given.resolve };
		this.#waiters.push(waiter);
		const abort = (): void => {
			const index = this.#waiters.indexOf(waiter);
			if (index === -1) return;
			this.#waiters.splice(index, 1);
			given.reject(signal?.reason);
			this.#serve();
		};
		signal?.addEventListener("abort", abort, { once: true });
		this.#serve();
		try {
			return await given.promise;
		} finally {
			signal?.removeEventListener("abort", abort);
		}
	}

	#take(sizeBytes: number): PooledBuffer | undefined {
		const classBytes = sizeClass(sizeBytes);
		const pooled = this.#pools.get(classBytes)?.pop();
		if (pooled !== undefined) return this.#pooled(pooled, sizeBytes);
		const missing = (): number => this.#usedBytes + classBytes - this.limitBytes;
		if (missing() > 0) this.#trim(missing());
		if (missing() > 0) {
			for (const reclaim of this.#reclaimers) {
				reclaim(missing());
				const freed = this.#pools.get(classBytes)?.pop();
				if (freed !== undefined) return this.#pooled(freed, sizeBytes);
				this.#trim(missing());
				if (missing() <= 0) break;
			}
		}
		if (missing() > 0) return undefined;
		this.#usedBytes += classBytes;
		return this.#pooled(Buffer.allocUnsafeSlow(classBytes), sizeBytes);
	}

	/** Lets go of buffers that nobody uses, of whatever size. */
	#trim(wantedBytes: number): void {
		let freed = 0;
		for (const [classBytes, pool] of this.#pools) {
			while (freed < wantedBytes && pool.length > 0) {
				pool.pop();
				freed += classBytes;
				this.#usedBytes -= classBytes;
			}
		}
	}

	#pooled(whole: Buffer, sizeBytes: number): PooledBuffer {
		let isFree = false;
		return {
			buffer: whole.subarray(0, sizeBytes),
			free: () => {
				if (isFree) return;
				isFree = true;
				if (whole.length >= pooledBytes) {
					const pool = this.#pools.get(whole.length);
					if (pool === undefined) this.#pools.set(whole.length, [whole]);
					else pool.push(whole);
				} else this.#usedBytes -= whole.length;
				this.#serve();
			},
		};
	}

	#serve(): void {
		// Reclaiming frees buffers, which comes back here.
		if (this.#isServing) return;
		this.#isServing = true;
		for (let [first] = this.#waiters; first !== undefined; [first] = this.#waiters) {
			const taken = this.#take(first.sizeBytes);
			if (taken === undefined) break;
			this.#waiters.shift();
			first.give(taken);
		}
		this.#isServing = false;
	}
}

function sizeClass(sizeBytes: number): number {
	if (sizeBytes < pooledBytes) return Math.ceil(Math.max(1, sizeBytes) / pageBytes) * pageBytes;
	return 2 ** Math.ceil(Math.log2(sizeBytes));
}
