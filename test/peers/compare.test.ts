import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compare, formatNames, parseExpected, type Outcome } from "./compare.ts";

test("tells what fails anew, what passes at last and what is gone", () => {
	const outcomes = new Map<string, Outcome>([
		["a 1", { kind: "failed" }],
		["a 2", { kind: "failed" }],
		["b", { kind: "passed" }],
		["c", { kind: "skipped" }],
		["d", { kind: "passed" }],
	]);
	const expected = parseExpected("[reason]\na 2-3\nb\nc\n");
	expect(compare(outcomes, expected)).toEqual({ news: ["a 1"], better: ["b"], gone: ["a 3"] });
});

test("reads the reason of each test that is known to fail", () => {
	expect([...parseExpected("# comment\n\n[one]\nchmod/00.t 1-3,7\n[two]\nwith mmap, same seed\n")]).toEqual([
		["chmod/00.t 1", "one"],
		["chmod/00.t 2", "one"],
		["chmod/00.t 3", "one"],
		["chmod/00.t 7", "one"],
		["with mmap, same seed", "two"],
	]);
});

test.each(["a\n", "[one]\na\n[two]\na\n", "[one]\na 1-3\na 2\n"])(
	"refuses a list without a reason or with a test twice: %j",
	(text) => {
		expect(() => parseExpected(text)).toThrow(/line \d/);
	},
);

test("writes names as the lists have them", () => {
	const names = ["c", "a 3", "a 1", "a 2", "a 9", "b 4"];
	expect(formatNames(names)).toEqual(["c", "a 1-3,9", "b 4"]);
	const many = Array.from({ length: 300 }, (_, index) => `rename/09.t ${2 * index}`);
	const lines = formatNames(many);
	expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(140);
	expect([...parseExpected(`[reason]\n${lines.join("\n")}`).keys()]).toEqual(many);
});

test("has lists that can be read", async () => {
	const folder = join(import.meta.dirname, "expected");
	for (const file of await readdir(folder)) {
		const text = await readFile(join(folder, file), "utf8");
		expect(() => parseExpected(text), file).not.toThrow();
	}
});
