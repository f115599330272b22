import fc from "fast-check";
import { expect, test } from "vitest";
import { LineSplitter } from "../../src/drivers/lines.ts";

function collect(maximumBytes = 100, linesPerSecond = 1_000_000) {
	const lines: string[] = [];
	const cut: number[] = [];
	let dropped = 0;
	const splitter = new LineSplitter({
		maximumBytes,
		linesPerSecond,
		onLine: (line, truncatedBytes) => {
			lines.push(line);
			cut.push(truncatedBytes);
		},
		onDropped: (count) => {
			dropped += count;
		},
	});
	return { splitter, lines, cut, dropped: () => dropped };
}

test("gives the same lines however the text is cut into chunks", () => {
	fc.assert(
		fc.property(fc.array(fc.string({ unit: fc.constantFrom("a", "b", "ü", "\n", "\r", " ") })), (parts) => {
			const whole = collect();
			whole.splitter.push(Buffer.from(parts.join("")));
			whole.splitter.end();
			const pieces = collect();
			for (const byte of Buffer.from(parts.join(""))) pieces.splitter.push(Buffer.from([byte]));
			pieces.splitter.end();
			expect(pieces.lines).toEqual(whole.lines);
			expect(whole.lines).toEqual(
				parts
					.join("")
					.split("\n")
					.map((line) => line.replace(/\r$/, ""))
					.filter((line) => line !== ""),
			);
		}),
	);
});

test("cuts a line at its maximum and says how much is missing", () => {
	const { splitter, lines, cut } = collect(10);
	splitter.push(Buffer.from(`${"x".repeat(1_000_000)}\nshort\n`));
	expect(lines).toEqual(["x".repeat(10), "short"]);
	expect(cut).toEqual([999_990, 0]);
});

test("keeps the last line without a newline", () => {
	const { splitter, lines } = collect();
	splitter.push(Buffer.from("one\ntwo"));
	expect(lines).toEqual(["one"]);
	splitter.end();
	expect(lines).toEqual(["one", "two"]);
});

test("drops what comes too fast and counts it", () => {
	const { splitter, lines, dropped } = collect(100, 50);
	for (let line = 0; line < 10_000; line++) splitter.push(Buffer.from(`line ${line}\n`));
	splitter.end();
	expect(lines.length).toBeGreaterThanOrEqual(50);
	expect(lines.length).toBeLessThan(500);
	expect(lines.length + dropped()).toBe(10_000);
});
