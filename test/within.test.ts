import { getEventListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { firstOf, orAbort, withEither, within } from "../src/within.ts";

/** Counts who has asked to be told: what a promise never forgets before it settles. */
class Counted<T> extends Promise<T> {
	reactions = 0;

	// oxlint-disable-next-line unicorn/no-thenable -- it is one
	override then<A = T, B = never>(
		resolved?: ((value: T) => A | PromiseLike<A>) | null,
		rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
	): Promise<A | B> {
		this.reactions++;
		return super.then(resolved, rejected);
	}
}

/** As the end of a driver: it comes when nobody looks any more. */
function unending(): Counted<string> {
	return new Counted<string>(() => undefined);
}

function listenersOf(signal: AbortSignal): number {
	return getEventListeners(signal, "abort").length;
}

async function unlessAborted(work: Promise<string>, signal: AbortSignal): Promise<string> {
	return orAbort(work, signal).catch((error: unknown) => {
		if (error === signal.reason) return "aborted";
		throw error;
	});
}

const waits: readonly (readonly [string, (work: Promise<string>, signal: AbortSignal) => Promise<unknown>])[] = [
	["the first of several", async (work) => firstOf([work, sleep(0)])],
	["a limit of time", async (work, signal) => within(work, 0, signal)],
	["a limit of time that is not reached", async (work, signal) => within(firstOf([work, sleep(0)]), 60_000, signal)],
	[
		"a signal",
		async (work, signal) => withEither([signal, AbortSignal.timeout(0)], async (either) => unlessAborted(work, either)),
	],
];

describe.each(waits)("%s", (_, wait) => {
	test("leaves nothing at what lives on, however often it is waited for", async () => {
		const [work, { signal }] = [unending(), new AbortController()];
		for (let waited = 0; waited < 100; waited++) await wait(work, signal);
		expect(work.reactions).toBe(1);
		expect(listenersOf(signal)).toBe(0);
	});

	test("fails as the work does, and leaves nothing then either", async () => {
		const { signal } = new AbortController();
		const work = new Counted<string>((_resolve, reject) => reject(new Error("broken")));
		for (let waited = 0; waited < 3; waited++) await expect(wait(work, signal)).rejects.toThrow("broken");
		expect(listenersOf(signal)).toBe(0);
	});
});

test("whoever waits is told, all of them, and who comes later too", async () => {
	const { promise, resolve } = Promise.withResolvers<string>();
	const { signal } = new AbortController();
	const waiting = [within(promise, 60_000), within(promise, signal), firstOf([promise]), orAbort(promise, signal)];
	resolve("ended");
	expect(await Promise.all(waiting)).toEqual(["ended", "ended", "ended", "ended"]);
	expect(await within(promise, 60_000)).toBe("ended");
	expect(listenersOf(signal)).toBe(0);
});

test("a failure is told to whoever waits, and to who comes later", async () => {
	const { promise, reject } = Promise.withResolvers<string>();
	const waiting = [within(promise, 60_000), firstOf([promise, unending()])];
	const told = Promise.allSettled(waiting);
	reject(new Error("broken"));
	expect(await told).toMatchObject([{ reason: { message: "broken" } }, { reason: { message: "broken" } }]);
	await expect(within(promise, 60_000)).rejects.toThrow("broken");
});

test("a work that fails after its time was up ends nothing", async () => {
	const { promise, reject } = Promise.withResolvers<string>();
	const unhandled: unknown[] = [];
	const note = (reason: unknown): void => void unhandled.push(reason);
	process.on("unhandledRejection", note);
	try {
		expect(await within(promise, 0)).toBeUndefined();
		reject(new Error("too late"));
		await sleep(10);
		expect(unhandled).toEqual([]);
	} finally {
		process.off("unhandledRejection", note);
	}
});

test("a signal that was aborted before counts at once, with its reason", async () => {
	const reason = new Error("not wanted");
	const signal = AbortSignal.abort(reason);
	expect(await within(unending(), signal)).toBeUndefined();
	await expect(orAbort(unending(), signal)).rejects.toBe(reason);
	await withEither([undefined, signal], async (either) => {
		expect(either.reason).toBe(reason);
	});
});

test("either signal aborts the work, with its reason", async () => {
	const [one, other] = [new AbortController(), new AbortController()];
	const reason = new Error("not wanted");
	const working = withEither([one.signal, other.signal], async (either) => {
		expect(either.aborted).toBe(false);
		other.abort(reason);
		return orAbort(unending(), either);
	});
	await expect(working).rejects.toBe(reason);
	expect(listenersOf(one.signal)).toBe(0);
});

test("a timer does not outlive what it limits", async () => {
	const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
	const before = timers();
	for (let waited = 0; waited < 20; waited++) await within(Promise.resolve("here"), 60_000);
	expect(timers()).toBeLessThan(before + 20);
});
