import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Heartbeat } from "../../src/drivers/heartbeat.ts";

let heartbeat: Heartbeat;
let asked = 0;
let answering = true;
const onSilent = vi.fn<() => void>();

beforeEach(() => {
	vi.useFakeTimers();
	asked = 0;
	answering = true;
	onSilent.mockReset();
	heartbeat = new Heartbeat({
		limitMs: 1000,
		ask() {
			asked++;
			if (answering) setTimeout(() => heartbeat.answered(), 200);
		},
		onSilent,
	});
});
afterEach(() => {
	heartbeat.end();
	vi.useRealTimers();
});

test("a process that answers late is not silent", () => {
	vi.advanceTimersByTime(60_000);
	expect(asked).toBe(240);
	expect(onSilent).not.toHaveBeenCalled();
});

test("one that has answered nothing for the limit is, once, and is asked no more", () => {
	vi.advanceTimersByTime(2500);
	answering = false;
	const before = asked;
	vi.advanceTimersByTime(1000);
	expect(onSilent).not.toHaveBeenCalled();
	vi.advanceTimersByTime(500);
	expect(onSilent).toHaveBeenCalledOnce();
	vi.advanceTimersByTime(60_000);
	expect(onSilent).toHaveBeenCalledOnce();
	expect(asked - before).toBe(4);
});

test("one answer is enough to begin anew", () => {
	answering = false;
	vi.advanceTimersByTime(1000);
	heartbeat.answered();
	vi.advanceTimersByTime(1000);
	expect(onSilent).not.toHaveBeenCalled();
	vi.advanceTimersByTime(250);
	expect(onSilent).toHaveBeenCalledOnce();
});

test("time in which who asks was stopped does not count", () => {
	// A timer that is late by an hour fires once, before what came meanwhile is read.
	answering = false;
	vi.advanceTimersByTime(250);
	vi.setSystemTime(Date.now() + 3_600_000);
	vi.advanceTimersByTime(250);
	heartbeat.answered();
	answering = true;
	vi.advanceTimersByTime(10_000);
	expect(onSilent).not.toHaveBeenCalled();
});

test("after its end nobody is asked", () => {
	heartbeat.end();
	vi.advanceTimersByTime(10_000);
	expect(asked).toBe(0);
});
