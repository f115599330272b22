import { expect, test, vi } from "vitest";
import { createMemoryBudget } from "../../../src/s3-filesystem/reading/memory-budget.ts";
import { createReading, type Reader, type Reading } from "../../../src/s3-filesystem/reading/reading.ts";
import { S3Error } from "../../../src/s3/object-store.ts";
import { KiB, MiB, readInOrder, readNow, readOf, take } from "./reads.ts";
import { createSourceInMemory, type SourceInMemory } from "./source-in-memory.ts";

function setUp({
	sizeBytes,
	budgetBytes = 128 * MiB,
	readAheadBytes = 64 * MiB,
	pieceBytes,
}: {
	readonly sizeBytes: number;
	readonly pieceBytes?: number;
	readonly budgetBytes?: number;
	readonly readAheadBytes?: number;
}) {
	const source = createSourceInMemory({ sizeBytes, ...(pieceBytes !== undefined && { pieceBytes }) });
	const budget = createMemoryBudget(budgetBytes);
	const reading = createReading({ budget, maximumReadAheadBytes: readAheadBytes });
	const open = (): Reader => reading.open(source, source.version, "bucket");
	return { source, budget, reading, open };
}

/** Lets bytes come up to a position, which the test moves. */
function gateAt(source: SourceInMemory): { position: number; open(position: number): void } {
	const waiting = new Set<() => void>();
	const gate = {
		position: 0,
		open(position: number) {
			gate.position = position;
			for (const wake of waiting) wake();
		},
	};
	source.gate = async (position) => {
		while (position >= gate.position) {
			await new Promise<void>((resolve) => {
				waiting.add(resolve);
			});
		}
	};
	return gate;
}

async function untilSettled(reading: Reading, source: SourceInMemory): Promise<void> {
	await vi.waitFor(() => expect(reading.stats["fetched_bytes"]).toBe(source.requestedBytes), 10_000);
}

const same = (source: SourceInMemory) => (offset: number, bytes: Buffer) =>
	expect(bytes.equals(source.content.subarray(offset, offset + bytes.length)), `bytes at ${offset}`).toBe(true);

test("reads the bytes of the file up to its end", async () => {
	const { source, open } = setUp({ sizeBytes: 3 * MiB + 1234 });
	const reader = open();
	expect(await readOf(reader, 3 * MiB, MiB)).toEqual(source.content.subarray(3 * MiB));
	expect(await readOf(reader, 3 * MiB + 1234, 10)).toEqual(Buffer.alloc(0));
	expect(await readOf(reader, 10 * MiB, 10)).toEqual(Buffer.alloc(0));
	expect(await readOf(reader, 0, 10)).toEqual(source.content.subarray(0, 10));
	expect(await readOf(reader, 7, 3 * MiB)).toEqual(source.content.subarray(7, 3 * MiB + 7));
});

test("returns bytes that are there at once, without a copy", async () => {
	const { source, open } = setUp({ sizeBytes: 20 * MiB });
	const reader = open();
	await readOf(reader, 0, 4096);
	await vi.waitFor(() => readNow(reader, 4096, 100_000), 10_000);
	const one = reader.read(5000, 10);
	const two = reader.read(5000, 10);
	if (one instanceof Promise || two instanceof Promise) throw new Error("the bytes are not there");
	expect(one.views).toHaveLength(1);
	expect(Buffer.from(one.views[0] ?? [])).toEqual(source.content.subarray(5000, 5010));
	expect(one.views[0]?.buffer).toBe(two.views[0]?.buffer);
	one.release?.();
	two.release?.();
});

test("answers as soon as the bytes are there, while the rest of the request is still on its way", async () => {
	const { source, open } = setUp({ sizeBytes: 20 * MiB });
	const gate = gateAt(source);
	const reader = open();
	const first = reader.read(0, 64 * KiB);
	gate.open(64 * KiB);
	expect(take(await first)).toEqual(source.content.subarray(0, 64 * KiB));
	expect(source.requests).toEqual([{ offset: 0, sizeBytes: MiB, isWhole: false, isAborted: false }]);
	gate.open(Infinity);
});

