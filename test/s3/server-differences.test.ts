import { HeadObjectCommand, PutBucketPolicyCommand } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Ability } from "../../src/s3/abilities.ts";
import type { ObjectStore, ObjectStoreOptions, StoreEvent, Uploaded } from "../../src/s3/object-store.ts";
import { ServerKnowledge } from "../../src/s3/server-knowledge.ts";
import { startLyingProxy, type LyingProxy, type Manner, type Told } from "../support/lying-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { bodyOf, failureOf, MiB, noise, read, storeOn } from "./bucket.ts";

/** What servers do that are not quite S3: each has been seen to by the one that is named. */
let minio: Minio;
let proxy: LyingProxy;
let store: ObjectStore;
let stores: ObjectStore[] = [];
let events: StoreEvent[] = [];
let conceded: Ability[] = [];

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startLyingProxy(minio.endpoint);
	await minio.createBucket("bucket");
}, 60_000);

beforeEach(() => {
	events = [];
	conceded = [];
	proxy.manners();
	store = open();
});

afterEach(() => {
	for (const each of stores) each.close();
	stores = [];
});

afterAll(async () => {
	await proxy?.stop();
	await minio?.stop();
}, 30_000);

function open(options: Partial<ObjectStoreOptions> = {}): ObjectStore {
	const opened = storeOn(minio, {
		endpoint: new URL(proxy.endpoint),
		retryForMs: 20_000,
		knowledge: new ServerKnowledge(({ ability }) => conceded.push(ability)),
		onEvent: (event) => events.push(event),
		...options,
	});
	stores.push(opened);
	return opened;
}

