/** The one memory budget of all that the filesystem holds: parts that are read, and what is on its way to the server. */
export interface MemoryBudget {
	readonly limitBytes: number;
	readonly usedBytes: number;
	/** A buffer of at least that size, from those that were given back if possible; undefined when the budget is used up. */
	tryAllocate(sizeBytes: number): PooledBuffer | undefined;
	/** Waits, in the order of asking, until others give something back; asks the reclaimers first. */
	allocate(sizeBytes: number, signal?: AbortSignal): Promise<PooledBuffer>;
	/** Called when memory is short, oldest reclaimer first; gives back at least that much if it can and returns how much it did. */
	addReclaimer(reclaim: (wantedBytes: number) => number): void;
}

export interface PooledBuffer {
	/** Exactly as long as was asked for. */
	readonly buffer: Buffer;
	/** Once. */
	free(): void;
}