test("reads a small file with one request for the whole of it, wherever the read begins", async () => {
	for (const offset of [0, 300_000]) {
		const { source, open } = setUp({ sizeBytes: 700_000 });
		const reader = open();
		expect(await readOf(reader, offset, 1000)).toEqual(source.content.subarray(offset, offset + 1000));
		expect(readNow(reader, 0, MiB)).toEqual(source.content);
		expect(source.requests).toEqual([{ offset: 0, sizeBytes: 700_000, isWhole: true, isAborted: false }]);
	}
});

test("shows nothing of a whole object before it was compared with its checksum", async () => {
	const { source, open } = setUp({ sizeBytes: 700_000 });
	const { get } = source;
	const compared = Promise.withResolvers<void>();
	source.get = async (key, options) => {
		// What the server sent first was wrong.
		options.into.fill(0);
		options.onProgress?.(options.into.length);
		await compared.promise;
		return get(key, options);
	};
	let isAnswered = false;
	const answer = readOf(open(), 0, 1000).finally(() => (isAnswered = true));
	await new Promise((resolve) => setTimeout(resolve, 20));
	expect(isAnswered).toBe(false);
	compared.resolve();
	expect(await answer).toEqual(source.content.subarray(0, 1000));
});

test("fetches of random reads the pages that they need and no more", async () => {
	const { source, open } = setUp({ sizeBytes: 64 * MiB });
	const reader = open();
	let state = 7;
	let neededBytes = 0;
	for (let count = 0; count < 200; count++) {
		state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
		const offset = MiB + (state % (62 * MiB));
		const bytes = await readOf(reader, offset, 4096);
		expect(bytes).toEqual(source.content.subarray(offset, offset + 4096));
		neededBytes += 8192;
	}
	expect(source.requestedBytes).toBeLessThan(neededBytes + MiB);
});

test("reads ahead of a reader in order more and more, up to the limit and the end of the file", async () => {
	const { source, open, reading } = setUp({ sizeBytes: 60 * MiB, readAheadBytes: 16 * MiB });
	const reader = open();
	let farthest = 0;
	let next = 0;
	await readInOrder(reader, {
		end: 60 * MiB,
		see: (offset, bytes) => {
			same(source)(offset, bytes);
			next = Math.max(next, offset + bytes.length);
			for (const request of source.requests) farthest = Math.max(farthest, request.offset + request.sizeBytes - next);
		},
	});
	expect(source.requestedBytes).toBe(60 * MiB);
	expect(farthest).toBeGreaterThan(8 * MiB);
	expect(farthest).toBeLessThanOrEqual(20 * MiB);
	expect(source.requests[0]?.sizeBytes).toBeLessThanOrEqual(2 * MiB);
	expect(Math.max(...source.requests.map((request) => request.sizeBytes))).toBe(4 * MiB);
	expect(source.requests.length).toBeLessThan(30);
	expect(reading.stats["read_ahead_wasted_bytes"]).toBe(0);
});

test("takes reads that arrive out of order by a few for a reader in order", async () => {
	const { source, open, reading } = setUp({ sizeBytes: 40 * MiB });
	const reader = open();
	const reads: Promise<void>[] = [];
	for (let group = 0; group < 40; group += 4) {
		for (const index of [2, 0, 3, 1]) {
			const offset = (group + index) * MiB;
			reads.push(readOf(reader, offset, MiB).then((bytes) => same(source)(offset, bytes)));
		}
		await Promise.all(reads);
	}
	expect(source.requestedBytes).toBe(40 * MiB);
	expect(Number(reading.stats["read_hits"])).toBeGreaterThan(10);
});

test("takes several programs that read one handle in order, each somewhere else, for as many readers in order", async () => {
	// A source that is about as fast as the readers: neither do they wait all the time, nor never.
	const { source, open, reading } = setUp({ sizeBytes: 96 * MiB, pieceBytes: 128 * KiB });
	const reader = open();
	const starts = [0, 32 * MiB, 64 * MiB];
	const see = same(source);
	await Promise.all(
		starts.map(async (start) =>
			readInOrder(reader, { start, end: start + 32 * MiB, readBytes: 128 * KiB, atATime: 1, see }),
		),
	);
	expect(source.requestedBytes).toBe(96 * MiB);
	// For readers in no order it would be one request for each of the 768 reads, and no hit; how many it is depends on who is faster.
	expect(source.requests.length).toBeLessThan(192);
	expect(Number(reading.stats["read_hits"])).toBeGreaterThan(384);
});

