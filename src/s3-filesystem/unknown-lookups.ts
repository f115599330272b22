import { setTimeout as sleep } from "node:timers/promises";
import type { KernelLink } from "../fuse/filesystem.ts";
import { countlessLookups } from "./names/node-records.ts";
import type { NodeTable } from "./names/nodes.ts";

/** An answer that holds a node may be on its way into the kernel for so long. */
const onTheWayMs = 1000;

/**
 * Nodes of a process that has died, of which nobody knows how often the kernel has counted them: what that process was told to forget, and was
 * dead before it could, is not said again. So the kernel is asked whether it has them, and once more when it forgets one.
 */
export class UnknownLookups {
	readonly #nodes: NodeTable;
	readonly #kernel: KernelLink;
	readonly #unknown: Set<number>;
	/** To be asked for. */
	#queue: number[];
	#isAsking = false;

	constructor(nodes: NodeTable, kernel: KernelLink) {
		this.#nodes = nodes;
		this.#kernel = kernel;
		const unknown = Array.from(nodes.all()).filter(({ id, lookups }) => id !== 1 && lookups >= countlessLookups / 2);
		this.#unknown = new Set(unknown.map(({ id }) => id));
		this.#queue = [...this.#unknown];
		if (this.#queue.length > 0) void this.#ask();
	}

	forgotten(id: number): void {
		if (!this.#unknown.has(id)) return;
		this.#queue.push(id);
		if (!this.#isAsking) void this.#ask();
	}

	async #ask(): Promise<void> {
		this.#isAsking = true;
		while (this.#queue.length > 0) {
			// Applications wait for others first.
			await sleep(onTheWayMs, undefined, { ref: false });
			const asked = this.#queue;
			this.#queue = [];
			const before = new Map<number, number>();
			for (const id of asked) if (!(await this.#kernel.isKnown?.(id))) before.set(id, this.#lookupsOf(id));
			await sleep(onTheWayMs, undefined, { ref: false });
			for (const [id, lookups] of before) {
				const isKnown = await this.#kernel.isKnown?.(id);
				if (isKnown !== false) continue;
				// It is in an answer that was sent meanwhile.
				if (this.#lookupsOf(id) === lookups) this.#drop(id);
				else this.#queue.push(id);
			}
		}
		this.#isAsking = false;
	}

	#lookupsOf(id: number): number {
		return this.#nodes.get(id)?.lookups ?? 0;
	}

	#drop(id: number): void {
		this.#unknown.delete(id);
		const node = this.#nodes.get(id);
		if (node === undefined) return;
		node.lookups = 0;
		this.#nodes.dropIfUnused(node);
	}
}
