import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { openSync, readdirSync, readlinkSync } from "node:fs";
import http from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";

import type { Answer, Exchange, ExchangeError, Exchanger } from "../../../src/s3/http/connection.ts";
import { FarConnections } from "../../../src/s3/http/far-connections.ts";
import type { FarOrder } from "../../../src/s3/http/far-messages.ts";
import { Pool } from "../../../src/s3/http/pool.ts";
import { Threads } from "../../../src/threads.ts";
import { MountedMemory } from "../../fuse/mounted-memory.ts";
import { listen } from "../../support/listen.ts";
import { startThreads } from "../../support/threads.ts";
import { MiB, noise } from "../bucket.ts";
import { startRawServer, type RawServer } from "../raw-server.ts";

let far: FarConnections;
let server: RawServer;
let connection: Exchanger;
let answer: (socket: Socket) => void;

beforeAll(async () => {
	far = new FarConnections(await startThreads(2));
});

beforeEach(async () => {
	server = await startRawServer((socket) => answer(socket));
	connection = await dial();
});

afterEach(async () => {
	connection.close();
	await server.stop();
});

async function dial(signal?: AbortSignal): Promise<Exchanger> {
	return far.dialer({ url: server.url, proxy: undefined, ca: undefined, connectMs: 2000 }).dial(signal);
}

async function ask(options: Partial<Exchange>): Promise<Answer> {
	const head = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
	return connection.exchange({ head, firstByteMs: 10_000, idleMs: 10_000, maximumBytes: MiB, ...options });
}

async function failureOf(work: Promise<unknown>): Promise<ExchangeError> {
	return work.then(
		() => {
			throw new Error("it did not fail");
		},
		(error: unknown) => error as ExchangeError,
	);
}

function shared(sizeBytes: number): Buffer {
	return Buffer.from(new SharedArrayBuffer(sizeBytes));
}

/** How often this process has a file open. */
function timesOpen(path: string): number {
	return readdirSync("/proc/self/fd").filter((name) => {
		try {
			return readlinkSync(join("/proc/self/fd", name)) === path;
		} catch {
			// The one that lists them.
			return false;
		}
	}).length;
}

const headOf = (sizeBytes: number): string => `HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: ${sizeBytes}\r\n\r\n`;

test("another thread fills the memory, and tells how far it is", async () => {
	const content = noise(9 * MiB);
	answer = (socket) => {
		socket.write(headOf(content.length));
		socket.write(content);
	};
	for (let round = 0; round < 5; round++) {
		const into = shared(content.length);
		const progress: number[] = [];
		let wasRight = true;
		let etag: string | undefined;
		const before = performance.now();
		const { status, filledBytes, firstByteAt } = await ask({
			into,
			accept(head) {
				etag = head.headers.get("etag");
			},
			onProgress(bytes) {
				const from = progress.at(-1) ?? 0;
				progress.push(bytes);
				wasRight &&= into.subarray(from, bytes).equals(content.subarray(from, bytes));
			},
		});
		expect([status, filledBytes, etag, wasRight]).toEqual([200, content.length, '"x"', true]);
		expect(progress).toEqual(progress.toSorted((a, b) => a - b));
		expect(progress[0]).toBeLessThan(content.length);
		expect(progress.at(-1)).toBe(content.length);
		// By the clock of who asks.
		expect(firstByteAt).toBeGreaterThan(before);
		expect(firstByteAt).toBeLessThan(performance.now());
	}
	expect([server.connections, connection.isUsable]).toEqual([1, true]);
});

test("what is there is told of, whatever comes after it", async () => {
	const sizeBytes = 2 * MiB;
	const thereBytes = sizeBytes - 1000;
	let rest: (() => void) | undefined;
	answer = (socket) => {
		socket.write(headOf(sizeBytes));
		socket.write(Buffer.alloc(thereBytes));
		rest = () => socket.write(Buffer.alloc(sizeBytes - thereBytes));
	};
	let knownBytes = 0;
	const onProgress = (bytes: number): void => void (knownBytes = bytes);
	const work = ask({ into: shared(sizeBytes), onProgress });
	await expect.poll(() => knownBytes, { timeout: 5000 }).toBe(thereBytes);
	rest?.();
	expect(await work).toMatchObject({ filledBytes: sizeBytes });
});

