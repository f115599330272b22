import { expect, it } from "vitest";
import { ReadWindow } from "../../../src/s3-filesystem/reading/read-window.ts";

const MiB = 1024 ** 2;

/** A reader that always waits, and reads so many bytes a millisecond with a window of so many bytes; returns the windows it had, in order. */
function read(
	window: ReadWindow,
	fileBytes: number,
	rate: (windowBytes: number, position: number) => number,
	limitBytes = 64 * MiB,
): number[] {
	const seen = [window.bytes];
	let nowMs = 0;
	for (let position = 0; position < fileBytes; position += MiB) {
		nowMs += MiB / rate(window.bytes, position);
		window.waited(position, position + window.bytes, limitBytes, nowMs);
		if (window.bytes !== seen.at(-1)) seen.push(window.bytes);
	}
	return seen;
}

function started(): ReadWindow {
	const window = new ReadWindow();
	window.start(128 * 1024, 8);
	return window;
}

it("grows to the limit where each doubling makes the reader faster", () => {
	const window = started();
	expect(read(window, 1024 * MiB, (bytes) => bytes / 1000)).toEqual([1, 2, 4, 8, 16, 32, 64].map((size) => size * MiB));
	expect(window.bytes).toBe(64 * MiB);
});

it("stays small where something else keeps the reader back, and tries again from time to time", () => {
	const window = started();
	const seen = read(window, 1024 * MiB, () => 1000);
	expect(Math.max(...seen)).toBe(32 * MiB);
	expect(window.bytes).toBe(16 * MiB);
	const tries = seen.filter((bytes) => bytes === 32 * MiB).length;
	expect(tries).toBeGreaterThanOrEqual(2);
	expect(tries).toBeLessThanOrEqual(4);
});

it("grows later where the server has come to answer more slowly", () => {
	const window = started();
	const isFar = (position: number): boolean => position >= 256 * MiB;
	read(window, 1024 * MiB, (bytes, position) => (isFar(position) ? bytes / 20_000 : 1000));
	expect(window.bytes).toBe(64 * MiB);
});

it("never exceeds a limit that is not a power of two", () => {
	const window = started();
	expect(read(window, 512 * MiB, (bytes) => bytes / 1000, 5 * MiB)).toEqual([1, 2, 4, 5].map((size) => size * MiB));
});

it("grows again after memory was short", () => {
	const window = started();
	read(window, 512 * MiB, (bytes) => bytes / 1000);
	for (let times = 0; times < 20; times++) window.shrink();
	expect(window.bytes).toBe(128 * 1024);
	read(window, 512 * MiB, (bytes) => bytes / 1000);
	expect(window.bytes).toBeGreaterThanOrEqual(16 * MiB);
});
