import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { listedDirectory, listedKey, type Listed } from "../../../src/s3-filesystem/names/listed.ts";
import { compareKeys } from "../../../src/s3-filesystem/names/names.ts";
import { NamesMemory } from "../../../src/s3-filesystem/names/names-memory.ts";
import { PackedNames } from "../../../src/s3-filesystem/names/packed-names.ts";

const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }).filter((text) => !text.includes("/"));
const file = fc
	.record({ name, sizeBytes: fc.maxSafeNat(), modifiedMs: fc.maxSafeNat(), etag: fc.string({ maxLength: 40 }) })
	.map((fields): Listed => ({ ...fields, kind: "file" }));
const fileWithMetadata = fc
	.tuple(file, fc.dictionary(fc.constantFrom("mode", "mtime", "ü"), fc.string({ maxLength: 8 })))
	.map(([listed, metadata]): Listed => ({ ...listed, metadata: { ...metadata } }));
const entry = fc.oneof(file, fileWithMetadata, name.map(listedDirectory));
const entries = fc
	.uniqueArray(entry, { maxLength: 20, selector: listedKey })
	.map((all) => all.toSorted((a, b) => compareKeys(listedKey(a), listedKey(b))));

const unpacked = (names: PackedNames): Listed[] => Array.from({ length: names.count }, (_, index) => names.at(index));

describe("packed names", () => {
	test("are what was packed, and are found by their keys", () => {
		fc.assert(
			fc.property(entries, entry, (all, other) => {
				const packed = PackedNames.of(all);
				expect(unpacked(packed)).toEqual(all);
				const key = listedKey(other);
				const index = all.findIndex((each) => listedKey(each) === key);
				expect(packed.indexOf(key)).toBe(index === -1 ? undefined : index);
				expect(packed.countBefore(key)).toBe(all.filter((each) => compareKeys(listedKey(each), key) < 0).length);
				expect(packed.countThrough(key)).toBe(packed.countBefore(key) + (index === -1 ? 0 : 1));
			}),
		);
	});

	test("can be cut and changed", () => {
		fc.assert(
			fc.property(entries, entry, fc.nat(), fc.nat(), (all, other, a, b) => {
				const packed = PackedNames.of(all);
				const [from = 0, to = 0] = [a % (all.length + 1), b % (all.length + 1)].toSorted((x, y) => x - y);
				expect(unpacked(packed.slice(from, to))).toEqual(all.slice(from, to));
				expect(unpacked(packed.splice(from, to - from, other))).toEqual(all.toSpliced(from, to - from, other));
				expect(unpacked(packed.splice(from, to - from))).toEqual(all.toSpliced(from, to - from));
			}),
		);
	});

	test("take little more than their text", () => {
		const all = Array.from({ length: 1000 }, (_, index) => ({
			name: `name-${String(index).padStart(7, "0")}`,
			kind: "file" as const,
			sizeBytes: 1,
			modifiedMs: 1,
			etag: "d41d8cd98f00b204e9800998ecf8427e",
		}));
		expect(PackedNames.of(all).sizeBytes).toBeLessThan(1000 * 75);
	});
});

describe("the memory for names", () => {
	test("forgets first what was not used for the longest time, and never what came last", () => {
		let fullTimes = 0;
		const memory = new NamesMemory(100, () => fullTimes++);
		const forgotten: string[] = [];
		const known = (text: string, sizeBytes: number) => ({ sizeBytes, forget: () => void forgotten.push(text) });
		const [a, b, c] = [known("a", 40), known("b", 40), known("c", 40)];
		for (const each of [a, b]) memory.keep(each);
		memory.used(a);
		memory.keep(c);
		expect([forgotten, memory.usedBytes]).toEqual([["b"], 80]);
		memory.keep(known("large", 200));
		expect([forgotten, memory.usedBytes]).toEqual([["b", "a", "c"], 200]);
		memory.release(a);
		expect(memory.usedBytes).toBe(200);
		expect([memory.forgotten, fullTimes]).toEqual([3, 1]);
	});
});