test("what is given up has ended only when no byte comes any more", async () => {
	const sizeBytes = 64 * MiB;
	const piece = Buffer.alloc(MiB, 1);
	const sockets: Socket[] = [];
	answer = (socket) => {
		sockets.push(socket);
		socket.write(headOf(sizeBytes));
		const send = (): void => {
			while (!socket.destroyed && socket.write(piece));
		};
		socket.on("drain", send);
		send();
	};
	for (let round = 0; round < 10; round++) {
		const into = shared(sizeBytes);
		const controller = new AbortController();
		const onProgress = (bytes: number): void => {
			if (bytes > round * MiB) controller.abort();
		};
		expect(await failureOf(ask({ into, onProgress, signal: controller.signal }))).toMatchObject({ code: "ABORTED" });
		// It is somebody else's by now.
		into.fill(2);
		await delay(20);
		expect(into.includes(1)).toBe(false);
		expect(connection.isUsable).toBe(false);
		connection = await dial();
	}
});

test("an answer that is refused ends with the reason, when no byte comes any more", async () => {
	const refusal = new Error("not this one");
	answer = (socket) => {
		socket.write(headOf(8 * MiB));
		socket.write(Buffer.alloc(8 * MiB - 1, 1));
	};
	const into = shared(8 * MiB);
	const progress: number[] = [];
	const accept = (): never => {
		throw refusal;
	};
	expect(await failureOf(ask({ into, accept, onProgress: (bytes) => progress.push(bytes) }))).toBe(refusal);
	into.fill(2);
	await delay(20);
	expect([into.includes(1), progress, connection.isUsable]).toEqual([false, [], false]);
});

test("an error is collected, and nothing of it is in the memory", async () => {
	answer = (socket) => socket.write("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nabsent");
	const into = shared(20);
	const { status, body, filledBytes } = await ask({ into, accept: () => expect.unreachable() });
	expect([status, body.toString(), filledBytes, into.every((byte) => byte === 0)]).toEqual([404, "absent", 0, true]);
	expect(connection.isUsable).toBe(true);
});

test("a connection that breaks says since when nothing came, and what is there", async () => {
	answer = (socket) => {
		socket.write(headOf(2 * MiB));
		socket.write(Buffer.alloc(MiB), () => setTimeout(() => socket.destroy(), 100));
	};
	const progress: number[] = [];
	const error = await failureOf(ask({ into: shared(2 * MiB), onProgress: (bytes) => progress.push(bytes) }));
	expect(error).toMatchObject({ name: "ExchangeError", code: "ECONNRESET", isStale: false });
	expect(performance.now() - error.lastByteAt).toBeGreaterThan(80);
	expect([progress.at(-1), connection.isUsable]).toEqual([MiB, false]);
});

test("one that the server has closed while it was idle is known as such", async () => {
	const sockets: Socket[] = [];
	answer = (socket) => {
		sockets.push(socket);
		socket.write(`${headOf(4)}abcd`);
	};
	let ends = 0;
	connection.onEnd = () => ends++;
	await ask({ into: shared(4) });
	sockets[0]?.destroy();
	const error = await failureOf(ask({ into: shared(4) }));
	expect(error).toMatchObject({ code: "ECONNRESET", isStale: true });
	await expect.poll(() => [connection.isUsable, ends]).toEqual([false, 1]);
});

test("one that was closed here is not taken for the next request", async () => {
	answer = (socket) => socket.write(`${headOf(4)}abcd`);
	const pool = new Pool(far.dialer({ url: server.url, proxy: undefined, ca: undefined, connectMs: 2000 }));
	const any = { maximumIdleMs: Number.POSITIVE_INFINITY };
	const closed = await pool.take(any);
	pool.give(closed);
	closed.close();
	connection = await pool.take(any);
	expect(connection).not.toBe(closed);
	expect(await ask({ into: shared(4) })).toMatchObject({ status: 200 });
	connection = closed;
	expect(await failureOf(ask({ into: shared(4) }))).toMatchObject({ code: "ECONNRESET", isStale: true });
	pool.close();
});

test.each(["close", "closeIdle"] as const)(
	"a thread knows a destination only until the %s of its pool",
	async (end) => {
		const died: string[] = [];
		const program = new URL("../../../src/filesystem-process/thread.ts", import.meta.url);
		const tell = (error: Error): void => void died.push(error.message);
		const threads = new Threads({ maximum: 1, program, died: tell, refused: tell });
		await expect.poll(() => threads.isRunning).toBe(true);
		const own = new FarConnections(threads);
		const pool = new Pool(own.dialer({ url: server.url, proxy: undefined, ca: undefined, connectMs: 2000 }));
		pool.give(await pool.take({ maximumIdleMs: 0 }));
		pool[end]();
		// As any order that makes no sense.
		threads.pick().post({ to: "connections", id: 100, order: { kind: "dial", destination: 1 } } as FarOrder);
		await expect.poll(() => died[0]).toBe("a destination that nobody has told");
	},
);

