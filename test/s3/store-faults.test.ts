import type { IncomingMessage } from "node:http";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { GetObjectTaggingCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { LauncherError } from "../../src/errors.ts";
import type { Ability } from "../../src/s3/abilities.ts";
import type { ObjectStore, ObjectStoreOptions, StoreEvent } from "../../src/s3/object-store.ts";
import { ServerKnowledge } from "../../src/s3/server-knowledge.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { listen } from "../support/listen.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { bodyOf, failureOf, MiB, noise, storeOn } from "./bucket.ts";

let minio: Minio;
let proxy: FaultProxy;
let stores: ObjectStore[] = [];
let events: StoreEvent[] = [];

/** Of which the first version is read. */
const content = noise(4 * MiB);
let etag: string;

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	await minio.createBucket("bucket");
	const store = storeOn(minio);
	({ etag } = await store.put("object", bodyOf(content)));
	store.close();
}, 60_000);

beforeEach(() => {
	events = [];
});

afterEach(async () => {
	for (const store of stores) store.close();
	stores = [];
	proxy.shiftDate(0);
	await proxy.mode("pass");
});

afterAll(async () => {
	await proxy?.stop();
	await minio?.stop();
}, 30_000);

function open(options: Partial<ObjectStoreOptions> = {}): ObjectStore {
	const store = storeOn(minio, {
		endpoint: new URL(proxy.endpoint),
		timeouts: { connectMs: 1000, firstByteMs: 500, idleMs: 500 },
		retryForMs: 10_000,
		onEvent: (event) => events.push(event),
		...options,
	});
	stores.push(store);
	return store;
}

async function get(store: ObjectStore, offset = 0, lengthBytes = content.length): Promise<Buffer> {
	const into = Buffer.alloc(lengthBytes);
	await store.get("object", { offset, into, etag, objectSizeBytes: content.length });
	return into;
}

function retries(): StoreEvent[] {
	return events.filter(({ kind }) => kind === "retry");
}

const isGet = ({ method }: IncomingMessage): boolean => method === "GET";
const isPut = ({ method }: IncomingMessage): boolean => method === "PUT";
const isPost = ({ method, url = "" }: IncomingMessage): boolean => method === "POST" && url.includes("uploadId=");

const errorXml = (code: string, more = ""): string =>
	`<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>Because.</Message>${more}</Error>`;

describe("a read goes on after", () => {
	test.each([
		["a reset in the middle", "reset-after"],
		["an end in the middle", "end-after"],
		["silence in the middle", "hang-after"],
	] as const)("%s, where it stopped", async (_, kind) => {
		const store = open();
		await proxy.fail({ kind, bytes: MiB + 5 }, { only: isGet, times: 2 });
		expect((await get(store)).equals(content)).toBe(true);
		expect(proxy.failed).toBe(2);
		const received = events.map((event) => (event.kind === "request" ? event.receivedBytes : 0));
		// The last one brought no more than what was missing.
		expect(received.at(-1)).toBeLessThan(3 * MiB);
	});

	test("a connection that is reset in place of each answer, for a while", async () => {
		const store = open();
		await get(store, 0, 10);
		await proxy.mode("reset");
		const work = get(store, 1, MiB);
		await delay(500);
		await proxy.mode("pass");
		expect((await work).equals(content.subarray(1, 1 + MiB))).toBe(true);
	});

	test("a server that comes back", async () => {
		const store = open();
		await proxy.mode("refuse");
		const work = Promise.all([
			get(store),
			get(store, 5, 100),
			store.list({ prefix: "" }),
			store.put("back", bodyOf("x")),
		]);
		await delay(1000);
		await proxy.mode("pass");
		expect((await work)[0].equals(content)).toBe(true);
	});

	test("a server that hangs", async () => {
		const store = open();
		await proxy.mode("hang");
		const work = get(store, 0, 100);
		await delay(700);
		await proxy.mode("pass");
		expect((await work).equals(content.subarray(0, 100))).toBe(true);
		expect(retries()[0]).toMatchObject({ reason: "UNAVAILABLE" });
	});

	test("a web page in place of the object", async () => {
		const store = open();
		await proxy.mode("html");
		const works = [
			get(store, 0, 100),
			store.head("object"),
			store.list({ prefix: "" }),
			store.put("page", bodyOf("x")),
		];
		const done = Promise.allSettled(works);
		await delay(300);
		await proxy.mode("pass");
		const outcomes = await done;
		// What a proxy sends for too long is an answer that does not help; but nobody takes it for the object's.
		expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled", "fulfilled"]);
		expect((await minio.get("bucket", "page")).toString()).toBe("x");
	});

	test("a connection that the server has closed while it was idle, without counting it", async () => {
		const store = open({ retryForMs: 0 });
		for (let round = 0; round < 3; round++) {
			await Promise.all(Array.from({ length: 5 }, async (_, index) => get(store, index, 100)));
			// Closes what is idle, and listens again.
			await proxy.mode("refuse");
			await proxy.mode("pass");
		}
		expect(retries()).toEqual([]);
	});
});

