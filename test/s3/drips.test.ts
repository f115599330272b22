import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ObjectStore } from "../../src/s3/object-store.ts";
import { failureOf, MiB } from "./bucket.ts";
import { operationNames, operationsOf, type OperationName } from "./operations.ts";
import { startRawServer, type RawServer } from "./raw-server.ts";
import { createTestStore } from "../support/threads.ts";

/** Servers that neither answer nor are silent. */
let server: RawServer;
let store: ObjectStore;
let answer: (socket: Socket, head: string) => void;

beforeEach(async () => {
	server = await startRawServer((socket, head) => answer(socket, head));
	store = createTestStore({
		endpoint: server.url,
		region: "us-east-1",
		bucket: "bucket",
		pathStyle: true,
		credentials: { accessKeyId: "key", secretAccessKey: "secret" },
		timeouts: { connectMs: 1000, firstByteMs: 200, idleMs: 200 },
		retryForMs: 600,
	});
});

afterEach(async () => {
	store.close();
	await server.stop();
});

function drip(socket: Socket, begin: string, again: string): void {
	socket.write(begin, "latin1");
	const timer = setInterval(() => {
		if (socket.destroyed) clearInterval(timer);
		else socket.write(again, "latin1");
	}, 20);
}

const drips: Readonly<Record<string, readonly [string, string]>> = {
	"headers without end": ["HTTP/1.1 200 OK\r\nx: ", "x"],
	"100 Continue": ["", "HTTP/1.1 100 Continue\r\n\r\n"],
	"a body without end": ['HTTP/1.1 200 OK\r\netag: "x"\r\ntransfer-encoding: chunked\r\n\r\n', "1\r\n \r\n"],
};

describe.each(Object.keys(drips))("%s of a server that drips ends", (name) => {
	// The answer to HEAD has no body. What a server works on may take as long as it says that it does.
	const works = new Set<OperationName>(["copy", "copyPart", "completeMultipart"]);
	const those =
		name === "a body without end"
			? (operation: OperationName) => operation !== "head" && !works.has(operation)
			: () => true;
	test.each(operationNames.filter(those))("%s", async (operation) => {
		const [begin, again] = drips[name] ?? ["", ""];
		answer = (socket, head) => {
			const [, range] = /range: bytes=(\S+)/.exec(head) ?? [];
			const partial = `206 OK\r\ncontent-range: bytes ${range}/${2 * MiB}`;
			drip(socket, range === undefined ? begin : begin.replace("200 OK", partial), again);
		};
		const before = performance.now();
		expect(await failureOf(operationsOf(store)[operation]())).toMatchObject({ kind: "UNAVAILABLE" });
		// Tries for so long, and a last one; where the server has work to do its answer may take four times as long.
		expect(performance.now() - before).toBeLessThan(600 + 4 * 200 + 1500);
	});
});

test("a server that keeps the answer to a copy open with white space is waited for", async () => {
	answer = (socket) => {
		drip(socket, "HTTP/1.1 200 OK\r\n\r\n<?xml version='1.0'?>\n", " ");
		setTimeout(() => socket.end('<CopyObjectResult><ETag>"y"</ETag></CopyObjectResult>'), 1500);
	};
	expect(await store.copy("a", "b", { etag: "x", sizeBytes: 1, properties: { headers: {} } })).toMatchObject({
		etag: "y",
	});
	expect(server.connections).toBe(1);
});

test("though not for ever, nor again", async () => {
	answer = (socket) => drip(socket, "HTTP/1.1 200 OK\r\n\r\n<?xml version='1.0'?>\n", " ");
	const before = performance.now();
	expect(await failureOf(store.copy("a", "b", { etag: "x", sizeBytes: 1, properties: { headers: {} } }))).toMatchObject(
		{ kind: "UNAVAILABLE" },
	);
	// Twenty times the limit of silence.
	expect(performance.now() - before).toBeGreaterThan(3900);
	expect(performance.now() - before).toBeLessThan(8000);
	expect(server.connections).toBe(1);
});

describe("a listing ends when its pages", () => {
	const list = (content: string): string => {
		const body = `<ListBucketResult>${content}</ListBucketResult>`;
		return `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
	};
	const more = (token: number | string): string =>
		`<IsTruncated>true</IsTruncated><NextContinuationToken>${token}</NextContinuationToken>`;
	const name = "<Contents><Key>a</Key><Size>1</Size></Contents>";

	test("are empty without end", async () => {
		let pages = 0;
		answer = (socket) => socket.write(list(more(++pages)));
		expect(await failureOf(store.list({ prefix: "" }))).toMatchObject({ kind: "UNAVAILABLE" });
		expect(pages).toBeLessThan(2000);
	});

	test.each([
		["empty", ""],
		["not empty", name],
	])("are always the same, and %s", async (_, content) => {
		answer = (socket) => socket.write(list(content + more("same")));
		expect(await failureOf(store.list({ prefix: "", continuationToken: "same" }))).toMatchObject({
			kind: "UNAVAILABLE",
		});
	});

	test("but goes on after some that are empty", async () => {
		const asked: string[] = [];
		answer = (socket, head) => {
			asked.push(/(continuation-token|start-after)=\w+/.exec(head)?.[0] ?? "");
			socket.write(list(asked.length < 5 ? more(asked.length) : name + more("last")));
		};
		const page = await store.list({ prefix: "", startAfter: "x", metadata: false });
		expect(page).toMatchObject({ objects: [{ key: "a" }], nextToken: "last" });
		expect(asked).toEqual(["start-after=x", ...[1, 2, 3, 4].map((token) => `continuation-token=${token}`)]);
	});
});
