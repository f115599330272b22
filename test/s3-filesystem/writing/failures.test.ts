import { execFileSync } from "node:child_process";
import type { IncomingMessage } from "node:http";
import { AbortMultipartUploadCommand } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";

import type { ObjectStore } from "../../../src/s3/object-store.ts";
import { startFaultProxy, type FaultProxy } from "../../support/fault-proxy.ts";
import { pattern, readAll, stagingDirectory, writeAll } from "./drafts.ts";
import { MiB, sentBytes, startRealBucket, type RealBucket } from "./real-bucket.ts";

let bucket: RealBucket;
let proxy: FaultProxy;
/** Through the proxy, and quick to give up. */
let store: ObjectStore;
beforeAll(async () => {
	bucket = await startRealBucket();
	proxy = await startFaultProxy(bucket.minio.endpoint);
	store = bucket.storeAt(proxy.endpoint, 300);
});
beforeEach(() => {
	bucket.requests.length = 0;
});
afterEach(() => proxy.mode("pass"));
afterAll(async () => {
	await proxy.stop();
	await bucket.stop();
});

const abort = async (key: string, UploadId: string | undefined) =>
	bucket.minio.client.send(new AbortMultipartUploadCommand({ Bucket: "writing", Key: key, UploadId }));

test("a commit that fails loses nothing and can be tried again", async () => {
	const draft = bucket.draft("retried", { staging: bucket.staging(64 * MiB), store });
	const content = pattern(1000, 1);
	await writeAll(draft, 0, content);
	await proxy.mode("reset");
	await expect(draft.commit()).rejects.toMatchObject({ kind: "UNAVAILABLE" });
	expect(draft.isDirty).toBe(true);
	expect((await readAll(draft)).equals(content)).toBe(true);
	await proxy.mode("pass");
	await draft.commit();
	expect((await bucket.minio.get("writing", "retried")).equals(content)).toBe(true);
});

