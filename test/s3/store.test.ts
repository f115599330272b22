import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { HeadObjectCommand, ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { copyInParts } from "../../src/s3/copy-in-parts.ts";
import type { ObjectStore, StoreEvent } from "../../src/s3/object-store.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { bodyOf, failureOf, MiB, noise, read, storeOn } from "./bucket.ts";

let minio: Minio;
let store: ObjectStore;
const events: StoreEvent[] = [];

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("bucket");
	store = storeOn(minio, { onEvent: (event) => events.push(event) });
}, 60_000);

afterAll(async () => {
	store?.close();
	await minio?.stop();
}, 30_000);

const hostileKeys = [
	"a b",
	" begins and ends ",
	"a+b",
	"100%",
	"%41",
	"a&b=c",
	"a?b#c",
	"é",
	"e\u0301",
	"日本語/語",
	"😀",
	"new\nline",
	"return\r",
	"tab\t",
	`quo"te'`,
	"<xml>&amp;</xml>",
	"(paren)!*~'",
	"semi;colon,comma@$",
	"control\u0001",
	"[brackets]{braces}|^`",
	"x-amz-meta-a: b",
	"directory/",
];

describe("any key can be", () => {
	test.each(hostileKeys.map((key) => [JSON.stringify(key), key]))(
		"written, listed, read, copied: %s",
		async (_, key) => {
			const prefix = "hostile/";
			const content = `content of ${key}`;
			const { etag } = await store.put(prefix + key, bodyOf(content));
			expect(etag).toBe(createHash("md5").update(content).digest("hex"));
			expect((await read(store, prefix + key)).toString()).toBe(content);
			expect((await minio.get("bucket", prefix + key)).toString()).toBe(content);
			const { objects } = await store.list({ prefix: prefix + key });
			expect(objects).toHaveLength(1);
			expect(objects[0]).toMatchObject({ key: prefix + key, etag, sizeBytes: Buffer.byteLength(content) });
			await store.copy(prefix + key, `copies/${key}`, { etag });
			expect((await read(store, `copies/${key}`)).toString()).toBe(content);
		},
	);

	test("deleted together with others", async () => {
		const keys = hostileKeys.flatMap((key) => [`hostile/${key}`, `copies/${key}`]);
		expect(await store.deleteMany([...keys, "never there"])).toEqual([]);
		expect((await store.list({ prefix: "hostile/" })).objects).toEqual([]);
		expect((await store.list({ prefix: "copies/" })).objects).toEqual([]);
	});

	test("refused, if no server could take it", async () => {
		expect(await failureOf(store.head("half \ud800 a pair"))).toMatchObject({ kind: "REFUSED" });
		expect(await failureOf(store.delete(""))).toMatchObject({ kind: "REFUSED" });
		expect(await failureOf(store.put("k".repeat(1025), bodyOf("x")))).toMatchObject({
			kind: "NAME_TOO_LONG",
			status: 400,
		});
		expect(await failureOf(store.put("a//b", bodyOf("x")))).toMatchObject({
			status: 400,
			code: "XMinioInvalidObjectName",
		});
	});
});