test("serves small steps back from what is there", async () => {
	const { source, open } = setUp({ sizeBytes: 64 * MiB });
	const reader = open();
	await readInOrder(reader, { end: 32 * MiB, see: () => undefined });
	const { requestedBytes } = source;
	for (let back = 1; back <= 4; back++) {
		const offset = 32 * MiB - back * 256 * KiB;
		expect(readNow(reader, offset, 1000)).toEqual(source.content.subarray(offset, offset + 1000));
	}
	await readOf(reader, 32 * MiB, MiB);
	expect(source.requestedBytes - requestedBytes).toBeLessThan(64 * MiB - requestedBytes + 1);
});

test("waits for a request under way when a step forward goes into it", async () => {
	const { source, open } = setUp({ sizeBytes: 128 * MiB });
	const reader = open();
	await readInOrder(reader, { end: 48 * MiB, see: () => undefined });
	const gate = gateAt(source);
	gate.open(49 * MiB);
	const requested = Math.max(...source.requests.map(({ offset, sizeBytes }) => offset + sizeBytes));
	const offset = requested - 2 * MiB;
	expect(offset).toBeGreaterThan(54 * MiB);
	const bytes = readOf(reader, offset, 1000);
	const before = source.requests.filter((request) => request.offset < requested);
	gate.open(Infinity);
	expect(await bytes).toEqual(source.content.subarray(offset, offset + 1000));
	expect(source.requests.filter((request) => request.offset < requested)).toEqual(before);
});

test("brings what two handles of one version read only once", async () => {
	const { source, open } = setUp({ sizeBytes: 40 * MiB });
	const see = same(source);
	await Promise.all([readInOrder(open(), { end: 40 * MiB, see }), readInOrder(open(), { end: 40 * MiB, see })]);
	expect(source.requestedBytes).toBe(40 * MiB);
});

test("reads again without a request what was read last, and no more of closed files: the kernel has it", async () => {
	const { source, open, budget } = setUp({ sizeBytes: 100 * MiB });
	const see = same(source);
	const first = open();
	await readInOrder(first, { end: 8 * MiB, see });
	first.close();
	const { requestedBytes } = source;
	const second = open();
	await readInOrder(second, { start: 2 * MiB, end: 4 * MiB, see });
	expect(source.requestedBytes).toBe(requestedBytes);
	await readInOrder(second, { start: 4 * MiB, end: 100 * MiB, see });
	second.close();
	const third = open();
	await readInOrder(third, { end: 8 * MiB, see });
	expect(source.requestedBytes).toBeGreaterThan(requestedBytes + 90 * MiB);
	expect(budget.usedBytes).toBeLessThan(budget.limitBytes);
});

test("gives the error to those who wait for these bytes, and asks again when they are read again", async () => {
	const { source, open } = setUp({ sizeBytes: 64 * MiB });
	const reader = open();
	source.gate = (position) => {
		if (position >= 30 * MiB + 64 * KiB) throw new S3Error("UNAVAILABLE", "out of reach");
	};
	const results = await Promise.allSettled([
		readOf(reader, 30 * MiB, 64 * KiB),
		readOf(reader, 30 * MiB, 256 * KiB),
		readOf(reader, 10 * MiB, 4096),
	]);
	expect(results[1]).toMatchObject({ status: "rejected", reason: { kind: "UNAVAILABLE" } });
	expect(results[2]).toMatchObject({ status: "fulfilled" });
	source.gate = () => undefined;
	expect(await readOf(reader, 30 * MiB, 256 * KiB)).toEqual(source.content.subarray(30 * MiB, 30 * MiB + 256 * KiB));
});

