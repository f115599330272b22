import http, { type IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";

import type { ObjectStore, ObjectStoreOptions } from "../../src/s3/object-store.ts";
import { listen } from "../support/listen.ts";
import { bodyOf, failureOf } from "./bucket.ts";
import { createTestStore } from "../support/threads.ts";

/** What other servers than MinIO are sent, and how their answers are understood. */
let close: (() => void) | undefined;

afterEach(() => close?.());

interface Received {
	readonly method: string;
	readonly url: string;
	readonly headers: IncomingMessage["headers"];
	readonly body: string;
	/** The client's port. */
	readonly from: number | undefined;
}

interface Reply {
	readonly status?: number;
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: string;
}

async function record(
	options: Partial<ObjectStoreOptions> = {},
	reply: (request: Received, index: number) => Reply = answerLikeS3,
): Promise<{ readonly store: ObjectStore; readonly requests: Received[]; readonly port: number }> {
	const requests: Received[] = [];
	const server = http.createServer((incoming, outgoing) => {
		const chunks: Buffer[] = [];
		incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
		incoming.on("end", () => {
			const { method = "", url = "", headers } = incoming;
			const from = incoming.socket.remotePort;
			const request = { method, url, headers, body: Buffer.concat(chunks).toString(), from };
			requests.push(request);
			const { status = 200, headers: more = {}, body = "" } = reply(request, requests.length - 1);
			// Without a length: in chunks, as Amazon sends its lists.
			outgoing.writeHead(status, { "x-amz-request-id": "1", ...more }).write(body);
			outgoing.end();
		});
	});
	const port = await listen(server);
	const store = createTestStore({
		endpoint: new URL(`http://127.0.0.1:${port}`),
		region: "us-east-1",
		bucket: "bucket",
		pathStyle: true,
		credentials: { accessKeyId: "AKID", secretAccessKey: "secret", sessionToken: "token" },
		retryForMs: 0,
		// As the filesystem has it, which is told of failures.
		onEvent: () => undefined,
		...options,
	});
	close = () => {
		store.close();
		server.closeAllConnections();
		server.close();
	};
	return { store, requests, port };
}

const etag = "0123456789abcdef0123456789abcdef";

function answerLikeS3({ method, url, headers }: Received): Reply {
	if (method === "HEAD" && url === "/bucket/m") return { status: 404 };
	if (method === "HEAD") return { headers: { etag: `"${etag}"`, "content-length": "3" } };
	if (method === "GET" && url.includes("list-type=2"))
		return { body: "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>" };
	if (method === "GET")
		return {
			status: 206,
			headers: { etag: `"${etag}"`, "content-length": "2", "content-range": "bytes 1-2/3" },
			body: "bc",
		};
	if (url.endsWith("?uploads="))
		return { body: "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>" };
	if (url.endsWith("?delete=")) return { body: "<DeleteResult></DeleteResult>" };
	if (method === "POST")
		return {
			body: `  \n<CompleteMultipartUploadResult><ETag>&quot;${etag}-1&quot;</ETag></CompleteMultipartUploadResult>`,
		};
	if (method === "DELETE") return { status: 204 };
	if ("x-amz-copy-source" in headers && url.includes("partNumber"))
		return { body: `<CopyPartResult><ETag>"${etag}"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></CopyPartResult>` };
	if ("x-amz-copy-source" in headers) return { body: `<CopyObjectResult><ETag>"${etag}"</ETag></CopyObjectResult>` };
	return { headers: { etag: `"${etag}"`, "x-amz-checksum-crc32": String(headers["x-amz-checksum-crc32"] ?? "") } };
}

/** Each function once. */
async function useAll(store: ObjectStore): Promise<void> {
	await store.head("a");
	await store.get("a", { offset: 1, into: Buffer.alloc(2), etag, objectSizeBytes: 3 });
	await store.list({ prefix: "p/", delimiter: "/", startAfter: "p/a b", maxKeys: 10 });
	await store.put("a", bodyOf("abc"), {
		metadata: { mode: "1" },
		properties: { headers: { "content-type": "text/plain" } },
		onlyIfAbsent: true,
	});
	await store.copy("a", "b c", { etag, properties: { headers: {} } });
	const id = await store.createMultipart("m", {});
	const part = await store.uploadPart("m", id, 1, bodyOf("abc"));
	const copied = await store.copyPart("m", id, 2, { key: "a", etag, offset: 0, lengthBytes: 3 });
	await store.completeMultipart("m", id, [part, copied], { onlyIfAbsent: true });
	await store.abortMultipart("m", id);
	await store.delete("a");
	await store.deleteMany(["a&b", "c"]);
}

const operations = [
	"HEAD /bucket/a",
	"GET /bucket/a",
	"GET /bucket/?delimiter=%2F&encoding-type=url&list-type=2&max-keys=10&prefix=p%2F&start-after=p%2Fa%20b",
	"PUT /bucket/a",
	"PUT /bucket/b%20c",
	"POST /bucket/m?uploads=",
	"PUT /bucket/m?partNumber=1&uploadId=id",
	"PUT /bucket/m?partNumber=2&uploadId=id",
	// Whether that is the checksum of the part, or of the whole object.
	"HEAD /bucket/a",
	"HEAD /bucket/m",
	"POST /bucket/m?uploadId=id",
	// Whether the version that it said is the one that it says, the first time.
	"HEAD /bucket/m",
	"DELETE /bucket/m?uploadId=id",
	"DELETE /bucket/a",
	"POST /bucket/?delete=",
];

/** What each of the operations above was sent of these headers. */
function sent(requests: readonly Received[], ...names: readonly string[]): unknown[] {
	return requests.map(({ headers }) =>
		names
			.map((name) => headers[name])
			.join(" ")
			.trim(),
	);
}

test("asks what S3 is asked, and signs it", async () => {
	const { store, requests } = await record();
	await useAll(store);
	expect(requests.map(({ method, url }) => `${method} ${url}`)).toEqual(operations);
	for (const { headers } of requests) {
		expect(headers.authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=AKID\/\d{8}\/us-east-1\/s3\/aws4_request, /);
		expect(headers["x-amz-security-token"]).toBe("token");
		expect(headers["accept-encoding"]).toBe("identity");
		// Nothing about metadata in lists, which is MinIO's own.
		expect(headers["x-amz-request-payer"]).toBeUndefined();
	}
	expect(sent(requests, "if-match", "range", "if-none-match")).toEqual([
		"",
		`"${etag}" bytes=1-2`,
		"",
		"*",
		"",
		"",
		"",
		"",
		"",
		"",
		"*",
		"",
		"",
		"",
		"",
	]);
	expect(requests[3]).toMatchObject({
		body: "abc",
		headers: {
			"x-amz-content-sha256": "UNSIGNED-PAYLOAD",
			"x-amz-checksum-crc32": "NSRBwg==",
			"x-amz-meta-mode": "1",
			"content-type": "text/plain",
			"content-length": "3",
		},
	});
	expect(requests[4]?.headers).toMatchObject({
		"x-amz-copy-source": "/bucket/a",
		"x-amz-copy-source-if-match": `"${etag}"`,
		"content-length": "0",
	});
	expect(requests[5]?.headers["x-amz-checksum-algorithm"]).toBe("CRC32");
	expect(requests[7]?.headers["x-amz-copy-source-range"]).toBe("bytes=0-2");
	expect(requests[10]?.body).toContain(
		`<Part><PartNumber>1</PartNumber><ETag>&#34;${etag}&#34;</ETag><ChecksumCRC32>NSRBwg==</ChecksumCRC32></Part>`,
	);
	expect(requests[10]?.body).toContain("<ChecksumCRC32>AAAAAA==</ChecksumCRC32>");
	expect(requests[14]?.body).toContain("<Key>a&#38;b</Key>");
	expect(requests[14]?.headers["content-md5"]).toBeDefined();
});

test("without credentials signs nothing", async () => {
	const { store, requests } = await record({ credentials: undefined });
	await useAll(store);
	expect(requests).toHaveLength(operations.length);
	for (const { headers } of requests)
		expect([headers.authorization, headers["x-amz-date"]]).toEqual([undefined, undefined]);
});

test("lets the requester pay for everything", async () => {
	const { store, requests } = await record({ requesterPays: true });
	await useAll(store);
	expect(sent(requests, "x-amz-request-payer")).toEqual(operations.map(() => "requester"));
});

test("gives each new object its class, its rights and its encryption", async () => {
	const { store, requests } = await record({
		storageClass: "STANDARD_IA",
		acl: "bucket-owner-full-control",
		encryption: { kind: "kms", keyId: "key" },
	});
	await useAll(store);
	const all = "STANDARD_IA bucket-owner-full-control aws:kms key";
	const names = ["storage-class", "acl", "server-side-encryption", "server-side-encryption-aws-kms-key-id"];
	expect(sent(requests, ...names.map((name) => `x-amz-${name}`))).toEqual(
		operations.map((_, index) => ([3, 4, 5].includes(index) ? all : "")),
	);
});

test("leaves an object that is written anew its class, unless that is an archive's", async () => {
	const given = async (storageClass: string | undefined, options: Partial<ObjectStoreOptions>): Promise<unknown[]> => {
		const { store, requests } = await record(options, (request) =>
			request.method === "HEAD"
				? {
						headers: {
							etag: `"${etag}"`,
							"content-length": "3",
							...(storageClass !== undefined && { "x-amz-storage-class": storageClass }),
						},
					}
				: answerLikeS3(request),
		);
		const { properties } = await store.head("a");
		await store.put("a", bodyOf("abc"), { properties });
		await store.createMultipart("a", {}, properties);
		await store.copy("a", "b", { metadata: {}, properties });
		await store.copy("a", "b");
		const [, ...classes] = sent(requests, "x-amz-storage-class");
		close?.();
		return classes;
	};
	expect(await given("STANDARD_IA", { storageClass: "ONEZONE_IA" })).toEqual([
		...Array.from({ length: 3 }, () => "STANDARD_IA"),
		"",
		"STANDARD_IA",
	]);
	expect(new Set(await given(undefined, { storageClass: "ONEZONE_IA" }))).toEqual(new Set([""]));
	expect(new Set(await given("GLACIER", {}))).toEqual(new Set([""]));
	expect(await given("DEEP_ARCHIVE", { storageClass: "ONEZONE_IA" })).toContain("ONEZONE_IA");
});

test("sends what a header of another object says as it was, and not how the object was once sent", async () => {
	const { store, requests } = await record({}, (request) =>
		request.method === "HEAD"
			? {
					headers: {
						etag: `"${etag}"`,
						"content-length": "3",
						"content-encoding": "aws-chunked,gzip",
						"content-disposition": Buffer.from('attachment; filename="caf\u00e9"').toString("latin1"),
						"x-amz-tagging-count": "1",
					},
				}
			: request.url.endsWith("?tagging=")
				? { body: "<Tagging><TagSet><Tag><Key>a b</Key><Value>x&amp;y=+</Value></Tag></TagSet></Tagging>" }
				: answerLikeS3(request),
	);
	const { properties } = await store.head("a");
	await store.put("a", bodyOf("abc"), { properties });
	expect(requests.at(-1)?.headers).toMatchObject({
		"content-encoding": "gzip",
		"content-disposition": Buffer.from('attachment; filename="caf\u00e9"').toString("latin1"),
		"x-amz-tagging": "a%20b=x%26y%3D%2B",
	});
});

test("has S3 encrypt with its own keys", async () => {
	const { store, requests } = await record({ encryption: { kind: "s3" } });
	await useAll(store);
	expect(sent(requests, "x-amz-server-side-encryption").filter((value) => value === "AES256")).toHaveLength(3);
});

test("shows a customer's key wherever it is needed, and nowhere else", async () => {
	const { store, requests } = await record({ encryption: { kind: "customer", key: Buffer.alloc(32, 1) } });
	await useAll(store);
	const key = Buffer.alloc(32, 1).toString("base64");
	const isSent = (name: string): unknown[] => sent(requests, name).map((value) => value === key);
	expect(isSent("x-amz-server-side-encryption-customer-key")).toEqual(
		operations.map((_, index) => [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11].includes(index)),
	);
	expect(isSent("x-amz-copy-source-server-side-encryption-customer-key")).toEqual(
		operations.map((_, index) => [4, 7].includes(index)),
	);
});

test("names the bucket in the host where that is how, and asks a proxy for it", async () => {
	const { requests, port } = await record();
	const options = { region: undefined, bucket: "bucket", pathStyle: false, credentials: undefined };
	const proxyEnv = { HTTP_PROXY: `http://user:p%40ss@127.0.0.1:${port}`, NO_PROXY: "10.0.0.0/8" };
	const virtual = createTestStore({ ...options, endpoint: new URL("http://s3.example.com"), proxyEnv });
	expect((await virtual.head("a")).etag).toBe(etag);
	expect(requests[0]).toMatchObject({
		url: "http://bucket.s3.example.com/a",
		headers: {
			host: "bucket.s3.example.com",
			"proxy-authorization": `Basic ${Buffer.from("user:p@ss").toString("base64")}`,
		},
	});
	await virtual.copy("a", "b", { properties: { headers: {} } });
	expect(requests[1]?.headers["x-amz-copy-source"]).toBe("/bucket/a");
	virtual.close();
});

test("keeps the endpoint's path", async () => {
	const { store, requests, port } = await record();
	store.close();
	const below = createTestStore({
		endpoint: new URL(`http://127.0.0.1:${port}/s3/`),
		region: undefined,
		bucket: "bucket",
		pathStyle: true,
		credentials: undefined,
	});
	await below.head("a");
	await below.list({ prefix: "" });
	expect(requests.map(({ url }) => url.replace(/\?.*/, ""))).toEqual(["/s3/bucket/a", "/s3/bucket/"]);
	below.close();
});

describe("learns the region from", () => {
	const inFrankfurt = ({ headers }: Received): boolean => headers.authorization?.includes("/eu-central-1/") === true;

	test.each<[string, Reply]>([
		["a redirect's header", { status: 301, headers: { "x-amz-bucket-region": "eu-central-1" } }],
		[
			"an error's text",
			{
				status: 400,
				body: "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>",
			},
		],
	])("%s, once", async (_, redirect) => {
		const { store, requests } = await record({}, (request) =>
			inFrankfurt(request) ? answerLikeS3(request) : redirect,
		);
		await store.get("a", { offset: 1, into: Buffer.alloc(2), etag, objectSizeBytes: 3 });
		await store.head("a");
		expect(requests).toHaveLength(3);
	});

	test("HEAD, whose answer cannot tell, by asking with GET", async () => {
		const { store, requests } = await record({}, (request) => {
			if (inFrankfurt(request)) return answerLikeS3(request);
			if (request.method === "HEAD") return { status: 400 };
			return {
				status: 400,
				body: "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>",
			};
		});
		expect((await store.head("a")).etag).toBe(etag);
		expect(requests.map(({ method }) => method)).toEqual(["HEAD", "GET", "HEAD"]);
	});

	test("nothing, when there is no end to it", async () => {
		let count = 0;
		const { store } = await record({}, () => ({
			status: 301,
			headers: { "x-amz-bucket-region": `region-${count++}` },
		}));
		expect(await failureOf(store.head("a"))).toMatchObject({ kind: "NO_BUCKET", status: 301 });
		expect(count).toBeLessThan(5);
	});
});

describe("takes for no success", () => {
	const works: [string, (store: ObjectStore) => Promise<unknown>][] = [
		["a written object", async (store) => store.put("a", bodyOf("x"))],
		["a copy", async (store) => store.copy("a", "b")],
		["a list", async (store) => store.list({ prefix: "" })],
		["a deletion", async (store) => store.delete("a")],
		["many deletions", async (store) => store.deleteMany(["a"])],
		["the beginning of an upload", async (store) => store.createMultipart("a", {})],
		["a part", async (store) => store.uploadPart("a", "id", 1, bodyOf("x"))],
		["an upload's end", async (store) => store.completeMultipart("a", "id", [])],
		["an object", async (store) => store.get("a", { offset: 0, into: Buffer.alloc(4), etag, objectSizeBytes: 4 })],
	];
	test.each(works)("a page where %s is expected", async (_, work) => {
		const { store } = await record({}, () => ({ headers: { "content-length": "4" }, body: "page" }));
		expect(await failureOf(work(store))).toMatchObject({ kind: "UNAVAILABLE", status: 200 });
	});
});

test("copies what is too large in parts", async () => {
	const { store, requests } = await record({}, (request) => {
		if (request.method === "HEAD")
			return {
				headers: {
					etag: `"${etag}"`,
					"content-length": "1000000000",
					"content-type": "text/css",
					"x-amz-meta-mode": "1",
				},
			};
		if ("x-amz-copy-source" in request.headers && !request.url.includes("partNumber"))
			return {
				status: 400,
				body: "<Error><Code>InvalidRequest</Code><Message>The specified copy source is larger than the maximum allowable size for a copy source: 5368709120</Message></Error>",
			};
		return answerLikeS3(request);
	});
	await store.copy("large", "copy");
	const [, , begin, ...rest] = requests;
	expect(begin?.headers).toMatchObject({ "content-type": "text/css", "x-amz-meta-mode": "1" });
	const ranges = rest.map(({ headers }) => headers["x-amz-copy-source-range"]).filter((range) => range !== undefined);
	expect(new Set(ranges)).toEqual(new Set(["bytes=0-671088639", "bytes=671088640-999999999"]));
	requests.length = 0;
	await store.copy("large", "copy", { sizeBytes: 6 * 1024 ** 3, metadata: { mode: "2" } });
	expect(requests[1]).toMatchObject({ url: "/bucket/copy?uploads=", headers: { "x-amz-meta-mode": "2" } });
	requests.length = 0;
	const properties = { headers: { "content-type": "text/html" } };
	await store.copy("large", "copy", { sizeBytes: 6 * 1024 ** 3, metadata: { mode: "2" }, properties });
	expect(requests[1]).toMatchObject({ url: "/bucket/copy?uploads=", headers: properties.headers });
});

test("verifies each checksum of an object, and ignores checksums of checksums", async () => {
	const sum = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
	const answer = (headers: Readonly<Record<string, string>>) => (): Reply => ({
		headers: { etag: `"${etag}"`, "content-length": "3", ...headers },
		body: "abc",
	});
	const get = async (headers: Readonly<Record<string, string>>): Promise<string> => {
		const { store } = await record({}, answer(headers));
		const into = Buffer.alloc(3);
		try {
			await store.get("a", { offset: 0, into, etag, objectSizeBytes: 3 });
			return into.toString();
		} finally {
			close?.();
		}
	};
	expect(await get({ "x-amz-checksum-sha256": sum })).toBe("abc");
	const sums = {
		crc32: "NSRBwg==",
		crc32c: "Nks/tw==",
		crc64nvme: "BeXKuz/B+us=",
		md5: "kAFQmDzST7DWlj99KOF/cg==",
		sha1: "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",
		sha512: "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==",
	};
	for (const [name, right] of Object.entries(sums)) {
		expect(await get({ [`x-amz-checksum-${name}`]: right })).toBe("abc");
		const wrong = { [`x-amz-checksum-${name}`]: right.replace(/[A-Za-z]/, (letter) => (letter === "A" ? "B" : "A")) };
		expect(await failureOf(get(wrong))).toMatchObject({ kind: "CHECKSUM_WRONG" });
	}
	expect(await get({ "x-amz-checksum-crc32": "AAAAAA==-2" })).toBe("abc");
	expect(await get({ "x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE" })).toBe("abc");
	expect(await failureOf(get({ "x-amz-checksum-sha256": sum.replace("u", "v") }))).toMatchObject({
		kind: "CHECKSUM_WRONG",
	});
	expect(await failureOf(get({ "x-amz-checksum-crc32": "AAAAAA==" }))).toMatchObject({ kind: "CHECKSUM_WRONG" });
});

test("files that must be new go over one connection, unless nobody has used it for a second", async () => {
	const { store, requests } = await record();
	for (const key of ["a", "b", "c"]) await store.put(key, bodyOf("abc"), { onlyIfAbsent: true });
	await delay(1100);
	await store.put("d", bodyOf("abc"), { onlyIfAbsent: true });
	const [first, second, third, late] = requests.map(({ from }) => from);
	expect([second, third]).toEqual([first, first]);
	expect(late).not.toBe(first);
	await delay(1100);
	await store.put("e", bodyOf("abc"));
	expect(requests.at(-1)?.from).toBe(late);
});

describe("only versions that are named are deleted", () => {
	const keys = ["a", "b", "c"];
	const etags = new Map([
		["a", "1"],
		["b", "2"],
	]);
	const replaced = ({ method, headers }: Received): Reply => {
		if (method === "HEAD") return { headers: { etag: `"3"`, "content-length": "1" } };
		if (headers["if-match"] === `"1"`) return { status: 412, body: "<Error><Code>PreconditionFailed</Code></Error>" };
		return { status: 204 };
	};

	test("of one key, by a request that says which", async () => {
		const { store, requests } = await record({}, replaced);
		expect(await failureOf(store.delete("a", { etag: "1" }))).toMatchObject({ kind: "OBJECT_REPLACED" });
		await store.delete("b", { etag: "2" });
		const deletions = requests.filter(({ method }) => method === "DELETE");
		expect(deletions.map(({ headers }) => headers["if-match"])).toEqual([`"1"`, `"2"`]);
	});

	test("by a request that says which, and of whose answer the others are told", async () => {
		const error = (key: string, code: string): string => `<Error><Key>${key}</Key><Code>${code}</Code></Error>`;
		const body = `<DeleteResult>${error("a", "PreconditionFailed")}${error("b", "NoSuchKey")}</DeleteResult>`;
		const { store, requests } = await record({}, (request) =>
			request.method === "POST" ? { body } : replaced(request),
		);
		expect(await store.deleteMany(keys, { etags })).toMatchObject([{ key: "a", error: { kind: "OBJECT_REPLACED" } }]);
		expect(requests[0]?.body).toContain(
			`<Object><Key>a</Key><ETag>&#34;1&#34;</ETag></Object><Object><Key>b</Key><ETag>&#34;2&#34;</ETag></Object><Object><Key>c</Key></Object>`,
		);
	});

	test("one by one, where the server cannot delete many", async () => {
		const { store, requests } = await record({}, (request) =>
			request.method === "POST"
				? { status: 501, body: "<Error><Code>NotImplemented</Code></Error>" }
				: replaced(request),
		);
		expect(await store.deleteMany(keys, { etags })).toMatchObject([{ key: "a", error: { kind: "OBJECT_REPLACED" } }]);
		const conditions = requests
			.filter(({ method }) => method === "DELETE")
			.map(({ headers }) => headers["if-match"] ?? "none");
		expect(new Set(conditions)).toEqual(new Set([`"1"`, `"2"`, "none"]));
	});

	test.each([
		["that tells of failures", { onEvent: () => undefined }],
		["that does not", {}],
	])("one alone, by a store %s", async (_, options) => {
		const { store, requests } = await record(options, replaced);
		expect(await failureOf(store.delete("a", { etag: "1" }))).toMatchObject({ kind: "OBJECT_REPLACED" });
		const deletions = requests.filter(({ method }) => method === "DELETE");
		expect(deletions.map(({ headers }) => headers["if-match"])).toEqual([`"1"`]);
	});

	test("but also where the server refuses the versions that it has itself, which is remembered", async () => {
		const refusal = `<Error><Key>a</Key><Code>PreconditionFailed</Code></Error>`;
		const { store, requests } = await record({}, ({ method, headers, body }) => {
			if (method === "POST") return { body: `<DeleteResult>${body.includes("<ETag>") ? refusal : ""}</DeleteResult>` };
			if (method === "HEAD") return { headers: { etag: `"1"`, "content-length": "1" } };
			return headers["if-match"] === undefined ? { status: 204 } : { status: 412 };
		});
		expect(await store.deleteMany(keys, { etags })).toEqual([]);
		expect(await store.deleteMany(keys, { etags })).toEqual([]);
		expect(requests.map(({ method }) => method)).toEqual(["POST", "DELETE", "HEAD", "DELETE", "POST"]);
	});

	test.each([
		{ status: 400, code: "MalformedXML" },
		{ status: 501, code: "NotImplemented" },
	])(
		"but all of them where the server refuses the condition as $code, which is remembered",
		async ({ status, code }) => {
			const { store, requests } = await record({}, ({ body }) =>
				body.includes("<ETag>")
					? { status, body: `<Error><Code>${code}</Code></Error>` }
					: { body: "<DeleteResult></DeleteResult>" },
			);
			expect(await store.deleteMany(keys, { etags })).toEqual([]);
			expect(await store.deleteMany(keys, { etags })).toEqual([]);
			expect(requests.map(({ method, body }) => [method, body.includes("ETag")])).toEqual([
				["POST", true],
				["POST", false],
				["POST", false],
			]);
		},
	);
});