describe("reads", () => {
	const content = noise(9 * MiB + 7);
	let etag: string;

	beforeAll(async () => {
		({ etag } = await store.put("read", bodyOf(content)));
	});

	test.each([
		["the whole object", 0, content.length],
		["its start", 0, 10],
		["its end", content.length - 10, 10],
		["one byte", 4711, 1],
		["a part of it", MiB - 1, 8 * MiB],
	])("%s", async (_, offset, lengthBytes) => {
		const progress: number[] = [];
		const into = Buffer.alloc(lengthBytes);
		await store.get("read", {
			offset,
			into,
			etag,
			objectSizeBytes: content.length,
			onProgress: (bytes) => progress.push(bytes),
		});
		expect(into.equals(content.subarray(offset, offset + lengthBytes))).toBe(true);
		expect(progress.at(-1)).toBe(lengthBytes);
		expect(progress.toSorted((a, b) => a - b)).toEqual(progress);
	});

	test("many parts at once into buffers of their own", async () => {
		const parts = Array.from({ length: 40 }, (_, index) => index * 230_000);
		await Promise.all(
			parts.map(async (offset) => {
				const into = Buffer.alloc(230_000);
				await store.get("read", { offset, into, etag, objectSizeBytes: content.length });
				expect(into.equals(content.subarray(offset, offset + into.length))).toBe(true);
			}),
		);
	});

	test("nothing without asking", async () => {
		const before = events.length;
		await store.get("not even there", { offset: 5, into: Buffer.alloc(0), etag: "x", objectSizeBytes: 5 });
		expect(events.length).toBe(before);
	});

	test("no other version than asked for", async () => {
		const get = store.get("read", { offset: 0, into: Buffer.alloc(5), etag: "0".repeat(32), objectSizeBytes: 5 });
		expect(await failureOf(get)).toMatchObject({ kind: "OBJECT_REPLACED", status: 412 });
	});

	test("nothing beyond the object's end", async () => {
		const get = async (offset: number) =>
			store.get("read", { offset, into: Buffer.alloc(100), etag, objectSizeBytes: content.length + 1000 });
		expect(await failureOf(get(content.length + 5))).toMatchObject({ kind: "OBJECT_REPLACED" });
		expect(["UNSUPPORTED", "UNAVAILABLE"]).toContain((await failureOf(get(content.length - 5))).kind);
	});

	test("NOT_FOUND and NO_BUCKET", async () => {
		const get = { offset: 0, into: Buffer.alloc(5), etag: "x", objectSizeBytes: 5 };
		expect(await failureOf(store.get("missing", get))).toMatchObject({ kind: "NOT_FOUND", code: "NoSuchKey" });
		expect(await failureOf(store.head("missing"))).toMatchObject({ kind: "NOT_FOUND" });
		const other = storeOn(minio, { bucket: "missing" });
		expect(await failureOf(other.head("missing"))).toMatchObject({ kind: "NO_BUCKET" });
		expect(await failureOf(other.list({ prefix: "" }))).toMatchObject({ kind: "NO_BUCKET" });
		other.close();
	});

	test("until it is aborted", async () => {
		const controller = new AbortController();
		const { signal } = controller;
		const into = Buffer.alloc(content.length);
		const get = store.get("read", {
			offset: 1,
			into: into.subarray(1),
			etag,
			objectSizeBytes: content.length,
			signal,
			onProgress: () => controller.abort(),
		});
		expect(await failureOf(get)).toMatchObject({ kind: "ABORTED" });
		expect(await failureOf(store.head("read", { signal }))).toMatchObject({ kind: "ABORTED" });
		expect((await store.head("read")).etag).toBe(etag);
	});
});

describe("writes", () => {
	test("bytes, type and metadata", async () => {
		const metadata = { mode: "33188", "fluid-mtime": "1700000000.123", empty: "", symbols: `~!@#$%^&*()_+{}|:"<>?` };
		const properties = { headers: { "content-type": "text/plain; charset=utf-8" }, storageClass: "STANDARD" };
		await store.put("written", bodyOf("hello", crc32("hello")), { metadata, properties });
		const headers = await store.head("written");
		expect(headers).toMatchObject({ sizeBytes: 5, properties, metadata });
		expect(Math.abs(headers.modifiedMs - Date.now())).toBeLessThan(60_000);
	});

	test("its checksum, which the server then has", async () => {
		await store.put("checksum", bodyOf("hello"));
		const { ChecksumCRC32 } = await minio.client.send(
			new HeadObjectCommand({ Bucket: "bucket", Key: "checksum", ChecksumMode: "ENABLED" }),
		);
		expect(Buffer.from(ChecksumCRC32 ?? "", "base64").readUInt32BE()).toBe(crc32("hello"));
	});

	test("nothing with a wrong checksum", async () => {
		expect(await failureOf(store.put("wrong", bodyOf("hello", 4711)))).toMatchObject({ kind: "CHECKSUM_WRONG" });
		expect(await failureOf(store.head("wrong"))).toMatchObject({ kind: "NOT_FOUND" });
	});

	test("objects of no bytes", async () => {
		await store.put("empty", bodyOf(""));
		expect((await store.head("empty")).sizeBytes).toBe(0);
		expect((await read(store, "empty")).length).toBe(0);
	});

	test("megabytes", async () => {
		const content = noise(30 * MiB + 3);
		await store.put("megabytes", bodyOf(content));
		expect((await minio.get("bucket", "megabytes")).equals(content)).toBe(true);
	});

	test("only what is absent, if asked to", async () => {
		await store.put("once", bodyOf("first"), { onlyIfAbsent: true });
		const again = store.put("once", bodyOf("second"), { onlyIfAbsent: true });
		expect(await failureOf(again)).toMatchObject({ kind: "EXISTS", status: 412 });
		// Not even the same content: it is somebody else's.
		expect(await failureOf(store.put("once", bodyOf("first"), { onlyIfAbsent: true }))).toMatchObject({
			kind: "EXISTS",
		});
		expect((await read(store, "once")).toString()).toBe("first");
	});

	test.each([
		["half a character", { name: "\ud800" }],
		["a line break", { name: "a\r\nx-amz-acl: public-read" }],
		["a name that is none", { "na me": "x" }],
		["a name in upper case", { Name: "x" }],
		["white space at its end", { name: "x " }],
	])("no metadata with %s", async (_, metadata) => {
		expect(await failureOf(store.put("metadata", bodyOf("x"), { metadata }))).toMatchObject({ kind: "REFUSED" });
		expect(await failureOf(store.createMultipart("metadata", metadata))).toMatchObject({ kind: "REFUSED" });
	});

	test("no type that would be a header of its own", async () => {
		const properties = { headers: { "content-type": "text/plain\r\nx-amz-acl: public-read" } };
		expect(await failureOf(store.put("type", bodyOf("x"), { properties }))).toMatchObject({ kind: "REFUSED" });
	});

	test("REFUSED with metadata that are too long", async () => {
		const metadata = { long: "x".repeat(3000) };
		expect(await failureOf(store.put("metadata", bodyOf("x"), { metadata }))).toMatchObject({
			kind: "REFUSED",
			code: "MetadataTooLarge",
		});
	});
});

