import { describe, expect, test } from "vitest";
import { mountStates, type MountState } from "../../src/probe/status.ts";
import { nextState, type MountEvent } from "../../src/supervisor/state.ts";

const temporary = { kind: "broken", permanent: false, everReady: false } as const;
const temporaryAfterReady = { kind: "broken", permanent: false, everReady: true } as const;
const permanent = { kind: "broken", permanent: true, everReady: false } as const;
const tryAgain = { kind: "try" } as const;
const checked = { kind: "checked" } as const;
const mounted = { kind: "mounted" } as const;
const ailing = { kind: "ailing" } as const;
const well = { kind: "well" } as const;
const unwanted = { kind: "unwanted" } as const;
const released = { kind: "released" } as const;

describe("a mount's life", () => {
	const life: [MountState, MountEvent, MountState][] = [
		["pending", tryAgain, "checking"],
		["checking", checked, "starting"],
		["starting", mounted, "ready"],
		["ready", ailing, "degraded"],
		["degraded", well, "ready"],
		["checking", temporary, "pending"],
		["starting", temporary, "pending"],
		["checking", permanent, "failed"],
		["starting", permanent, "failed"],
		["failed", tryAgain, "checking"],
		["ready", temporaryAfterReady, "recovering"],
		["degraded", temporaryAfterReady, "recovering"],
		["checking", temporaryAfterReady, "recovering"],
		["starting", temporaryAfterReady, "recovering"],
		["recovering", tryAgain, "checking"],
		["draining", released, "stopped"],
	];
	test.each(life)("%s, %o: %s", (from, event, to) => {
		expect(nextState(from, event)).toBe(to);
	});

	test.each(mountStates.filter((state) => state !== "stopped"))("from %s it drains when it is not wanted", (state) => {
		expect(nextState(state, unwanted)).toBe("draining");
	});

	const allEvents = [
		tryAgain,
		checked,
		mounted,
		ailing,
		well,
		unwanted,
		released,
		temporary,
		temporaryAfterReady,
		permanent,
	];
	test.each(allEvents.filter((event) => event.kind !== "released"))("draining never goes back: %o", (event) => {
		expect(nextState("draining", event)).toBe("draining");
	});
	test.each(allEvents)("stopped is the end: %o", (event) => {
		expect(nextState("stopped", event)).toBe("stopped");
	});

	test("what means nothing in a state changes nothing", () => {
		for (const state of ["pending", "recovering", "failed"] as const) {
			for (const event of [checked, mounted, ailing, well, released]) expect(nextState(state, event)).toBe(state);
		}
		for (const event of [tryAgain, checked, mounted]) expect(nextState("ready", event)).toBe("ready");
	});
});
