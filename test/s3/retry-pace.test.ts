import { expect, test } from "vitest";

import { backoffMs, RetryPace } from "../../src/s3/retry-pace.ts";

test("waits up to twice as long each time, but not for ever", () => {
	const longest = [0, 1, 2, 3, 10, 1000].map((retries) => backoffMs(retries, 100, () => 1));
	expect(longest).toEqual([100, 200, 400, 800, 5000, 5000]);
	expect(backoffMs(3, 100, () => 0)).toBe(0);
});

test("lets a burst of retries through, and then so many a second", () => {
	let now = 0;
	const pace = new RetryPace(() => now);
	const waits = Array.from({ length: 84 }, () => pace.reserve());
	expect(waits.slice(0, 64).every((wait) => wait === 0)).toBe(true);
	expect(waits.at(-1)).toBeCloseTo(1000);
	now = 60_000;
	expect(pace.reserve()).toBe(0);
});

test("gives more to who succeeds", () => {
	const pace = new RetryPace(() => 0);
	for (let index = 0; index < 64; index++) pace.reserve();
	for (let index = 0; index < 8; index++) pace.succeeded();
	expect([pace.reserve(), pace.reserve()]).toEqual([0, 0]);
	expect(pace.reserve()).toBeGreaterThan(0);
});
