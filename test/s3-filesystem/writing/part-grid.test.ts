import fc from "fast-check";
import { expect, test } from "vitest";

import { createPartGrid, s3Limits, s3PartGrid } from "../../../src/s3-filesystem/writing/part-grid.ts";

const MiB = 1024 ** 2;
const GiB = 1024 * MiB;
const grid = s3PartGrid(4 * GiB);

test("10,000 parts hold the largest object, and each part is as large as S3 allows", () => {
	const last = grid.indexAt(grid.maximumSizeBytes - 1);
	expect(grid.maximumSizeBytes).toBe(5 * MiB * MiB);
	expect(last).toBeLessThan(s3Limits.parts);
	for (let index = 0; index < s3Limits.parts; index++) {
		expect(grid.sizeOf(index)).toBeGreaterThanOrEqual(s3Limits.smallestPartBytes);
		expect(grid.sizeOf(index)).toBeLessThanOrEqual(s3Limits.largestPartBytes);
	}
	expect(grid.copyBytes).toBeLessThanOrEqual(s3Limits.largestPartBytes);
});

test("parts follow each other without gaps, and none is smaller than the one before", () => {
	for (let index = 1; index < s3Limits.parts; index++) {
		expect(grid.startOf(index)).toBe(grid.startOf(index - 1) + grid.sizeOf(index - 1));
		expect(grid.sizeOf(index)).toBeGreaterThanOrEqual(grid.sizeOf(index - 1));
	}
});

test("every offset is in the part that is said to hold it", () => {
	fc.assert(
		fc.property(fc.maxSafeNat(), (number) => {
			const offset = number % grid.maximumSizeBytes;
			const index = grid.indexAt(offset);
			expect(offset).toBeGreaterThanOrEqual(grid.startOf(index));
			expect(offset).toBeLessThan(grid.startOf(index) + grid.sizeOf(index));
		}),
	);
});

test.each([
	{ stagingBytes: 16 * MiB, largestBytes: 8 * MiB, longestBytes: 78 * GiB },
	{ stagingBytes: 128 * MiB, largestBytes: 64 * MiB, longestBytes: 500 * GiB },
	{ stagingBytes: 512 * MiB, largestBytes: 256 * MiB, longestBytes: 1600 * GiB },
	{ stagingBytes: 2 * GiB, largestBytes: 970 * MiB, longestBytes: 5 * 1024 * GiB },
])("with $stagingBytes bytes of staging, two parts fit into it", ({ stagingBytes, largestBytes, longestBytes }) => {
	const grid = s3PartGrid(stagingBytes);
	const last = grid.indexAt(grid.maximumSizeBytes - 1);
	expect(last).toBeLessThan(s3Limits.parts);
	expect(grid.sizeOf(last)).toBe(largestBytes);
	expect(grid.maximumSizeBytes).toBeGreaterThanOrEqual(longestBytes);
});

test("the first 15 GiB are in parts of 8 MiB", () => {
	expect(grid.sizeOf(grid.indexAt(15 * 1024 * MiB))).toBe(8 * MiB);
});

test("a grid ends where its tiers do", () => {
	const small = createPartGrid({ tiers: [{ partBytes: 10, count: 3 }], copyBytes: 20 });
	expect(small.maximumSizeBytes).toBe(30);
	expect(() => small.indexAt(-1)).toThrow("outside");
});
