import { expect, test } from "vitest";
import type { Listed } from "../../../src/s3-filesystem/names/listing.ts";
import { NextNames, type WalkedDirectory } from "../../../src/s3-filesystem/names/next-names.ts";

const files = { kind: "file", steps: 4, maximum: 16, maximumBytes: 8 * 1024 ** 2 } as const;
const names = Array.from({ length: 100 }, (_, index) => `file-${String(index).padStart(3, "0")}`);

function directoryOf(entries: readonly string[], sizeBytes = 1000): WalkedDirectory {
	const listed = entries.map((name): Listed => ({ name, kind: "file", sizeBytes, modifiedMs: 0, etag: name }));
	return {
		listing: {
			complete: () => [...listed],
			find: (name) => ({ entry: listed.find((entry) => entry.name === name), at: 0 }),
		},
	};
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
	const unknown = { listing: { complete: () => undefined, find: () => undefined } };
	expect(openAll(unknown, names).flat()).toEqual([]);
});

test("looks a directory through only from time to time while files are made in it and read", () => {
	const present = names.slice(0, 2);
	let looks = 0;
	const listed = (name: string): Listed => ({ name, kind: "file", sizeBytes: 1000, modifiedMs: 0, etag: name });
	const directory: WalkedDirectory = {
		listing: {
			complete: () => {
				looks++;
				return present.map(listed);
			},
			find: (name) => ({ entry: present.includes(name) ? listed(name) : undefined, at: 0 }),
		},
	};
	const next = new NextNames(files);
	for (let count = 0; count < 2000; count++) {
		const name = `made-${String(count).padStart(4, "0")}`;
		present.push(name);
		next.opened(directory, name, 0, () => true);
	}
	// Each time for a sixteenth more files, once there are more than a few.
	expect(looks).toBeLessThan(150);
});
