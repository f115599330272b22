import { expect, test } from "vitest";
import { RecentFailures } from "../../../src/s3-filesystem/reading/recent-failures.ts";

const reason = new Error("out of reach");

function setUp() {
	const clock = { now: 0 };
	return { clock, failures: new RecentFailures(() => clock.now) };
}

test("a read within one that has just failed fails like it, once", () => {
	const { clock, failures } = setUp();
	clock.now = 4000;
	failures.add({ start: 8192, end: 16_384 }, 0, reason);
	expect(() => failures.throwFor(4096)).not.toThrow();
	expect(() => failures.throwFor(16_384)).not.toThrow();
	expect(() => failures.throwFor(12_288)).toThrow(reason);
	expect(() => failures.throwFor(12_288)).not.toThrow();
});

test("what failed at once, or a while ago, is tried again", () => {
	const { clock, failures } = setUp();
	clock.now = 10;
	failures.add({ start: 0, end: 4096 }, 0, reason);
	expect(() => failures.throwFor(0)).not.toThrow();
	clock.now = 4000;
	failures.add({ start: 0, end: 4096 }, 0, reason);
	clock.now = 5000;
	expect(() => failures.throwFor(0)).not.toThrow();
});

test("the last sixteen are kept", () => {
	const { clock, failures } = setUp();
	clock.now = 2000;
	for (let start = 0; start < 20; start++) failures.add({ start, end: start + 1 }, 0, reason);
	expect(() => failures.throwFor(3)).not.toThrow();
	for (let start = 4; start < 20; start++) expect(() => failures.throwFor(start), String(start)).toThrow(reason);
});
