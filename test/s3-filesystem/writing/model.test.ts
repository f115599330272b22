import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test, vi } from "vitest";

import { Draft } from "../../../src/s3-filesystem/writing/draft.ts";
import { Tails } from "../../../src/s3-filesystem/writing/tails.ts";
import { MeasuredStaging } from "./measured-staging.ts";
import { createPartGrid } from "../../../src/s3-filesystem/writing/part-grid.ts";
import { S3Error, type ObjectVersion } from "../../../src/s3/object-store.ts";
import { createBucketInMemory } from "./bucket-in-memory.ts";
import { pattern, readAll, stagingDirectory, writeAll } from "./drafts.ts";

const directory = stagingDirectory();
afterAll(() => directory.remove());

let runs = 0;
/** Nothing of a run that failed is left for the next. */
const nextDirectory = () => join(directory.path, String(runs++));

const KiB = 1024;
const grid = createPartGrid({
	tiers: [
		{ partBytes: 16 * KiB, count: 4 },
		{ partBytes: 32 * KiB, count: 8 },
	],
	copyBytes: 64 * KiB,
});
const longest = grid.maximumSizeBytes;

type Operation =
	| { readonly kind: "write"; readonly offset: number; readonly sizeBytes: number; readonly seed: number }
	| { readonly kind: "append"; readonly sizeBytes: number; readonly seed: number }
	| { readonly kind: "truncate"; readonly sizeBytes: number }
	| { readonly kind: "read"; readonly offset: number; readonly sizeBytes: number }
	| { readonly kind: "commit" }
	| { readonly kind: "discard" }
	| { readonly kind: "fail"; readonly operation: string; readonly times: number };

const seed = fc.nat(1000);
const operation: fc.Arbitrary<Operation> = fc.oneof(
	{
		weight: 5,
		arbitrary: fc.record({
			kind: fc.constant("write" as const),
			offset: fc.nat(longest / 2),
			sizeBytes: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 40 * KiB })),
			seed,
		}),
	},
	{
		weight: 5,
		arbitrary: fc.record({
			kind: fc.constant("append" as const),
			sizeBytes: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.constant(16 * KiB), fc.nat(40 * KiB)),
			seed,
		}),
	},
	{
		weight: 2,
		arbitrary: fc.record({
			kind: fc.constant("truncate" as const),
			sizeBytes: fc.oneof(fc.constant(0), fc.constant(16 * KiB), fc.nat(longest / 2)),
		}),
	},
	{
		weight: 3,
		arbitrary: fc.record({
			kind: fc.constant("read" as const),
			offset: fc.nat(longest / 2),
			sizeBytes: fc.nat(longest),
		}),
	},
	{ weight: 2, arbitrary: fc.constant({ kind: "commit" as const }) },
	{ weight: 1, arbitrary: fc.constant({ kind: "discard" as const }) },
);
const failure: fc.Arbitrary<Operation> = fc.record({
	kind: fc.constant("fail" as const),
	operation: fc.constantFrom("uploadPart", "copyPart", "createMultipart", "completeMultipart", "put", "get"),
	times: fc.integer({ min: 1, max: 3 }),
});

const run = fc.record({
	baseBytes: fc.option(fc.nat(longest / 2), { nil: undefined }),
	isTruncated: fc.boolean(),
	limitBytes: fc.constantFrom(32 * KiB, 64 * KiB, 1024 * KiB),
	hasCopyPart: fc.boolean(),
});

/** Without printing all that differs. */
function expectSame(bytes: Buffer | undefined, model: Buffer): void {
	expect(bytes?.equals(model)).toBe(true);
}

