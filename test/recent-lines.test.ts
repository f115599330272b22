import { expect, test } from "vitest";
import { RecentLines } from "../src/recent-lines.ts";

test("the last lines are kept whole, as far as there is room", () => {
	const lines = new RecentLines(100);
	for (let number = 0; number < 1000; number++) lines.add(`line ${number}\n`);
	const text = lines.toString();
	expect(text.length).toBeGreaterThan(90);
	expect(text.length).toBeLessThanOrEqual(100);
	expect(text).toMatch(/^line 9\d\d\n/);
	expect(text.endsWith("line 999\n")).toBe(true);
});

test("a line that is longer than all the room is not kept", () => {
	const lines = new RecentLines(10);
	lines.add("x".repeat(30));
	expect(lines.toString()).toBe("");
	lines.add("short\n");
	expect(lines.toString()).toBe("short\n");
});
