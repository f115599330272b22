import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";

import { planCommit } from "../../../src/s3-filesystem/writing/commit-plan.ts";
import { Draft } from "../../../src/s3-filesystem/writing/draft.ts";
import { createStaging, type Staging } from "../../../src/s3-filesystem/writing/staging.ts";
import { createPartGrid } from "../../../src/s3-filesystem/writing/part-grid.ts";
import { S3Error } from "../../../src/s3/object-store.ts";
import { createBucketInMemory, type BucketInMemory } from "./bucket-in-memory.ts";
import { pattern, readAll, stagingDirectory, writeAll } from "./drafts.ts";

const directory = stagingDirectory();
afterAll(() => directory.remove());

const KiB = 1024;
const grid = createPartGrid({ tiers: [{ partBytes: 16 * KiB, count: 12 }], copyBytes: 64 * KiB });
let folders = 0;

function setUp(limitBytes: number): {
	readonly bucket: BucketInMemory;
	readonly staging: Staging;
	readonly draft: (key: string) => Draft;
} {
	const bucket = createBucketInMemory({ smallestPartBytes: 16 * KiB });
	const staging = createStaging({ directory: join(directory.path, String(folders++)), limitBytes, grid });
	const draft = (key: string): Draft =>
		new Draft({ store: bucket, key: () => key, base: undefined, sizeBytes: 0, staging, metadata: () => ({}) });
	return { bucket, staging, draft };
}

test.each([0, 10 * KiB, 16 * KiB, 40 * KiB])(
	"what a process after this one is told of a file that is cut to %i bytes is what it was, or what it will be",
	async (sizeBytes) => {
		const { bucket, staging } = setUp(256 * KiB);
		const told: { readonly sizeBytes: number; readonly stagedBytes: number }[] = [];
		const tell = (): void => {
			const { sizeBytes: toldBytes, parts } = file.keepAll();
			const lengths = parts.flatMap(({ edges }) => edges).map((edge, index) => (index % 2 === 0 ? -edge : edge));
			told.push({ sizeBytes: toldBytes, stagedBytes: lengths.reduce((sum, length) => sum + length, 0) });
		};
		const ignore = (): void => undefined;
		const file: Draft = new Draft({
			store: bucket,
			key: () => "file",
			base: undefined,
			sizeBytes: 0,
			staging,
			metadata: () => ({}),
			watcher: { changed: ignore, partChanged: ignore, written: ignore, flush: tell },
		});
		// Backwards, so that nothing of it is sent.
		for (let offset = 59 * KiB; offset >= 0; offset -= KiB) await writeAll(file, offset, pattern(KiB, offset));
		told.length = 0;
		await file.truncate(sizeBytes);
		expect(told.length).toBeGreaterThan(0);
		for (const each of told) expect(each).toEqual({ sizeBytes, stagedBytes: sizeBytes });
		await file.discard();
	},
);

/** Takes so much room that copies of what the server has must go. */
async function needRoom(draft: Draft, sizeBytes: number): Promise<void> {
	// Backwards, so that nothing of it is sent by itself.
	for (let offset = sizeBytes - KiB; offset >= 0; offset -= KiB) await writeAll(draft, offset, pattern(KiB, offset));
}

test.each(["truncated", "written"])(
	"a short last part that only a failed commit has sent is complete when the file is %s longer",
	async (how) => {
		const { bucket, draft } = setUp(64 * KiB);
		const file = draft("file");
		const content = Buffer.concat([pattern(40 * KiB, 1), Buffer.alloc(60 * KiB)]);
		await writeAll(file, 0, content.subarray(0, 40 * KiB));
		bucket.intercept = (operation) => {
			if (operation === "completeMultipart") throw new S3Error("UNAVAILABLE", "on purpose");
		};
		await expect(file.commit()).rejects.toThrow("on purpose");
		bucket.intercept = () => undefined;
		const other = draft("other");
		await needRoom(other, 60 * KiB);
		if (how === "truncated") await file.truncate(content.length);
		else {
			pattern(KiB, 2).copy(content, 99 * KiB);
			await writeAll(file, 99 * KiB, content.subarray(99 * KiB));
		}
		expect((await readAll(file)).equals(content)).toBe(true);
		await file.commit();
		expect(bucket.objects.get("file")?.bytes.equals(content)).toBe(true);
		await Promise.all([file.discard(), other.discard()]);
		expect(bucket.multiparts.size).toBe(0);
	},
);

