import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startFaultProxy } from "../../support/fault-proxy.ts";
import { pattern, readAll, writeAll } from "./drafts.ts";
import { MiB, sentBytes, startRealBucket, type RealBucket } from "./real-bucket.ts";

let bucket: RealBucket;
beforeAll(async () => {
	bucket = await startRealBucket();
});
beforeEach(() => {
	bucket.requests.length = 0;
});
afterAll(() => bucket.stop());

test("appending to 300 MiB uploads the last part and what is new", { timeout: 120_000 }, async () => {
	const content = pattern(300 * MiB, 1);
	const base = await bucket.put("append", content);
	const draft = bucket.draft("append", { staging: bucket.staging(64 * MiB), base });
	const added = pattern(100_000, 2);
	await writeAll(draft, content.length, added);
	bucket.requests.length = 0;
	await draft.commit();
	// 300 MiB end in the middle of a part of 8 MiB.
	expect(sentBytes(bucket.requests, "UploadPart")).toBe(4 * MiB + added.length);
	const operations = bucket.requests.map(({ operation }) => operation);
	expect(operations.filter((operation) => operation === "UploadPartCopy")).toHaveLength(1);
	expect((await bucket.minio.get("writing", "append")).equals(Buffer.concat([content, added]))).toBe(true);
	expect(await bucket.multiparts("append")).toEqual([]);
});

test("random writes to an object of 100 MiB upload the parts that they touch", { timeout: 120_000 }, async () => {
	const content = pattern(100 * MiB, 1);
	const base = await bucket.put("random", content);
	const draft = bucket.draft("random", { staging: bucket.staging(64 * MiB), base });
	for (const [number, offset] of [3, 8 * MiB - 10, 33 * MiB, 33 * MiB + 7000, 99 * MiB + 1].entries()) {
		const data = pattern(5000, number);
		await writeAll(draft, offset, data);
		data.copy(content, offset);
	}
	expect((await readAll(draft, 7 * MiB, 2 * MiB)).equals(content.subarray(7 * MiB, 9 * MiB))).toBe(true);
	bucket.requests.length = 0;
	await draft.commit();
	// Parts 0, 1, 4 and the last, of 4 MiB.
	expect(sentBytes(bucket.requests, "UploadPart")).toBe(28 * MiB);
	expect((await bucket.minio.get("writing", "random")).equals(content)).toBe(true);
	expect(await bucket.multiparts("random")).toEqual([]);
});

test("a longer file is zeros from its old end on, and a shorter one is copied by the server", async () => {
	const content = pattern(30 * MiB, 1);
	const base = await bucket.put("truncated", content);
	const draft = bucket.draft("truncated", { staging: bucket.staging(64 * MiB), base });
	await draft.truncate(20 * MiB);
	bucket.requests.length = 0;
	await draft.commit();
	expect(sentBytes(bucket.requests, "UploadPart")).toBe(0);
	expect((await bucket.minio.get("writing", "truncated")).equals(content.subarray(0, 20 * MiB))).toBe(true);
	await draft.truncate(19 * MiB);
	await draft.truncate(41 * MiB);
	const zeros = Buffer.alloc(22 * MiB);
	expect((await readAll(draft, 19 * MiB, 22 * MiB)).equals(zeros)).toBe(true);
	await draft.commit();
	const expected = Buffer.concat([content.subarray(0, 19 * MiB), zeros]);
	expect((await bucket.minio.get("writing", "truncated")).equals(expected)).toBe(true);
	await draft.truncate(1000);
	await draft.commit();
	expect((await bucket.minio.get("writing", "truncated")).equals(content.subarray(0, 1000))).toBe(true);
	await draft.truncate(0);
	bucket.requests.length = 0;
	await draft.commit();
	expect(bucket.requests.map(({ operation }) => operation)).toEqual(["PutObject"]);
	expect((await bucket.minio.get("writing", "truncated")).length).toBe(0);
	expect(await bucket.multiparts("truncated")).toEqual([]);
});