/** So that what is asked may be changed on its way. */
async function allowAll(): Promise<void> {
	const Statement = [
		{ Effect: "Allow", Principal: "*", Action: ["s3:*"], Resource: ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"] },
	];
	const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
	await minio.client.send(new PutBucketPolicyCommand({ Bucket: "bucket", Policy }));
}

const retries = (): StoreEvent[] => events.filter(({ kind }) => kind === "retry");
const isComplete = ({ method, url }: Told): boolean => method === "POST" && url.includes("uploadId=");
const isCopy = ({ headers, url }: Told): boolean => "x-amz-copy-source" in headers && !url.includes("partNumber");
const isPartCopy = ({ headers, url }: Told): boolean => "x-amz-copy-source" in headers && url.includes("partNumber");
const errorXml = (code: string, message = "Because."): string =>
	`<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
/** Not MinIO, of which it is known that it has no checksums of copied parts. */
const nameless: Manner = { tells: () => ({ headers: { server: undefined } }) };

const first = noise(5 * MiB, 3);
const last = noise(1000, 4);
const whole = Buffer.concat([first, last]);

async function putTogether(key: string, options: { readonly onlyIfAbsent?: boolean } = {}): Promise<Uploaded> {
	const id = await store.createMultipart(key, {});
	const parts = [await store.uploadPart(key, id, 1, bodyOf(first)), await store.uploadPart(key, id, 2, bodyOf(last))];
	return store.completeMultipart(key, id, parts, { ...options, sizeBytes: whole.length });
}

describe("the version of what was put together", () => {
	test.each([
		["an empty one, as Ceph 16", /<ETag>.*<\/ETag>/, "<ETag></ETag>"],
		[
			"another one than later, as s3proxy",
			/<ETag>.*<\/ETag>/,
			"<ETag>&#34;0123456789abcdef0123456789abcdef&#34;</ETag>",
		],
		["none, in an answer of another form", /<Complete[^]*/, "<SomethingResult></SomethingResult>"],
	])("is asked for where the server says %s", async (_, truth, lie) => {
		proxy.manners({
			tells: (request, { body }) => (isComplete(request) ? { body: body.replace(truth, lie) } : undefined),
		});
		for (let index = 0; index < 2; index++) {
			const { etag } = await putTogether("together");
			const into = Buffer.alloc(whole.length);
			await store.get("together", { offset: 0, into, etag, objectSizeBytes: whole.length });
			expect(into.equals(whole)).toBe(true);
			await store.copy("together", "together copy", { etag });
		}
		expect([retries(), conceded]).toEqual([[], ["completed-versions"]]);
	});

	test("is asked for also where an object's time is the one that its metadata name, as of rclone", async () => {
		await minio.put("bucket", "old", "content");
		const metadata = { mtime: "1049529968.5" };
		proxy.manners({
			tells: (request) => {
				if (isCopy(request)) return { body: "<CopyObjectResult></CopyObjectResult>" };
				return request.method === "HEAD"
					? { headers: { "last-modified": new Date(1_049_529_968_000).toUTCString() } }
					: undefined;
			},
		});
		const { etag } = await store.copy("old", "old", { metadata, sizeBytes: 7 });
		expect(etag).toBe((await store.head("old")).etag);
		await store.copy("old", "old renamed", { etag });
		expect(retries()).toEqual([]);
	});

	test("is looked at once where the server says the right one", async () => {
		for (let index = 0; index < 3; index++) await putTogether("together");
		const heads = proxy.requests.filter(({ method }) => method === "HEAD");
		expect([heads.length, conceded]).toEqual([1, []]);
	});

	test("is not that of what somebody else has put in its place meanwhile", async () => {
		proxy.manners({
			tells: (request, { body }) =>
				isComplete(request) ? { body: body.replace(/<ETag>.*<\/ETag>/, "<ETag></ETag>") } : undefined,
			refuses: ({ method, headers: { "x-amz-checksum-mode": mode } }) =>
				method === "HEAD" && mode === undefined
					? {
							status: 200,
							headers: { etag: '"other"', "content-length": "3", "last-modified": new Date().toUTCString() },
						}
					: undefined,
		});
		expect(await failureOf(putTogether("together"))).toMatchObject({ kind: "OBJECT_REPLACED" });
	});
});

test("an object of many parts is only made where there is none, also by servers that let a condition pass at its completion", async () => {
	await minio.put("bucket", "exclusive", "another's");
	// As Ceph and s3proxy do.
	const signed = open({ credentials: undefined });
	await allowAll();
	store = signed;
	proxy.manners({ drops: () => ["if-none-match"] });
	expect(await failureOf(putTogether("exclusive", { onlyIfAbsent: true }))).toMatchObject({ kind: "EXISTS" });
	expect((await minio.get("bucket", "exclusive")).toString()).toBe("another's");
	await putTogether("exclusive new", { onlyIfAbsent: true });
	expect((await minio.get("bucket", "exclusive new")).equals(whole)).toBe(true);
});

test("a status of 304 for what must not be there is a refusal, as of S3Mock", async () => {
	proxy.manners({
		tells: ({ headers }, { status }) =>
			"if-none-match" in headers && status === 412 ? { status: 304, body: "" } : undefined,
	});
	await minio.put("bucket", "there", "x");
	expect(await failureOf(store.put("there", bodyOf("y"), { onlyIfAbsent: true }))).toMatchObject({ kind: "EXISTS" });
});

describe("a server that says of each version of an object of parts that it is another one, as Swift does,", () => {
	const swift: Manner = {
		refuses: ({ headers }) =>
			String(headers["x-amz-copy-source-if-match"] ?? "").includes("-")
				? { status: 412, body: errorXml("PreconditionFailed") }
				: undefined,
	};

	test("copies it without, which is looked at before and after", async () => {
		const { etag } = await putTogether("multipart");
		proxy.manners(swift);
		await store.copy("multipart", "multipart copy", { etag, properties: { headers: {} } });
		const { etag: changed } = await store.copy("multipart", "multipart", { etag, metadata: { mode: "1" } });
		expect((await minio.get("bucket", "multipart copy")).equals(whole)).toBe(true);
		const id = await store.createMultipart("appended", {});
		const from = { key: "multipart", etag: changed, offset: 0, lengthBytes: 5 * MiB };
		const parts = [await store.copyPart("appended", id, 1, from)];
		await store.completeMultipart("appended", id, parts);
		expect((await minio.get("bucket", "appended")).equals(first)).toBe(true);
		expect([retries(), conceded]).toEqual([[], ["copy-conditions-of-parts"]]);
		const asked = proxy.requests.filter(({ headers }) => String(headers["x-amz-copy-source-if-match"]).includes("-"));
		expect(asked).toHaveLength(1);
	});

	test("copies no other version than wanted, and leaves nothing of it", async () => {
		const { etag } = await putTogether("multipart");
		proxy.manners(swift);
		await store.copy("multipart", "learnt", { etag });
		await store.put("multipart", bodyOf("another"));
		expect(await failureOf(store.copy("multipart", "wrong", { etag }))).toMatchObject({ kind: "OBJECT_REPLACED" });
		const { etag: second } = await putTogether("multipart");
		// Somebody is faster than the copy.
		let isReplaced = false;
		proxy.manners(swift, {
			tells: (request, { body }) => {
				if (isCopy(request)) isReplaced = true;
				if (!isReplaced) return undefined;
				if (request.url.includes("list-type=2"))
					return { body: body.replaceAll(/<ETag>.*?<\/ETag>/g, "<ETag>another</ETag>") };
				return request.method === "HEAD" ? { headers: { etag: '"another"' } } : undefined;
			},
		});
		expect(await failureOf(store.copy("multipart", "wrong", { etag: second }))).toMatchObject({
			kind: "OBJECT_REPLACED",
		});
		proxy.manners();
		expect(await failureOf(store.head("wrong"))).toMatchObject({ kind: "NOT_FOUND" });
	});
});

test.each([
	["404, as SeaweedFS", 404, "NoSuchKey"],
	["400, as versitygw", 400, "InvalidRequest"],
])(
	"the object of a directory is made anew with all that it has, since copying it may be %s",
	async (_, status, code) => {
		const properties = { headers: { "content-type": "application/x-directory" }, storageClass: "STANDARD" };
		const { etag } = await store.put("directory/", bodyOf(""), { metadata: { mode: "16877" }, properties });
		proxy.manners({
			refuses: ({ headers }) =>
				String(headers["x-amz-copy-source"] ?? "").endsWith("/") ? { status, body: errorXml(code) } : undefined,
		});
		await store.copy("directory/", "moved/", { etag, sizeBytes: 0 });
		expect(await store.head("moved/")).toMatchObject({ metadata: { mode: "16877" }, properties, sizeBytes: 0 });
		expect(await failureOf(store.copy("directory/", "moved/", { etag: "other" }))).toMatchObject({
			kind: "OBJECT_REPLACED",
		});
	},
);

describe("parts that are copied to an upload with checksums", () => {
	test.each([
		["none, as S3Mock", undefined],
		["the one of the whole object, as versitygw", "whole"],
	])(
		"have to have their own: of a server that says %s, their bytes are sent, and the next upload is begun without",
		async (_, said) => {
			const { etag } = await store.put("source", bodyOf(whole));
			const { ChecksumCRC32: ofWhole } = await minio.client.send(
				new HeadObjectCommand({ Bucket: "bucket", Key: "source", ChecksumMode: "ENABLED" }),
			);
			const manners: Manner = {
				tells: (request, { body }) => {
					if (!isPartCopy(request)) return undefined;
					const element = said === undefined ? "" : `<ChecksumCRC32>${ofWhole}</ChecksumCRC32>`;
					return { body: body.replace("</CopyPartResult>", `${element}</CopyPartResult>`) };
				},
				// MinIO itself knows no checksums of copied parts.
				drops: () => ["x-amz-checksum-algorithm"],
			};
			await allowAll();
			store = open({ credentials: undefined });
			proxy.manners(nameless, manners);
			const id = await store.createMultipart("target", {});
			const from = { key: "source", etag, offset: 0, lengthBytes: 5 * MiB };
			expect(await failureOf(store.copyPart("target", id, 1, from))).toMatchObject({ kind: "UNSUPPORTED" });
			await store.abortMultipart("target", id);
			const next = await store.createMultipart("target", {});
			expect(proxy.requests.at(-1)?.headers["x-amz-checksum-algorithm"]).toBeUndefined();
			const parts = [
				await store.copyPart("target", next, 1, from),
				await store.uploadPart("target", next, 2, bodyOf(last)),
			];
			await store.completeMultipart("target", next, parts);
			expect((await minio.get("bucket", "target")).equals(whole)).toBe(true);
			expect([retries(), conceded]).toEqual([[], ["copied-checksums"]]);
		},
	);
});

test("checksums of parts that a server has told are not sent to an upload that was begun without, as versitygw refuses them", async () => {
	proxy.manners({
		tells: ({ method, url }) =>
			method === "PUT" && url.includes("partNumber") ? { headers: { "x-amz-checksum-crc32": "AAAAAA==" } } : undefined,
		refuses: (request) =>
			isComplete(request) && request.body.includes("ChecksumCRC32")
				? { status: 400, body: errorXml("InvalidPart", "One or more of the specified parts could not be found.") }
				: undefined,
	});
	await putTogether("without an algorithm");
	expect((await minio.get("bucket", "without an algorithm")).equals(whole)).toBe(true);
});

test("whether the objects of directories keep their metadata is looked at once, as SeaweedFS and rclone lose them", async () => {
	const heads = (): number => proxy.requests.filter(({ method }) => method === "HEAD").length;
	const metadata = { mode: "16877" };
	for (let index = 0; index < 3; index++) await store.put(`kept ${index}/`, bodyOf(""), { metadata });
	expect([heads(), conceded]).toEqual([1, []]);
	store = open();
	proxy.manners({
		tells: ({ method }) => (method === "HEAD" ? { headers: { "x-amz-meta-mode": undefined } } : undefined),
	});
	for (let index = 0; index < 3; index++) await store.put(`lost ${index}/`, bodyOf(""), { metadata });
	expect([heads(), conceded]).toEqual([1, ["directory-metadata"]]);
});

describe("an answer of another form is no reason to try for a minute:", () => {
	test.each([
		["a copy without its version, as of rclone", "<CopyObjectResult></CopyObjectResult>"],
		["a copy of which nothing is told", "<Unknown></Unknown>"],
	])("%s", async (_, body) => {
		await minio.put("bucket", "form", "content");
		proxy.manners({ tells: (request) => (isCopy(request) ? { body } : undefined) });
		const { etag } = await store.copy("form", "form copy", { sizeBytes: 7 });
		expect(etag).toBe((await store.head("form copy")).etag);
		expect([retries(), proxy.requests.filter(isCopy).length]).toEqual([[], 1]);
	});

	test("a copied part that is told as a copied object, as of s3proxy", async () => {
		const { etag } = await store.put("source", bodyOf(whole));
		proxy.manners({
			tells: (request, { body }) =>
				isPartCopy(request) ? { body: body.replaceAll("CopyPartResult", "CopyObjectResult") } : undefined,
		});
		const id = await store.createMultipart("target", {});
		const part = await store.copyPart("target", id, 1, { key: "source", etag, offset: 0, lengthBytes: 5 * MiB });
		await store.completeMultipart("target", id, [part]);
		expect((await minio.get("bucket", "target")).equals(first)).toBe(true);
		expect([retries(), conceded]).toEqual([[], []]);
	});

	test("a copied part of which nothing is told: its bytes are sent", async () => {
		const { etag } = await store.put("source", bodyOf(whole));
		proxy.manners({ tells: (request) => (isPartCopy(request) ? { body: "<Unknown></Unknown>" } : undefined) });
		const id = await store.createMultipart("target", {});
		const copied = store.copyPart("target", id, 1, { key: "source", etag, offset: 0, lengthBytes: 5 * MiB });
		expect(await failureOf(copied)).toMatchObject({ kind: "UNSUPPORTED" });
		expect([retries().length, conceded]).toEqual([2, ["part-copies"]]);
		await store.abortMultipart("target", id);
	});

	test("the object of a directory without a version, as of rclone", async () => {
		await store.put("directory/", bodyOf(""), { metadata: { mode: "1" } });
		proxy.manners({ tells: ({ method }) => (method === "HEAD" ? { headers: { etag: undefined } } : undefined) });
		expect(await store.head("directory/")).toMatchObject({ etag: "", sizeBytes: 0, metadata: { mode: "1" } });
		expect(retries()).toEqual([]);
	});

	test("a written object without its version", async () => {
		proxy.manners({ tells: ({ method }) => (method === "PUT" ? { headers: { etag: undefined } } : undefined) });
		const { etag } = await store.put("written", bodyOf("content"));
		expect(etag).toBe((await store.head("written")).etag);
		expect(retries()).toEqual([]);
	});
});

test("small files are read without their checksums from a server that does not tell them, as s3proxy", async () => {
	const { etag } = await store.put("small", bodyOf("content"));
	proxy.manners({
		refuses: ({ headers }) =>
			"x-amz-checksum-mode" in headers ? { status: 501, body: errorXml("NotImplemented") } : undefined,
	});
	for (let index = 0; index < 3; index++) {
		const into = Buffer.alloc(7);
		await store.get("small", { offset: 0, into, etag, objectSizeBytes: 7 });
		expect(into.toString()).toBe("content");
	}
	expect(conceded).toEqual(["read-checksums"]);
	expect(proxy.requests.filter(({ headers }) => !("if-match" in headers))).toHaveLength(2);
	expect((await read(store, "small")).toString()).toBe("content");
});

test("directories are deleted after what is in them, since some servers refuse it otherwise, as s3proxy", async () => {
	const keys = ["a/", "a/b/", "a/b/c", "a/d", "e"];
	for (const key of keys) await store.put(key, bodyOf(""));
	const here = new Set(keys);
	proxy.manners({
		refuses({ method, url, body }) {
			if (method === "POST") return { status: 501, body: errorXml("NotImplemented") };
			const key = decodeURIComponent(url.replace("/bucket/", ""));
			if (method !== "DELETE") return undefined;
			if (key.endsWith("/") && [...here].some((other) => other !== key && other.startsWith(key)))
				return { status: 500, body: errorXml("InternalError", String(body)) };
			here.delete(key);
			return undefined;
		},
	});
	expect(await store.deleteMany(keys)).toEqual([]);
	expect(retries()).toEqual([]);
	const ordered = open();
	let asked = "";
	proxy.manners({
		refuses({ method, body }) {
			asked = method === "POST" ? body.toString() : "";
			return undefined;
		},
	});
	await ordered.deleteMany(keys);
	expect([...asked.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key]) => key)).toEqual(["a/b/c", "a/d", "e", "a/b/", "a/"]);
});

describe("objects of directories that have a version in listings alone, as of s3proxy", () => {
	const isDirectory = (key: string): boolean => key.endsWith("/");
	const versionless: Manner = {
		refuses({ method, url, headers, body }) {
			const key = decodeURIComponent(url.replace("/bucket/", ""));
			if (method === "DELETE" && isDirectory(key) && "if-match" in headers)
				return { status: 412, body: errorXml("PreconditionFailed") };
			if (method !== "POST") return undefined;
			const refused = [...body.toString().matchAll(/<Key>([^<]*)<\/Key><ETag>/g)].filter(([, each = ""]) =>
				isDirectory(each),
			);
			if (refused.length === 0) return undefined;
			const errors = refused.map(([, each]) => `<Error><Key>${each}</Key><Code>PreconditionFailed</Code></Error>`);
			return { status: 200, body: `<DeleteResult>${errors.join("")}</DeleteResult>` };
		},
		tells: ({ method, url }, { headers }) =>
			method === "HEAD" && isDirectory(url) && headers["content-length"] === "0"
				? { headers: { etag: undefined } }
				: undefined,
	};

	test("are deleted without it", async () => {
		const etags = new Map<string, string>();
		for (const key of ["one/", "two/", "three/"]) etags.set(key, (await store.put(key, bodyOf(""))).etag);
		proxy.manners(versionless);
		expect(await store.deleteMany(["one/", "two/"], { etags })).toEqual([]);
		expect(conceded).toEqual(["conditional-deletes-of-directories"]);
		expect(await store.deleteMany(["three/"], { etags })).toEqual([]);
		expect(proxy.requests.filter(({ method }) => method === "HEAD")).toHaveLength(3);
		for (const key of etags.keys()) expect((await failureOf(store.head(key))).kind).toBe("NOT_FOUND");
	});

	test("stay when they hold something", async () => {
		const { etag } = await store.put("full/", bodyOf(""));
		await store.put("full/", bodyOf("of another"));
		proxy.manners(versionless);
		const [failure] = await store.deleteMany(["full/"], { etags: new Map([["full/", etag]]) });
		expect(failure?.error.kind).toBe("OBJECT_REPLACED");
		expect(conceded).toEqual([]);
	});

	test("stay when they hold something, also once that is known of the server", async () => {
		const etags = new Map<string, string>();
		for (const key of ["empty/", "full/"]) etags.set(key, (await store.put(key, bodyOf(""))).etag);
		await store.put("full/", bodyOf("of another"));
		proxy.manners(versionless);
		expect(await store.deleteMany(["empty/"], { etags })).toEqual([]);
		expect(conceded).toEqual(["conditional-deletes-of-directories"]);
		expect(await store.deleteMany(["full/"], { etags })).toMatchObject([
			{ key: "full/", error: { kind: "OBJECT_REPLACED" } },
		]);
		expect((await store.head("full/")).sizeBytes).toBeGreaterThan(0);
	});

	test("stay where nobody may look at them", async () => {
		const { etag } = await store.put("unseen/", bodyOf(""));
		proxy.manners({
			...versionless,
			refuses: (request) => (request.method === "HEAD" ? { status: 403, body: "" } : versionless.refuses?.(request)),
		});
		const [failure] = await store.deleteMany(["unseen/"], { etags: new Map([["unseen/", etag]]) });
		expect(failure?.error.kind).toBe("OBJECT_REPLACED");
	});
});

describe("an object that is listed with another version than it is compared by, as Swift lists copies of what was put together", () => {
	const otherwise = (version: string): Manner => ({
		tells: ({ url }, { body }) =>
			url.includes("list-type=2")
				? { body: body.replaceAll(/<ETag>.*?<\/ETag>/g, `<ETag>${version}</ETag>`) }
				: undefined,
	});
	const listedNow = async (prefix: string) =>
		(await store.list({ prefix })).objects.map(({ key, etag }) => [key, etag]);

	test.each([
		["of another form", "&#34;6031a974921ea15a3973458b72a0d24b&#34;"],
		["none", ""],
	])("is read, copied and deleted: %s", async (_, version) => {
		await minio.put("bucket", "otherwise/file", whole);
		proxy.manners(otherwise(version));
		const listed = (await store.list({ prefix: "otherwise/file" })).objects[0];
		const { etag = "" } = listed ?? {};
		const into = Buffer.alloc(whole.length);
		await store.get("otherwise/file", { offset: 0, into, etag, objectSizeBytes: whole.length });
		expect(into.equals(whole)).toBe(true);
		expect(await store.head("otherwise/file", { as: etag })).toMatchObject({ etag });
		await store.copy("otherwise/file", "otherwise/copy", { etag, sizeBytes: whole.length });
		const id = await store.createMultipart("otherwise/parts", {});
		const part = { key: "otherwise/file", etag, offset: 0, lengthBytes: 1000 };
		const parts = [await store.copyPart("otherwise/parts", id, 1, part)];
		await store.completeMultipart("otherwise/parts", id, parts, { sizeBytes: 1000 });
		await store.delete("otherwise/file", { etag });
		expect((await failureOf(store.head("otherwise/file"))).kind).toBe("NOT_FOUND");
		expect([retries(), conceded]).toEqual([[], ["listed-versions"]]);
	});

	test("is deleted with others, by what is found for each", async () => {
		const keys = ["many/1", "many/2"];
		for (const key of keys) await minio.put("bucket", key, whole);
		const version = "6031a974921ea15a3973458b72a0d24b";
		const errors = keys.map((key) => `<Error><Key>${key}</Key><Code>PreconditionFailed</Code></Error>`).join("");
		proxy.manners({
			...otherwise(`&#34;${version}&#34;`),
			refuses: ({ method, headers, body }) => {
				if (headers["if-match"] === `"${version}"`) return { status: 412, body: errorXml("PreconditionFailed") };
				const isOfMany = method === "POST" && body.includes(version);
				return isOfMany ? { status: 200, body: `<DeleteResult>${errors}</DeleteResult>` } : undefined;
			},
		});
		const etags = new Map(keys.map((key) => [key, version]));
		expect(await store.deleteMany(keys, { etags })).toEqual([]);
		expect(await listedNow("many/")).toEqual([]);
	});

	test("keeps the version that it got here", async () => {
		await minio.put("bucket", "ours/file", whole);
		proxy.manners(otherwise("&#34;6031a974921ea15a3973458b72a0d24b&#34;"));
		const { etag: copied } = await store.copy("ours/file", "ours/copy", { sizeBytes: whole.length });
		expect(await listedNow("ours/copy")).toEqual([["ours/copy", copied]]);
		expect(conceded).toEqual(["listed-versions"]);
		const { etag: put } = await store.put("ours/put", bodyOf("content"));
		for (let index = 0; index < 2; index++) expect(await listedNow("ours/put")).toEqual([["ours/put", put]]);
		// Of each of the two once, and a look at the listing.
		expect(proxy.requests.filter(({ method }) => method === "HEAD")).toHaveLength(3);
		await minio.put("bucket", "ours/put", "another");
		expect(await listedNow("ours/put")).not.toEqual([["ours/put", put]]);
	});

	test("that somebody else has replaced is not taken for it", async () => {
		await minio.put("bucket", "replaced/file", first);
		const listed = (await store.list({ prefix: "replaced/file" })).objects[0];
		await minio.put("bucket", "replaced/file", whole);
		const { etag = "" } = listed ?? {};
		const into = Buffer.alloc(first.length);
		const reading = store.get("replaced/file", { offset: 0, into, etag, objectSizeBytes: first.length });
		expect((await failureOf(reading)).kind).toBe("OBJECT_REPLACED");
		expect((await failureOf(store.copy("replaced/file", "replaced/copy", { etag }))).kind).toBe("OBJECT_REPLACED");
		expect((await store.head("replaced/file", { as: etag })).etag).not.toBe(etag);
		expect(conceded).toEqual([]);
	});
});

