import * as fc from "fast-check";
import { expect, it } from "vitest";
import { layersAt, mountOf, parseMountinfo, type MountEntry } from "../../src/mounts/mountinfo.ts";
import { fuzzCases } from "../support/fuzz-cases.ts";

const timeout = 180_000;

/** As the kernel's mangle() does it. */
function escaped(text: string): string {
	return text.replaceAll(/[ \t\n\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`);
}

const component = fc.oneof(
	fc.constantFrom("a", "b", "c", "- x", "ro", "\\040", "\u00A0", "\u2028", "\uFEFF", "a\rb", "a b", "#", "日本"),
	fc
		.string({ unit: "grapheme", minLength: 1, maxLength: 6 })
		.filter((name) => !/[/\0]/.test(name) && name.isWellFormed()),
);
const path = fc.array(component, { maxLength: 4 }).map((parts) => `/${parts.join("/")}`);
const entry = fc.record({
	id: fc.nat(),
	parentId: fc.nat(),
	device: fc.tuple(fc.nat(999), fc.nat(999)).map(([major, minor]) => `${major}:${minor}`),
	root: path,
	mountPoint: path,
	shared: fc.boolean(),
	type: fc.constantFrom("fuse", "fuse.s3fs", "tmpfs", "ext4", "fuse.with space"),
	source: fc.oneof(fc.constant(""), component),
	readOnly: fc.boolean(),
});

function line(mount: MountEntry, superReadOnly: boolean, tags: readonly string[]): string {
	const { id, parentId, device, root, mountPoint, shared, type, source, readOnly } = mount;
	const options = readOnly && !superReadOnly ? "ro,relatime" : "rw,relatime,errors=remount-ro";
	const superOptions = readOnly && superReadOnly ? "ro" : "rw,name=a b,user_id=0";
	const fields = [
		id,
		parentId,
		device,
		escaped(root),
		escaped(mountPoint),
		options,
		...(shared ? ["shared:7"] : []),
		...tags,
	];
	return [...fields, "-", escaped(type), escaped(source), superOptions].join(" ");
}

it("reads every line that a kernel can write, whatever is in a path", { timeout }, () => {
	const tags = fc.subarray(["master:3", "propagate_from:2", "unbindable"]);
	fc.assert(
		fc.property(fc.array(fc.tuple(entry, fc.boolean(), tags), { maxLength: 8 }), (mounts) => {
			const text = mounts.map(([mount, superReadOnly, more]) => `${line(mount, superReadOnly, more)}\n`).join("");
			expect(parseMountinfo(text)).toEqual(mounts.map(([mount]) => mount));
		}),
		{ numRuns: fuzzCases("mountinfo lines") },
	);
});

it("leaves out lines of any other form, and throws for none", { timeout }, () => {
	const word = fc.oneof(
		fc.string({ unit: "binary", maxLength: 8 }),
		fc.constantFrom("-", "1", "0:1", "/", "rw", "\\777", " "),
	);
	fc.assert(
		fc.property(fc.array(word, { maxLength: 14 }), path, (words, where) => {
			const entries = parseMountinfo(words.join(" "));
			expect(entries.length).toBeLessThanOrEqual(words.length);
			expect(layersAt(entries, where).every(({ mountPoint }) => mountPoint === where)).toBe(true);
		}),
		{ numRuns: fuzzCases("mountinfo garbage") },
	);
});

it("finds what a lookup meets: the layers of a path bottom first, each on the one before", { timeout }, () => {
	// Mounts on each other and below each other in random order, as the kernel may list them after a pivot_root.
	const steps = fc.array(fc.tuple(fc.nat(), fc.constantFrom("/a", "/a/b", "/a/b/c", "/d")), { maxLength: 10 });
	fc.assert(
		fc.property(steps, fc.nat(), (mounted, shuffle) => {
			const entries: MountEntry[] = [{ ...bare, id: 1, parentId: 0, mountPoint: "/" }];
			const stacks = new Map<string, number[]>();
			for (const [index, [, where]] of mounted.entries()) {
				// What a lookup meets now is what the kernel mounts on.
				const parent = mountOf(entries, where);
				const id = index + 2;
				entries.push({ ...bare, id, parentId: parent?.id ?? -1, mountPoint: where });
				for (const inner of stacks.keys()) if (inner.startsWith(`${where}/`)) stacks.delete(inner);
				stacks.set(where, [...(stacks.get(where) ?? []), id]);
			}
			const rotated = [...entries.slice(shuffle % entries.length), ...entries.slice(0, shuffle % entries.length)];
			for (const where of ["/a", "/a/b", "/a/b/c", "/d"]) {
				expect(layersAt(rotated, where).map(({ id }) => id)).toEqual(stacks.get(where) ?? []);
			}
		}),
		{ numRuns: fuzzCases("mountinfo layers") },
	);
});

const bare = { device: "0:1", root: "/", shared: false, type: "tmpfs", source: "none", readOnly: false };