test("a new file without content is an empty object, and nothing changed is no request", async () => {
	const draft = bucket.draft("empty", { staging: bucket.staging(64 * MiB) });
	expect(draft.isDirty).toBe(true);
	const first = await draft.commit();
	expect(first).toMatchObject({ key: "empty", sizeBytes: 0 });
	expect(draft.isDirty).toBe(false);
	expect(await draft.commit()).toMatchObject({ etag: first.etag, metadata: undefined });
	expect(bucket.requests).toHaveLength(1);
});

test("O_EXCL throws EXISTS for the first commit only", async () => {
	await bucket.put("exclusive", Buffer.from("there"));
	const staging = bucket.staging(64 * MiB);
	const late = bucket.draft("exclusive", { staging, onlyIfAbsent: true });
	await writeAll(late, 0, Buffer.from("late"));
	await expect(late.commit()).rejects.toMatchObject({ kind: "EXISTS" });
	await late.discard();
	const long = bucket.draft("exclusive", { staging, onlyIfAbsent: true });
	await writeAll(long, 0, pattern(9 * MiB, 1));
	await expect(long.commit()).rejects.toMatchObject({ kind: "EXISTS" });
	await long.discard();
	expect(await bucket.multiparts("exclusive")).toEqual([]);
	const first = bucket.draft("exclusive-new", { staging, onlyIfAbsent: true });
	await first.commit();
	await writeAll(first, 0, Buffer.from("again"));
	await first.commit();
	expect((await bucket.minio.get("writing", "exclusive-new")).toString()).toBe("again");
});

test("writes that arrive during a commit wait for it and belong to the next", async () => {
	const draft = bucket.draft("generations", { staging: bucket.staging(64 * MiB) });
	const content = pattern(20 * MiB, 1);
	await writeAll(draft, MiB, content.subarray(MiB));
	await writeAll(draft, 0, content.subarray(0, MiB));
	const order: string[] = [];
	const commits = [draft.commit(), draft.commit()].map(async (commit) => {
		const version = await commit;
		order.push("commit");
		return version;
	});
	const change = pattern(1000, 2);
	const write = writeAll(draft, 10 * MiB, change).then(() => order.push("write"));
	// Reads go on.
	expect((await readAll(draft, 0, MiB)).equals(content.subarray(0, MiB))).toBe(true);
	const [first, second] = await Promise.all(commits);
	expect((await bucket.minio.get("writing", "generations")).equals(content)).toBe(true);
	await write;
	expect(order).toEqual(["commit", "commit", "write"]);
	expect(second).toEqual(first);
	expect(draft.isDirty).toBe(true);
	await draft.commit();
	change.copy(content, 10 * MiB);
	expect((await bucket.minio.get("writing", "generations")).equals(content)).toBe(true);
});

test("discarding aborts the upload and removes what is staged", async () => {
	const staging = bucket.staging(64 * MiB);
	const draft = bucket.draft("discarded", { staging });
	await writeAll(draft, 0, pattern(20 * MiB, 1));
	await draft.discard();
	expect(await bucket.multiparts("discarded")).toEqual([]);
	expect(await bucket.minio.list("writing")).not.toContain("discarded");
	expect(() => draft.write(0, Buffer.from("x"))).toThrow("discarded");
	await expect(draft.commit()).rejects.toMatchObject({ kind: "DISCARDED" });
});

test("a file that is renamed while it is uploaded becomes an object of its new name", async () => {
	let key = "old-name";
	const draft = bucket.draft("", { staging: bucket.staging(64 * MiB), key: () => key });
	const content = pattern(20 * MiB, 1);
	await writeAll(draft, 0, content);
	expect(draft.uploadKey).toBe("old-name");
	key = "new-name";
	expect(await draft.commit()).toMatchObject({ key: "new-name" });
	expect((await bucket.minio.get("writing", "new-name")).equals(content)).toBe(true);
	expect(await bucket.minio.list("writing")).not.toContain("old-name");
	// With nothing uploaded there is nothing to move.
	await writeAll(draft, 5, Buffer.from("x"));
	expect(draft.uploadKey).toBeUndefined();
});