describe("a read never gives wrong bytes:", () => {
	test("a corrupted object is read again", async () => {
		const store = open();
		await proxy.fail({ kind: "corrupt-answer", byte: 2 * MiB }, { only: isGet, times: 1 });
		expect((await get(store)).equals(content)).toBe(true);
		expect(proxy.failed).toBe(1);
	});

	test("and is CHECKSUM_WRONG if it stays like that", async () => {
		const store = open();
		await proxy.fail({ kind: "corrupt-answer", byte: 2 * MiB }, { only: isGet });
		const progress: number[] = [];
		const work = store.get("object", {
			offset: 0,
			into: Buffer.alloc(content.length),
			etag,
			objectSizeBytes: content.length,
			onProgress: (bytes) => progress.push(bytes),
		});
		expect(await failureOf(work)).toMatchObject({ kind: "CHECKSUM_WRONG" });
		expect([proxy.failed, progress]).toEqual([2, []]);
	});

	const algorithms = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
	test.each(algorithms)("nor when the object's checksum is a %s", async (algorithm) => {
		const [key, body] = [`with-${algorithm}`, noise(300_001)];
		const { ETag: quoted = "" } = await minio.client.send(
			new PutObjectCommand({ Bucket: "bucket", Key: key, Body: body, ChecksumAlgorithm: algorithm }),
		);
		const store = open();
		const read = async (): Promise<Buffer> => {
			const into = Buffer.alloc(body.length);
			await store.get(key, {
				offset: 0,
				into,
				etag: quoted.replaceAll('"', ""),
				objectSizeBytes: body.length,
			});
			return into;
		};
		expect((await read()).equals(body)).toBe(true);
		await proxy.fail({ kind: "corrupt-answer", byte: 300_000 }, { only: isGet, times: 1 });
		expect((await read()).equals(body)).toBe(true);
		expect(proxy.failed).toBe(1);
		await proxy.fail({ kind: "corrupt-answer", byte: 0 }, { only: isGet });
		expect(await failureOf(read())).toMatchObject({ kind: "CHECKSUM_WRONG" });
	});

	test("also when it was read in pieces", async () => {
		const store = open();
		let count = 0;
		await proxy.fail({ kind: "reset-after", bytes: MiB }, { only: () => count++ === 0 });
		expect((await get(store)).equals(content)).toBe(true);
	});

	test("a range that is ignored", async () => {
		const store = open();
		const headers = { etag: `"${etag}"`, "content-length": String(content.length) };
		const body = content.toString("latin1").slice(0, content.length);
		await proxy.fail({ kind: "answer", status: 200, headers, body });
		expect(await failureOf(get(store, 100, 50))).toMatchObject({ kind: "UNSUPPORTED" });
		expect(proxy.failed).toBe(3);
	});

	test.each([
		["another range", { "content-range": "bytes 101-150/4194304" }],
		["no range", { "content-range": undefined }],
	])("%s", async (_, headers) => {
		const store = open();
		await proxy.fail({ kind: "headers", headers });
		expect(await failureOf(get(store, 100, 50))).toMatchObject({ kind: "UNSUPPORTED" });
	});

	test.each([
		["says that something is not implemented", 501, errorXml("NotImplemented")],
		[
			"names it",
			400,
			errorXml("InvalidArgument", "<ArgumentName>If-Match</ArgumentName>").replace("Because", "If-Match"),
		],
	])("from a server that refuses If-Match and %s, and is asked without it from then on", async (_, status, body) => {
		const store = open();
		const only = ({ headers }: IncomingMessage): boolean => "if-match" in headers;
		await proxy.fail({ kind: "answer", status, body }, { only });
		expect((await get(store)).equals(content)).toBe(true);
		expect((await get(store, 5, 10)).equals(content.subarray(5, 15))).toBe(true);
		expect(proxy.failed).toBe(1);
		const { etag: other } = await store.put("replaced", bodyOf("other"));
		await store.put("replaced", bodyOf("newer"));
		const old = store.get("replaced", { offset: 1, into: Buffer.alloc(2), etag: other, objectSizeBytes: 5 });
		expect(await failureOf(old)).toMatchObject({ kind: "OBJECT_REPLACED" });
		// What cannot be read either way is told as it was refused.
		await proxy.fail({ kind: "answer", status: 501, body: errorXml("NotImplemented") }, { only: isGet });
		expect(await failureOf(get(open()))).toMatchObject({ kind: "UNSUPPORTED", code: "NotImplemented" });
	});

	test("another version, from a server that does not know If-Match", async () => {
		const store = open();
		await proxy.fail({ kind: "headers", headers: { etag: '"0123456789abcdef0123456789abcdef"' } });
		const progress: number[] = [];
		const into = Buffer.alloc(50);
		const work = store.get("object", {
			offset: 100,
			into,
			etag,
			objectSizeBytes: content.length,
			onProgress: (bytes) => progress.push(bytes),
		});
		expect(await failureOf(work)).toMatchObject({ kind: "OBJECT_REPLACED" });
		expect([progress, into.every((byte) => byte === 0)]).toEqual([[], true]);
	});

	test("a mixture of two versions", async () => {
		const store = open();
		const direct = storeOn(minio);
		stores.push(direct);
		const first = await direct.put("replaced", bodyOf(content));
		await proxy.fail({ kind: "reset-after", bytes: MiB }, { only: isGet, times: 1 });
		const into = Buffer.alloc(content.length);
		const work = store.get("replaced", { offset: 0, into, etag: first.etag, objectSizeBytes: content.length });
		await expect.poll(() => proxy.failed).toBe(1);
		await direct.put("replaced", bodyOf("other"));
		expect(await failureOf(work)).toMatchObject({ kind: "OBJECT_REPLACED" });
	});
});

