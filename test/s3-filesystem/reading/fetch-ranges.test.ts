import fc from "fast-check";
import { expect, test } from "vitest";
import { firstFetch, pieceEnd, streamFetch, wholePages } from "../../../src/s3-filesystem/reading/fetch-ranges.ts";
import { KiB, MiB } from "./reads.ts";

const everything = { start: 0, end: 100 * MiB };

test("rounds a random read to whole pages, and not over what is there", () => {
	expect(wholePages({ start: 5000, end: 9000 }, everything)).toEqual({ start: 4096, end: 12_288 });
	expect(wholePages({ start: 5000, end: 9000 }, { start: 4500, end: 9000 })).toEqual({ start: 4500, end: 9000 });
});

test("fetches a little more than a file's first read", () => {
	expect(firstFetch({ start: 0, end: 4096 }, everything, 8 * MiB)).toEqual({ start: 0, end: MiB });
	expect(firstFetch({ start: 0, end: MiB }, everything, 8 * MiB)).toEqual({ start: 0, end: 2 * MiB });
	expect(firstFetch({ start: 0, end: 4096 }, everything, 512 * KiB)).toEqual({ start: 0, end: 512 * KiB });
	expect(firstFetch({ start: 0, end: 4096 }, { start: 0, end: 10_000 }, 8 * MiB)).toEqual({ start: 0, end: 10_000 });
});

test("makes requests whose ends meet: powers of two at their multiples, about four to a window", () => {
	const ends = (position: number, windowBytes: number, count: number): number[] => {
		const found: number[] = [];
		for (let at = position; found.length < count; at = found.at(-1) ?? 0)
			found.push(pieceEnd(at, windowBytes, 8 * MiB));
		return found.map((end) => end / MiB);
	};
	expect(ends(MiB, 32 * MiB, 5)).toEqual([2, 4, 8, 16, 24]);
	expect(ends(0, MiB, 3)).toEqual([1, 2, 3]);
	expect(ends(0, 256 * KiB, 2)).toEqual([0.25, 0.5]);
	expect(ends(8 * MiB, 16 * MiB, 2)).toEqual([12, 16]);
});

test("always covers what is missing, never what is there, and no more than was allowed", () => {
	const window = fc.constantFrom(128 * KiB, 300_000, MiB, 5 * MiB, 64 * MiB);
	const maximum = fc.constantFrom(512 * KiB, MiB, 2 * MiB, 8 * MiB);
	fc.assert(
		fc.property(
			fc.nat(50 * MiB),
			fc.integer({ min: 1, max: MiB }),
			fc.nat(MiB),
			fc.nat(20 * MiB),
			window,
			maximum,
			(start, length, before, after, windowBytes, maximumBytes) => {
				const gap = { start, end: start + length };
				const room = { start: Math.max(0, start - before), end: gap.end + after };
				for (const span of [
					wholePages(gap, room),
					firstFetch(gap, room, maximumBytes),
					streamFetch(gap, room, windowBytes, maximumBytes),
				]) {
					expect(span.start).toBeLessThanOrEqual(gap.start);
					expect(span.start).toBeGreaterThanOrEqual(Math.max(room.start, gap.start - 4095));
					expect(span.end).toBeGreaterThanOrEqual(gap.end);
					expect(span.end).toBeLessThanOrEqual(Math.min(room.end, gap.end + Math.max(MiB, maximumBytes) + 4096));
				}
				const end = pieceEnd(start, windowBytes, maximumBytes);
				expect(end).toBeGreaterThanOrEqual(start + 64 * KiB);
				expect(end - start).toBeLessThanOrEqual(Math.max(256 * KiB, maximumBytes));
			},
		),
	);
});
