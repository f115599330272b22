import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WritingThread } from "../../src/fuse/writing-thread.ts";

let folder: string;
beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), "fluid-fuse-writing-"));
});
afterEach(async () => rm(folder, { recursive: true, force: true }));

function message(text: string): Buffer {
	const length = Buffer.alloc(4);
	length.writeUInt32LE(4 + text.length);
	return Buffer.concat([length, Buffer.from(text)]);
}

test.each([
	["is written in its order", "w", true],
	["is given up where it cannot be written", "r", false],
])("what a thread is given %s, and it says when it is done", async (_, flags, isThere) => {
	const path = join(folder, "file");
	closeSync(openSync(path, "w"));
	const fd = openSync(path, flags);
	try {
		const { promise: done, resolve } = Promise.withResolvers<void>();
		const thread = new WritingThread(fd, resolve);
		const messages = Buffer.concat(["first", "", "the third"].map(message));
		thread.write(messages);
		await done;
		expect(readFileSync(path).equals(isThere ? messages : Buffer.alloc(0))).toBe(true);
	} finally {
		closeSync(fd);
	}
});

test("a thread that has ended says so, and keeps nobody waiting", async () => {
	const { promise: done, resolve } = Promise.withResolvers<void>();
	const thread = new WritingThread(-1, resolve);
	thread.write("no bytes" as unknown as Uint8Array);
	await done;
	expect(thread.isBroken).toBe(true);
});