describe("copies", () => {
	const css = { headers: { "content-type": "text/css" } };
	beforeAll(async () => {
		await store.put("source", bodyOf("source"), { metadata: { mode: "1" }, properties: css });
	});

	test("with the metadata", async () => {
		const { etag, modifiedMs } = await store.copy("source", "copied");
		expect(await store.head("copied")).toMatchObject({ etag, metadata: { mode: "1" }, properties: css });
		expect(Math.abs((modifiedMs ?? 0) - Date.now())).toBeLessThan(60_000);
	});

	test("with other metadata, and keeps the type", async () => {
		await store.copy("source", "copied", { metadata: { mode: "2", more: "x" } });
		expect(await store.head("copied")).toMatchObject({ metadata: { mode: "2", more: "x" }, properties: css });
	});

	test("with everything that the object has beside its bytes, of which MinIO would lose a header", async () => {
		const expires = "Tue, 01 Jan 2030 00:00:00 GMT";
		const headers = { "content-type": "text/css", "cache-control": "max-age=60", expires };
		const properties = { headers, storageClass: "REDUCED_REDUNDANCY" };
		await store.put("full", bodyOf("full"), { metadata: { mode: "1", author: "Jos\u00e9 \u6f22" }, properties });
		const { metadata } = await store.head("full");
		await store.copy("full", "full copy");
		await store.copy("full", "full other", { metadata: { mode: "2" } });
		expect(await store.head("full copy")).toMatchObject({ metadata, properties });
		expect(await store.head("full other")).toMatchObject({ metadata: { mode: "2" }, properties });
		// What HEAD encodes, MinIO lists as it was sent.
		const { objects } = await store.list({ prefix: "full" });
		expect(objects[0]).toMatchObject({ key: "full", metadata: { author: "Jos\u00e9 \u6f22" } });
	});

	test("onto itself", async () => {
		const { etag } = await store.head("source");
		await store.copy("source", "source", { etag, metadata: { mode: "3" } });
		expect(await store.head("source")).toMatchObject({ etag, metadata: { mode: "3" } });
	});

	test("no other version, nothing that is missing, and onto nothing that is there", async () => {
		const etag = "0".repeat(32);
		expect(await failureOf(store.copy("source", "other", { etag }))).toMatchObject({ kind: "OBJECT_REPLACED" });
		expect(await failureOf(store.copy("source", "other", { etag, metadata: {} }))).toMatchObject({
			kind: "OBJECT_REPLACED",
		});
		expect(await failureOf(store.copy("missing", "other"))).toMatchObject({ kind: "NOT_FOUND" });
		expect(await failureOf(store.copy("source", "copied", { onlyIfAbsent: true }))).toMatchObject({ kind: "EXISTS" });
		await store.copy("source", "absent", { onlyIfAbsent: true });
		expect((await read(store, "absent")).toString()).toBe("source");
	});

	test("large objects in parts", async () => {
		const content = noise(11 * MiB);
		const { etag } = await store.put("large", bodyOf(content));
		await copyInParts(store, {
			from: { key: "large", etag, sizeBytes: content.length },
			to: "large copy",
			create: async () => store.createMultipart("large copy", { mode: "5" }),
			onlyIfAbsent: false,
			partBytes: 5 * MiB,
		});
		expect((await read(store, "large copy")).equals(content)).toBe(true);
		expect((await store.head("large copy")).metadata).toEqual({ mode: "5" });
	});

	test("and leaves nothing of it when a part fails", async () => {
		const create = async (): Promise<string> => store.createMultipart("broken copy", {});
		const from = { key: "large", etag: "0".repeat(32), sizeBytes: 11 * MiB };
		const copy = copyInParts(store, { from, to: "broken copy", create, onlyIfAbsent: false, partBytes: 5 * MiB });
		expect(await failureOf(copy)).toMatchObject({ kind: "OBJECT_REPLACED" });
		const { Uploads } = await minio.client.send(
			new ListMultipartUploadsCommand({ Bucket: "bucket", Prefix: "broken copy" }),
		);
		expect(Uploads ?? []).toEqual([]);
	});
});

