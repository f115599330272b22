import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { pattern, readAll, writeAll } from "./drafts.ts";
import { MiB, sentBytes, startRealBucket, type RealBucket } from "./real-bucket.ts";

let bucket: RealBucket;
beforeAll(async () => {
	bucket = await startRealBucket();
});
afterAll(() => bucket.stop());

/** Of bytes that are too many to hold at once. */
async function digestOf(key: string, sizeBytes: number): Promise<string> {
	const { etag } = await bucket.store.head(key);
	const hash = createHash("sha256");
	const into = Buffer.alloc(16 * MiB);
	for (let offset = 0; offset < sizeBytes; offset += into.length) {
		const part = into.subarray(0, Math.min(into.length, sizeBytes - offset));
		await bucket.store.get(key, { offset, into: part, etag, objectSizeBytes: sizeBytes });
		hash.update(part);
	}
	return hash.digest("hex");
}

test("a file of 1 GiB is uploaded while it is written, with 64 MiB staged at most", { timeout: 300_000 }, async () => {
	const staging = bucket.staging(64 * MiB);
	const draft = bucket.draft("long", { staging });
	const hash = createHash("sha256");
	const piece = pattern(3 * MiB, 1);
	const sizeBytes = 1024 * MiB;
	for (let offset = 0; offset < sizeBytes;) {
		piece.writeUInt32LE(offset / 1024);
		const data = piece.subarray(0, Math.min(piece.length, sizeBytes - offset));
		await writeAll(draft, offset, data);
		hash.update(data);
		offset += data.length;
	}
	const uploadedBytes = sentBytes(bucket.requests, "UploadPart");
	await draft.commit();
	expect(uploadedBytes).toBeGreaterThan(sizeBytes - 80 * MiB);
	expect(staging.peakBytes).toBeLessThanOrEqual(64 * MiB);
	expect(await digestOf("long", sizeBytes)).toBe(hash.digest("hex"));
	expect(await bucket.multiparts("long")).toEqual([]);
	await vi.waitFor(() => expect(staging.usedBytes).toBe(0), 10_000);
	expect(readdirSync(staging.directory)).toEqual([]);
});

test("many small files take one request each and leave nothing behind", async () => {
	const staging = bucket.staging(64 * MiB);
	bucket.requests.length = 0;
	for (let number = 0; number < 50; number++) {
		const draft = bucket.draft(`small/${number}`, { staging });
		await writeAll(draft, 0, pattern(4096, number));
		await draft.commit();
	}
	expect(bucket.requests.map(({ operation }) => operation)).toEqual(Array.from({ length: 50 }, () => "PutObject"));
	expect((await bucket.minio.get("writing", "small/49")).equals(pattern(4096, 49))).toBe(true);
	expect(readdirSync(staging.directory)).toEqual([]);
});

test("a header that is filled in at the end is no reason to commit twice", async () => {
	const staging = bucket.staging(64 * MiB);
	const draft = bucket.draft("header", { staging });
	const content = pattern(20 * MiB, 1);
	await writeAll(draft, 0, content);
	await vi.waitFor(() => expect(sentBytes(bucket.requests, "UploadPart")).toBeGreaterThanOrEqual(16 * MiB), 10_000);
	bucket.requests.length = 0;
	const header = pattern(100, 2);
	await writeAll(draft, 0, header);
	await draft.commit();
	header.copy(content);
	expect(bucket.requests.filter(({ operation }) => operation === "CompleteMultipartUpload")).toHaveLength(1);
	expect((await bucket.minio.get("writing", "header")).equals(content)).toBe(true);
});

test("what was uploaded already can be read and changed, which commits it first", async () => {
	const staging = bucket.staging(64 * MiB);
	const draft = bucket.draft("reread", { staging });
	const content = pattern(30 * MiB, 1);
	await writeAll(draft, 0, content);
	await vi.waitFor(() => expect(staging.usedBytes).toBeLessThan(16 * MiB), 10_000);
	expect((await readAll(draft, 9 * MiB, MiB)).equals(content.subarray(9 * MiB, 10 * MiB))).toBe(true);
	expect(draft.isDirty).toBe(false);
	const change = pattern(100, 2);
	await writeAll(draft, 20 * MiB, change);
	change.copy(content, 20 * MiB);
	expect((await readAll(draft)).equals(content)).toBe(true);
	await draft.commit();
	expect((await bucket.minio.get("writing", "reread")).equals(content)).toBe(true);
	expect(await bucket.multiparts("reread")).toEqual([]);
});

test("metadata that changes while a file is uploaded is the object's in the end", async () => {
	let metadata: Record<string, string> = { mode: "33188" };
	const staging = bucket.staging(64 * MiB);
	const draft = bucket.draft("attributes", {
		staging,
		metadata: (isFinal) => ({ ...metadata, ...(isFinal && { mtime: "5" }) }),
	});
	await writeAll(draft, 0, pattern(17 * MiB, 1));
	await draft.commit();
	// The time of modification is the object's own then.
	expect((await bucket.store.head("attributes")).metadata).toEqual({ mode: "33188" });
	await writeAll(draft, 17 * MiB, pattern(17 * MiB, 2));
	metadata = { mode: "33152" };
	const { etag } = await draft.commit();
	const head = await bucket.store.head("attributes");
	expect(head).toMatchObject({ etag, metadata: { mode: "33152", mtime: "5" }, sizeBytes: 34 * MiB });
});

test("who needs room commits the drafts of others that rest", async () => {
	const staging = bucket.staging(16 * MiB);
	const committed: number[] = [];
	const resting = bucket.draft("resting", { staging, onCommit: ({ sizeBytes }) => committed.push(sizeBytes) });
	// Not in order, so that it is not uploaded by itself.
	await writeAll(resting, MiB, pattern(11 * MiB, 1));
	const draft = bucket.draft("needy", { staging });
	const content = pattern(12 * MiB, 2);
	await writeAll(draft, 0, content);
	expect(committed).toEqual([12 * MiB]);
	expect(resting.isDirty).toBe(false);
	await draft.commit();
	expect((await bucket.minio.get("writing", "needy")).equals(content)).toBe(true);
});
