import { expect, test } from "vitest";
import { DirectoryListing } from "../../../src/s3-filesystem/names/listing.ts";
import { Neighbours } from "../../../src/s3-filesystem/names/neighbours.ts";
import type { WalkedDirectory } from "../../../src/s3-filesystem/names/next-names.ts";

function directoryOf(count: number, sizeBytes = 4096): WalkedDirectory & { readonly listing: DirectoryListing } {
	const listing = new DirectoryListing();
	const entries = Array.from({ length: count }, (_, index) => {
		return { name: nameOf(index), kind: "file", sizeBytes, modifiedMs: 0, etag: "1" } as const;
	});
	listing.merge(listing.ask(0), "", { entries, through: undefined });
	return { listing };
}

const nameOf = (index: number): string => `file-${String(index).padStart(6, "0")}`;

/** Opens files in no order; what is named is there at once. Returns what was named after how many. */
function openShuffled(
	neighbours: Neighbours,
	directory: WalkedDirectory,
	{
		count,
		opened = count,
		isLost = false,
	}: { readonly count: number; readonly opened?: number; readonly isLost?: boolean },
): string[][] {
	const there = new Set<string>();
	return Array.from({ length: opened }, (_, step) => {
		const name = nameOf((step * 7919) % count);
		neighbours.opened(directory, name, there.has(name) && !isLost);
		there.add(name);
		const named: string[] = [];
		for (;;) {
			const next = neighbours.next(directory, 0, (listed) => !there.has(listed.name));
			if (next === undefined) return named;
			there.add(next.name);
			named.push(next.name);
		}
	});
}

test("names the other files of a directory that is read in no order, a few at first, each once", () => {
	const neighbours = new Neighbours();
	const named = openShuffled(neighbours, directoryOf(2000), { count: 2000 });
	expect(named.slice(0, 3)).toEqual([[], [], []]);
	expect(named.slice(3, 16).flat().length).toBeLessThanOrEqual(64);
	const all = named.flat();
	expect(new Set(all).size).toBe(all.length);
	expect(all.length).toBeGreaterThan(1850);
	expect(neighbours.counts).toEqual({ brought: all.length, used: all.length, lost: 0, stopped: 0 });
});

test("names no more than some hundreds where none of them gets opened, and says that it stopped", () => {
	const neighbours = new Neighbours();
	// Every file that is opened is one of those before the first.
	const directory = directoryOf(100_000);
	for (let step = 0; step < 200; step++) {
		neighbours.opened(directory, nameOf(50_000 - step), false);
		while (neighbours.next(directory, 0, () => true) !== undefined);
	}
	expect(neighbours.counts).toEqual({ brought: 512, used: 0, lost: 0, stopped: 1 });
});

test("names fewer of larger files", () => {
	const neighbours = new Neighbours();
	openShuffled(neighbours, directoryOf(50_000, 64 * 1024), { count: 50_000, opened: 60 });
	expect(neighbours.counts.brought).toBeLessThan(80);
});

test("stops where memory does not hold them until they are opened", () => {
	const neighbours = new Neighbours();
	const named = openShuffled(neighbours, directoryOf(2000), { count: 2000, isLost: true });
	expect(neighbours.counts).toMatchObject({ used: 0, lost: neighbours.counts.brought, stopped: 1 });
	expect(neighbours.counts.brought).toBeLessThan(600);
	expect(named.slice(200).flat()).toEqual([]);
});

test("rests after one that could not be brought, and goes on later", () => {
	const neighbours = new Neighbours();
	const directory = directoryOf(2000);
	const open = (from: number, through: number): void => {
		for (let step = from; step < through; step++) neighbours.opened(directory, nameOf(step * 3), false);
	};
	open(0, 10);
	const first = neighbours.next(directory, 0, () => true);
	neighbours.refused(directory, first?.name ?? "");
	expect(neighbours.next(directory, 0, () => true)).toBeUndefined();
	open(10, 26);
	expect(neighbours.next(directory, 0, () => true)).toBeDefined();
	expect(neighbours.counts.brought).toBe(1);
});

test("looks at few names for each file that is opened, however many the directory has", () => {
	const neighbours = new Neighbours();
	const directory = directoryOf(20_000);
	let looks = 0;
	for (let step = 0; step < 3000; step++) {
		neighbours.opened(directory, nameOf((step * 7919) % 20_000), true);
		neighbours.next(directory, 0, () => {
			looks++;
			return false;
		});
	}
	expect(looks).toBeLessThan(3000 * 257);
	expect(looks).toBeGreaterThan(20_000);
});

test("names nothing of a directory that is not known", () => {
	const neighbours = new Neighbours();
	const directory = { listing: new DirectoryListing() };
	for (let step = 0; step < 20; step++) neighbours.opened(directory, nameOf(step * 3), false);
	expect(neighbours.next(directory, 0, () => true)).toBeUndefined();
});
