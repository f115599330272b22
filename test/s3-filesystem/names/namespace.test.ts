import { expect, test } from "vitest";
import { listedDirectory } from "../../../src/s3-filesystem/names/listed.ts";
import { Namespace } from "../../../src/s3-filesystem/names/namespace.ts";
import { keyOf, type DirectoryNode } from "../../../src/s3-filesystem/names/nodes.ts";
import type { VolumeOptions } from "../../../src/s3-filesystem/names/volume.ts";
import { plainVolume } from "../plain-volume.ts";

/** Its store is never asked: all names are those of volumes. */
function volume(folder: string): VolumeOptions {
	return { ...plainVolume, folder, store: {} as VolumeOptions["store"], identity: folder, ttlMs: 1000 };
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
		for (const folder of order) namespace.volumes.add(volume(folder));
		expect(shape(namespace.root), order.join(" ")).toEqual(expected);
	}
});

test("adding a volume tells what the kernel has to forget", () => {
	const namespace = new Namespace([volume("a/b")]);
	expect(namespace.volumes.add(volume("c"))).toEqual({ directories: [], names: [] });
	const a = namespace.root.overlay.get("a");
	expect(namespace.volumes.add(volume("a")).directories).toEqual([a]);
	expect(namespace.volumes.add(volume("")).directories).toEqual([namespace.root]);
	const known = namespace.nodes.directory({ volume: namespace.root.volume, parent: namespace.root, name: "d" });
	namespace.root.children.set("d", known);
	expect(namespace.volumes.add(volume("d")).names).toEqual([{ parent: namespace.root, name: "d" }]);
});

test("volumes that are removed leave the tree of those that are left, in any order", () => {
	for (const order of orders(folders)) {
		const volumes = folders.map(volume);
		const namespace = new Namespace(volumes);
		const left = [...volumes];
		for (const folder of order) {
			const gone = left.find((each) => each.folder === folder) ?? volume(folder);
			left.splice(left.indexOf(gone), 1);
			namespace.volumes.remove(gone);
			const expected = shape(new Namespace(left.map((each) => volume(each.folder))).root);
			expect(shape(namespace.root), `${order.join(" ")} after ${folder}`).toEqual(expected);
		}
	}
});

test("what is known of a removed volume keeps its keys, and no name leads to it", () => {
	const [outer, inner] = [volume(""), volume("a/b")];
	const namespace = new Namespace([outer, inner]);
	const top = namespace.root.overlay.get("a")?.overlay.get("b");
	if (top === undefined) throw new Error("not there");
	const files = [
		{ directory: namespace.root, of: outer, name: "x" },
		{ directory: top, of: inner, name: "y" },
	].map(({ directory, of, name }) => {
		const file = namespace.nodes.file(directory, of, name);
		directory.children.set(name, file);
		return file;
	});
	const told = namespace.volumes.remove(inner);
	expect(told.names.map(({ name }) => name)).toEqual(["b", "a"]);
	expect(namespace.volumes.remove(outer).directories).toContain(namespace.root);
	expect(files.map(keyOf)).toEqual(["x", "y"]);
	expect([namespace.root.children.size, namespace.root.overlay.size, namespace.root.volume]).toEqual([0, 0, undefined]);
});

test("a lookup of a directory takes no longer when many of its files are known", () => {
	const bucket = volume("");
	const namespace = new Namespace([bucket]);
	const { root, nodes } = namespace;
	const later = performance.now() + 60_000;
	const directoryOf = (files: number): DirectoryNode => {
		const directory = nodes.directory({ volume: bucket, parent: root, name: `${files} files` });
		root.children.set(directory.name, directory);
		directory.posixAt = later;
		for (let index = 0; index < files; index++) {
			const file = nodes.file(directory, bucket, `${index}`);
			file.version = { etag: "1", sizeBytes: 1, modifiedMs: 0 };
			directory.children.set(file.name, file);
		}
		return directory;
	};
	const [small, large] = [directoryOf(1), directoryOf(100_000)];
	const entries = [small, large].map(({ name }) => listedDirectory(name));
	root.listing.merge(root.listing.ask(later), "", { entries, through: undefined });
	const lookupsMs = (directory: DirectoryNode): number => {
		const startedAt = performance.now();
		for (let index = 0; index < 300; index++) expect(namespace.find(root, directory.name)).toBe(directory);
		return performance.now() - startedAt;
	};
	lookupsMs(small);
	expect(lookupsMs(large)).toBeLessThan(20 * lookupsMs(small) + 10);
});

test("no two names have one inode number, although volumes show the same bucket", () => {
	const namespace = new Namespace(["", "a", "a/b", "c"].map((folder) => ({ ...volume(folder), identity: "one" })));
	const numbers: number[] = [];
	const show = (directory: DirectoryNode, depth: number): void => {
		for (const covered of directory.overlay.values()) show(covered, depth);
		numbers.push(directory.ino);
		for (const name of ["a", "b", "c", "d"].filter((each) => !directory.overlay.has(each))) {
			if (directory.volume === undefined || depth === 0) continue;
			// Another one would make way for a node's.
			numbers.push(namespace.nodes.inodeOfName(directory, `${name}-file`));
			show(namespace.nodes.directory({ volume: directory.volume, parent: directory, name }), depth - 1);
		}
	};
	show(namespace.root, 2);
	expect(numbers.length).toBeGreaterThan(50);
	expect(new Set(numbers).size).toBe(numbers.length);
});
