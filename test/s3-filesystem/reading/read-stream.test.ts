import { expect, test, vi } from "vitest";
import { ActiveStreams, ReadPattern } from "../../../src/s3-filesystem/reading/read-stream.ts";
import { KiB, MiB } from "./reads.ts";

function setUp() {
	const active = new ActiveStreams();
	const positions = new Set<{ readonly next: number }>();
	return { active, positions, pattern: new ReadPattern(positions, active) };
}

test("sees after the second read that a handle is read in order", () => {
	const { pattern } = setUp();
	const first = pattern.follow(0, 4096);
	expect(first.isInOrder).toBe(false);
	expect(pattern.follow(4096, 8192)).toBe(first);
	expect(first).toMatchObject({ isInOrder: true, isAdvancing: true, next: 8192 });
});

test("lets late reads pass that others have overtaken", () => {
	const { pattern } = setUp();
	const stream = pattern.follow(2 * MiB, 3 * MiB);
	expect(pattern.follow(MiB, 2 * MiB)).toBe(stream);
	expect(stream).toMatchObject({ isAdvancing: false, next: 3 * MiB });
	expect(pattern.follow(5 * MiB, 6 * MiB)).toBe(stream);
	expect(stream).toMatchObject({ isAdvancing: true, next: 6 * MiB });
});

test("takes reads far from each other for random ones, the nearer the smaller they are", () => {
	const { pattern } = setUp();
	const stream = pattern.follow(MiB, MiB + 4096);
	expect(pattern.follow(2 * MiB, 2 * MiB + 4096)).not.toBe(stream);
	expect(pattern.follow(40 * MiB, 40 * MiB + 4096)).not.toBe(stream);
	expect(pattern.follow(MiB + 16 * KiB, MiB + 20 * KiB)).toBe(stream);
});

test("keeps a stream in order between random reads", () => {
	const { pattern } = setUp();
	const stream = pattern.follow(0, 128 * KiB);
	stream.start(128 * KiB);
	for (let group = 0; group < 5; group++) {
		for (let index = 1; index < 6; index++) {
			const offset = (group * 5 + index) * 37 * MiB;
			pattern.follow(offset, offset + 4096);
		}
		expect(pattern.follow(stream.next, stream.next + 128 * KiB)).toBe(stream);
	}
});

test("gives up the stream that was not read for the longest time when there are too many", () => {
	const { pattern, active, positions } = setUp();
	const streams = Array.from({ length: 5 }, (_, index) => {
		const stream = pattern.follow(index * 100 * MiB, index * 100 * MiB + MiB);
		stream.start(MiB);
		active.use(stream);
		return stream;
	});
	expect(streams[0]?.window.bytes).toBe(0);
	expect(active.count).toBe(4);
	expect(positions.size).toBe(4);
	pattern.close();
	expect(active.count).toBe(0);
	expect(positions.size).toBe(0);
});

test("does not count a stream that was not read for ten seconds", () => {
	vi.useFakeTimers({ toFake: ["performance"] });
	try {
		const { pattern, active } = setUp();
		const [one, two] = [pattern.follow(0, MiB), pattern.follow(500 * MiB, 501 * MiB)];
		for (const stream of [one, two]) {
			stream.start(MiB);
			active.use(stream);
		}
		vi.advanceTimersByTime(6000);
		active.use(two);
		expect(active.count).toBe(2);
		vi.advanceTimersByTime(6000);
		expect(active.count).toBe(1);
		expect(one.window.bytes).toBe(0);
	} finally {
		vi.useRealTimers();
	}
});
