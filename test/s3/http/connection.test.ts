import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import type { Answer, Connection, Exchange, ExchangeError } from "../../../src/s3/http/connection.ts";
import { startRawServer, type RawServer } from "../raw-server.ts";

let server: RawServer;
let connection: Connection;
let answer: (socket: Socket, head: string) => void;

beforeEach(async () => {
	server = await startRawServer((socket, head) => answer(socket, head));
	connection = await server.dial();
});

afterEach(async () => {
	connection.close();
	await server.stop();
});

const limits = { firstByteMs: 10_000, idleMs: 10_000, maximumBytes: 2 ** 20 };

async function ask(options: Partial<Exchange> = {}): Promise<Answer> {
	return connection.exchange({ head: "GET / HTTP/1.1\r\nhost: x\r\n\r\n", ...limits, ...options });
}

async function failureOf(work: Promise<unknown>): Promise<ExchangeError> {
	return work.then(
		() => {
			throw new Error("it did not fail");
		},
		(error: unknown) => error as ExchangeError,
	);
}

const numbers = "0123456789abcdefghij";
const withLength = `HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 20\r\n\r\n${numbers}`;
const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\n01234\r\nF\r\n56789abcdefghij\r\n0\r\nTrailer: x\r\n\r\n`;
const continued = `HTTP/1.1 100 Continue\r\n\r\n${withLength}`;

describe("understands an answer wherever its bytes are cut:", () => {
	test.each([
		["a length", withLength],
		["chunks", chunked],
		["a 100 before it", continued],
	])("%s", async (_, text) => {
		let cut = 0;
		answer = (socket) => {
			socket.write(text.slice(0, cut), "latin1");
			setTimeout(() => socket.write(text.slice(cut), "latin1"), 2);
		};
		for (cut = 1; cut < text.length; cut++) {
			expect((await ask()).body.toString()).toBe(numbers);
			const into = Buffer.alloc(20);
			const progress: number[] = [];
			const { filledBytes } = await ask({ into, onProgress: (bytes) => progress.push(bytes) });
			expect([filledBytes, into.toString(), progress.at(-1)]).toEqual([20, numbers, 20]);
		}
		expect([server.connections, connection.isUsable]).toEqual([1, true]);
	});

	test("one byte at a time", async () => {
		for (const text of [withLength, chunked]) {
			answer = (socket) => void dribble(socket, text);
			expect((await ask()).body.toString()).toBe(numbers);
		}
	});
});

async function dribble(socket: Socket, text: string): Promise<void> {
	for (const character of text) {
		socket.write(character, "latin1");
		await delay(1);
	}
}

describe("takes an answer for what it is:", () => {
	test.each([
		["without a body", "HTTP/1.1 204 No Content\r\n\r\n", 204],
		["of no bytes", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200],
	])("%s", async (_, text, status) => {
		answer = (socket) => socket.write(text);
		expect(await ask()).toMatchObject({ status, body: Buffer.alloc(0) });
		expect(connection.isUsable).toBe(true);
	});

	test("to HEAD", async () => {
		answer = (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n");
		expect((await ask({ isHead: true })).headers.get("content-length")).toBe("4000");
		expect((await ask({ isHead: true })).status).toBe(200);
	});

	test("that ends with its connection", async () => {
		answer = (socket) => socket.end("HTTP/1.1 503 Busy\r\n\r\nwait");
		expect((await ask()).body.toString()).toBe("wait");
		expect(connection.isUsable).toBe(false);
	});

	test("after which the server closes", async () => {
		answer = (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nConnection: Close\r\n\r\nx");
		expect((await ask()).body.toString()).toBe("x");
		expect(connection.isUsable).toBe(false);
	});

	test("of megabytes, with other requests before and after", async () => {
		const large = Buffer.alloc(9_000_000, "0123456789abcdefg");
		answer = (socket, head) => {
			const body = head.includes("/small") ? Buffer.from("small") : large;
			socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n`);
			socket.write(body);
		};
		for (let round = 0; round < 3; round++) {
			const small = await ask({ head: "GET /small HTTP/1.1\r\n\r\n" });
			const into = Buffer.alloc(large.length);
			await ask({ into });
			expect([small.body.toString(), into.equals(large)]).toEqual(["small", true]);
		}
	});
});

