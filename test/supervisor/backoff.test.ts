import { expect, test } from "vitest";
import { createBackoff } from "../../src/supervisor/backoff.ts";

function backoff(random = 0.5) {
	const clock = { now: 0 };
	return {
		clock,
		...createBackoff({
			minimumMs: 1000,
			maximumMs: 60_000,
			forgetAfterMs: 60_000,
			random: () => random,
			now: () => clock.now,
		}),
	};
}

test("doubles from one second to a minute and stays there", () => {
	const { next } = backoff();
	expect(Array.from({ length: 9 }, next)).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
});

test("does not overflow after very many failures", () => {
	const { next } = backoff();
	for (let failure = 0; failure < 5000; failure++) expect(next()).toBeLessThanOrEqual(60_000);
});

test("jitter moves a delay by a fifth either way", () => {
	expect(backoff(0).next()).toBe(800);
	expect(backoff(0.999_999).next()).toBe(1200);
});

test("forgets failures after a minute that went well, not earlier", () => {
	const { next, succeeded, clock } = backoff();
	next();
	next();
	succeeded();
	clock.now += 59_000;
	expect(next()).toBe(4000);
	succeeded();
	clock.now += 60_000;
	expect(next()).toBe(1000);
});

test("a kill from outside waits the minimum and is not counted", () => {
	const { next, once } = backoff();
	next();
	expect([once(), once(), once()]).toEqual([1000, 1000, 1000]);
	expect(next()).toBe(2000);
});
