/** The one memory budget of all that the filesystem holds: parts that are read, and what is on its way to the server. */
export interface MemoryBudget {
	readonly limitBytes: number;
	/** All threads see what is in its buffers. */
	readonly isShared: boolean;
	/** With the buffers that are kept for the next one who needs such. */
	readonly usedBytes: number;
	/**
	 * A buffer of at least that size, from those that were given back if possible; undefined when the budget is used up. A
	 * wish leaves alone what others are about to use. Default: a need.
	 */
	tryAllocate(sizeBytes: number, urgency?: Urgency): PooledBuffer | undefined;
	/** Called when memory is short, oldest reclaimer first; gives back at least that much if it can and returns how much it did. */
	addReclaimer(reclaim: (wantedBytes: number, urgency: Urgency) => number): void;
	/** Called when something was given back. */
	onFree(listener: () => void): void;
}

export type Urgency = "wish" | "need";

export interface PooledBuffer {
	/** Exactly as long as was asked for. */
	readonly buffer: Buffer;
	/** Once. The buffer is empty, or somebody else's, from then on. */
	free(): void;
}

/** Where buffers come from and go to, never more of them than a limit. */
export interface Memory {
	/** With what is kept for the next one that needs such. */
	readonly usedBytes: number;
	/** Of exactly that size; undefined: too much is in use. */
	take(sizeBytes: number): Buffer | undefined;
	/** How much has to be given back, if so, for that to succeed. */
	missing(sizeBytes: number): number;
	give(buffer: Buffer): void;
}