describe("uploads in parts", () => {
	test("that are sent and copied, in any order", async () => {
		const content = noise(5 * MiB);
		const { etag } = await store.put("part source", bodyOf(content));
		const id = await store.createMultipart("parts", { mode: "7" }, { headers: { "content-type": "text/plain" } });
		const last = await store.uploadPart("parts", id, 3, bodyOf("the end"));
		const range = { key: "part source", etag, offset: 0, lengthBytes: 5 * MiB };
		const copied = await store.copyPart("parts", id, 2, range);
		const first = await store.uploadPart("parts", id, 1, bodyOf(content, crc32(content)));
		const done = await store.completeMultipart("parts", id, [first, copied, last]);
		const headers = await store.head("parts");
		expect(headers).toMatchObject({ etag: done.etag, metadata: { mode: "7" } });
		expect(headers.properties.headers["content-type"]).toBe("text/plain");
		expect(done.etag).toMatch(/^[0-9a-f]{32}-3$/);
		expect((await read(store, "parts")).equals(Buffer.concat([content, content, Buffer.from("the end")]))).toBe(true);
	});

	test("no part with a wrong checksum, none of another version", async () => {
		const id = await store.createMultipart("parts", {});
		expect(await failureOf(store.uploadPart("parts", id, 1, bodyOf("hello", 4711)))).toMatchObject({
			kind: "CHECKSUM_WRONG",
		});
		const range = { key: "part source", etag: "0".repeat(32), offset: 0, lengthBytes: 5 };
		expect(await failureOf(store.copyPart("parts", id, 1, range))).toMatchObject({ kind: "OBJECT_REPLACED" });
		await store.abortMultipart("parts", id);
	});

	test("nothing after the upload was given up, which can be said twice", async () => {
		const id = await store.createMultipart("given up", {});
		const part = await store.uploadPart("given up", id, 1, bodyOf("x"));
		await store.abortMultipart("given up", id);
		await store.abortMultipart("given up", id);
		expect(await failureOf(store.completeMultipart("given up", id, [part]))).toMatchObject({
			kind: "NOT_FOUND",
			code: "NoSuchUpload",
		});
		expect(await failureOf(store.uploadPart("given up", id, 1, bodyOf("x")))).toMatchObject({ kind: "NOT_FOUND" });
	});

	test("REFUSED with a part that is too small", async () => {
		const id = await store.createMultipart("small", {});
		const parts = [
			await store.uploadPart("small", id, 1, bodyOf("a")),
			await store.uploadPart("small", id, 2, bodyOf("b")),
		];
		expect(await failureOf(store.completeMultipart("small", id, parts))).toMatchObject({
			kind: "REFUSED",
			code: "EntityTooSmall",
		});
	});

	test("EXISTS when it must be absent and is not", async () => {
		await store.put("present", bodyOf("x"));
		const id = await store.createMultipart("present", {});
		const part = await store.uploadPart("present", id, 1, bodyOf("y"));
		const complete = store.completeMultipart("present", id, [part], { onlyIfAbsent: true });
		expect(await failureOf(complete)).toMatchObject({ kind: "EXISTS" });
		await store.abortMultipart("present", id);
	});
});