test("a proxy that speaks no HTTP is a failure as others are", async () => {
	answer = (socket) => socket.write("SSH-2.0-OpenSSH\r\n\r\n");
	const url = new URL("https://s3.example.com");
	const work = far.dialer({ url, proxy: server.url, ca: undefined, connectMs: 2000 }).dial();
	expect(await failureOf(work)).toMatchObject({ name: "ExchangeError", code: "EPROTO" });
});

test("a server that nobody reaches, and who does not wait for it", async () => {
	await server.stop();
	expect(await failureOf(dial())).toMatchObject({ code: "ECONNREFUSED" });
	expect(await failureOf(dial(AbortSignal.abort()))).toMatchObject({
		code: expect.stringMatching(/ABORTED|ECONNREFUSED/),
	});
	server = await startRawServer((socket) => answer(socket));
	connection = await dial();
});

describe("a body that lies in a file", () => {
	let directory: string;
	beforeEach(async () => {
		directory = await mkdtemp(join(tmpdir(), "far-"));
	});
	afterEach(async () => rm(directory, { recursive: true }));

	test("is sent from there, as much of it as is wanted", async () => {
		const content = noise(5 * MiB + 1);
		const path = join(directory, "body");
		await writeFile(path, Buffer.concat([content, Buffer.alloc(MiB)]));
		const received = http.createServer((request, response) => {
			void buffer(request).then((body) => response.end(createHash("md5").update(body).digest("hex")));
		});
		const url = new URL(`http://127.0.0.1:${await listen(received)}`);
		connection = await far.dialer({ url, proxy: undefined, ca: undefined, connectMs: 2000 }).dial();
		const body = { sizeBytes: content.length, open: () => openSync(path, "r"), read: () => expect.unreachable() };
		expect([far.takes({ body }), far.takes({ body: { ...body, sizeBytes: 1000 } })]).toEqual([true, false]);
		for (let round = 0; round < 3; round++) {
			const head = `PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: ${content.length}\r\n\r\n`;
			const { status, body: digest } = await ask({ head, body });
			expect([status, digest.toString()]).toEqual([200, createHash("md5").update(content).digest("hex")]);
		}
		expect(timesOpen(path)).toBe(0);
		received.close();
		received.closeAllConnections();
	});

	test("and whose disk hangs holds up nothing else", { timeout: 20_000 }, async () => {
		const mounted = await MountedMemory.mount();
		onTestFinished(() => mounted.clear());
		const path = join(mounted.path, "body");
		await writeFile(path, "content");
		const one = new FarConnections(await startThreads(1));
		const dialer = one.dialer({ url: server.url, proxy: undefined, ca: undefined, connectMs: 2000 });
		answer = (socket) => socket.write(`${headOf(4)}abcd`);
		const descriptor = openSync(path, "r");
		await mounted.hold("read");
		const body = { sizeBytes: 7, open: () => descriptor, read: () => expect.unreachable() };
		connection = await dialer.dial();
		const sent = ask({ head: "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\n\r\n", body });
		await expect.poll(async () => (await mounted.stats()).held, { timeout: 10_000 }).toBe(1);
		connection = await dialer.dial();
		expect(await ask({ into: shared(4) })).toMatchObject({ filledBytes: 4 });
		connection.close();
		await mounted.hold();
		expect(await sent).toMatchObject({ status: 200 });
	});

	test("and that cannot be read there ends with what its owner says of that", async () => {
		answer = () => undefined;
		const problem = new Error("the disk is broken");
		const read = (): never => {
			throw problem;
		};
		const head = "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
		const empty = { sizeBytes: 10, open: () => openSync("/dev/null", "r") };
		expect(await failureOf(ask({ head, body: { ...empty, read } }))).toBe(problem);
		expect(connection.isUsable).toBe(false);
		connection = await dial();
		// Or is there again.
		const body = { ...empty, read: () => [Buffer.alloc(10)] };
		expect(await failureOf(ask({ head, body }))).toMatchObject({ name: "ExchangeError", code: "UNREADABLE" });
	});
});