test("tells only who reads them that bytes which were read ahead cannot be had", async () => {
	const { source, open, budget } = setUp({ sizeBytes: 64 * MiB });
	const reader = open();
	source.gate = (position) => {
		if (position >= 16 * MiB) throw new S3Error("OBJECT_REPLACED", "another version");
	};
	const see = same(source);
	await readInOrder(reader, { end: 16 * MiB, see });
	await expect(readOf(reader, 16 * MiB, MiB)).rejects.toMatchObject({ kind: "OBJECT_REPLACED" });
	see(15 * MiB, await readOf(reader, 15 * MiB, MiB));
	reader.close();
	await vi.waitFor(() => expect(budget.tryAllocate(128 * MiB)?.free()).toBeUndefined(), 10_000);
});

test("lets a reader that is interrupted leave without disturbing others", async () => {
	const { source, open } = setUp({ sizeBytes: 64 * MiB });
	const gate = gateAt(source);
	const interruption = new AbortController();
	const leaving = readOf(open(), 0, 128 * KiB, interruption.signal);
	const staying = readOf(open(), 0, 128 * KiB);
	interruption.abort(new Error("interrupted"));
	await expect(leaving).rejects.toThrow("interrupted");
	gate.open(Infinity);
	expect(await staying).toEqual(source.content.subarray(0, 128 * KiB));
	expect(source.requests).toHaveLength(1);
	await expect(readOf(open(), 32 * MiB, 4096, AbortSignal.abort(new Error("at once")))).rejects.toThrow("at once");
});

test("gives up what is on its way when the last handle is closed, and not before", async () => {
	const { source, open, budget } = setUp({ sizeBytes: 64 * MiB });
	const [one, two] = [open(), open()];
	const gate = gateAt(source);
	gate.open(10 * MiB);
	await readInOrder(one, { end: 10 * MiB, see: () => undefined });
	expect(Math.max(...source.requests.map((request) => request.offset))).toBeGreaterThanOrEqual(10 * MiB);
	one.close();
	expect(source.requests.some((request) => request.isAborted)).toBe(false);
	two.close();
	await vi.waitFor(() => expect(source.requests.some((request) => request.isAborted)).toBe(true), 10_000);
	// Everything can be had again.
	await vi.waitFor(() => {
		const all = budget.tryAllocate(128 * MiB);
		expect(all).toBeDefined();
		all?.free();
	}, 10_000);
	gate.open(Infinity);
	expect(await readOf(open(), 40 * MiB, 100)).toEqual(source.content.subarray(40 * MiB, 40 * MiB + 100));
});

test("answers reads that were under way when their handle was closed", async () => {
	const { source, open } = setUp({ sizeBytes: 64 * MiB });
	const gate = gateAt(source);
	const reader = open();
	const reads = [readOf(reader, 0, MiB), readOf(reader, MiB, MiB), readOf(reader, 2 * MiB, MiB)];
	reader.close();
	gate.open(Infinity);
	expect(Buffer.concat(await Promise.all(reads))).toEqual(source.content.subarray(0, 3 * MiB));
});

test("keeps bytes in place for as long as a reply holds them", async () => {
	const { source, open, budget } = setUp({ sizeBytes: 64 * MiB, budgetBytes: 16 * MiB });
	const reader = open();
	const held = await reader.read(0, MiB);
	const see = same(source);
	await readInOrder(reader, { start: MiB, end: 64 * MiB, see });
	expect(Buffer.concat(held.views)).toEqual(source.content.subarray(0, MiB));
	held.release?.();
	held.release?.();
	expect(budget.usedBytes).toBeLessThanOrEqual(16 * MiB);
});

test("forgets a version", async () => {
	const { source, open, reading } = setUp({ sizeBytes: 2 * MiB });
	const reader = open();
	await readOf(reader, 0, 2 * MiB);
	await untilSettled(reading, source);
	const { requestedBytes } = source;
	reading.forget(source.version, "bucket");
	expect(await readOf(reader, 0, 100)).toEqual(source.content.subarray(0, 100));
	expect(source.requestedBytes).toBeGreaterThan(requestedBytes);
});