test("an upload without some part numbers, which rclone refuses, is one that can be made without gaps", async () => {
	proxy.manners({
		refuses: (request) =>
			isComplete(request) && !request.body.includes("<PartNumber>1<")
				? { status: 400, body: errorXml("InvalidPart") }
				: undefined,
	});
	const id = await store.createMultipart("gaps", {});
	const parts = [await store.uploadPart("gaps", id, 3, bodyOf("x"))];
	expect(store.takesGaps).toBe(true);
	expect(await failureOf(store.completeMultipart("gaps", id, parts))).toMatchObject({ kind: "UNSUPPORTED" });
	expect([store.takesGaps, conceded]).toEqual([false, ["part-gaps"]]);
	await store.abortMultipart("gaps", id);
});

test("long metadata that a server always fails with, as Swift, is too much for it, and is no reason to wait", async () => {
	await minio.put("bucket", "object", "content");
	proxy.manners({
		refuses: ({ headers }) =>
			String(headers["x-amz-meta-xattr"] ?? "").length > 256
				? { status: 500, body: errorXml("InternalError", "unexpected status code 400") }
				: undefined,
	});
	const metadata = { xattr: "x".repeat(257) };
	for (const work of [
		async () => store.copy("object", "object", { metadata }),
		async () => store.put("object", bodyOf("y"), { metadata }),
		async () => store.createMultipart("object", metadata),
	]) {
		events = [];
		expect(await failureOf(work())).toMatchObject({ kind: "NO_SPACE", code: "InternalError" });
		expect(retries()).toHaveLength(2);
	}
	await store.copy("object", "object", { metadata: { xattr: "short" } });
});