async function play(
	{
		baseBytes,
		isTruncated,
		limitBytes,
		hasCopyPart,
	}: { baseBytes: number | undefined; isTruncated: boolean; limitBytes: number; hasCopyPart: boolean },
	operations: readonly Operation[],
): Promise<void> {
	const bucket = createBucketInMemory({ smallestPartBytes: 16 * KiB });
	bucket.hasCopyPart = hasCopyPart;
	const failing = new Map<string, number>();
	bucket.intercept = (name) => {
		const left = failing.get(name) ?? 0;
		if (left === 0) return;
		failing.set(name, left - 1);
		throw new S3Error("UNAVAILABLE", `${name} fails on purpose`);
	};
	const folder = nextDirectory();
	const staging = new MeasuredStaging({ directory: folder, limitBytes, grid, maximumUploads: 3 });
	const tails = new Tails(staging);
	let base: ObjectVersion | undefined;
	let model: Buffer = Buffer.alloc(0);
	if (baseBytes !== undefined) {
		model = pattern(baseBytes, 7);
		const { etag } = await bucket.put("file", { sizeBytes: baseBytes, read: () => [model] });
		base = { key: "file", etag, sizeBytes: baseBytes };
	}
	let stored: Buffer | undefined = baseBytes === undefined ? undefined : Buffer.from(model);
	const start = (sizeBytes: number) =>
		new Draft({
			store: bucket,
			key: () => "file",
			base,
			sizeBytes,
			staging,
			tails,
			metadata: () => ({}),
			onCommit(version) {
				base = version;
				stored = bucket.objects.get("file")?.bytes;
			},
		});
	let draft = start(isTruncated ? 0 : model.length);
	if (isTruncated) model = Buffer.alloc(0);
	/** Repeats what failed because of a failure on purpose: nothing may be lost by it. */
	const persist = async <T>(work: () => T | Promise<T>): Promise<T> => {
		for (let attempt = 1; ; attempt++) {
			try {
				return await work();
			} catch (error) {
				const text = String(error) + String(error instanceof Error ? error.cause : "");
				if (attempt > 30 || !text.includes("on purpose")) throw error;
			}
		}
	};
	const write = async (offset: number, data: Buffer): Promise<void> => {
		if (offset + data.length > longest) return;
		for (let done = 0; done < data.length;) {
			// The model has what was taken at the latest when the next piece is written, which may commit it.
			const count = await persist(() => draft.write(offset + done, data.subarray(done, done + 3000)));
			const end = offset + done + count;
			if (end > model.length) model = Buffer.concat([model, Buffer.alloc(end - model.length)]);
			data.copy(model, offset + done, done, done + count);
			done += count;
		}
	};
	for (const step of operations) {
		switch (step.kind) {
			case "write":
				await write(step.offset, pattern(step.sizeBytes, step.seed));
				break;
			case "append":
				await write(model.length, pattern(step.sizeBytes, step.seed));
				break;
			case "truncate": {
				await persist(() => draft.truncate(step.sizeBytes));
				const grown = Buffer.alloc(step.sizeBytes);
				model.copy(grown);
				model = grown;
				break;
			}
			case "read": {
				const read = await persist(() => readAll(draft, step.offset, step.sizeBytes));
				expectSame(read, model.subarray(step.offset, step.offset + step.sizeBytes));
				break;
			}
			case "commit":
				await persist(() => draft.commit());
				expectSame(bucket.objects.get("file")?.bytes, model);
				break;
			case "discard":
				await draft.discard();
				model = Buffer.from(stored ?? Buffer.alloc(0));
				draft = start(model.length);
				break;
			case "fail":
				failing.set(step.operation, step.times);
				break;
			default:
				step satisfies never;
		}
		expect(draft.sizeBytes).toBe(model.length);
	}
	failing.clear();
	expectSame(await readAll(draft), model);
	await draft.commit();
	expectSame(bucket.objects.get("file")?.bytes, model);
	await draft.discard();
	expect(bucket.multiparts.size).toBe(0);
	expect(staging.usedBytes).toBe(tails.usedBytes);
	// Who needs all the room gets it.
	expect(await staging.reserveSoon(limitBytes)).toBe(true);
	staging.release(limitBytes);
	expect(tails.usedBytes).toBe(0);
	await vi.waitFor(() => expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]), soon);
	await vi.waitFor(() => expect(staging.usedBytes).toBe(0), soon);
	// One part beyond it may be completed for a commit.
	expect(staging.peakBytes).toBeLessThanOrEqual(limitBytes + 32 * KiB);
}

/** Looked for often: hundreds of games wait for it. */
const soon = { timeout: 10_000, interval: 1 };

const options = { numRuns: 400, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true };

test("a draft and the object made of it are the same as a plain buffer", async () => {
	await fc.assert(fc.asyncProperty(run, fc.array(operation, { maxLength: 25 }), play), options);
});

test("they still are when any request fails now and then", async () => {
	await fc.assert(
		fc.asyncProperty(
			run,
			fc.array(fc.oneof({ weight: 4, arbitrary: operation }, { weight: 1, arbitrary: failure }), { maxLength: 30 }),
			play,
		),
		options,
	);
});