test("joins the gaps that many small reads have left into one request", async () => {
	const { source, open } = setUp({ sizeBytes: 64 * MiB });
	const reader = open();
	for (let index = 0; index < 16; index++) await readOf(reader, 32 * MiB + ((index * 5) % 16) * 64 * KiB, 4096);
	const before = source.requests.length;
	expect(await readOf(reader, 32 * MiB, MiB)).toEqual(source.content.subarray(32 * MiB, 33 * MiB));
	expect(source.requests.slice(before).filter(({ offset }) => offset < 33 * MiB)).toHaveLength(1);
});

test("serves more streams than the budget has room for, in the order of asking, and never uses more", async () => {
	const budgetBytes = 16 * MiB;
	const { source, open, budget, reading } = setUp({ sizeBytes: 8 * MiB, budgetBytes });
	let most = 0;
	const streams = Array.from({ length: 32 }, async (_, index) => {
		const version = { ...source.version, etag: `version ${index}` };
		const reader = reading.open(source, version, "bucket");
		await readInOrder(reader, {
			end: 8 * MiB,
			see: (offset, bytes) => {
				most = Math.max(most, budget.usedBytes);
				same(source)(offset, bytes);
			},
		});
		reader.close();
	});
	await Promise.all(streams);
	expect(most).toBeLessThanOrEqual(budgetBytes);
	expect(source.requestedBytes).toBeLessThan(1.1 * 32 * 8 * MiB);
	expect(await readOf(open(), 0, 10)).toEqual(source.content.subarray(0, 10));
});

test("refuses a read that the budget can never hold, instead of waiting for ever", async () => {
	const { open } = setUp({ sizeBytes: 64 * MiB, budgetBytes: 4 * MiB });
	await expect(async () => readOf(open(), 0, 3 * MiB)).rejects.toMatchObject({ errno: "ENOMEM" });
	expect(await readOf(open(), 0, MiB)).toHaveLength(MiB);
});

test("who is interrupted in the moment in which there is memory for him takes nobody else's place", async () => {
	const { source, open, budget } = setUp({ sizeBytes: 64 * MiB, budgetBytes: 4 * MiB });
	const [much, some] = [budget.tryAllocate(3.5 * MiB), budget.tryAllocate(0.5 * MiB)];
	const interruption = new AbortController();
	const interrupted = readOf(open(), 0, 4096, interruption.signal).catch(() => undefined);
	const waiting = readOf(open(), 32 * MiB, 2 * MiB);
	some?.free();
	interruption.abort(new Error("interrupted"));
	await interrupted;
	much?.free();
	expect((await waiting).equals(source.content.subarray(32 * MiB, 34 * MiB))).toBe(true);
});

test("lets reads of half the budget wait for each other, wherever they begin", async () => {
	const { source, open, budget } = setUp({ sizeBytes: 64 * MiB, budgetBytes: 4 * MiB });
	const readers = Array.from({ length: 12 }, async (_, index) => {
		const reader = open();
		for (let turn = 0; turn < 8; turn++) {
			const offset = (turn % 2 === 0 ? index : turn) * 3 * MiB + index * 1000 + turn;
			same(source)(offset, await readOf(reader, offset, 2 * MiB));
		}
		reader.close();
	});
	await Promise.all(readers);
	expect(budget.usedBytes).toBeLessThanOrEqual(4 * MiB);
});

test("what is brought ahead has a quarter of the memory at most, and none that a read needs", async () => {
	const { source, budget, reading, open } = setUp({ sizeBytes: 8 * MiB, budgetBytes: 8 * MiB });
	const small = (index: number) => ({ key: `small-${index}`, etag: "version", sizeBytes: 64 * KiB });
	const bringOne = (index: number) => reading.prefetch(source, small(index), "bucket", { isAhead: true });
	for (let index = 0; index < 32; index++) await bringOne(index);
	expect(reading.has(small(31), "bucket")).toBe(true);
	expect(bringOne(32)).toBeUndefined();
	expect(reading.has(small(32), "bucket")).toBe(false);
	// Both are held: they are all that there is.
	const held = [await open().read(0, 4 * MiB), await open().read(4 * MiB, 4 * MiB)];
	expect(budget.usedBytes).toBeLessThanOrEqual(8 * MiB);
	expect(Array.from({ length: 32 }, (_, index) => reading.has(small(index), "bucket"))).not.toContain(true);
	for (const result of held) result.release?.();
});
