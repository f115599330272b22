import type { Node, NodeTable } from "./nodes.ts";

/** What a file's node takes, with its places in all tables. */
const bytesPerNode = 1000;
/** Fewer than a program asks for at a time, such as find(1), would be asked for again and again. */
const fewest = 20_000;
/** Of those that are there already, so many are looked at for each one that comes. */
const looksPerNode = 8;
const takenPerNode = 2;

/**
 * Bounds how many nodes there are. The kernel remembers each name that a program has asked for until it needs the memory, which on a large
 * machine is never: beyond the limit it is told to forget files that nobody has open, the oldest first.
 */
export class NodeLimit {
	readonly maximum: number;
	/** Tells the kernel; it answers, when it has nothing of the name in use, by forgetting the node. */
	readonly #takeBack: (parent: number, name: string) => void;
	readonly #nodes: NodeTable;
	/** Goes on where it was: what is in use is not looked at again before all others. */
	#oldest: Iterator<Node>;

	constructor(nodes: NodeTable, memoryBytes: number, takeBack: (parent: number, name: string) => void) {
		this.maximum = Math.max(fewest, Math.floor(memoryBytes / bytesPerNode));
		this.#nodes = nodes;
		this.#oldest = nodes.all()[Symbol.iterator]();
		this.#takeBack = takeBack;
	}

	/** The kernel is about to be given a node. False: it is behind with forgetting others, and had better be given none that it can do without. */
	makeRoom(): boolean {
		const { size } = this.#nodes;
		if (size < this.maximum) return true;
		for (let looks = 0, taken = 0; looks < looksPerNode && taken < takenPerNode; looks++) {
			const node = this.#next();
			if (node?.kind !== "file" || node.parent === undefined || node.handles.size > 0 || node.draft !== undefined)
				continue;
			this.#takeBack(node.parent.id, node.name);
			taken++;
		}
		return size < this.maximum * 1.125;
	}

	#next(): Node | undefined {
		const next = this.#oldest.next();
		if (next.done !== true) return next.value;
		this.#oldest = this.#nodes.all()[Symbol.iterator]();
		return undefined;
	}
}
