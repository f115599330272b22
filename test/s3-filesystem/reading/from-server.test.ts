import { fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { createMemoryBudget } from "../../../src/s3-filesystem/reading/memory-budget.ts";
import { createReading } from "../../../src/s3-filesystem/reading/reading.ts";
import type { ObjectStore, ObjectVersion } from "../../../src/s3/object-store.ts";
import { startFaultProxy, type FaultProxy } from "../../support/fault-proxy.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import type { Order, Outcome } from "./read-streams.ts";
import { KiB, MiB, readInOrder, readOf } from "./reads.ts";
import { stamped } from "./stamped.ts";
import { createTestStore, testThreads } from "../../support/threads.ts";

const bucket = "reading";
const content = randomBytes(64 * MiB);

let minio: Minio;
let proxy: FaultProxy;
let received: { bytes: number; requests: number };
const stores: ObjectStore[] = [];

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	await minio.createBucket(bucket);
	await minio.put(bucket, "big", content);
});
afterEach(async () => {
	await proxy.mode("pass");
	for (const store of stores.splice(0)) store.close();
});
afterAll(async () => {
	await proxy.stop();
	await minio.stop();
});

function createStore(endpoint = minio.endpoint): ObjectStore {
	received = { bytes: 0, requests: 0 };
	const store = createTestStore({
		endpoint: new URL(endpoint),
		region: minio.region,
		bucket,
		pathStyle: true,
		credentials: { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey },
		retryForMs: 5000,
		onEvent: (event) => {
			if (event.kind !== "request" || event.operation !== "GetObject") return;
			received.bytes += event.receivedBytes;
			received.requests++;
		},
	});
	stores.push(store);
	return store;
}

async function versionOf(store: ObjectStore, key: string): Promise<ObjectVersion> {
	const { etag, sizeBytes } = await store.head(key);
	return { key, etag, sizeBytes };
}

function createMemory(budgetBytes = 128 * MiB) {
	const budget = createMemoryBudget(budgetBytes, { isShared: testThreads !== undefined });
	return { budget, reading: createReading({ budget }) };
}

const same = (offset: number, bytes: Buffer): void =>
	expect(bytes.equals(content.subarray(offset, offset + bytes.length)), `bytes at ${offset}`).toBe(true);

test("reads an object in order, each byte once", async () => {
	const store = createStore();
	const { reading } = createMemory();
	const reader = reading.open(store, await versionOf(store, "big"), bucket);
	await readInOrder(reader, { end: 64 * MiB, see: same });
	reader.close();
	expect(received.bytes).toBe(64 * MiB);
	expect(received.requests).toBeLessThan(30);
	expect(reading.stats).toMatchObject({ fetched_bytes: 64 * MiB, served_bytes: 64 * MiB, read_ahead_wasted_bytes: 0 });
});

test("receives no more than the pages of random reads", async () => {
	const store = createStore();
	const reader = createMemory().reading.open(store, await versionOf(store, "big"), bucket);
	for (let index = 1; index <= 50; index++) {
		const offset = (index * 7_919_117) % (63 * MiB);
		same(offset, await readOf(reader, offset, 4096));
	}
	reader.close();
	expect(received.bytes).toBeLessThanOrEqual(50 * 8192);
});

test("receives once what two handles read at the same time", async () => {
	const store = createStore();
	const { reading } = createMemory();
	const version = await versionOf(store, "big");
	const readers = [reading.open(store, version, bucket), reading.open(store, version, bucket)];
	await Promise.all(readers.map(async (reader) => readInOrder(reader, { end: 64 * MiB, see: same })));
	expect(received.bytes).toBe(64 * MiB);
});

test("reads on where a connection broke", async () => {
	const store = createStore(proxy.endpoint);
	const reader = createMemory().reading.open(store, await versionOf(store, "big"), bucket);
	let reads = 0;
	let readBytes = 0;
	await readInOrder(reader, {
		end: 64 * MiB,
		see: async (offset, bytes) => {
			same(offset, bytes);
			readBytes += bytes.length;
			if (++reads !== 10 && reads !== 30) return;
			await proxy.mode("reset");
			setTimeout(() => void proxy.mode("pass"), 100);
		},
	});
	expect(readBytes).toBe(64 * MiB);
});