test("a part that was sent and is changed is not given up any more when somebody needs room", async () => {
	const { bucket, staging, draft } = setUp(64 * KiB);
	const file = draft("file");
	const content = pattern(40 * KiB, 1);
	await writeAll(file, 0, content);
	await vi.waitFor(() => expect(bucket.calls.filter((call) => call === "uploadPart")).toHaveLength(2), 10_000);
	// The first part stays as a copy, the second does not.
	await vi.waitFor(() => expect(staging.usedBytes).toBe(24 * KiB), 10_000);
	const header = pattern(100, 2);
	header.copy(content);
	await writeAll(file, 0, header);
	const other = draft("other");
	await needRoom(other, 44 * KiB);
	expect((await readAll(file)).equals(content)).toBe(true);
	await file.commit();
	expect(bucket.objects.get("file")?.bytes.equals(content)).toBe(true);
	await Promise.all([file.discard(), other.discard()]);
});

test("what was cut off is zeros when the file is longer again, and takes no room", async () => {
	const { bucket, staging, draft } = setUp(64 * KiB);
	const file = draft("file");
	const content = pattern(14 * KiB, 1);
	await writeAll(file, 0, content);
	await file.truncate(5 * KiB);
	expect(staging.usedBytes).toBe(8 * KiB);
	await file.truncate(12 * KiB);
	content.fill(0, 5 * KiB);
	expect((await readAll(file)).equals(content.subarray(0, 12 * KiB))).toBe(true);
	await file.commit();
	expect(bucket.objects.get("file")?.bytes.equals(content.subarray(0, 12 * KiB))).toBe(true);
	await file.discard();
});

test("a part that somebody waits to change while it is sent stays here, so that nothing has to be stored in between", async () => {
	const { bucket, draft } = setUp(128 * KiB);
	const file = draft("file");
	const content = pattern(40 * KiB, 1);
	const sent = Promise.withResolvers<void>();
	bucket.intercept = async (operation) => {
		if (operation === "uploadPart") await sent.promise;
	};
	// Of the first part a copy stays anyway.
	await writeAll(file, 0, content);
	const change = pattern(100, 2);
	change.copy(content, 20 * KiB);
	const writing = writeAll(file, 20 * KiB, change);
	sent.resolve();
	await writing;
	expect(bucket.calls).not.toContain("completeMultipart");
	await file.commit();
	expect(bucket.calls.filter((call) => call === "completeMultipart")).toHaveLength(1);
	expect(bucket.objects.get("file")?.bytes.equals(content)).toBe(true);
	await file.discard();
});

test.each([
	{ uploadedBytes: undefined, kind: "upload" },
	{ uploadedBytes: 8 * KiB, kind: "keep" },
	{ uploadedBytes: 4 * KiB, kind: "upload" },
	{ uploadedBytes: 16 * KiB, kind: "upload" },
])(
	"of a last part of 8 KiB that has $uploadedBytes bytes on the server the plan says $kind",
	({ uploadedBytes, kind }) => {
		const plan = planCommit({
			grid,
			sizeBytes: 24 * KiB,
			baseBytes: 0,
			stateOf: (index) => ({ uploadedBytes: index === 0 ? 16 * KiB : uploadedBytes }),
		});
		expect(plan.map((step) => step.kind)).toEqual(["keep", kind]);
	},
);
