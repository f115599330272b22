import fc from "fast-check";
import { expect, test } from "vitest";
import { InodeNumbers, inodeOf } from "../../../src/s3-filesystem/names/inode-numbers.ts";
import { NodeTable, type DirectoryNode, type Node } from "../../../src/s3-filesystem/names/nodes.ts";
import type { VolumeOptions } from "../../../src/s3-filesystem/names/volume.ts";

test("inode numbers are whole, positive, and differ for a hundred thousand paths", () => {
	const inodes = new Set<number>();
	for (let index = 0; index < 100_000; index++) {
		const inode = inodeOf(`/folder/file-${index}`);
		expect(Number.isSafeInteger(inode) && inode > 1).toBe(true);
		inodes.add(inode);
	}
	expect(inodes.size).toBe(100_000);
});

test("the numbers of files that were renamed and forgotten are kept, though not of all that ever were", () => {
	const numbers = new InodeNumbers();
	const given = Array.from({ length: 10_001 }, (_, index) => numbers.take(`/old-${index}`));
	for (const [index, ino] of given.entries()) numbers.giveBack(ino, `/new-${index}`);
	expect(numbers.at("/new-10000")).toBe(given[10_000]);
	expect(numbers.at("/new-1")).toBe(given[1]);
	expect(numbers.at("/new-0")).not.toBe(given[0]);
	// Given back with the file that had it last.
	expect(numbers.take("/old-0")).toBe(given[0]);
	expect(numbers.take("/old-1")).not.toBe(given[1]);
});

type Step =
	| { readonly kind: "make" | "show"; readonly directory: number; readonly name: string; readonly isDirectory: boolean }
	| { readonly kind: "move"; readonly node: number; readonly directory: number; readonly name: string }
	| { readonly kind: "remove" | "forget"; readonly node: number };

const index = fc.nat({ max: 40 });
const name = fc.constantFrom("a", "b", "c", "d");
const steps = fc.array(
	fc.oneof(
		fc.record({ kind: fc.constantFrom("make", "show"), directory: index, name, isDirectory: fc.boolean() }),
		fc.record({ kind: fc.constant("move"), node: index, directory: index, name }),
		fc.record({ kind: fc.constantFrom("remove", "forget"), node: index }),
	) satisfies fc.Arbitrary<Step>,
	{ maxLength: 80, size: "max" },
);

const volume = { folder: "", identity: "", prefix: "" } as VolumeOptions;

/** A tree of files as the kernel and its programs know it: some forgotten and still there, some removed and still known. */
class Tree {
	readonly table: NodeTable;
	readonly root: DirectoryNode;
	/** Everything that somebody may refer to. */
	readonly known: Node[];
	/** Files that are there and that nobody refers to: what they showed as their number, by parent and name. */
	readonly forgotten = new Map<DirectoryNode, Map<string, number>>();

	/** Only hashes that differ can be counted on for what has no node. */
	readonly #areHashesDifferent: boolean;

	constructor(hash?: typeof inodeOf) {
		this.#areHashesDifferent = hash === undefined;
		this.table = new NodeTable(new InodeNumbers(hash));
		this.root = this.table.directory({ volume, parent: undefined, name: "", isVolumeRoot: true });
		this.known = [this.root];
	}

	play(step: Step): void {
		switch (step.kind) {
			case "make":
				return this.#make(this.#directory(step.directory), step.name, step.isDirectory);
			case "show":
				return this.#show(this.#directory(step.directory), step.name);
			case "move":
				return this.#move(this.#node(step.node), this.#directory(step.directory), step.name);
			case "remove":
				return this.#remove(this.#node(step.node));
			case "forget":
				return this.#forget(this.#node(step.node));
			default:
				step satisfies never;
		}
	}

