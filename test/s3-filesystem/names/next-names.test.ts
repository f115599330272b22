import { expect, test } from "vitest";
import { DirectoryListing } from "../../../src/s3-filesystem/names/listing.ts";
import type { Listed } from "../../../src/s3-filesystem/names/listed.ts";
import { NextNames, type WalkedDirectory } from "../../../src/s3-filesystem/names/next-names.ts";

const files = { kind: "file", steps: 4, maximum: 16, maximumBytes: 8 * 1024 ** 2 } as const;
const names = Array.from({ length: 100 }, (_, index) => `file-${String(index).padStart(3, "0")}`);

const fileOf = (name: string, sizeBytes = 1000): Listed => ({
	name,
	kind: "file",
	sizeBytes,
	modifiedMs: 0,
	etag: name,
});

function directoryOf(entries: readonly string[], sizeBytes = 1000): WalkedDirectory & { listing: DirectoryListing } {
	const listing = new DirectoryListing();
	listing.knowEmpty(0);
	for (const name of entries) listing.put(fileOf(name, sizeBytes));
	return { listing };
}

function openAll(directory: WalkedDirectory, opened: readonly string[], isSmall = (): boolean => true): string[][] {
	const next = new NextNames(files);
	return opened.map((name) => next.opened(directory, name, 0, isSmall).map((file) => file.name));
}

test("names each of the files that follow once, more and more of them, while a directory is read in order", () => {
	const named = openAll(directoryOf(names), names);
	expect(named.slice(0, 4)).toEqual([[], [], [], []]);
	expect(named[4]).toEqual(names.slice(5, 7));
	const all = named.flat();
	expect(all).toEqual(names.slice(5));
	expect(Math.max(...named.map((some) => some.length))).toBeLessThanOrEqual(16);
});

test("is not misled by several programs that read a little ahead of each other", () => {
	const order = names.map((_, index) => names[index % 2 === 0 ? index + 1 : index - 1] ?? "");
	expect(openAll(directoryOf(names), order).flat().length).toBeGreaterThan(80);
});

test("names nothing where files are opened here and there", () => {
	const order = names.map((_, index) => names[(index * 37) % 100] ?? "");
	expect(openAll(directoryOf(names), order).flat()).toEqual([]);
});

test("names no large files, no more than 8 MiB ahead, and nothing of a directory that is not known", () => {
	expect(openAll(directoryOf(names), names, () => false).flat()).toEqual([]);
	const ahead = openAll(directoryOf(names, 1024 ** 2), names.slice(0, 40));
	const last = names.indexOf(ahead.flat().at(-1) ?? "");
	expect(last).toBeLessThanOrEqual(39 + 8);
	expect(last).toBeGreaterThan(40);
	expect(openAll({ listing: new DirectoryListing() }, names).flat()).toEqual([]);
});

test("looks at a few names only, however many the directory has, also while files are made in it and read", () => {
	const { listing } = directoryOf(names.slice(0, 2));
	let looks = 0;
	const directory: WalkedDirectory = {
		listing: {
			*following(key, since) {
				for (const listed of listing.following(key, since)) {
					looks++;
					yield listed;
				}
			},
		},
	};
	const next = new NextNames(files);
	const count = 2000;
	for (let index = 0; index < count; index++) {
		const name = `made-${String(index).padStart(4, "0")}`;
		listing.put(fileOf(name));
		next.opened(directory, name, 0, () => true);
	}
	expect(looks).toBeLessThan(count * 40);
	// Neither do files between directories make it look at more.
	looks = 0;
	const directories = new NextNames({ ...files, kind: "directory" });
	for (const name of ["a", "b", "a", "b"]) directories.opened(directory, name, 0, () => true);
	expect(looks).toBeLessThan(4 * 600);
});
