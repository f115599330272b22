import { describe, expect, test } from "vitest";

import { Concurrency, type Priority, type Turn } from "../../../src/s3/http/concurrency.ts";

/** Asks for turns, and notes who got one. */
function queue(concurrency: Concurrency) {
	const entered: string[] = [];
	const turns: Turn[] = [];
	const ask = (name: string, priority: Priority = "read", signal?: AbortSignal): Promise<void> =>
		concurrency.take(priority, signal).then((turn) => {
			entered.push(name);
			turns.push(turn);
		});
	const give = async (outcome: "ok" | "throttled" | "other" = "ok"): Promise<void> => {
		const turn = turns.shift();
		if (turn === undefined) throw new Error("nobody has a turn");
		concurrency.give(turn, outcome);
		await settle();
	};
	return { entered, ask, give };
}

async function settle(): Promise<void> {
	for (let round = 0; round < 10; round++) await Promise.resolve();
}

test("lets in as many as the limit says, in the order of asking", async () => {
	const { entered, ask, give } = queue(new Concurrency(2));
	for (const name of ["a", "b", "c", "d"]) void ask(name);
	await settle();
	expect(entered).toEqual(["a", "b"]);
	await give();
	expect(entered).toEqual(["a", "b", "c"]);
	await give();
	expect(entered).toEqual(["a", "b", "c", "d"]);
});

test("prefers reads, and does not forget writes", async () => {
	const { entered, ask, give } = queue(new Concurrency(1));
	void ask("first");
	void ask("write", "write");
	for (let index = 0; index < 20; index++) void ask(`read ${index}`);
	await settle();
	for (let round = 0; round < 22; round++) await give();
	expect(entered).toHaveLength(22);
	expect(entered.indexOf("write")).toBe(9);
});

test("lets what is ahead wait for reads and writes, and forgets neither where reads are endless", async () => {
	const idle = queue(new Concurrency(1));
	void idle.ask("first");
	void idle.ask("ahead", "ahead");
	void idle.ask("write", "write");
	void idle.ask("read");
	await settle();
	for (let round = 0; round < 3; round++) await idle.give();
	expect(idle.entered).toEqual(["first", "read", "write", "ahead"]);

	const busy = queue(new Concurrency(1));
	void busy.ask("first");
	for (let index = 0; index < 5; index++) void busy.ask("ahead", "ahead");
	for (let index = 0; index < 5; index++) void busy.ask("write", "write");
	for (let index = 0; index < 40; index++) void busy.ask("read");
	await settle();
	for (let round = 0; round < 36; round++) await busy.give();
	expect(busy.entered.filter((name) => name !== "read" && name !== "first")).toEqual([
		"write",
		"ahead",
		"write",
		"ahead",
	]);
});

test("forgets who gave up", async () => {
	const { entered, ask, give } = queue(new Concurrency(1));
	const controller = new AbortController();
	void ask("a");
	const gone = ask("b", "read", controller.signal);
	void ask("c");
	await settle();
	controller.abort(new Error("enough"));
	await expect(gone).rejects.toThrow("enough");
	await give();
	expect(entered).toEqual(["a", "c"]);
	await expect(ask("d", "read", controller.signal)).rejects.toThrow("enough");
});

test("refuses who waits when it is closed", async () => {
	const concurrency = new Concurrency(1);
	const { ask } = queue(concurrency);
	void ask("a");
	const waiting = ask("b");
	concurrency.close(new Error("closed"));
	await expect(waiting).rejects.toThrow("closed");
});

describe("the limit", () => {
	test("is halved once for all that were throttled together", async () => {
		const concurrency = new Concurrency(32);
		const { ask, give } = queue(concurrency);
		expect(concurrency.limit).toBe(16);
		for (let index = 0; index < 16; index++) void ask("x");
		await settle();
		for (let index = 0; index < 16; index++) await give("throttled");
		expect(concurrency.limit).toBe(8);
	});

	test("never falls below one", async () => {
		const concurrency = new Concurrency(4);
		for (let round = 0; round < 20; round++) {
			concurrency.give({ startedAt: performance.now() + round + 1 }, "throttled");
		}
		expect(concurrency.limit).toBe(1);
	});

	test("grows only while it is used up, and not beyond the maximum", async () => {
		const concurrency = new Concurrency(20);
		for (let round = 0; round < 200; round++) concurrency.give(await concurrency.take("read"), "ok");
		expect(concurrency.limit).toBe(16);
		for (let round = 0; round < 20; round++) {
			const turns = await Promise.all(Array.from({ length: concurrency.limit }, async () => concurrency.take("read")));
			for (const turn of turns) {
				concurrency.give(turn, "ok");
				// Somebody else comes at once.
				void concurrency.take("read");
			}
			for (let index = concurrency.running; index > 0; index--) concurrency.give(turns[0] ?? { startedAt: 0 }, "other");
		}
		expect(concurrency.limit).toBe(20);
	});
});