	#node(at: number): Node {
		return this.known[at % this.known.length] ?? this.root;
	}

	#directory(at: number): DirectoryNode {
		const seen = this.known.filter((node): node is DirectoryNode => node.kind === "directory" && this.#isSeen(node));
		return seen[at % seen.length] ?? this.root;
	}

	#isSeen(node: Node): boolean {
		return node === this.root || (node.parent !== undefined && this.#isSeen(node.parent));
	}

	#forgottenIn(directory: DirectoryNode): Map<string, number> {
		const present = this.forgotten.get(directory) ?? new Map<string, number>();
		this.forgotten.set(directory, present);
		return present;
	}

	#numberBefore(parent: DirectoryNode, forgottenName: string): number | undefined {
		return this.#areHashesDifferent ? this.#forgottenIn(parent).get(forgottenName) : undefined;
	}

	#make(parent: DirectoryNode, newName: string, isDirectory: boolean): void {
		if (parent.children.has(newName)) return;
		const before = this.#numberBefore(parent, newName);
		const shown = this.table.inodeOfName(parent, newName);
		const node = isDirectory
			? this.table.directory({ volume, parent, name: newName })
			: this.table.file(parent, volume, newName);
		if (node.ino !== shown) throw new Error(`${newName} has another number than readdir said`);
		if (before !== undefined && node.ino !== before) throw new Error(`${newName} had another number before`);
		parent.children.set(newName, node);
		node.lookups = 1;
		this.#forgottenIn(parent).delete(newName);
		this.known.push(node);
	}

	#show(parent: DirectoryNode, shownName: string): void {
		if (parent.children.has(shownName)) return;
		const shown = this.table.inodeOfName(parent, shownName);
		if (this.known.some(({ ino }) => ino === shown)) throw new Error(`${shownName} is shown with another one's number`);
		const before = this.#numberBefore(parent, shownName);
		if (before !== undefined && shown !== before) throw new Error(`${shownName} had another number before`);
		// It is there, then: somebody else has made it.
		this.#forgottenIn(parent).set(shownName, shown);
	}

	#move(node: Node, to: DirectoryNode, newName: string): void {
		if (!this.#isSeen(node) || node === this.root) return;
		for (let above: DirectoryNode | undefined = to; above !== undefined; above = above.parent)
			if (above === node) return;
		const target = to.children.get(newName);
		if (target === node || (target?.kind === "directory" && target.children.size > 0)) return;
		if (target !== undefined) this.#remove(target);
		this.#forgottenIn(to).delete(newName);
		this.table.move(node, to, newName);
		// Those below it have another path now, and nothing keeps their numbers.
		for (const directory of this.forgotten.keys()) if (this.#isBelow(directory, node)) this.forgotten.delete(directory);
	}

	#isBelow(directory: DirectoryNode, node: Node): boolean {
		return directory === node || (directory.parent !== undefined && this.#isBelow(directory.parent, node));
	}

	#remove(node: Node): void {
		if (node === this.root || (node.kind === "directory" && node.children.size > 0)) return;
		if (node.kind === "directory") this.forgotten.delete(node);
		this.table.detach(node);
	}

	#forget(node: Node): void {
		if (node === this.root || (node.kind === "directory" && node.children.size > 0)) return;
		const { parent } = node;
		const isSeen = this.#isSeen(node);
		node.lookups = 0;
		this.table.dropIfUnused(node);
		this.known.splice(this.known.indexOf(node), 1);
		if (node.kind === "directory") this.forgotten.delete(node);
		if (isSeen && parent !== undefined) this.#forgottenIn(parent).set(node.name, node.ino);
	}

	/** Of all that there is or that somebody refers to. */
	numbers(): number[] {
		return [...this.known.map(({ ino }) => ino), ...this.forgotten.values().flatMap((files) => files.values())];
	}
}

test("no two files that are there or that somebody refers to have one number, and none gets another one", () => {
	fc.assert(
		fc.property(steps, (list) => {
			const tree = new Tree();
			for (const step of list) {
				tree.play(step);
				const numbers = tree.numbers();
				expect(new Set(numbers).size).toBe(numbers.length);
			}
		}),
		{ numRuns: 1500 },
	);
});

test("no two nodes have one number when the hashes of many paths are the same", () => {
	fc.assert(
		fc.property(steps, (list) => {
			const tree = new Tree((path, attempt) => 2 + (inodeOf(path, attempt) % 200));
			for (const step of list) {
				tree.play(step);
				const numbers = tree.known.map(({ ino }) => ino);
				expect(new Set(numbers).size).toBe(numbers.length);
			}
		}),
		{ numRuns: 1500 },
	);
});