describe("too much for the server:", () => {
	test("a storm of 503 passes, and is not made worse", async () => {
		const store = open({ retryForMs: 30_000 });
		const answer = { kind: "answer", status: 503, body: errorXml("SlowDown") } as const;
		await proxy.fail(answer, { probability: 0.5 });
		const before = proxy.requests;
		const reads = Array.from({ length: 100 }, async (_, index) => {
			const bytes = await get(store, index, 1000);
			expect(bytes.equals(content.subarray(index, index + 1000))).toBe(true);
		});
		await Promise.all(reads);
		expect(retries().length).toBeGreaterThan(20);
		expect(proxy.requests - before).toBeLessThan(400);
		expect(retries().every((event) => event.kind === "retry" && event.reason === "THROTTLED")).toBe(true);
	}, 60_000);

	test("THROTTLED when it does not end", async () => {
		const store = open({ retryForMs: 1500 });
		await proxy.mode("error-503");
		const before = performance.now();
		expect(await failureOf(get(store, 0, 10))).toMatchObject({ kind: "THROTTLED", status: 503, code: "SlowDown" });
		const tookMs = performance.now() - before;
		expect(tookMs).toBeGreaterThan(1400);
		expect(tookMs).toBeLessThan(4000);
	});

	test("as long as it says", async () => {
		const store = open();
		const answer = { kind: "answer", status: 503, headers: { "retry-after": "2" } } as const;
		await proxy.fail(answer, { times: 1 });
		const before = performance.now();
		await get(store, 0, 10);
		expect(performance.now() - before).toBeGreaterThan(1900);
	});

	test.each([
		[500, "InternalError", "UNAVAILABLE"],
		[502, "", "UNAVAILABLE"],
		[504, "", "UNAVAILABLE"],
		[429, "TooManyRequests", "THROTTLED"],
		[400, "RequestTimeout", "UNAVAILABLE"],
		[409, "OperationAborted", "UNAVAILABLE"],
		[307, "TemporaryRedirect", "UNAVAILABLE"],
	] as const)("%i %s is tried again", async (status, code, reason) => {
		const store = open();
		await proxy.fail({ kind: "answer", status, body: code === "" ? "" : errorXml(code) }, { times: 2 });
		await get(store, 0, 10);
		expect(retries()).toMatchObject([{ reason }, { reason }]);
	});
});

