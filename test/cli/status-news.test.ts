import { expect, test } from "vitest";
import { newsSince } from "../../src/cli/status-news.ts";
import type { ChangeStatus } from "../../src/probe/status.ts";
import { accessDenied, sampleMount, sampleStatus } from "../probe/sample-status.ts";

const config = { state: "applied", hash: "0123456789abcdef", appliedAt: "2026-07-31T03:00:00.000Z" } as const;
const change: ChangeStatus = {
	number: 3,
	change: "change",
	mount: "data",
	target: "/t/data",
	reason: "other secrets",
	since: "2026-07-31T03:00:00.000Z",
	state: "under way",
};
const before = sampleStatus({ config });

test("the first look tells how everything is", () => {
	expect(newsSince(undefined, before)).toEqual([
		"launcher  running",
		"config    applied, hash 0123456789ab",
		"data      ready, pid 42",
	]);
});

test("a look at the same tells nothing, whatever its counters say", () => {
	expect(newsSince(before, sampleStatus({ config, mounts: [sampleMount({ answeredSecondsAgo: 1.9 })] }))).toEqual([]);
});

test("a change is told when it begins, when it waits and when it is done", () => {
	const begun = sampleStatus({ config, changes: [change] });
	const waits = sampleStatus({ config, changes: [{ ...change, state: "waiting", outcome: "no such key" }] });
	const done = sampleStatus({ config, changes: [{ ...change, state: "done", outcome: "in the process that runs" }] });
	expect(newsSince(before, begun)).toEqual(["data  change 3 (change: other secrets) under way"]);
	expect(newsSince(begun, waits)).toEqual(["data  change 3 (change: other secrets) waiting: no such key"]);
	expect(newsSince(waits, done)).toEqual(["data  change 3 (change: other secrets) done: in the process that runs"]);
});

test("mounts that come, go, break or get another process are told", () => {
	const after = sampleStatus({ config, mounts: [sampleMount({ name: "more", pid: 43 })] });
	expect(newsSince(before, after)).toEqual(["more  ready, pid 43", "data  gone"]);
	const broken = sampleStatus({
		config,
		mounts: [sampleMount({ state: "failed", reason: "gone\nfor good", restarts: 2 })],
	});
	expect(newsSince(before, broken)).toEqual(["data  failed, pid 42, restarted 2 times: gone for good"]);
});

test("what is wrong with what a mount uses is told when it begins, and when it is over", () => {
	const trouble = { about: "disk of cache", message: "/cache is full", since: "2026-07-31T03:00:00.000Z" };
	const troubled = sampleStatus({ config, mounts: [sampleMount({ troubles: [trouble] })] });
	const worse = sampleStatus({
		config,
		mounts: [sampleMount({ troubles: [{ ...trouble, message: "/cache is gone" }] })],
	});
	expect(newsSince(before, troubled)).toEqual(["data  trouble with disk of cache: /cache is full"]);
	expect(newsSince(troubled, troubled)).toEqual([]);
	expect(newsSince(troubled, worse)).toEqual(["data  trouble with disk of cache: /cache is gone"]);
	expect(newsSince(worse, before)).toEqual(["data  no trouble with disk of cache any more"]);
});

test("a rejected config is told with its reason, on one line", () => {
	const rejected = {
		...config,
		state: "rejected",
		error: { ...accessDenied, message: "2 faults\n  one\n  two" },
	} as const;
	expect(newsSince(before, sampleStatus({ config: rejected }))).toEqual(["config  rejected: 2 faults   one   two"]);
});
