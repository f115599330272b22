import type { KernelConnection } from "../fuse/filesystem.ts";

/** What a record of the journal is of, by its first byte. */
export const kinds = {
	begin: 1,
	node: 2,
	gone: 3,
	file: 4,
	closed: 5,
	directory: 6,
	place: 7,
	closedDirectory: 8,
	outcome: 9,
	step: 10,
	repeated: 11,
	obstacle: 12,
	volumes: 13,
	draft: 14,
	part: 15,
	written: 16,
} as const;

/** The first record of a journal. */
export interface Beginning {
	readonly version: string;
	readonly mountId: string;
	readonly connection: KernelConnection;
	readonly nextId: number;
	readonly nextHandle: number;
	readonly numbersOfNames: readonly (readonly [path: string, ino: number])[];
}

/** What a request came to: the node that it was answered with, and the open file or directory; 0: none. */
export interface Outcome {
	readonly node: number;
	readonly handle: number;
}

/** So many of the last requests may not have been answered. */
const unansweredRequests = 1000;

export function dropOldest(requests: Map<number, unknown>): void {
	if (requests.size <= unansweredRequests) return;
	const [oldest] = requests.keys();
	if (oldest !== undefined) requests.delete(oldest);
}
