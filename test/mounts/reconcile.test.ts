import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { overlap, reconcile, type Action, type MountSpec } from "../../src/mounts/reconcile.ts";

const spec = (name: string, folder: string, content = name): MountSpec => ({ name, target: `/t/${folder}`, content });
const steps = (actions: readonly Action[]): string[] => actions.map(({ kind, target }) => `${kind} ${target}`);

describe("from what runs to what is wanted", () => {
	test("a mount that is wanted as it runs is left alone", () => {
		expect(reconcile([spec("a", "a"), spec("b", "b")], [spec("b", "b"), spec("a", "a")])).toEqual([]);
	});

	test("only what differs has an action", () => {
		const running = [spec("a", "a"), spec("b", "b", "old"), spec("c", "c")];
		const wanted = [spec("a", "a"), spec("b", "b", "new"), spec("d", "d")];
		expect(reconcile(running, wanted)).toEqual([
			{ kind: "unmount", name: "c", target: "/t/c" },
			{ kind: "change", name: "b", target: "/t/b" },
			{ kind: "mount", name: "d", target: "/t/d" },
		]);
	});

	test("inner mounts go before outer ones and come after them", () => {
		const nested = [spec("b", "a/b"), spec("c", "a/b/c"), spec("a", "a")];
		expect(steps(reconcile(nested, []))).toEqual(["unmount /t/a/b/c", "unmount /t/a/b", "unmount /t/a"]);
		expect(steps(reconcile([], nested))).toEqual(["mount /t/a", "mount /t/a/b", "mount /t/a/b/c"]);
	});

	test("what lies in a mount that comes or goes is mounted again, unless both are folders of one mount", () => {
		const [outer, inner, beside] = [spec("a", "a"), spec("b", "a/b"), spec("c", "ab")];
		expect(steps(reconcile([inner, beside], [outer, inner, beside]))).toEqual([
			"unmount /t/a/b",
			"mount /t/a",
			"mount /t/a/b",
		]);
		expect(steps(reconcile([outer, inner, beside], [inner, beside]))).toEqual([
			"unmount /t/a/b",
			"unmount /t/a",
			"mount /t/a/b",
		]);
		expect(steps(reconcile([inner, beside], [outer, inner, beside], "folders"))).toEqual(["mount /t/a"]);
	});

	test("what lies in a mount that changes stays as it is", () => {
		const running = [spec("a", "a", "old"), spec("b", "a/b")];
		expect(steps(reconcile(running, [spec("a", "a", "new"), spec("b", "a/b")]))).toEqual(["change /t/a"]);
	});

	test("another name at the same place is a rename, with another content a change too", () => {
		expect(reconcile([spec("a", "x", "same")], [spec("b", "x", "same")])).toEqual([
			{ kind: "rename", name: "b", target: "/t/x", from: "a" },
		]);
		expect(steps(reconcile([spec("a", "x")], [spec("b", "x")]))).toEqual(["rename /t/x", "change /t/x"]);
	});

	test("the same name or the same content at another place has moved", () => {
		const moved = [
			{ kind: "unmount", name: "a", target: "/t/x", movedTo: "/t/y" },
			{ kind: "mount", name: "a", target: "/t/y", movedFrom: "/t/x" },
		];
		expect(reconcile([spec("a", "x")], [spec("a", "y", "other")])).toEqual(moved);
		expect(reconcile([spec("a", "x", "same")], [{ ...spec("b", "y", "same") }])).toMatchObject([
			{ movedTo: "/t/y" },
			{ name: "b", movedFrom: "/t/x" },
		]);
	});

	test("two mounts that change places both change", () => {
		const running = [spec("a", "x"), spec("b", "y")];
		expect(steps(reconcile(running, [spec("a", "y"), spec("b", "x")]))).toEqual([
			"rename /t/x",
			"change /t/x",
			"rename /t/y",
			"change /t/y",
		]);
	});
});

const names = fc.constantFrom("a", "b", "c", "d", "e");
const folders = fc.constantFrom("a", "a/b", "a/b/c", "ab", "c", "c/d", "e/f/g", "e");
const config = fc
	.uniqueArray(fc.record({ name: names, folder: folders, content: fc.constantFrom("1", "2", "3") }), {
		maxLength: 5,
		selector: ({ folder }) => folder,
	})
	.map((mounts) => mounts.map(({ name, folder, content }) => spec(name, folder, content)))
	.filter((mounts) => new Set(mounts.map(({ name }) => name)).size === mounts.length);

/** Carries the actions out on a table of mounts, and tells what the kernel would refuse or hide. */
function perform(mounted: ReadonlyMap<string, MountSpec>, actions: readonly Action[], wanted: readonly MountSpec[]) {
	const now = new Map(mounted);
	const faults: string[] = [];
	for (const action of actions) {
		const { kind, name, target } = action;
		const after = wanted.find((mount) => mount.target === target);
		const before = now.get(target);
		const expected = kind === "mount" ? undefined : kind === "rename" ? action.from : name;
		if (before?.name !== expected) faults.push(`${kind} ${target}: ${before?.name ?? "nothing"} is there`);
		if (kind === "mount" || kind === "unmount") {
			for (const other of now.keys())
				if (other.startsWith(`${target}/`)) faults.push(`${kind} ${target} around ${other}`);
		}
		if (kind === "unmount") now.delete(target);
		else if (kind === "rename") now.set(target, { target, name, content: before?.content ?? "" });
		else now.set(target, { target, name, content: after?.content ?? "" });
	}
	return { now, faults };
}

const tableOf = (mounts: readonly MountSpec[]) => new Map(mounts.map((mount) => [mount.target, mount]));

test("any sequence of configs ends in the state of the last one, and touches nothing that stays", () => {
	fc.assert(
		fc.property(fc.array(config, { minLength: 1, maxLength: 6 }), (configs) => {
			let mounted: ReadonlyMap<string, MountSpec> = new Map();
			for (const wanted of configs) {
				const running = [...mounted.values()];
				const actions = reconcile(running, wanted);
				const touched = new Set(actions.map(({ target }) => target));
				const { now, faults } = perform(mounted, actions, wanted);
				mounted = now;
				expect(faults).toEqual([]);
				const staying = running.filter(
					({ name, target, content }) =>
						wanted.some((mount) => mount.name === name && mount.target === target && mount.content === content) &&
						!actions.some((action) => action.target !== target && overlap(action.target, target)),
				);
				expect(staying.filter(({ target }) => touched.has(target))).toEqual([]);
			}
			expect(mounted).toEqual(tableOf(configs.at(-1) ?? []));
		}),
		{ numRuns: 2000 },
	);
});

test("what is applied a second time has no action", () => {
	fc.assert(
		fc.property(config, fc.constantFrom("stacked" as const, "folders" as const), (mounts, nesting) => {
			expect(reconcile(mounts, mounts, nesting)).toEqual([]);
		}),
	);
});