describe("lists", () => {
	// Not an object below another one: this server does not list those.
	const names = ["a/b", "a/c/d", "a0", "b+c d", "b/", "z\u00e9", "\u{1f600}"];

	beforeAll(async () => {
		for (const name of names)
			await store.put(`list/${name}`, bodyOf(name), { metadata: { name: encodeURIComponent(name) } });
	});

	test("everything below a prefix in the order of its bytes, with the metadata", async () => {
		const { objects, prefixes, nextToken } = await store.list({ prefix: "list/" });
		expect(objects.map(({ key }) => key)).toEqual(names.map((name) => `list/${name}`));
		expect([prefixes, nextToken, store.listsMetadata]).toEqual([[], undefined, true]);
		expect(objects.map(({ metadata }) => metadata)).toEqual(names.map((name) => ({ name: encodeURIComponent(name) })));
	});

	test("one level", async () => {
		const { objects, prefixes } = await store.list({ prefix: "list/", delimiter: "/" });
		expect(objects.map(({ key }) => key)).toEqual(["list/a0", "list/b+c d", "list/z\u00e9", "list/\u{1f600}"]);
		expect(prefixes).toEqual(["list/a/", "list/b/"]);
	});

	test("page by page, and from a key on", async () => {
		const keys: string[] = [];
		let token: string | undefined;
		let pages = 0;
		do {
			const page = await store.list({
				prefix: "list/",
				maxKeys: 2,
				...(token !== undefined && { continuationToken: token }),
			});
			expect(page.objects.length).toBeLessThanOrEqual(2);
			keys.push(...page.objects.map(({ key }) => key));
			token = page.nextToken;
			pages++;
		} while (token !== undefined);
		expect([keys, pages]).toEqual([names.map((name) => `list/${name}`), 4]);
		const { objects } = await store.list({ prefix: "list/", startAfter: "list/b+c d" });
		expect(objects.map(({ key }) => key)).toEqual(["list/b/", "list/z\u00e9", "list/\u{1f600}"]);
	});

	test("nothing", async () => {
		expect(await store.list({ prefix: "nothing at all/" })).toMatchObject({
			objects: [],
			prefixes: [],
			nextToken: undefined,
		});
	});

	test("without metadata for who may not read the objects", async () => {
		const policy = {
			Version: "2012-10-17",
			Statement: [{ Effect: "Allow", Action: ["s3:ListBucket"], Resource: ["arn:aws:s3:::bucket"] }],
		};
		const other = storeOn(minio, { credentials: await minio.temporaryCredentials({ policy }) });
		const { objects } = await other.list({ prefix: "list/" });
		expect([objects.length, objects[0]?.metadata, other.listsMetadata]).toEqual([names.length, undefined, false]);
		expect(await failureOf(other.head("list/a0"))).toMatchObject({ kind: "DENIED", code: "AccessDenied" });
		other.close();
	});
});