test("so does one of many parts, and the next goes on with the parts that arrived", async () => {
	const draft = bucket.draft("retried-parts", { staging: bucket.staging(128 * MiB), store });
	const content = pattern(40 * MiB, 1);
	await writeAll(draft, MiB, content.subarray(MiB));
	await writeAll(draft, 0, content.subarray(0, MiB));
	await proxy.fail(
		{ kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" },
		{ only: ({ method }) => method === "POST", times: Infinity },
	);
	await expect(draft.commit()).rejects.toMatchObject({ kind: "DENIED" });
	await proxy.fail(
		{ kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" },
		{ only: ({ url = "" }) => url.includes("partNumber=3") },
	);
	await expect(draft.commit()).rejects.toMatchObject({ kind: "DENIED" });
	await proxy.mode("pass");
	const [uploadId] = await bucket.multiparts("retried-parts");
	expect(uploadId).toBeDefined();
	// What was uploaded may be changed before the next attempt.
	const change = pattern(1000, 2);
	await writeAll(draft, 5, change);
	change.copy(content, 5);
	await draft.commit();
	expect((await bucket.minio.get("writing", "retried-parts")).equals(content)).toBe(true);
	expect(await bucket.multiparts("retried-parts")).toEqual([]);
});

test("an upload that fails while the file is written is told to one write, and made good by the commit", async () => {
	const draft = bucket.draft("late-failure", { staging: bucket.staging(64 * MiB), store });
	const content = pattern(20 * MiB, 1);
	await proxy.mode("error-503");
	await writeAll(draft, 0, content.subarray(0, 9 * MiB));
	await vi.waitFor(async () => {
		const write = async () => draft.write(9 * MiB, content.subarray(9 * MiB, 10 * MiB));
		await expect(write()).rejects.toMatchObject({ kind: "THROTTLED" });
	}, 5000);
	await writeAll(draft, 9 * MiB, content.subarray(9 * MiB, 10 * MiB));
	await proxy.mode("pass");
	await writeAll(draft, 10 * MiB, content.subarray(10 * MiB));
	await draft.commit();
	expect((await bucket.minio.get("writing", "late-failure")).equals(content)).toBe(true);
	expect(await bucket.multiparts("late-failure")).toEqual([]);
});

test("with the server away, writing stops with NO_SPACE at the limit, and goes on when it is back", async () => {
	const draft = bucket.draft("away", { staging: bucket.staging(16 * MiB), store });
	const content = pattern(24 * MiB, 1);
	await proxy.mode("refuse");
	let done = 0;
	const fill = async () => {
		while (done < content.length) {
			// Such errors of parts come first, and once.
			try {
				done += await draft.write(done, content.subarray(done, done + MiB));
			} catch (error) {
				if (!(error instanceof Error && "kind" in error && error.kind === "UNAVAILABLE")) throw error;
			}
		}
	};
	await expect(fill()).rejects.toMatchObject({ kind: "NO_SPACE", cause: { kind: "UNAVAILABLE" } });
	expect(done).toBe(16 * MiB);
	await proxy.mode("pass");
	await fill();
	await draft.commit();
	expect((await bucket.minio.get("writing", "away")).equals(content)).toBe(true);
	expect(await bucket.multiparts("away")).toEqual([]);
});

test("a full disk is told to the writer when nothing is on its way to the server, and loses nothing of what was taken before", async ({
	onTestFinished,
}) => {
	const directory = stagingDirectory();
	try {
		execFileSync("mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", directory.path]);
	} catch (error) {
		directory.remove();
		throw new Error("this test mounts a small tmpfs, which takes CAP_SYS_ADMIN", { cause: error });
	}
	onTestFinished(() => {
		execFileSync("umount", ["-l", directory.path]);
		directory.remove();
	});
	const staging = bucket.staging(64 * MiB, directory.path);
	const draft = bucket.draft("full-disk", { staging });
	const content = pattern(10 * MiB, 1);
	let done = 0;
	const writeOn = async (): Promise<never> => {
		for (;;) done += await draft.write(done, content.subarray(done, done + 300_000));
	};
	await expect(writeOn()).rejects.toThrow("the staging directory is full");
	expect(done).toBeGreaterThan(5 * MiB);
	expect(draft.sizeBytes).toBe(done);
	expect((await readAll(draft)).equals(content.subarray(0, done))).toBe(true);
	expect(staging.usedBytes).toBeLessThanOrEqual(6 * MiB);
	await draft.commit();
	expect((await bucket.minio.get("writing", "full-disk")).equals(content.subarray(0, done))).toBe(true);
	await writeAll(draft, 0, content.subarray(0, 4 * MiB));
	await draft.discard();
	await vi.waitFor(() => expect(staging.usedBytes).toBe(0), 10_000);
});

test("an object that was replaced meanwhile is neither read nor mixed with what was written", async () => {
	const base = await bucket.put("replaced", pattern(20 * MiB, 1));
	const draft = bucket.draft("replaced", { staging: bucket.staging(64 * MiB), base });
	await writeAll(draft, 5, Buffer.from("changed"));
	const other = pattern(20 * MiB, 2);
	await bucket.put("replaced", other);
	await expect(readAll(draft, 0, 100)).rejects.toMatchObject({ kind: "OBJECT_REPLACED" });
	expect((await readAll(draft, 5, 7)).toString()).toBe("changed");
	await expect(draft.commit()).rejects.toMatchObject({ kind: "OBJECT_REPLACED" });
	expect((await bucket.minio.get("writing", "replaced")).equals(other)).toBe(true);
	await draft.discard();
	expect(await bucket.multiparts("replaced")).toEqual([]);
});

test("a whole file that was written anew replaces whatever is there by then", async () => {
	const base = await bucket.put("rewritten", pattern(1000, 1));
	const draft = bucket.draft("rewritten", { staging: bucket.staging(64 * MiB), base, sizeBytes: 0 });
	await bucket.put("rewritten", pattern(500, 2));
	await writeAll(draft, 0, Buffer.from("new"));
	await draft.commit();
	expect((await bucket.minio.get("writing", "rewritten")).toString()).toBe("new");
});

test("a server that cannot copy ranges is sent them", async () => {
	const content = pattern(30 * MiB, 1);
	const base = await bucket.put("no-copy", content);
	await proxy.fail(
		{ kind: "answer", status: 501, body: "<Error><Code>NotImplemented</Code></Error>" },
		{ only: ({ headers }) => headers["x-amz-copy-source"] !== undefined },
	);
	const staging = bucket.staging(16 * MiB);
	const draft = bucket.draft("no-copy", { staging, base, store });
	await writeAll(draft, 17 * MiB, Buffer.from("changed"));
	content.write("changed", 17 * MiB);
	bucket.requests.length = 0;
	await draft.commit();
	expect(sentBytes(bucket.requests, "UploadPart")).toBe(30 * MiB);
	expect(staging.peakBytes).toBeLessThanOrEqual(24 * MiB);
	expect((await bucket.minio.get("writing", "no-copy")).equals(content)).toBe(true);
});

test("a MinIO that is not known as one, behind another server, takes the first change in the middle too", async () => {
	await proxy.fail({ kind: "headers", headers: { server: "nginx" } });
	const content = pattern(30 * MiB, 1);
	const base = await bucket.put("unknown-minio", content);
	const behind = bucket.storeAt(proxy.endpoint, 300);
	const draft = bucket.draft("unknown-minio", { staging: bucket.staging(16 * MiB), base, store: behind });
	for (const offset of [17 * MiB, 3 * MiB]) {
		await writeAll(draft, offset, Buffer.from("changed"));
		content.write("changed", offset);
		await draft.commit();
		expect((await bucket.minio.get("writing", "unknown-minio")).equals(content)).toBe(true);
	}
	expect(await bucket.multiparts("unknown-minio")).toEqual([]);
});

test("parts are sent again when somebody else ended the upload and they are still staged", async () => {
	const draft = bucket.draft("ended", { staging: bucket.staging(64 * MiB), store });
	const content = pattern(20 * MiB, 1);
	// Backwards, so that nothing is uploaded before the commit.
	for (let offset = 19 * MiB; offset >= 0; offset -= MiB) {
		await writeAll(draft, offset, content.subarray(offset, offset + MiB));
	}
	await proxy.fail(
		{ kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" },
		{ only: ({ url = "" }) => url.includes("partNumber=3") },
	);
	await expect(draft.commit()).rejects.toMatchObject({ kind: "DENIED" });
	await proxy.mode("pass");
	await abort("ended", (await bucket.multiparts("ended"))[0]);
	await draft.commit();
	expect((await bucket.minio.get("writing", "ended")).equals(content)).toBe(true);
	expect(await bucket.multiparts("ended")).toEqual([]);
});

test("so they are when the completion had failed before, and the file is not said to be missing", async () => {
	const draft = bucket.draft("ended-complete", { staging: bucket.staging(64 * MiB), store });
	const content = pattern(20 * MiB, 1);
	for (let offset = 19 * MiB; offset >= 0; offset -= MiB) {
		await writeAll(draft, offset, content.subarray(offset, offset + MiB));
	}
	await proxy.fail(
		{ kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" },
		{ only: ({ method, url = "" }) => method === "POST" && url.includes("uploadId=") },
	);
	await expect(draft.commit()).rejects.toMatchObject({ kind: "DENIED" });
	await proxy.mode("pass");
	await abort("ended-complete", (await bucket.multiparts("ended-complete"))[0]);
	await draft.commit();
	expect((await bucket.minio.get("writing", "ended-complete")).equals(content)).toBe(true);
	expect(await bucket.multiparts("ended-complete")).toEqual([]);
});

test("so they are by a server that says no more than that there is no such upload", async () => {
	const draft = bucket.draft("ended-wordless", { staging: bucket.staging(64 * MiB), store });
	const content = pattern(20 * MiB, 1);
	for (let offset = 19 * MiB; offset >= 0; offset -= MiB) {
		await writeAll(draft, offset, content.subarray(offset, offset + MiB));
	}
	await proxy.fail(
		{ kind: "answer", status: 404 },
		{ only: ({ method, url = "" }) => method === "POST" && url.includes("uploadId="), times: 1 },
	);
	await draft.commit();
	expect(proxy.failed).toBe(1);
	expect((await bucket.minio.get("writing", "ended-wordless")).equals(content)).toBe(true);
});

const isCompletion = ({ method, url = "" }: IncomingMessage): boolean => method === "POST" && url.includes("uploadId=");

test.each([
	["in one request", 1000, ({ method }: IncomingMessage) => method === "PUT"],
	["in parts", 20 * MiB, isCompletion],
])("a file that has to be new is not another's when it was stored %s and nobody was told", async (_, size, only) => {
	for (const isChanged of [false, true]) {
		const key = `new-${size}-${isChanged}`;
		const draft = bucket.draft(key, { staging: bucket.staging(64 * MiB), store, onlyIfAbsent: true });
		const content = pattern(size, 1);
		// Backwards, so that all of it is still staged.
		for (let end = size; end > 0; end -= MiB) {
			const start = Math.max(0, end - MiB);
			await writeAll(draft, start, content.subarray(start, end));
		}
		await proxy.fail({ kind: "lose-answer" }, { only });
		await expect(draft.commit()).rejects.toMatchObject({ kind: "UNAVAILABLE" });
		await proxy.mode("pass");
		expect(await bucket.minio.list("writing")).toContain(key);
		if (isChanged) {
			await writeAll(draft, 5, Buffer.from("changed"));
			content.write("changed", 5);
		}
		await draft.commit();
		expect((await bucket.minio.get("writing", key)).equals(content)).toBe(true);
	}
	const another = bucket.draft(`new-${size}-true`, { staging: bucket.staging(64 * MiB), store, onlyIfAbsent: true });
	await writeAll(another, 0, pattern(size, 2));
	await expect(another.commit()).rejects.toMatchObject({ kind: "EXISTS" });
	await another.discard();
});

test("who is overtaken by another client while the attributes are brought up to date has stored the file", async () => {
	let metadata: Record<string, string> = { mode: "1" };
	const draft = bucket.draft("overtaken", { staging: bucket.staging(64 * MiB), store, metadata: () => metadata });
	await writeAll(draft, 0, pattern(20 * MiB, 1));
	await vi.waitFor(() => expect(sentBytes(bucket.requests, "UploadPart")).toBeGreaterThanOrEqual(16 * MiB), 10_000);
	metadata = { mode: "2" };
	await proxy.fail(
		{ kind: "headers", headers: {} },
		{
			only: ({ headers }) => "x-amz-copy-source" in headers,
			before: async () => bucket.minio.put("writing", "overtaken", "by another"),
		},
	);
	await draft.commit();
	expect(proxy.failed).toBe(1);
	expect(draft.isDirty).toBe(false);
	expect((await bucket.minio.get("writing", "overtaken")).toString()).toBe("by another");
});

/** A store in which somebody else ends the upload when this part of it is about to be sent, once. */
function endingUploads(key: string, partNumber: number): ObjectStore {
	const direct = bucket.storeAt(bucket.minio.endpoint, 20_000);
	let isEnded = false;
	return new Proxy(direct, {
		get(target, name): unknown {
			if (name === "uploadPart") {
				return async (...args: Parameters<ObjectStore["uploadPart"]>) => {
					if (args[2] === partNumber && !isEnded) {
						isEnded = true;
						await abort(key, args[1]);
					}
					return target.uploadPart(...args);
				};
			}
			const value: unknown = Reflect.get(target, name);
			return typeof value === "function" ? value.bind(target) : value;
		},
	});
}

test("an upload that somebody else ended while its parts are sent is noticed at once, and all is sent again", async () => {
	const draft = bucket.draft("ended-at-part", {
		staging: bucket.staging(64 * MiB),
		store: endingUploads("ended-at-part", 2),
	});
	const content = pattern(20 * MiB, 1);
	for (let offset = 19 * MiB; offset >= 0; offset -= MiB) {
		await writeAll(draft, offset, content.subarray(offset, offset + MiB));
	}
	const startedAt = performance.now();
	await draft.commit();
	// A connection that breaks is tried again for longer than that.
	expect(performance.now() - startedAt).toBeLessThan(10_000);
	expect((await bucket.minio.get("writing", "ended-at-part")).equals(content)).toBe(true);
	expect(await bucket.multiparts("ended-at-part")).toEqual([]);
});

test("so it is while the file is written, if everything is still staged, and the writer is not told", async () => {
	const staging = bucket.staging(64 * MiB);
	const draft = bucket.draft("ended-early", { staging, store: endingUploads("ended-early", 1) });
	const content = pattern(20 * MiB, 1);
	await writeAll(draft, 0, content.subarray(0, 12 * MiB));
	await vi.waitFor(() => expect(sentBytes(bucket.requests, "UploadPart")).toBeGreaterThanOrEqual(8 * MiB), 10_000);
	await writeAll(draft, 12 * MiB, content.subarray(12 * MiB));
	await draft.commit();
	expect((await bucket.minio.get("writing", "ended-early")).equals(content)).toBe(true);
	expect(await bucket.multiparts("ended-early")).toEqual([]);
});

test("a writer whose upload somebody else ended is told at its next write that bytes are lost", async () => {
	const draft = bucket.draft("lost-early", {
		staging: bucket.staging(64 * MiB),
		store: endingUploads("lost-early", 3),
	});
	const content = pattern(25 * MiB, 1);
	await writeAll(draft, 0, content.subarray(0, 17 * MiB));
	await vi.waitFor(() => expect(sentBytes(bucket.requests, "UploadPart")).toBeGreaterThanOrEqual(16 * MiB), 10_000);
	await writeAll(draft, 17 * MiB, content.subarray(17 * MiB));
	await vi.waitFor(async () => {
		const write = async () => draft.write(25 * MiB, Buffer.alloc(1));
		await expect(write()).rejects.toMatchObject({ kind: "LOST" });
	}, 10_000);
	await draft.discard();
});

test("bytes that only an upload had that somebody else ended are said to be lost, every time", async () => {
	const draft = bucket.draft("lost", { staging: bucket.staging(64 * MiB) });
	const content = pattern(30 * MiB, 1);
	await writeAll(draft, 0, content);
	await vi.waitFor(() => expect(sentBytes(bucket.requests, "UploadPart")).toBeGreaterThanOrEqual(24 * MiB), 10_000);
	await abort("lost", (await bucket.multiparts("lost"))[0]);
	await expect(draft.commit()).rejects.toMatchObject({ kind: "LOST" });
	await expect(draft.commit()).rejects.toMatchObject({ kind: "LOST" });
	expect(await bucket.minio.list("writing")).not.toContain("lost");
	await draft.discard();
});

test("an upload that was completed is not begun again when the answer was lost", async () => {
	const draft = bucket.draft("lost-answer", { staging: bucket.staging(64 * MiB), store });
	const content = pattern(20 * MiB, 1);
	await writeAll(draft, 0, content);
	await proxy.fail(
		{ kind: "lose-answer" },
		{ only: ({ method, url = "" }) => method === "POST" && !url.includes("uploads") },
	);
	await draft.commit().catch(() => undefined);
	await proxy.mode("pass");
	await draft.commit();
	expect((await bucket.minio.get("writing", "lost-answer")).equals(content)).toBe(true);
	expect(bucket.requests.filter(({ operation }) => operation === "CreateMultipartUpload")).toHaveLength(1);
	expect(await bucket.multiparts("lost-answer")).toEqual([]);
});