test("passes on that the object was replaced, keeps what it has of the old version, and reads the new one", async () => {
	const store = createStore();
	const { reading } = createMemory();
	await minio.put(bucket, "replaced", content.subarray(0, 32 * MiB));
	const version = await versionOf(store, "replaced");
	const reader = reading.open(store, version, bucket);
	same(0, await readOf(reader, 0, 64 * KiB));
	const other = randomBytes(32 * MiB);
	await minio.put(bucket, "replaced", other);
	await expect(readOf(reader, 16 * MiB, 4096)).rejects.toMatchObject({ kind: "OBJECT_REPLACED" });
	same(0, await readOf(reader, 0, 64 * KiB));
	const again = reading.open(store, await versionOf(store, "replaced"), bucket);
	expect((await readOf(again, 0, MiB)).equals(other.subarray(0, MiB))).toBe(true);
	await minio.delete(bucket, "replaced");
	await expect(readOf(again, 20 * MiB, 4096)).rejects.toMatchObject({ kind: "NOT_FOUND" });
});

test("lets an interrupted read go while the server hangs, and gives up the rest when the handle is closed", async () => {
	const store = createStore(proxy.endpoint);
	const { reading, budget } = createMemory();
	const reader = reading.open(store, await versionOf(store, "big"), bucket);
	await proxy.mode("hang");
	const interruption = new AbortController();
	const reads = [readOf(reader, 0, MiB, interruption.signal), readOf(reader, MiB, MiB, interruption.signal)];
	setTimeout(() => interruption.abort(new Error("interrupted")), 200);
	for (const result of await Promise.allSettled(reads))
		expect(result).toMatchObject({ status: "rejected", reason: { message: "interrupted" } });
	expect(budget.usedBytes).toBeGreaterThan(0);
	reader.close();
	await vi.waitFor(() => {
		const all = budget.tryAllocate(128 * MiB);
		all?.free();
		expect(all).toBeDefined();
	}, 10_000);
	await proxy.mode("pass");
	const again = reading.open(store, await versionOf(store, "big"), bucket);
	same(0, await readOf(again, 0, MiB));
});

describe("32 files at the same time", () => {
	const keys = Array.from({ length: 32 }, (_, index) => `stream-${index}`);
	beforeAll(async () => {
		for (const [index, key] of keys.entries()) await minio.put(bucket, key, stamped(8 * MiB, index));
	});

	test.each([16, 32])("are read with a budget of %i MiB, and the process uses little more", async (budgetMiB) => {
		const order: Order = {
			endpoint: minio.endpoint,
			accessKeyId: minio.accessKey,
			secretAccessKey: minio.secretKey,
			bucket,
			keys,
			budgetBytes: budgetMiB * MiB,
		};
		const child = fork(fileURLToPath(new URL("read-streams.ts", import.meta.url)), { timeout: 50_000, execArgv: [] });
		child.send(order);
		const [outcome] = (await Promise.race([once(child, "message"), once(child, "exit")])) as [Outcome];
		expect(outcome).toMatchObject({ isRight: true, readBytes: 32 * 8 * MiB });
		expect(outcome.mostUsedBytes).toBeLessThanOrEqual(budgetMiB * MiB);
		expect(outcome.fetchedBytes).toBeLessThan(1.1 * 32 * 8 * MiB);
		// The rest are connections and requests, and what the garbage collector has not collected of them.
		expect(outcome.mostRssBytes - outcome.rssBeforeBytes).toBeLessThan((budgetMiB + 40) * MiB);
	});
});

test("reads whole objects up to a megabyte as S3 has checksums for them", async () => {
	const store = createStore();
	const small = content.subarray(0, 900_000);
	await minio.put(bucket, "small", small);
	const reader = createMemory().reading.open(store, await versionOf(store, "small"), bucket);
	const sum = createHash("sha1").update(await readOf(reader, 0, MiB));
	expect(sum.digest("hex")).toBe(createHash("sha1").update(small).digest("hex"));
	expect(received.requests).toBe(1);
});