describe("deletes", () => {
	test("one, and again", async () => {
		await store.put("deleted", bodyOf("x"));
		await store.delete("deleted");
		await store.delete("deleted");
		expect(await failureOf(store.head("deleted"))).toMatchObject({ kind: "NOT_FOUND" });
	});

	test("not more than a thousand at once", async () => {
		const keys = Array.from({ length: 1001 }, (_, index) => `many/${index}`);
		expect(await failureOf(store.deleteMany(keys))).toMatchObject({ kind: "REFUSED" });
		expect(await store.deleteMany(keys.slice(1))).toEqual([]);
	});

	test("and says which it may not", async () => {
		await store.put("kept/a", bodyOf("x"));
		const policy = {
			Version: "2012-10-17",
			Statement: [
				{ Effect: "Allow", Action: ["s3:*"], Resource: ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"] },
				{ Effect: "Deny", Action: ["s3:DeleteObject"], Resource: ["arn:aws:s3:::bucket/kept/*"] },
			],
		};
		const other = storeOn(minio, { credentials: await minio.temporaryCredentials({ policy }) });
		await other.put("free", bodyOf("x"));
		const failures = await other.deleteMany(["kept/a", "free"]);
		expect(failures).toMatchObject([{ key: "kept/a", error: { kind: "DENIED", code: "AccessDenied" } }]);
		expect((await store.list({ prefix: "free" })).objects).toEqual([]);
		other.close();
	});
});

describe("finds its way", () => {
	test("to the bucket's region", async () => {
		const other = storeOn(minio, { region: "eu-central-1" });
		expect((await other.head("list/a0")).sizeBytes).toBe(2);
		other.close();
	});

	test("with temporary keys", async () => {
		const other = storeOn(minio, { credentials: await minio.temporaryCredentials() });
		await other.put("temporary", bodyOf("x"));
		expect((await read(other, "temporary")).toString()).toBe("x");
		other.close();
	});

	test("nowhere with keys that are wrong, and does not show them", async () => {
		const credentials = { accessKeyId: minio.accessKey, secretAccessKey: "a secret that is wrong" };
		const other = storeOn(minio, { credentials });
		const works = [
			async () => other.head("list/a0"),
			async () => other.list({ prefix: "" }),
			async () => other.put("x", bodyOf("x")),
		];
		for (const work of works) {
			const error = await failureOf(work());
			expect(error).toMatchObject({ kind: "DENIED", code: "SignatureDoesNotMatch" });
			expect(JSON.stringify(error) + error.message).not.toContain("wrong");
		}
		other.close();
	});

	test("and tells what it did", () => {
		const put = events.find((event) => event.kind === "request" && event.operation === "PutObject");
		expect(put).toMatchObject({ status: 200, receivedBytes: 0 });
	});
});

test("a closed store does nothing more", async () => {
	const other = storeOn(minio);
	await other.head("list/a0");
	const into = Buffer.alloc(MiB);
	const { etag } = await other.head("megabytes");
	const work = failureOf(other.get("megabytes", { offset: 0, into, etag, objectSizeBytes: 30 * MiB + 3 }));
	other.close();
	expect(await work).toMatchObject({ kind: "ABORTED" });
	expect(await failureOf(other.head("list/a0"))).toMatchObject({ kind: "ABORTED" });
});

describe("over TLS", () => {
	let secure: Minio;

	beforeAll(async () => {
		secure = await startMinio({ tls: true });
		await secure.createBucket("bucket");
	}, 60_000);

	afterAll(async () => {
		await secure?.stop();
	});

	test("writes, reads and lists", async () => {
		const other = storeOn(secure);
		const content = noise(9 * MiB);
		await other.put("a", bodyOf(content));
		const parts = await Promise.all([0, 3, 6].map(async (start) => read(other, "a", start * MiB, 3 * MiB)));
		expect(Buffer.concat(parts).equals(content)).toBe(true);
		expect((await other.list({ prefix: "" })).objects).toHaveLength(1);
		other.close();
	});

	test("by name, too", async () => {
		const other = storeOn(secure, { endpoint: new URL(secure.endpoint.replace("127.0.0.1", "localhost")) });
		expect((await other.head("a")).sizeBytes).toBe(9 * MiB);
		other.close();
	});

	test("with a server that nobody vouches for only if told to", async () => {
		const { caFile: _, ...unknown } = secure;
		const strict = storeOn(unknown, {});
		const before = performance.now();
		expect(await failureOf(strict.head("a"))).toMatchObject({ kind: "UNAVAILABLE" });
		// It would not get better.
		expect(performance.now() - before).toBeLessThan(5000);
		strict.close();
		const lax = storeOn(unknown, { insecureSkipVerify: true });
		expect((await lax.head("a")).sizeBytes).toBe(9 * MiB);
		lax.close();
	});

	test("with a key of the customer's own for everything", async () => {
		const encryption = { kind: "customer", key: Buffer.alloc(32, 7) } as const;
		const other = storeOn(secure, { encryption });
		const content = noise(6 * MiB);
		const { etag } = await other.put("secret", bodyOf(content), { metadata: { mode: "1" } });
		const own = await other.head("secret");
		expect((await read(other, "secret", 5 * MiB, 100)).equals(content.subarray(5 * MiB, 5 * MiB + 100))).toBe(true);
		await other.copy("secret", "secret copy", { etag: own.etag, metadata: { mode: "2" } });
		const id = await other.createMultipart("secret parts", {});
		const sent = await other.uploadPart("secret parts", id, 1, bodyOf(content));
		const range = { key: "secret", etag: own.etag, offset: 0, lengthBytes: MiB };
		const copied = await other.copyPart("secret parts", id, 2, range);
		await other.completeMultipart("secret parts", id, [sent, copied]);
		expect((await read(other, "secret parts")).equals(Buffer.concat([content, content.subarray(0, MiB)]))).toBe(true);
		expect((await other.list({ prefix: "secret" })).objects).toHaveLength(3);
		expect(own.etag).toBe(etag);
		other.close();

		const without = storeOn(secure);
		expect((await failureOf(without.head("secret"))).kind).toBe("REFUSED");
		without.close();
	});
});