describe("who wants to know is told", () => {
	const failures = (): StoreEvent[] => events.filter(({ kind }) => kind === "failure");

	test("what was refused for good, once, with its key and the server's words, and not what is usual", async () => {
		const store = open();
		await failureOf(store.head("missing"));
		await failureOf(store.copy("object", "copy", { etag: "other" }));
		expect(failures()).toEqual([]);
		await proxy.fail({ kind: "answer", status: 403, body: errorXml("InvalidObjectState") }, { only: isGet });
		await failureOf(get(store));
		await failureOf(store.list({ prefix: "a/" }));
		expect(failures()).toMatchObject([
			{ operation: "GetObject", key: "object", error: { kind: "DENIED", code: "InvalidObjectState" } },
			{ operation: "ListObjectsV2", key: "a/", error: { message: expect.stringContaining("Because.") } },
		]);
		await proxy.fail({ kind: "answer", status: 403 }, { only: ({ method }) => method === "HEAD" || method === "GET" });
		await failureOf(store.head("hidden", { mayBeHidden: true }));
		expect(failures()).toHaveLength(2);
		await failureOf(store.head("hidden"));
		expect(failures()).toHaveLength(3);
	});

	test("which keys of many could not be deleted", async () => {
		const store = open();
		const error = "<Error><Key>b</Key><Code>AccessDenied</Code><Message>Because.</Message></Error>";
		await proxy.fail({ kind: "answer", status: 200, body: `<DeleteResult>${error}</DeleteResult>` });
		await store.deleteMany(["a", "b"]);
		expect(failures()).toMatchObject([{ operation: "DeleteObjects", key: "b", error: { code: "AccessDenied" } }]);
	});

	test("what failed for too long", async () => {
		const store = open({ retryForMs: 100 });
		await proxy.mode("reset");
		await failureOf(store.put("a", bodyOf("x")));
		expect(failures()).toMatchObject([{ operation: "PutObject", key: "a", error: { kind: "UNAVAILABLE" } }]);
	});

	test("once what a server is used without, and that is no failure", async () => {
		const conceded: Ability[] = [];
		const store = open({ knowledge: new ServerKnowledge(({ ability }) => conceded.push(ability)) });
		const only = ({ headers }: IncomingMessage): boolean => "if-match" in headers;
		await proxy.fail({ kind: "answer", status: 501, body: errorXml("NotImplemented") }, { only });
		await get(store);
		await get(store);
		expect(conceded).toEqual(["conditional-reads"]);
		expect(failures()).toEqual([]);
	});
});

describe("what cannot pass is told at once:", () => {
	test.each([
		[403, "AccessDenied", "DENIED"],
		[403, "QuotaExceeded", "NO_SPACE"],
		[507, "XMinioStorageFull", "NO_SPACE"],
		[507, "", "NO_SPACE"],
		[400, "XMinioAdminBucketQuotaExceeded", "NO_SPACE"],
		[400, "EntityTooLarge", "REFUSED"],
		[400, "KeyTooLongError", "NAME_TOO_LONG"],
		[403, "InvalidObjectState", "DENIED"],
		[400, "XMinioInvalidObjectName", "NAME_TOO_LONG"],
		[404, "NoSuchBucket", "NO_BUCKET"],
		[405, "MethodNotAllowed", "UNSUPPORTED"],
		[301, "PermanentRedirect", "NO_BUCKET"],
		[301, "", "NO_BUCKET"],
		[302, "", "NO_BUCKET"],
	] as const)("%i %s is %s", async (status, code, kind) => {
		const store = open();
		await proxy.fail({ kind: "answer", status, body: code === "" ? "" : errorXml(code) });
		const error = await failureOf(store.put("told", bodyOf("x")));
		expect(error).toMatchObject({ kind, status, code: code === "" ? undefined : code });
		expect(retries()).toEqual([]);
	});

	test("UNAVAILABLE after its time", async () => {
		const store = open({ retryForMs: 1000 });
		await proxy.mode("refuse");
		const before = performance.now();
		expect(await failureOf(get(store, 0, 10))).toMatchObject({ kind: "UNAVAILABLE", code: "ECONNREFUSED", status: 0 });
		expect(performance.now() - before).toBeLessThan(3000);
	});

	test("ABORTED while it waits", async () => {
		const store = open();
		await proxy.mode("refuse");
		const controller = new AbortController();
		const work = failureOf(store.head("object", { signal: controller.signal }));
		await delay(300);
		const before = performance.now();
		controller.abort();
		expect(await work).toMatchObject({ kind: "ABORTED" });
		expect(performance.now() - before).toBeLessThan(100);
	});
});