describe("ends the connection rather than to take one answer's bytes for another's:", () => {
	test("more bytes than announced", async () => {
		answer = (socket) => socket.write(`${withLength}HTTP/1.1 200 OK\r\n`);
		expect((await ask()).body.toString()).toBe(numbers);
		expect(connection.isUsable).toBe(false);
	});

	test("bytes that nobody asked for", async () => {
		answer = (socket) => {
			socket.write(withLength);
			setTimeout(() => socket.write(withLength), 20);
		};
		await ask();
		await expect.poll(() => connection.isUsable).toBe(false);
	});

	test("a body where none may be", async () => {
		answer = (socket) => socket.write(withLength);
		await ask({ isHead: true });
		expect(connection.isUsable).toBe(false);
	});

	test.each([
		["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"],
		["two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"],
		["a length and chunks", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
		["another encoding", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
		["a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"],
		["a folded header", "HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n"],
		["white space before the colon", "HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n"],
		["another protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
		["a chunk without a size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"],
		["a chunk longer than its size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"],
		["headers without end", `HTTP/1.1 200 OK\r\n${`x: ${"y".repeat(1000)}\r\n`.repeat(100)}`],
		["another length than the buffer's", "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n"],
		[
			"more chunks than the buffer takes",
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n15\r\n0123456789abcdefghijk",
		],
		["fewer chunks than the buffer takes", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n0\r\n0\r\n\r\n"],
	])("%s", async (_, text) => {
		answer = (socket) => socket.write(text);
		expect(await failureOf(ask({ into: Buffer.alloc(20) }))).toMatchObject({ code: "EPROTO", isStale: false });
		expect(connection.isUsable).toBe(false);
	});

	test("an answer that is not accepted", async () => {
		answer = (socket) => socket.write(withLength);
		const refusal = new Error("no");
		const accept = (): never => {
			throw refusal;
		};
		expect(await failureOf(ask({ accept }))).toBe(refusal);
		expect(connection.isUsable).toBe(false);
	});
});

describe("tells how it failed:", () => {
	test("a kept connection that the server closed is stale, a new one is not", async () => {
		answer = (socket) => socket.end();
		expect(await failureOf(ask())).toMatchObject({ code: "ECONNRESET", isStale: false });
		connection = await server.dial();
		let count = 0;
		answer = (socket) => (++count === 1 ? socket.write(withLength) : socket.resetAndDestroy());
		await ask();
		expect(await failureOf(ask())).toMatchObject({ code: "ECONNRESET", isStale: true });
	});

	test("nor is one that breaks off its answer", async () => {
		let count = 0;
		answer = (socket) => (++count === 1 ? socket.write(withLength) : socket.end("HTTP/1.1 200 OK\r\n"));
		await ask();
		expect(await failureOf(ask())).toMatchObject({ code: "ECONNRESET", isStale: false });
	});

	test("silence before and within the answer", async () => {
		answer = () => undefined;
		const before = performance.now();
		expect(await failureOf(ask({ firstByteMs: 100 }))).toMatchObject({ code: "ETIMEDOUT", isStale: false });
		expect(performance.now() - before).toBeLessThan(1000);
		connection = await server.dial();
		answer = (socket) => socket.write(withLength.slice(0, -5));
		expect(await failureOf(ask({ idleMs: 100 }))).toMatchObject({ code: "ETIMEDOUT" });
	});

	test("but a slow body is no silence", async () => {
		const pieces = 60;
		const bytes = pieces * 600;
		answer = (socket) => {
			socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes}\r\n\r\n`);
			repeat(socket, "x".repeat(600), pieces);
		};
		// It takes longer than that in all; in each half second 512 bytes, which come at once, are enough.
		const { filledBytes } = await ask({ idleMs: 500, into: Buffer.alloc(bytes) });
		expect(filledBytes).toBe(bytes);
	});

	test("nor is a process that was busy", async () => {
		answer = (socket) => socket.write(withLength);
		const work = ask({ firstByteMs: 50 });
		await delay(10);
		const until = performance.now() + 200;
		while (performance.now() < until);
		expect((await work).status).toBe(200);
	});

	test("an abort, after which nothing more comes into the buffer", async () => {
		answer = (socket) => {
			socket.write(withLength.slice(0, -5));
			setTimeout(() => socket.write(withLength.slice(-5)), 50);
		};
		const into = Buffer.alloc(20);
		const controller = new AbortController();
		const work = failureOf(ask({ into, signal: controller.signal }));
		await expect.poll(() => into[14]).not.toBe(0);
		controller.abort();
		expect(await work).toMatchObject({ code: "ABORTED" });
		expect(connection.isUsable).toBe(false);
		into.fill(0);
		await delay(100);
		expect(into.every((byte) => byte === 0)).toBe(true);
	});
});

/** Writes it again and again, every 10 ms at most. */
function repeat(socket: Socket, text: string, times = Number.POSITIVE_INFINITY): void {
	let count = 0;
	const timer = setInterval(() => {
		if (count++ === times || socket.destroyed) clearInterval(timer);
		else socket.write(text, "latin1");
	}, 10);
}

describe("does not wait for a server without end that sends", () => {
	const ok = "HTTP/1.1 200 OK\r\n";
	const chunks = `${ok}transfer-encoding: chunked\r\n\r\n`;
	const limits = { firstByteMs: 200, idleMs: 200 };
	test.each([
		["a byte of a header now and then", `${ok}x-long: `, "x"],
		["100 Continue", "", "HTTP/1.1 100 Continue\r\n\r\n"],
		["102 Processing", "", "HTTP/1.1 102 Processing\r\n\r\n"],
		["a byte of a body now and then", `${ok}content-length: 5000\r\n\r\n`, "x"],
		["a body that ends with the connection", `${ok}\r\n`, "x"],
		["small chunks", chunks, "1\r\nx\r\n"],
		["an extension of a chunk", `${chunks}1;`, "x"],
		["trailers", `${chunks}0\r\nx: `, "x"],
	])("%s", async (_, begin, again) => {
		answer = (socket) => {
			socket.write(begin, "latin1");
			repeat(socket, again);
		};
		const before = performance.now();
		expect(await failureOf(ask(limits))).toMatchObject({ code: "ETIMEDOUT", isStale: false });
		expect(performance.now() - before).toBeLessThan(2000);
		connection = await server.dial();
		// Since when nothing went forward.
		const { lastByteAt } = await failureOf(ask({ ...limits, into: Buffer.alloc(5000) }));
		expect(performance.now() - lastByteAt).toBeGreaterThan(150);
	});

	test("a long answer, fast, that is collected", async () => {
		answer = (socket) => {
			socket.write(chunks);
			repeat(socket, `400\r\n${"x".repeat(1024)}\r\n`);
		};
		const before = performance.now();
		expect(await failureOf(ask({ idleMs: 50 }))).toMatchObject({ code: "ETIMEDOUT" });
		expect(performance.now() - before).toBeGreaterThan(450);
		expect(performance.now() - before).toBeLessThan(2000);
	});

	test("100 Continue instead of reading what it is sent", async () => {
		answer = (socket) => {
			socket.pause();
			repeat(socket, "HTTP/1.1 100 Continue\r\n\r\n");
		};
		const body = { sizeBytes: 100_000_000, read: () => [Buffer.alloc(100_000_000)] };
		const head = `PUT / HTTP/1.1\r\nx-early: 1\r\ncontent-length: ${body.sizeBytes}\r\n\r\n`;
		expect(await failureOf(ask({ ...limits, head, body }))).toMatchObject({ code: "ETIMEDOUT" });
	});
});

describe("of a server that keeps its answer open with white space while it works", () => {
	const chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
	test("waits for the end", async () => {
		answer = (socket) => {
			socket.write(chunks);
			repeat(socket, "1\r\n \r\n", 50);
			setTimeout(() => socket.write("6\r\n<done>\r\n0\r\n\r\n"), 600);
		};
		expect((await ask({ idleMs: 200, keepAliveMs: 5000 })).body.toString().trim()).toBe("<done>");
	});

	test("though not for ever, and not in silence", async () => {
		let times = Number.POSITIVE_INFINITY;
		answer = (socket) => {
			socket.write(chunks);
			repeat(socket, "1\r\n \r\n", times);
		};
		const before = performance.now();
		expect(await failureOf(ask({ idleMs: 200, keepAliveMs: 500 }))).toMatchObject({ code: "ETIMEDOUT" });
		expect(performance.now() - before).toBeGreaterThan(450);
		times = 1;
		connection = await server.dial();
		const since = performance.now();
		expect(await failureOf(ask({ idleMs: 200, keepAliveMs: 60_000 }))).toMatchObject({ code: "ETIMEDOUT" });
		expect(performance.now() - since).toBeLessThan(2000);
	});
});

describe("sends a body:", () => {
	const post = (sizeBytes: number, more = ""): string =>
		`PUT / HTTP/1.1\r\n${more}content-length: ${sizeBytes}\r\n\r\n`;

	test("of pieces in one buffer that is filled again and again", async () => {
		const received: string[] = [];
		answer = (socket, head) => {
			received.push(head);
			socket.write(withLength);
		};
		const piece = Buffer.alloc(600_000);
		const sizeBytes = piece.length * 8;
		let isClosed = false;
		async function* read(): AsyncGenerator<Buffer> {
			try {
				for (let index = 0; index < 8; index++) {
					piece.fill(index + 65);
					yield piece;
					piece.fill(0);
				}
			} finally {
				isClosed = true;
			}
		}
		// The raw server counts; what arrives is compared with a real server elsewhere.
		expect((await ask({ head: post(sizeBytes), body: { sizeBytes, read } })).body.toString()).toBe(numbers);
		expect(received[0]).toContain(`\n${sizeBytes}`);
		expect([isClosed, connection.isUsable]).toEqual([true, true]);
	});

	test("of no bytes", async () => {
		answer = (socket) => socket.write(withLength);
		const body = { sizeBytes: 0, read: () => [] };
		expect((await ask({ head: post(0), body })).status).toBe(200);
	});

	test("and stops when an answer comes first", async () => {
		answer = (socket) => socket.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
		let pieces = 0;
		let isClosed = false;
		async function* read(): AsyncGenerator<Buffer> {
			try {
				for (; ; pieces++) {
					yield Buffer.alloc(1000);
					await delay(5);
				}
			} finally {
				isClosed = true;
			}
		}
		const refused = await ask({ head: post(10_000_000, "x-early: 1\r\n"), body: { sizeBytes: 10_000_000, read } });
		expect([refused.status, refused.body.toString()]).toEqual([403, "no"]);
		expect([isClosed, connection.isUsable]).toEqual([true, false]);
		expect(pieces).toBeLessThan(100);
	});

	test("and waits for 100-continue if it is told to", async () => {
		const heads: string[] = [];
		answer = (socket, head) => {
			heads.push(head);
			if (heads.length === 1) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
			// The body has no empty line that would look like another head.
			setTimeout(() => socket.write(withLength), 50);
		};
		const body = { sizeBytes: 3, read: () => [Buffer.from("abc")] };
		const head = post(3, "x-early: 1\r\nexpect: 100-continue\r\n");
		expect((await ask({ head, body, expectsContinue: true })).status).toBe(200);
	});

	test("and not at all if the answer to that is no", async () => {
		answer = (socket) => socket.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
		let wasRead = false;
		const body = {
			sizeBytes: 3,
			read: () => {
				wasRead = true;
				return [Buffer.from("abc")];
			},
		};
		const refused = await ask({ head: post(3, "x-early: 1\r\n"), body, expectsContinue: true });
		expect([refused.status, wasRead, connection.isUsable]).toEqual([403, false, false]);
	});

	test("whose failure is told as it is", async () => {
		answer = (socket) => socket.write(withLength);
		const failure = new Error("the disk is gone");
		function* read(): Generator<Buffer> {
			yield Buffer.alloc(10);
			throw failure;
		}
		expect(await failureOf(ask({ head: post(20), body: { sizeBytes: 20, read } }))).toBe(failure);
		expect(connection.isUsable).toBe(false);
	});

	test.each([
		["longer", 30],
		["shorter", 10],
	])("but never one that is %s than announced", async (_, sizeBytes) => {
		answer = (socket) => socket.write(withLength);
		const body = { sizeBytes: 20, read: () => [Buffer.alloc(sizeBytes)] };
		expect((await failureOf(ask({ head: post(20), body }))).message).toContain("than was announced");
		expect(connection.isUsable).toBe(false);
	});

	test("no faster than it is read, and not for ever", async () => {
		answer = (socket) => socket.pause();
		let pieces = 0;
		const body = {
			sizeBytes: 100_000_000,
			*read() {
				for (const piece = Buffer.alloc(1_000_000); pieces < 100; pieces++) yield piece;
			},
		};
		expect(await failureOf(ask({ head: post(100_000_000, "x-early: 1\r\n"), body, idleMs: 200 }))).toMatchObject({
			code: "ETIMEDOUT",
		});
		expect(pieces).toBeLessThan(50);
	});
});
