import { setImmediate as turn } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { NodeTable, type DirectoryNode } from "../../../src/s3-filesystem/names/nodes.ts";
import { PathLocks, type Path } from "../../../src/s3-filesystem/names/path-locks.ts";

let nodes: NodeTable;
let root: DirectoryNode;
let paths: PathLocks;
let freed: number;
beforeEach(() => {
	nodes = new NodeTable();
	root = nodes.directory({ volume: undefined, parent: undefined, name: "", isVolumeRoot: true });
	freed = 0;
	paths = new PathLocks(() => freed++);
});

function directory(parent: DirectoryNode, name: string): DirectoryNode {
	const node = nodes.directory({ volume: undefined, parent, name });
	parent.children.set(name, node);
	return node;
}

interface Work {
	/** Waiting, at work, over, or why it failed. */
	state: string;
	readonly end: () => Promise<void>;
	readonly over: Promise<void>;
}

/** Work that goes on until it is ended. */
function begin(kind: "shared" | "alone", at: readonly Path[], signal?: AbortSignal): Work {
	const end = Promise.withResolvers<void>();
	const work = {
		state: "waiting",
		end: async () => {
			end.resolve();
			await turn();
		},
		over: Promise.resolve(),
	};
	const run = async (): Promise<void> => {
		work.state = "at work";
		await end.promise;
	};
	const caller = signal && { signal };
	const [first = root] = at;
	const claimed = kind === "shared" ? paths.shared(first, run, caller) : paths.alone(at, run, caller);
	work.over = claimed.then(
		() => void (work.state = "over"),
		(error: unknown) => void (work.state = String(error)),
	);
	return work;
}

const states = (...works: readonly Work[]): string[] => works.map(({ state }) => state);

test("nobody waits where nobody wants a path alone, and work begins in the same breath", () => {
	const a = directory(root, "a");
	const works = [root, a, a, { parent: a, name: "b" }].map((path) => begin("shared", [path]));
	expect(states(...works)).toEqual(works.map(() => "at work"));
	expect(paths.waiting).toBe(0);
});

test("who has a path alone keeps all from it and what is below it, and nobody from what is beside and above it", async () => {
	const a = directory(root, "a");
	const b = directory(a, "b");
	const renaming = begin("alone", [
		{ parent: root, name: "a" },
		{ parent: root, name: "c" },
	]);
	const inside = [a, b, { parent: b, name: "new" }].map((path) => begin("shared", [path]));
	const below = begin("alone", [{ parent: b, name: "x" }]);
	const target = begin("alone", [{ parent: root, name: "c" }]);
	const beside = [begin("shared", [root]), begin("alone", [{ parent: root, name: "d" }])];
	expect(states(renaming, ...beside)).toEqual(["at work", "at work", "at work"]);
	expect(states(...inside, below, target)).toEqual(Array(5).fill("waiting"));
	expect([paths.isTaken(b), paths.isTaken(root), paths.isTaken({ parent: b, name: "x" })]).toEqual([true, false, true]);
	await renaming.end();
	expect(states(...inside, below, target)).toEqual(Array(5).fill("at work"));
	expect(freed).toBe(1);
});

test("who wants a path alone waits for all that are at work in it", async () => {
	const a = directory(root, "a");
	const b = directory(a, "b");
	const [inside, deeper] = [begin("shared", [a]), begin("alone", [{ parent: b, name: "x" }])];
	const renaming = begin("alone", [a]);
	expect(states(renaming)).toEqual(["waiting"]);
	await inside.end();
	expect(states(renaming)).toEqual(["waiting"]);
	await deeper.end();
	expect(states(renaming)).toEqual(["at work"]);
});

test("neither who wants a path alone nor who shares it is passed by those that come later", async () => {
	const a = directory(root, "a");
	const first = begin("shared", [a]);
	const renaming = begin("alone", [a]);
	const later = begin("shared", [{ parent: a, name: "x" }]);
	const again = begin("alone", [a]);
	expect(states(first, renaming, later, again)).toEqual(["at work", "waiting", "waiting", "waiting"]);
	await first.end();
	expect(states(renaming, later, again)).toEqual(["at work", "waiting", "waiting"]);
	await renaming.end();
	expect(states(later, again)).toEqual(["at work", "waiting"]);
	await later.end();
	expect(states(again)).toEqual(["at work"]);
});

test("two that want two paths each never wait for each other", async () => {
	const [a, b] = [directory(root, "a"), directory(root, "b")];
	const one = begin("alone", [a, { parent: b, name: "x" }]);
	const other = begin("alone", [b, { parent: a, name: "y" }]);
	expect(states(one, other)).toEqual(["at work", "waiting"]);
	await one.end();
	expect(states(other)).toEqual(["at work"]);
});

test("a path is where its directory is at the moment", async () => {
	const [a, b] = [directory(root, "a"), directory(root, "b")];
	const c = directory(a, "c");
	const moving = begin("alone", [c, { parent: b, name: "c" }]);
	const waiting = begin("shared", [{ parent: c, name: "file" }]);
	nodes.move(c, b, "c");
	await moving.end();
	expect(states(waiting)).toEqual(["at work"]);
	expect(states(begin("alone", [a]), begin("alone", [b]))).toEqual(["at work", "waiting"]);
});

describe("who is interrupted while he waits", () => {
	test("ends at once without having begun, and those behind him go on", async () => {
		const a = directory(root, "a");
		const interrupt = new AbortController();
		const first = begin("shared", [a]);
		const renaming = begin("alone", [a], interrupt.signal);
		const later = begin("shared", [a]);
		interrupt.abort();
		await renaming.over;
		expect(renaming.state).toContain("interrupted");
		expect(states(first, later)).toEqual(["at work", "at work"]);
		await first.end();
		await later.end();
		expect(begin("alone", [a]).state).toBe("at work");
	});

	test("does not begin when he was interrupted before", async () => {
		const a = directory(root, "a");
		const renaming = begin("alone", [a]);
		const late = begin("shared", [a], AbortSignal.abort());
		await late.over;
		expect(late.state).toContain("interrupted");
		await renaming.end();
		expect(paths.waiting).toBe(0);
	});

	test("is not interrupted any more once he is at work", async () => {
		const a = directory(root, "a");
		const interrupt = new AbortController();
		const first = begin("alone", [a]);
		const second = begin("alone", [a], interrupt.signal);
		await first.end();
		interrupt.abort();
		expect(second.state).toBe("at work");
		await second.end();
		expect(second.state).toBe("over");
	});
});

test("work that fails gives its path back", async () => {
	const a = directory(root, "a");
	const failing = paths.alone([a], async () => Promise.reject(new Error("no")));
	const waiting = begin("shared", [a]);
	await expect(failing).rejects.toThrow("no");
	await turn();
	expect(waiting.state).toBe("at work");
});

test("reads are waited for below a path, those that began before and no others, also when they fail", async () => {
	const [a, b] = [directory(root, "a"), directory(root, "b")];
	const [inside, outside, later] = [1, 2, 3].map(() => Promise.withResolvers<number>());
	if (inside === undefined || outside === undefined || later === undefined) throw new Error("three");
	const read = paths.reading({ parent: a, name: "x" }, inside.promise);
	void paths.reading(b, outside.promise);
	let isOver = false;
	const ended = paths.readsEnd(a).then(() => (isOver = true));
	void paths.reading(a, later.promise);
	await turn();
	expect(isOver).toBe(false);
	inside.reject(new Error("gone"));
	await expect(read).rejects.toThrow("gone");
	await ended;
});