describe("an upload", () => {
	test("that is cut is sent again, whole", async () => {
		const store = open();
		await proxy.mode("reset");
		const work = store.put("cut", bodyOf(content));
		await delay(300);
		await proxy.mode("pass");
		await work;
		expect((await minio.get("bucket", "cut")).equals(content)).toBe(true);
	});

	test("that arrived with other bytes is sent again", async () => {
		const store = open();
		await proxy.fail({ kind: "corrupt-request", byte: MiB }, { only: isPut, times: 1 });
		await store.put("corrupted", bodyOf(content));
		expect((await minio.get("bucket", "corrupted")).equals(content)).toBe(true);
		const id = await store.createMultipart("corrupted parts", {});
		await proxy.fail({ kind: "corrupt-request", byte: MiB }, { only: isPut, times: 1 });
		const part = await store.uploadPart("corrupted parts", id, 1, bodyOf(content));
		expect(proxy.failed).toBe(1);
		await store.completeMultipart("corrupted parts", id, [part]);
		expect((await minio.get("bucket", "corrupted parts")).equals(content)).toBe(true);
	});

	test("whose error comes before its end is not sent to the end", async () => {
		const store = open();
		await proxy.fail({ kind: "answer", status: 403, body: errorXml("AccessDenied"), close: true });
		const large = noise(32 * MiB);
		expect(await failureOf(store.put("early", bodyOf(large, 1)))).toMatchObject({ kind: "DENIED" });
		await proxy.mode("pass");
		expect((await store.head("object")).etag).toBe(etag);
	});

	test("whose refusal was lost with the connection is asked for before it is sent again", async () => {
		// As a server does that closes without reading the body: the answer goes with what was not read.
		const server = createServer((socket) => {
			socket.on("error", () => undefined);
			socket.once("data", (head: Buffer) => {
				const body = errorXml("NoSuchUpload");
				if (!/expect: 100-continue/i.test(head.toString("latin1"))) socket.resetAndDestroy();
				else socket.end(`HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
			});
		});
		const port = await listen(server);
		try {
			const store = open({ endpoint: new URL(`http://127.0.0.1:${port}`) });
			const work = store.uploadPart("object", "gone", 1, bodyOf("small"));
			expect(await failureOf(work)).toMatchObject({ kind: "NOT_FOUND", code: "NoSuchUpload" });
			expect(events.filter(({ kind }) => kind === "retry")).toHaveLength(1);
		} finally {
			server.close();
		}
	});

	test("of what must be absent is not mistaken for another's when its answer is lost", async () => {
		const store = open();
		await proxy.fail({ kind: "lose-answer" }, { only: isPut, times: 1 });
		await store.put("lost", bodyOf("mine"), { onlyIfAbsent: true, metadata: { mode: "1" } });
		expect(proxy.failed).toBe(1);
		await proxy.fail({ kind: "lose-answer" }, { only: isPut, times: 1 });
		const other = store.put("lost", bodyOf("other"), { onlyIfAbsent: true, metadata: { mode: "1" } });
		expect(await failureOf(other)).toMatchObject({ kind: "EXISTS" });
	});

	test("in parts is complete although the answer is lost", async () => {
		const store = open();
		const id = await store.createMultipart("lost parts", {});
		const part = await store.uploadPart("lost parts", id, 1, bodyOf("part"));
		await proxy.fail({ kind: "lose-answer" }, { only: isPost, times: 1 });
		const { etag: completed } = await store.completeMultipart("lost parts", id, [part]);
		expect(proxy.failed).toBe(1);
		expect(completed).toBe((await store.head("lost parts")).etag);
		// Of another upload, that is not so.
		const other = await store.createMultipart("lost parts", {});
		const otherPart = await store.uploadPart("lost parts", other, 1, bodyOf("other"));
		await store.abortMultipart("lost parts", other);
		await proxy.fail({ kind: "lose-answer" }, { only: isPost, times: 1 });
		expect(await failureOf(store.completeMultipart("lost parts", other, [otherPart]))).toMatchObject({
			kind: "NOT_FOUND",
			code: "NoSuchUpload",
		});
	});

	test("in parts is said to be gone to a key that may not look for the object either", async () => {
		const { accessKeyId, secretAccessKey, sessionToken } = await minio.temporaryCredentials({
			policy: {
				Version: "2012-10-17",
				Statement: [{ Effect: "Allow", Action: ["s3:PutObject"], Resource: ["arn:aws:s3:::bucket/*"] }],
			},
		});
		const store = open({ credentials: { accessKeyId, secretAccessKey, sessionToken } });
		const id = await store.createMultipart("unseen parts", {});
		const part = await store.uploadPart("unseen parts", id, 1, bodyOf("part"));
		await proxy.fail({ kind: "lose-answer" }, { only: isPost, times: 1 });
		expect(await failureOf(store.completeMultipart("unseen parts", id, [part]))).toMatchObject({
			code: "NoSuchUpload",
		});
	});

	test.each([
		["a copy", async (store: ObjectStore) => store.copy("object", "answered", { etag })],
		[
			"a completed upload",
			async (store: ObjectStore) => {
				const id = await store.createMultipart("answered", {});
				const part = await store.uploadPart("answered", id, 1, bodyOf("part"));
				return store.completeMultipart("answered", id, [part]);
			},
		],
	])("that fails with status 200 is tried again: %s", async (_, work) => {
		const store = open();
		const only = ({ method, url = "", headers }: IncomingMessage): boolean =>
			method === "POST" ? url.includes("uploadId=") : "x-amz-copy-source" in headers;
		await proxy.fail({ kind: "answer", status: 200, body: errorXml("InternalError") }, { only, times: 1 });
		await work(store);
		expect(proxy.failed).toBe(1);
		expect(retries()).toMatchObject([{ reason: "UNAVAILABLE" }]);
	});

	test("to a server that knows no checksums", async () => {
		const store = open();
		const only = ({ headers }: IncomingMessage): boolean => "x-amz-checksum-crc32" in headers;
		await proxy.fail({ kind: "answer", status: 501, body: errorXml("NotImplemented") }, { only });
		await store.put("plain", bodyOf("x"));
		await store.put("plain", bodyOf("y"));
		// It is remembered.
		expect(proxy.failed).toBe(1);
		expect((await minio.get("bucket", "plain")).toString()).toBe("y");
	});

	test("to a server that knows no conditions", async () => {
		const store = open();
		const only = ({ headers }: IncomingMessage): boolean => "if-none-match" in headers;
		const body = errorXml("NotImplemented", "<Header>If-None-Match</Header>");
		await proxy.fail({ kind: "answer", status: 501, body }, { only });
		await store.put("unconditional", bodyOf("x"), { onlyIfAbsent: true });
		const again = store.put("unconditional", bodyOf("y"), { onlyIfAbsent: true });
		expect(await failureOf(again)).toMatchObject({ kind: "EXISTS" });
		expect((await minio.get("bucket", "unconditional")).toString()).toBe("x");
	});

	test("to a server that does not know the class that the object has", async () => {
		const store = open({ storageClass: "REDUCED_REDUNDANCY" });
		const properties = { headers: { "content-type": "text/css" }, storageClass: "FROM-ELSEWHERE" };
		await store.put("class", bodyOf("x"), { properties });
		await store.copy("class", "class copy", { metadata: {}, properties });
		const id = await store.createMultipart("class parts", {}, properties);
		const part = await store.uploadPart("class parts", id, 1, bodyOf("x"));
		await store.completeMultipart("class parts", id, [part]);
		for (const key of ["class", "class copy", "class parts"])
			expect((await store.head(key)).properties).toEqual({ ...properties, storageClass: "REDUCED_REDUNDANCY" });
		// That the options say so is a fault of theirs.
		const wrong = open({ storageClass: "FROM-ELSEWHERE" });
		expect(await failureOf(wrong.put("class", bodyOf("x")))).toMatchObject({ code: "InvalidStorageClass" });
	});

	test("with the object's tags, or without where the key may not read or write them", async () => {
		await minio.client.send(
			new PutObjectCommand({ Bucket: "bucket", Key: "tagged", Body: "x", Tagging: "a=1&b=x%20%2B" }),
		);
		const tagsOf = async (key: string): Promise<unknown> =>
			(await minio.client.send(new GetObjectTaggingCommand({ Bucket: "bucket", Key: key }))).TagSet;
		const tags = [
			{ Key: "a", Value: "1" },
			{ Key: "b", Value: "x +" },
		];
		const allowed = open();
		const { properties } = await allowed.head("tagged");
		await allowed.put("tagged", bodyOf("y"), { properties });
		expect(await tagsOf("tagged")).toEqual(tags);
		const withKey = async (...actions: readonly string[]): Promise<ObjectStore> => {
			const { accessKeyId, secretAccessKey, sessionToken } = await minio.temporaryCredentials({
				policy: {
					Version: "2012-10-17",
					Statement: [
						{
							Effect: "Allow",
							Action: ["s3:GetObject", "s3:PutObject", ...actions],
							Resource: ["arn:aws:s3:::bucket/*"],
						},
					],
				},
			});
			return open({ credentials: { accessKeyId, secretAccessKey, sessionToken } });
		};
		for (const actions of [[], ["s3:GetObjectTagging"]]) {
			await allowed.copy("tagged", "tagged copy");
			expect(await tagsOf("tagged copy")).toEqual(tags);
			const store = await withKey(...actions);
			await store.put("tagged copy", bodyOf("z"), { properties });
			expect((await minio.get("bucket", "tagged copy")).toString()).toBe("z");
		}
	});

	test("to a server that cannot what is asked", async () => {
		const store = open();
		await proxy.fail({ kind: "answer", status: 501, body: errorXml("NotImplemented") }, { only: isPut });
		expect(await failureOf(store.put("never", bodyOf("x")))).toMatchObject({ kind: "UNSUPPORTED" });
		await proxy.mode("pass");
		await store.put("checked", bodyOf("x"));
		expect((await store.head("checked")).sizeBytes).toBe(1);
	});
});

describe("many keys are deleted", () => {
	test("one by one where the server cannot otherwise", async () => {
		const store = open();
		await Promise.all(["many/a", "many/b", "many/c"].map(async (key) => store.put(key, bodyOf("x"))));
		const only = ({ method }: IncomingMessage): boolean => method === "POST";
		await proxy.fail({ kind: "answer", status: 501, body: errorXml("NotImplemented") }, { only });
		expect(await store.deleteMany(["many/a", "many/b", "many/c"])).toEqual([]);
		expect((await store.list({ prefix: "many/" })).objects).toEqual([]);
	});

	test("although some fail at first", async () => {
		const store = open();
		await Promise.all(["some/a", "some/b"].map(async (key) => store.put(key, bodyOf("x"))));
		const error = "<Error><Key>some/b</Key><Code>InternalError</Code><Message>Because.</Message></Error>";
		const only = ({ method }: IncomingMessage): boolean => method === "POST";
		await proxy.fail({ kind: "answer", status: 200, body: `<DeleteResult>${error}</DeleteResult>` }, { only });
		expect(await store.deleteMany(["some/b"])).toEqual([]);
		expect((await store.list({ prefix: "some/" })).objects).toMatchObject([{ key: "some/a" }]);
	});
});

describe("keys that the server refuses", () => {
	const rotten = { accessKeyId: "AKROTTEN", secretAccessKey: "rotten secret" };

	test("are asked for again", async () => {
		const good = { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey };
		const asked: boolean[] = [];
		const store = open({
			async credentials({ refused }) {
				asked.push(refused === rotten);
				return refused === undefined ? rotten : good;
			},
		});
		expect((await store.head("object")).etag).toBe(etag);
		expect(asked).toEqual([false, true]);
		expect((await get(store)).equals(content)).toBe(true);
	});

	test("are waited for after they were good", async () => {
		const store = open();
		await store.head("object");
		await proxy.fail({ kind: "answer", status: 403, body: errorXml("ExpiredToken") }, { times: 2 });
		await get(store, 0, 10);
		expect(retries()).toMatchObject([{ reason: "DENIED" }, { reason: "DENIED" }]);
	});

	test("are replaced by those that come meanwhile, at once", async () => {
		const store = open({ credentials: rotten });
		expect(await failureOf(store.head("object"))).toMatchObject({ kind: "DENIED" });
		store.setCredentials(rotten);
		const work = Promise.all([get(store), store.put("rotated", bodyOf("x"))]);
		await delay(300);
		store.setCredentials({ accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey });
		const before = performance.now();
		expect((await work)[0].equals(content)).toBe(true);
		expect(performance.now() - before).toBeLessThan(1000);
	});

	test("are DENIED in the end", async () => {
		const store = open({ credentials: async () => rotten });
		const before = performance.now();
		expect(await failureOf(get(store, 0, 10))).toMatchObject({ kind: "DENIED", code: "InvalidAccessKeyId" });
		const tookMs = performance.now() - before;
		expect(tookMs).toBeGreaterThan(4000);
		expect(tookMs).toBeLessThan(8000);
	});

	test("are DENIED when retryForMs is over, if that is sooner", async () => {
		const store = open({ credentials: async () => rotten, retryForMs: 1000 });
		const before = performance.now();
		expect(await failureOf(get(store, 0, 10))).toMatchObject({ kind: "DENIED", code: "InvalidAccessKeyId" });
		const tookMs = performance.now() - before;
		expect(tookMs).toBeGreaterThan(990);
		expect(tookMs).toBeLessThan(1500);
	});

	test("are not given retryForMs anew after another failure", async () => {
		const startedAt = performance.now();
		const credentials = async (): Promise<typeof rotten> => {
			if (performance.now() - startedAt < 700) throw new LauncherError("BACKEND_REFUSED", "no keys yet");
			return rotten;
		};
		const store = open({ credentials, retryForMs: 1000 });
		expect(await failureOf(get(store, 0, 10))).toMatchObject({ kind: "DENIED", code: "InvalidAccessKeyId" });
		expect(performance.now() - startedAt).toBeLessThan(1500);
	});

	test("or cannot even be had", async () => {
		const credentials = async (): Promise<never> => {
			throw new Error("the secret is 42");
		};
		const store = open({ credentials, retryForMs: 0 });
		const error = await failureOf(store.head("object"));
		expect(error).toMatchObject({ kind: "DENIED" });
		expect(error.message).not.toContain("42");
	});

	test("of temporary kind, unknown to the server", async () => {
		const credentials = { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey, sessionToken: "expired" };
		const store = open({ credentials });
		expect(await failureOf(store.head("object"))).toMatchObject({ kind: "DENIED" });
		expect(await failureOf(get(store, 0, 10))).toMatchObject({ kind: "DENIED" });
	});
});

describe("HEAD, whose answer has no body,", () => {
	test("is asked again as GET for what was wrong", async () => {
		const store = open({ region: undefined });
		const headers = { "x-minio-error-code": undefined };
		await proxy.fail({ kind: "headers", headers }, { only: ({ method }) => method === "HEAD" });
		const other = open({ credentials: { accessKeyId: "AKROTTEN", secretAccessKey: "x" } });
		expect(await failureOf(other.head("object"))).toMatchObject({ kind: "DENIED", code: "InvalidAccessKeyId" });
		expect((await store.head("object")).etag).toBe(etag);
	});
});

describe("a clock that is wrong", () => {
	test("is corrected by the server's", async () => {
		const realNow = Date.now;
		Date.now = () => realNow() - 3_600_000;
		try {
			const store = open();
			expect((await store.head("object")).etag).toBe(etag);
			expect((await get(store)).equals(content)).toBe(true);
			await Promise.all(Array.from({ length: 20 }, async (_, index) => get(store, index, 100)));
			const refused = events.filter((event) => event.kind === "request" && event.status === 403);
			expect(refused).toHaveLength(1);
		} finally {
			Date.now = realNow;
		}
	});
});
