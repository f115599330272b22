import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { createMemoryBudget } from "../../../src/s3-filesystem/reading/memory-budget.ts";
import { createReading, type Reader } from "../../../src/s3-filesystem/reading/reading.ts";
import { S3Error } from "../../../src/s3/object-store.ts";
import { KiB, MiB, readOf } from "./reads.ts";
import { createSourceInMemory } from "./source-in-memory.ts";

const longest = 12 * MiB;

type Step =
	| { readonly kind: "read"; readonly reader: number; readonly offset: number; readonly sizeBytes: number }
	| { readonly kind: "go on"; readonly reader: number; readonly sizeBytes: number; readonly times: number }
	| { readonly kind: "interrupted"; readonly reader: number; readonly offset: number; readonly afterMs: number }
	| { readonly kind: "reopen"; readonly reader: number }
	| { readonly kind: "forget"; readonly reader: number }
	| { readonly kind: "wait" };

const reader = fc.nat(3);
const offset = fc.oneof(
	fc.nat(longest),
	fc.nat(longest / 4096).map((page) => page * 4096),
	fc.constant(0),
);
const sizeBytes = fc.oneof(
	fc.constantFrom(4096, 128 * KiB, MiB),
	fc.integer({ min: 1, max: 10_000 }),
	fc.integer({ min: 1, max: MiB }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
	{ weight: 6, arbitrary: fc.record({ kind: fc.constant("read" as const), reader, offset, sizeBytes }) },
	{
		weight: 4,
		arbitrary: fc.record({
			kind: fc.constant("go on" as const),
			reader,
			sizeBytes: fc.constantFrom(64 * KiB, 128 * KiB, MiB),
			times: fc.integer({ min: 2, max: 12 }),
		}),
	},
	{
		weight: 1,
		arbitrary: fc.record({
			kind: fc.constant("interrupted" as const),
			reader,
			offset,
			afterMs: fc.integer({ min: 0, max: 5 }),
		}),
	},
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const), reader }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant("forget" as const), reader }) },
	{ weight: 3, arbitrary: fc.constant({ kind: "wait" as const }) },
);

const world = fc.record({
	sizesBytes: fc.tuple(
		fc.oneof(fc.integer({ min: 1, max: 3 * MiB }), fc.integer({ min: MiB, max: longest })),
		fc.integer({ min: 1, max: longest }),
	),
	budgetBytes: fc.constantFrom(4 * MiB, 6 * MiB, 16 * MiB, 64 * MiB),
	readAheadBytes: fc.constantFrom(MiB, 4 * MiB, 64 * MiB),
	pieceBytes: fc.constantFrom(10_000, 64 * KiB, 512 * KiB),
	/** Of a hundred pieces. */
	failures: fc.constantFrom(0, 0, 2, 10),
	delays: fc.constantFrom(0, 5, 40),
	isShared: fc.boolean(),
	seed: fc.nat(),
});

test("whatever is read is what is in the file, and everything ends, with delays, failures and little memory", async () => {
	await fc.assert(
		fc.asyncProperty(world, fc.array(step, { minLength: 1, maxLength: 60 }), async (world, steps) => {
			const { sizesBytes, budgetBytes, readAheadBytes, pieceBytes, failures, delays } = world;
			const budget = createMemoryBudget(budgetBytes, { isShared: world.isShared });
			const reading = createReading({ budget, maximumReadAheadBytes: readAheadBytes });
			let state = world.seed >>> 0;
			const chance = (): number => {
				state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
				return (state >>> 8) % 100;
			};
			const sources = sizesBytes.map((size, index) => {
				const source = createSourceInMemory({ sizeBytes: size, pieceBytes });
				source.gate = async () => {
					if (chance() < failures) throw new S3Error("UNAVAILABLE", "out of reach");
					if (chance() < delays) await delay(chance() % 3);
				};
				return { source, version: { ...source.version, key: `object ${index}` } };
			});
			const [one, two] = sources;
			if (one === undefined || two === undefined) throw new Error("no sources");
			const sourceOf = (index: number) => (index % 2 === 0 ? one : two);
			const open = (index: number): Reader => reading.open(sourceOf(index).source, sourceOf(index).version, "bucket");
			const readers = [0, 1, 2, 3].map(open);
			const places = [0, 0, 0, 0];
			const readerAt = (index: number): Reader => {
				const found = readers[index];
				if (found === undefined) throw new Error("no reader");
				return found;
			};
			const check = async (index: number, at: number, size: number, signal?: AbortSignal): Promise<void> => {
				const { content } = sourceOf(index).source;
				try {
					const bytes = await readOf(readerAt(index), at, size, signal);
					if (!bytes.equals(content.subarray(at, at + size))) throw new Error(`wrong bytes at ${at}`);
				} catch (error) {
					const isExpected =
						error instanceof S3Error ? failures > 0 : signal?.aborted === true && error === signal.reason;
					if (!isExpected) throw error;
				}
				if (budget.usedBytes > budgetBytes) throw new Error(`${budget.usedBytes} bytes are used`);
			};
			let underWay: Promise<void>[] = [];
			for (const step of steps) {
				switch (step.kind) {
					case "read":
						underWay.push(check(step.reader, step.offset, step.sizeBytes));
						break;
					case "go on":
						for (let count = 0; count < step.times; count++) {
							const at = places[step.reader] ?? 0;
							places[step.reader] = at > longest ? 0 : at + step.sizeBytes;
							underWay.push(check(step.reader, at, step.sizeBytes));
						}
						break;
					case "interrupted": {
						const interruption = new AbortController();
						underWay.push(check(step.reader, step.offset, 300 * KiB, interruption.signal));
						await delay(step.afterMs);
						interruption.abort(new Error("interrupted"));
						break;
					}
					case "reopen":
						readerAt(step.reader).close();
						readers[step.reader] = open(step.reader);
						break;
					case "forget":
						reading.forget(sourceOf(step.reader).version, "bucket");
						break;
					case "wait":
						await Promise.all(underWay);
						underWay = [];
						break;
					default:
						step satisfies never;
				}
			}
			await Promise.all(underWay);
			for (const one of readers) one.close();
			// Nothing is left that holds memory.
			await vi.waitFor(
				() => {
					const all = budget.tryAllocate(budgetBytes);
					all?.free();
					expect(all).toBeDefined();
				},
				{ timeout: 10_000, interval: 5 },
			);
		}),
		{ numRuns: 60, interruptAfterTimeLimit: 40_000 },
	);
}, 60_000);
