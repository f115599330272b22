import fc from "fast-check";
import { expect, test } from "vitest";

import { ByteRanges } from "../../../src/s3-filesystem/writing/byte-ranges.ts";

const size = 64;
const window = fc.tuple(fc.nat(size), fc.nat(size)).map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));
const operation = fc.oneof(
	{ weight: 5, arbitrary: window.map((range) => ({ kind: "add" as const, ...range })) },
	{ weight: 1, arbitrary: window.map((range) => ({ kind: "remove" as const, ...range })) },
);

test("holds the same bytes as a set of their numbers does", () => {
	fc.assert(
		fc.property(fc.array(operation), window, (operations, { start, end }) => {
			fc.pre(start < end);
			const ranges = new ByteRanges();
			let model = new Set<number>();
			for (const step of operations) {
				if (step.kind === "add") {
					ranges.add(step.start, step.end);
					for (let byte = step.start; byte < step.end; byte++) model.add(byte);
				} else {
					ranges.remove(step.start, step.end);
					model = new Set([...model].filter((byte) => byte < step.start || byte >= step.end));
				}
			}
			const asked = Array.from({ length: end - start }, (_, index) => start + index);
			const flat = (found: readonly { start: number; end: number }[]) =>
				found.flatMap((range) => Array.from({ length: range.end - range.start }, (_, index) => range.start + index));
			expect(flat(ranges.within(start, end))).toEqual(asked.filter((byte) => model.has(byte)));
			expect(flat(ranges.gaps(start, end))).toEqual(asked.filter((byte) => !model.has(byte)));
			expect(ranges.has(start, end)).toBe(asked.every((byte) => model.has(byte)));
			expect(ranges.isEmpty).toBe(model.size === 0);
			const whole = ranges.within(0, size);
			for (let index = 1; index < whole.length; index++) {
				expect(whole[index]?.start).toBeGreaterThan(whole[index - 1]?.end ?? 0);
			}
			const blocks = new Set([...model].map((byte) => Math.floor(byte / 8)));
			const more = new Set(asked.map((byte) => Math.floor(byte / 8)).filter((block) => !blocks.has(block)));
			expect(ranges.blockBytes(8)).toBe(blocks.size * 8);
			expect(ranges.newBlockBytes(start, end, 8)).toBe(more.size * 8);
		}),
		{ numRuns: 2000 },
	);
});
