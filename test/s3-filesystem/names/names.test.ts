import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareKeys, endOfPrefix, isName, keyBefore } from "../../../src/s3-filesystem/names/names.ts";

const keys = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });

describe("the order of keys", () => {
	test("is that of their UTF-8 bytes", () => {
		fc.assert(
			fc.property(keys, keys, (a, b) => {
				expect(Math.sign(compareKeys(a, b))).toBe(Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))));
			}),
			{ numRuns: 2000 },
		);
	});

	test("puts characters beyond the basic plane last, unlike JavaScript", () => {
		expect(compareKeys("\u{1F600}", "\uFF5E")).toBeGreaterThan(0);
	});
});

describe("the key before a key", () => {
	test("sorts before it", () => {
		fc.assert(
			fc.property(keys, (key) => {
				expect(compareKeys(keyBefore(key), key)).toBeLessThan(0);
			}),
			{ numRuns: 2000 },
		);
	});

	test.each([
		["foo", "fon\u{10FFFD}"],
		["a b", "a a\u{10FFFD}"],
		["x\n", "x"],
		["\uE000", "\uD7FF\u{10FFFD}"],
	])("of %j is %j", (key, before) => {
		expect(keyBefore(key)).toBe(before);
	});
});

test("the end of a prefix sorts after all that is below it, and before its neighbours", () => {
	expect(compareKeys(endOfPrefix("a/"), "a/\u{1F600}")).toBeGreaterThan(0);
	expect(compareKeys(endOfPrefix("a/"), "a0")).toBeLessThan(0);
});

test.each(["", ".", "..", "a\0b", "é".repeat(128)])("%j cannot be shown as a name", (part) => {
	expect(isName(part)).toBe(false);
});

test.each(["a", "...", "a\nb", "-rf", "é".repeat(127)])("%j can be shown as a name", (part) => {
	expect(isName(part)).toBe(true);
});
