import type { Socket } from "node:net";
import { memoryUsage } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ObjectStore } from "../../src/s3/object-store.ts";
import { failureOf, MiB } from "./bucket.ts";
import { operationNames, operationsOf, type OperationName } from "./operations.ts";
import { startRawServer, type RawServer } from "./raw-server.ts";
import { createTestStore } from "../support/threads.ts";

/** Servers that say more than there is to be said. */
let server: RawServer;
let store: ObjectStore;
let answer: (socket: Socket, head: string) => void;
let sentBytes = 0;

beforeEach(async () => {
	sentBytes = 0;
	server = await startRawServer((socket, head) => answer(socket, head));
	store = createTestStore({
		endpoint: server.url,
		region: "us-east-1",
		bucket: "bucket",
		pathStyle: true,
		credentials: { accessKeyId: "key", secretAccessKey: "secret" },
		timeouts: { connectMs: 10_000, firstByteMs: 10_000, idleMs: 10_000 },
		retryForMs: 20_000,
	});
});

afterEach(async () => {
	store.close();
	await server.stop();
});

const piece = Buffer.alloc(256 * 1024, "<Contents><Key>a</Key><Size>1</Size></Contents>");

/** Sends without end, as fast as it is taken. */
function flood(socket: Socket, head: string, wrap: (bytes: Buffer) => Buffer = (bytes) => bytes): void {
	const wrapped = wrap(piece);
	socket.write(head, "latin1");
	const send = (): void => {
		while (!socket.destroyed) {
			sentBytes += piece.length;
			if (!socket.write(wrapped)) return;
		}
	};
	socket.on("drain", send);
	send();
}

const inChunks = (bytes: Buffer): Buffer =>
	Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]);

/** Of the whole process, the server and its sockets too. */
async function mostMemoryDuring(work: () => Promise<unknown>): Promise<number> {
	const usedBytes = (): number => memoryUsage().heapUsed + memoryUsage().arrayBuffers;
	const before = usedBytes();
	let most = before;
	const timer = setInterval(() => {
		most = Math.max(most, usedBytes());
	}, 5);
	await work();
	clearInterval(timer);
	return most - before;
}

/** The answer to HEAD has no body, and the object's bytes have their buffer. */
const collects = (operation: OperationName): boolean => operation !== "head" && operation !== "get";

const bodies: Readonly<Record<string, (socket: Socket) => void>> = {
	"in chunks": (socket) => flood(socket, "HTTP/1.1 200 OK\r\netag: x\r\ntransfer-encoding: chunked\r\n\r\n", inChunks),
	"until the connection ends": (socket) => flood(socket, "HTTP/1.1 200 OK\r\netag: x\r\n\r\n"),
	"of terabytes": (socket) => flood(socket, "HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 9000000000000\r\n\r\n"),
};

describe.each(Object.keys(bodies))("an answer %s is not collected:", (name) => {
	test.each(operationNames.filter(collects))("%s", async (operation) => {
		answer = (socket) => bodies[name]?.(socket);
		const error = await failureOf(operationsOf(store)[operation]());
		const limit = operation === "list" || operation === "deleteMany" ? "16 MiB" : "1 MiB";
		expect(error).toMatchObject({ kind: "UNAVAILABLE", code: "EMSGSIZE" });
		expect(error.message).toContain(`the answer has more than ${limit}`);
		// A server that does not know better is not asked for the whole time of retries.
		expect(server.connections).toBeLessThanOrEqual(3);
	});
});

test("many lists without end at once take no more than there is room for", { timeout: 120_000 }, async () => {
	answer = (socket) => bodies["in chunks"]?.(socket);
	const most = await mostMemoryDuring(async () => {
		const lists = Array.from({ length: 16 }, async (_, index) => failureOf(store.list({ prefix: `${index}/` })));
		for (const error of await Promise.all(lists)) expect(error).toMatchObject({ kind: "UNAVAILABLE" });
	});
	// Of each a MiB, and 32 beside that, twice as much while it grows.
	expect(most / MiB).toBeLessThan(120);
	expect(sentBytes / MiB).toBeGreaterThan(200);
});

describe.each([403, 503, 301])("of an error %s the start says what it is", (status) => {
	const error = "<Error><Code>SomeCode</Code><Message>what is wrong</Message></Error>";
	test.each([
		["in chunks", "transfer-encoding: chunked", inChunks],
		["until the connection ends", "x: y", (bytes: Buffer) => bytes],
		["of terabytes", "content-length: 9000000000000", (bytes: Buffer) => bytes],
	] as const)("%s", async (_, header, wrap) => {
		store.close();
		store = createTestStore({
			endpoint: server.url,
			region: "us-east-1",
			bucket: "bucket",
			pathStyle: true,
			credentials: { accessKeyId: "key", secretAccessKey: "secret" },
			retryForMs: 0,
		});
		answer = (socket) => {
			const head = `HTTP/1.1 ${status} No\r\n${header}\r\n\r\n${wrap(Buffer.from(error)).toString()}`;
			flood(socket, head, wrap);
		};
		const failure = await failureOf(store.list({ prefix: "" }));
		expect(failure).toMatchObject({ status, code: "SomeCode" });
		expect(failure.message).toContain("what is wrong");
		expect(sentBytes / MiB).toBeLessThan(30);
	});
});