test("writers that share a staging limit all come to an end, with all their bytes", async () => {
	await fc.assert(
		fc.asyncProperty(
			fc.array(fc.array(operation, { minLength: 1, maxLength: 10 }), { minLength: 2, maxLength: 5 }),
			async (files) => {
				const bucket = createBucketInMemory({ smallestPartBytes: 16 * KiB });
				const staging = new MeasuredStaging({
					directory: nextDirectory(),
					limitBytes: 32 * KiB,
					grid,
					maximumUploads: 2,
				});
				await Promise.all(
					files.map(async (operations, number) => {
						const draft = new Draft({
							store: bucket,
							key: () => `file-${number}`,
							base: undefined,
							sizeBytes: 0,
							staging,
							metadata: () => ({}),
						});
						let model: Buffer = Buffer.alloc(0);
						for (const step of operations) {
							if (step.kind === "write" || step.kind === "append") {
								const data = pattern(step.sizeBytes, step.seed);
								const offset = step.kind === "write" ? step.offset : model.length;
								if (offset + data.length > longest || data.length === 0) continue;
								await writeAll(draft, offset, data);
								const end = Math.max(model.length, offset + data.length);
								model = Buffer.concat([model, Buffer.alloc(end - model.length)]);
								data.copy(model, offset);
							} else if (step.kind === "read") {
								expectSame(await readAll(draft), model);
							}
						}
						await draft.commit();
						expectSame(bucket.objects.get(`file-${number}`)?.bytes, model);
						await draft.discard();
					}),
				);
				expect(bucket.multiparts.size).toBe(0);
				await vi.waitFor(() => expect(staging.usedBytes).toBe(0), soon);
				expect(staging.peakBytes).toBeLessThanOrEqual(64 * KiB);
			},
		),
		{ numRuns: 200, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true },
	);
});

test("one draft may be written, read, truncated and committed by many at the same time", async () => {
	await fc.assert(
		fc.asyncProperty(
			run,
			fc.array(fc.array(operation, { maxLength: 10 }), { minLength: 2, maxLength: 4 }),
			async (settings, tasks) => {
				const bucket = createBucketInMemory({ smallestPartBytes: 16 * KiB });
				bucket.hasCopyPart = settings.hasCopyPart;
				const { limitBytes } = settings;
				// No write reaches further.
				const written = longest / 2 + 5000;
				const staging = new MeasuredStaging({ directory: nextDirectory(), limitBytes, grid, maximumUploads: 3 });
				const model = pattern(settings.baseBytes ?? 0, 7);
				let base: ObjectVersion | undefined;
				if (settings.baseBytes !== undefined) {
					const { etag } = await bucket.put("file", { sizeBytes: model.length, read: () => [model] });
					base = { key: "file", etag, sizeBytes: model.length };
				}
				const sizeBytes = model.length;
				const draft = new Draft({ store: bucket, key: () => "file", base, sizeBytes, staging, metadata: () => ({}) });
				// Each writes its own bytes only, so that the order among them does not matter.
				const expected = Buffer.alloc(longest);
				model.copy(expected);
				await Promise.all(
					tasks.map(async (operations, number) => {
						for (const step of operations) {
							if (step.kind === "write") {
								const offset = Math.floor(step.offset / 1000 / tasks.length) * 1000 * tasks.length + number * 1000;
								const data = pattern(Math.min(step.sizeBytes, 1000), step.seed);
								await writeAll(draft, offset, data);
								data.copy(expected, offset);
								expectSame(await readAll(draft, offset, data.length), data);
							} else if (step.kind === "truncate") {
								// Never below what another one has written.
								const longer = Math.min(longest, written + step.sizeBytes);
								if (longer > draft.sizeBytes) await draft.truncate(longer);
							} else if (step.kind === "read") await draft.read(step.offset, step.sizeBytes);
							else await draft.commit();
						}
					}),
				);
				await draft.commit();
				const stored = bucket.objects.get("file")?.bytes ?? Buffer.alloc(0);
				expectSame(stored.subarray(0, written), expected.subarray(0, Math.min(stored.length, written)));
				expect(stored.length).toBe(draft.sizeBytes);
				await draft.discard();
				expect(bucket.multiparts.size).toBe(0);
				await vi.waitFor(() => expect(staging.usedBytes).toBe(0), soon);
			},
		),
		{ numRuns: 200, interruptAfterTimeLimit: 100_000, markInterruptAsFailure: true },
	);
});
