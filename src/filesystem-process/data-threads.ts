import { mebibyte } from "../bytes.ts";
import type { Logger } from "../log.ts";
import { containerMemoryBytes } from "../s3-filesystem/reading/container-memory.ts";
import { Threads } from "../threads.ts";
import { containerProcessors } from "./container-processors.ts";

/** With fewer processors there is nothing to be gained: what threads take over, the main one has to tell them. */
const leastProcessors = 4;
/** The main one tells no more of them what to do. */
const maximumThreads = 8;
/** What one takes, beside all budgets. Together they may take an eighth of the memory. */
const threadBytes = 15 * mebibyte;
const memoryShare = 8;

/** Threads that carry bytes; undefined: none are wanted. */
export function createThreads(
	log: Logger,
	wanted = defaultThreads(containerProcessors(), containerMemoryBytes()),
): Threads | undefined {
	if (wanted === 0) return undefined;
	const isBundle = import.meta.url.endsWith(".js");
	return new Threads({
		maximum: wanted,
		program: new URL(isBundle ? "thread.js" : "thread.ts", import.meta.url),
		// What it was told to do is lost, with answers that programs wait for: as any bug, it ends the process.
		died(error) {
			throw error;
		},
		refused: (error) => log.warn({ err: error }, "no more threads can be started"),
	});
}

/** Of what the container may use, or the machine has. */
export function defaultThreads(processors: number, memoryBytes: number): number {
	if (processors < leastProcessors) return 0;
	return Math.min(maximumThreads, Math.floor(processors) - 2, Math.floor(memoryBytes / memoryShare / threadBytes));
}