describe("a file that is renamed while it is uploaded, when its old object cannot be deleted:", () => {
	const content = pattern(20 * MiB, 1);
	const failing = async (status: number, code: string, before?: () => Promise<void>) => {
		const proxy = await startFaultProxy(bucket.minio.endpoint);
		const conditions: unknown[] = [];
		await proxy.fail(
			{ kind: "answer", status, body: `<Error><Code>${code}</Code></Error>` },
			{
				only: ({ method, url = "", headers }) => {
					// Not an upload that is given up.
					const isOfObject = method === "DELETE" && !url.includes("uploadId");
					if (isOfObject) conditions.push(headers["if-match"]);
					return isOfObject;
				},
				times: 1,
				...(before !== undefined && { before }),
			},
		);
		let key = "old-name";
		const draft = bucket.draft("", {
			store: bucket.storeAt(proxy.endpoint, 0),
			staging: bucket.staging(64 * MiB),
			key: () => key,
		});
		await writeAll(draft, 0, content);
		expect(draft.uploadKey).toBe("old-name");
		key = "new-name";
		return { proxy, draft, conditions };
	};

	afterEach(async () => bucket.store.delete("old-name"));

	test("what somebody else has stored there meanwhile stays", async () => {
		const other = Buffer.from("of somebody else");
		const { proxy, draft, conditions } = await failing(412, "PreconditionFailed", async () =>
			bucket.minio.put("writing", "old-name", other.toString()),
		);
		expect(await draft.commit()).toMatchObject({ key: "new-name" });
		expect(draft.isDirty).toBe(false);
		await proxy.stop();
		expect(conditions).toEqual([expect.stringMatching(/^"[0-9a-f]{32}-3"$/)]);
		expect((await bucket.minio.get("writing", "old-name")).equals(other)).toBe(true);
		expect((await bucket.minio.get("writing", "new-name")).equals(content)).toBe(true);
	});

	test("that is an error, and the next commit stores the file under its new name once more", async () => {
		const { proxy, draft } = await failing(403, "AccessDenied");
		await expect(draft.commit()).rejects.toMatchObject({ kind: "DENIED" });
		expect(draft.isDirty).toBe(true);
		expect(await draft.commit()).toMatchObject({ key: "new-name" });
		await proxy.stop();
		expect((await bucket.minio.get("writing", "new-name")).equals(content)).toBe(true);
	});
});

test("a draft goes on with a base that was moved meanwhile", async () => {
	const base = await bucket.put("before", pattern(1000, 1));
	let key = "before";
	const draft = bucket.draft("", { staging: bucket.staging(64 * MiB), base, key: () => key });
	await writeAll(draft, 10, Buffer.from("new"));
	await draft.hold(async () => {
		const { etag } = await bucket.store.copy("before", "after");
		await bucket.store.delete("before");
		key = "after";
		draft.rebase({ ...base, key, etag });
	});
	const expected = pattern(1000, 1);
	expected.write("new", 10);
	expect((await readAll(draft)).equals(expected)).toBe(true);
	await draft.commit();
	expect((await bucket.minio.get("writing", "after")).equals(expected)).toBe(true);
});

test("what is staged is only its owner's", async () => {
	const staging = bucket.staging(64 * MiB);
	const base = await bucket.put("recorded", pattern(1000, 1));
	const draft = bucket.draft("recorded", { staging, base });
	await writeAll(draft, 10, Buffer.from("new"));
	const names = readdirSync(staging.directory);
	expect(names).toEqual([expect.stringMatching(/^[^.]+\.0$/)]);
	for (const name of names) expect(statSync(join(staging.directory, name)).mode & 0o777).toBe(0o600);
	await draft.commit();
	expect(readdirSync(staging.directory)).toEqual([]);
});
