import { expect, test } from "vitest";
import { Namespace } from "../../src/s3-filesystem/namespace.ts";
import type { DirectoryNode } from "../../src/s3-filesystem/nodes.ts";
import type { VolumeOptions } from "../../src/s3-filesystem/volume.ts";

/** Its store is never asked: all names are those of volumes. */
function volume(folder: string): VolumeOptions {
	return {
		folder,
		store: {} as VolumeOptions["store"],
		identity: folder,
		prefix: "",
		readOnly: false,
		uid: 0,
		gid: 0,
		directoryMode: 0o755,
		fileMode: 0o644,
		attributes: "listed",
		ttlMs: 1000,
	};
}

/** Every folder with the volume that it lies in, and a star where that one begins. */
function shape(node: DirectoryNode, path = ""): string[] {
	const own = `/${path}: ${node.volume?.folder ?? "none"}${node.isVolumeRoot && node.volume !== undefined ? "*" : ""}`;
	const below = [...node.overlay.keys()].toSorted().flatMap((name) => {
		const child = node.overlay.get(name);
		return child === undefined ? [] : shape(child, path === "" ? name : `${path}/${name}`);
	});
	return [own, ...below];
}

const folders = ["", "a", "a/b/c", "d/e"];

function* orders<Item>(items: readonly Item[]): Generator<Item[]> {
	if (items.length === 0) yield [];
	for (const [index, item] of items.entries()) {
		for (const rest of orders(items.toSpliced(index, 1))) yield [item, ...rest];
	}
}

test("volumes that are added later make the same tree as those that were there from the start, in any order", () => {
	const expected = shape(new Namespace(folders.map(volume)).root);
	expect(expected).toEqual(["/: *", "/a: a*", "/a/b: a", "/a/b/c: a/b/c*", "/d: ", "/d/e: d/e*"]);
	for (const order of orders(folders)) {
		const namespace = new Namespace([]);
		for (const folder of order) namespace.add(volume(folder));
		expect(shape(namespace.root), order.join(" ")).toEqual(expected);
	}
});

test("adding a volume tells what the kernel has to forget", () => {
	const namespace = new Namespace([volume("a/b")]);
	expect(namespace.add(volume("c"))).toEqual({ directories: [], names: [] });
	const a = namespace.root.overlay.get("a");
	expect(namespace.add(volume("a")).directories).toEqual([a]);
	expect(namespace.add(volume("")).directories).toEqual([namespace.root]);
	const known = namespace.nodes.directory({ volume: namespace.root.volume, parent: namespace.root, name: "d" });
	namespace.root.children.set("d", known);
	expect(namespace.add(volume("d")).names).toEqual([{ parent: namespace.root, name: "d" }]);
});
