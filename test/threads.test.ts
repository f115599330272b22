import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Threads, type Thread, type ThreadMessage } from "../src/threads.ts";

function programOf(text: string): URL {
	return new URL(`data:text/javascript,${encodeURIComponent(text)}`);
}

/** Works for as long as it is told, and answers. */
const worker = programOf(`
	import { parentPort, threadId } from "node:worker_threads";
	const never = new Int32Array(new SharedArrayBuffer(4));
	parentPort.on("message", ({ workMs }) => {
		Atomics.wait(never, 0, 0, workMs);
		parentPort.postMessage({ to: "test", threadId });
	});
	parentPort.postMessage({ to: "threads" });
`);

interface Work extends ThreadMessage {
	readonly workMs: number;
}

const ignored = { died: () => undefined, refused: () => undefined };

test("starts one when there is work, and others when that is busy", async () => {
	const threads = new Threads({ maximum: 3, program: worker, ...ignored });
	const told: number[] = [];
	threads.listen<ThreadMessage & { readonly threadId: number }>("test", ({ threadId }) => told.push(threadId));
	expect(threads.isRunning).toBe(false);
	await expect.poll(() => threads.isRunning).toBe(true);
	const give = (workMs: number): Thread => {
		const thread = threads.pick();
		const work: Work = { to: "whoever", workMs };
		thread.post(work);
		return thread;
	};
	const first = threads.pick();
	// However much it waits for.
	first.tasks = 100;
	for (let round = 0; round < 20; round++) {
		expect(give(0)).toBe(first);
		await delay(20);
	}
	first.tasks = 0;
	const picked = new Set([first]);
	await expect.poll(() => picked.add(give(60)).size, { interval: 50 }).toBe(3);
	await expect.poll(() => new Set(told).size).toBe(3);
	// Whoever has least comes first; of several, each in its turn.
	for (const thread of picked) thread.tasks = 5;
	first.tasks = 0;
	expect([threads.pick(), threads.pick()]).toEqual([first, first]);
	first.tasks = 5;
	expect(new Set([threads.pick(), threads.pick(), threads.pick()]).size).toBe(3);
});

test.each([
	["fails", 'setTimeout(() => { throw new Error("a bug") }, 20);', "a bug"],
	["is out of memory", "const all = []; setInterval(() => all.push(new Array(1e6).fill(all)), 1);", /memory/],
	["ends", "process.exit(3); setInterval(() => {}, 1000);", "a thread ended by itself (exit code 3)"],
])("tells that one %s", async (_, program, message) => {
	const died: string[] = [];
	const tell = (error: Error): void => void died.push(error.message);
	const threads = new Threads({ ...ignored, maximum: 1, program: programOf(program), died: tell });
	expect(threads.isRunning).toBe(false);
	await expect.poll(() => died[0], { timeout: 20_000 }).toMatch(message);
});
