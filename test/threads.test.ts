import { expect, test } from "vitest";
import { Threads, type ThreadMessage } from "../src/threads.ts";

function programOf(text: string): URL {
	return new URL(`data:text/javascript,${encodeURIComponent(text)}`);
}

const echo = programOf(
	'import { parentPort, threadId } from "node:worker_threads"; parentPort.postMessage({ to: "threads" }); parentPort.on("message", () => parentPort.postMessage({ to: "test", threadId }));',
);

const ignored = { died: () => undefined, refused: () => undefined };

test("starts one when there is work, and others when that has enough", async () => {
	const threads = new Threads({ maximum: 3, program: echo, ...ignored });
	const told: number[] = [];
	threads.listen<ThreadMessage & { readonly threadId: number }>("test", ({ threadId }) => told.push(threadId));
	expect(threads.isRunning).toBe(false);
	await expect.poll(() => threads.isRunning).toBe(true);
	const first = threads.pick();
	expect(threads.pick()).toBe(first);
	const picked = new Set([first]);
	await expect
		.poll(() => {
			const thread = threads.pick();
			thread.tasks++;
			picked.add(thread);
			return picked.size;
		})
		.toBe(3);
	for (const thread of picked) thread.post({ to: "whoever" });
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
