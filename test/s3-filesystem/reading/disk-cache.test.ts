import { execFile } from "node:child_process";
import {
	copyFile,
	mkdir,
	mkdtemp,
	readdir,
	readFile,
	rename,
	rm,
	stat,
	symlink,
	truncate,
	utimes,
	writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { ObjectVersion } from "../../../src/s3/object-store.ts";
import { createDiskCache, type BlockRead, type DiskCache } from "../../../src/s3-filesystem/reading/disk-cache.ts";
import type { DiskProblem } from "../../../src/s3-filesystem/disks/disk-trouble.ts";
import { createMemoryBudget } from "../../../src/s3-filesystem/reading/memory-budget.ts";
import { createReading } from "../../../src/s3-filesystem/reading/reading.ts";
import { KiB, MiB, readInOrder, readOf } from "./reads.ts";
import { createSourceInMemory, type SourceInMemory } from "./source-in-memory.ts";

let all: string;
let directory: string;
beforeAll(async () => {
	all = await mkdtemp(join(tmpdir(), "disk-cache-"));
});
afterAll(async () => {
	// A cache whose folder is gone makes it anew.
	await rm(all, { recursive: true, maxRetries: 20 });
});
beforeEach(async () => {
	directory = await mkdtemp(join(all, "of-one-test-"));
});
afterEach(async () => {
	vi.useRealTimers();
	// What is still being written goes, too.
	await rm(directory, { recursive: true, force: true, maxRetries: 20 });
});

const version: ObjectVersion = { key: "object", etag: "etag", sizeBytes: 10 * MiB + 100 };
const block = Buffer.alloc(MiB, "block");

async function create(limitBytes = 100 * MiB): Promise<DiskCache> {
	const cache = createDiskCache({ directory, limitBytes });
	await cache.ready;
	return cache;
}

async function read(cache: DiskCache, start: number, sizeBytes = MiB): Promise<Buffer | undefined> {
	const into = Buffer.alloc(sizeBytes);
	return (await cache.read("bucket", version, start, into)).kind === "read" ? into : undefined;
}

async function theFile(): Promise<string> {
	const [name, ...others] = await readdir(directory);
	expect(others).toEqual([]);
	return join(directory, name ?? "");
}

test("keeps blocks for the next process, for its owner only", async () => {
	const first = await create();
	await first.write("bucket", version, MiB, block);
	await first.write("bucket", version, 10 * MiB, block.subarray(0, 100));
	const cache = await create();
	expect(cache.usedBytes).toBe(first.usedBytes);
	expect(await read(cache, MiB)).toEqual(block);
	expect(await read(cache, 10 * MiB, 100)).toEqual(block.subarray(0, 100));
	expect(await read(cache, 2 * MiB)).toBeUndefined();
	for (const name of await readdir(directory)) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
});

test("tells buckets, keys and versions apart", async () => {
	const cache = await create();
	await cache.write("bucket", version, 0, block);
	const into = Buffer.alloc(MiB);
	expect(await cache.read("other", version, 0, into)).toEqual({ kind: "absent" });
	expect(await cache.read("bucket", { ...version, key: "other" }, 0, into)).toEqual({ kind: "absent" });
	expect(await cache.read("bucket", { ...version, etag: "other" }, 0, into)).toEqual({ kind: "absent" });
	expect(await cache.read("bucket", version, 0, into)).toEqual({ kind: "read" });
});

test.each([
	["bucket", "other", version, 0],
	["key", "bucket", { ...version, key: "other" }, 0],
	["etag", "bucket", { ...version, etag: "other" }, 0],
	["size of the object", "bucket", { ...version, sizeBytes: version.sizeBytes + 1 }, 0],
	["offset", "bucket", version, MiB],
] as const)("does not take the file of a block for that of one with another %s", async (_, identity, other, start) => {
	const cache = await create();
	await cache.write("bucket", version, 0, block);
	const first = await theFile();
	await cache.write(identity, other, start, Buffer.alloc(MiB, "other"));
	const second = (await readdir(directory)).map((name) => join(directory, name)).find((path) => path !== first);
	await copyFile(first, second ?? "");
	const into = Buffer.alloc(MiB);
	expect(await cache.read(identity, other, start, into)).toEqual({ kind: "absent" });
	expect(cache.damagedBlocks).toBe(1);
	expect(await theFile()).toBe(first);
	expect(await read(cache, 0)).toEqual(block);
});

/** A file as it was written before a block's file said what it is of. */
function inOldFormat(bytes: Buffer): Buffer {
	const header = Buffer.alloc(12);
	header.write("FFP1");
	header.writeUInt32BE(bytes.length, 4);
	header.writeUInt32BE(crc32(bytes), 8);
	return Buffer.concat([header, bytes]);
}

test("never takes a file of the format before for a block, and replaces it", async () => {
	const cache = await create();
	await cache.write("bucket", version, 0, block);
	const file = await theFile();
	await writeFile(file, inOldFormat(Buffer.alloc(MiB, "old")));
	const next = await create();
	expect(await read(next, 0)).toBeUndefined();
	expect(await readdir(directory)).toEqual([]);
	await next.write("bucket", version, 0, block);
	expect(await read(next, 0)).toEqual(block);
});

test("removes what is left of the format before when it needs the room", async () => {
	await writeFile(join(directory, `${"0".repeat(64)}.part`), inOldFormat(block));
	const cache = await create(MiB + 8192);
	expect(cache.usedBytes).toBe(MiB + 4096);
	await cache.write("bucket", version, 0, block);
	expect(await readdir(directory)).toHaveLength(1);
	expect(await read(cache, 0)).toEqual(block);
});

test("never removes what has a block's name and is none", async () => {
	const names = ["0", "1", "2", "3"].map((digit) => `${digit.repeat(64)}.part`);
	const [file = "", folder = "", link = "", temporary = ""] = names.map((name) => join(directory, name));
	await writeFile(file, "a download of somebody else");
	await mkdir(folder);
	await writeFile(join(directory, "notes"), "FFP2");
	await symlink("notes", link);
	await writeFile(`${temporary}.0123456789ab`, "another one's");
	const yesterday = new Date(Date.now() - 86_400_000);
	await utimes(`${temporary}.0123456789ab`, yesterday, yesterday);
	const before = await readdir(directory);
	const cache = await create(MiB + 8192);
	await cache.write("bucket", version, 0, block);
	await cache.write("bucket", version, MiB, block);
	expect(await readdir(directory)).toHaveLength(before.length + 1);
	expect(cache.giveWay(100 * MiB)).toBe(true);
	expect(await readdir(directory)).toEqual(before);
	expect((await create(0)).usedBytes).toBe(0);
	expect(await readdir(directory)).toEqual(before);
});

test("gives way at once, with what was not used for the longest time, and keeps nothing more for a while", async () => {
	const cache = await create();
	for (let index = 0; index < 4; index++) await cache.write("bucket", version, index * MiB, block);
	await read(cache, 0);
	vi.useFakeTimers({ toFake: ["performance"] });
	expect(cache.giveWay(1.5 * MiB)).toBe(true);
	expect([0, 1, 2, 3].map((index) => cache.has("bucket", version, index * MiB))).toEqual([true, false, false, true]);
	expect(await readdir(directory)).toHaveLength(2);
	expect(cache.usedBytes).toBe(2 * (MiB + 4096));
	await cache.write("bucket", version, 4 * MiB, block);
	expect(cache.has("bucket", version, 4 * MiB)).toBe(false);
	expect(cache.giveWay(100 * MiB)).toBe(true);
	expect(cache.giveWay(1)).toBe(false);
	vi.advanceTimersByTime(31_000);
	await cache.write("bucket", version, 4 * MiB, block);
	expect(await read(cache, 4 * MiB)).toEqual(block);
});

test.each([
	["has other bytes", async (file: string) => writeFile(file, (await readFile(file)).fill("x", 1000, 1001))],
	["is shorter", async (file: string) => truncate(file, 5000)],
	["is empty", async (file: string) => truncate(file, 0)],
	["has another header", async (file: string) => writeFile(file, (await readFile(file)).fill("x", 0, 4))],
	["is gone", async (file: string) => rm(file)],
	[
		"is a directory",
		async (file: string) => {
			await rm(file);
			await mkdir(file);
		},
	],
])("takes a file for absent that %s, and removes it", async (_, damage) => {
	const cache = await create();
	await cache.write("bucket", version, 0, block);
	await damage(await theFile());
	expect(await read(cache, 0)).toBeUndefined();
	expect(cache.has("bucket", version, 0)).toBe(false);
	expect(cache.usedBytes).toBe(0);
	for (const name of await readdir(directory)) expect((await stat(join(directory, name))).isDirectory()).toBe(true);
});

test("removes what was not used for the longest time when it is full, also after a restart", async () => {
	const first = await create(4 * MiB);
	for (let index = 0; index < 3; index++) await first.write("bucket", version, index * MiB, block);
	await read(first, 0);
	await first.write("bucket", version, 3 * MiB, block);
	expect([0, 1, 2, 3].map((index) => first.has("bucket", version, index * MiB))).toEqual([true, false, true, true]);
	expect(await readdir(directory)).toHaveLength(3);
	expect(first.usedBytes).toBeLessThanOrEqual(4 * MiB);
	const cache = await create(2 * MiB);
	expect(await readdir(directory)).toHaveLength(1);
	expect(cache.usedBytes).toBeLessThanOrEqual(2 * MiB);
});

test("leaves alone what is not its own, and removes what a process that was killed has left", async () => {
	const name = "0".repeat(64);
	const [foreign, fresh, abandoned] = ["notes.part", `${name}.part.0123456789ab`, `${name}.part.ba9876543210`];
	for (const one of [foreign, fresh, abandoned]) await writeFile(join(directory, one), "FFP2 and so on");
	const yesterday = new Date(Date.now() - 86_400_000);
	await utimes(join(directory, abandoned), yesterday, yesterday);
	const cache = await create();
	expect((await readdir(directory)).toSorted()).toEqual([fresh, foreign]);
	expect(cache.usedBytes).toBe(0);
});

test("drops what it has no time for, and keeps to its limit while several write", async () => {
	const cache = await create(4 * MiB);
	await Promise.all(Array.from({ length: 10 }, async (_, index) => cache.write("bucket", version, index * MiB, block)));
	const names = await readdir(directory);
	expect(names.length).toBeLessThanOrEqual(3);
	expect(names.length).toBeGreaterThan(0);
	expect(cache.usedBytes).toBe(names.length * (MiB + 4096));
});

test("makes its directory, for its owner only", async () => {
	directory = join(directory, "a", "b");
	await create();
	expect((await stat(directory)).mode & 0o777).toBe(0o700);
});

describe("a disk", () => {
	const run = promisify(execFile);
	const mounted: string[] = [];
	/** What was told, the present last. */
	let told: (string | undefined)[] = [];
	beforeEach(() => {
		told = [];
		vi.useFakeTimers({ toFake: ["performance"] });
	});
	afterEach(async () => {
		for (const one of mounted.splice(0)) {
			await run("umount", ["-l", one], { timeout: 10_000 });
			await rm(one, { recursive: true });
		}
	});
	const onTrouble = (problem: DiskProblem | undefined): void => void told.push(problem?.message);
	const createTold = async (limitBytes = 100 * MiB): Promise<DiskCache> => {
		const cache = createDiskCache({ directory, limitBytes, onTrouble });
		await cache.ready;
		return cache;
	};
	const mountSmall = async (size: string): Promise<string> => {
		const disk = await mkdtemp(join(tmpdir(), "small-disk-"));
		await run("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", disk], { timeout: 10_000 });
		mounted.push(disk);
		directory = join(disk, "parts");
		return disk;
	};
	const remount = async (disk: string, how: "ro" | "rw") =>
		run("mount", ["-o", `remount,${how}`, disk], { timeout: 10_000 });
	const unkept = () => `parts of objects cannot be kept in ${directory}, and are fetched again`;

	test("that is full is written to no more for a while, and then only as far as it has room", async () => {
		await mountSmall("5m");
		const cache = await createTold();
		for (let index = 0; index < 8; index++) await cache.write("bucket", version, index * MiB, block);
		expect(told).toEqual([`the disk of ${directory} has no room for all that cache-size allows`]);
		expect(await readdir(directory)).toHaveLength(3);
		expect(cache.usedBytes).toBe(3 * (MiB + 4096));
		vi.advanceTimersByTime(31_000);
		for (let index = 0; index < 10; index++) await cache.write("bucket", version, index * MiB, block);
		expect(cache.has("bucket", version, 9 * MiB)).toBe(true);
		expect(await read(cache, 9 * MiB)).toEqual(block);
		expect(told).toHaveLength(1);
	});

	test("that is read-only from the start serves what it has", async () => {
		const disk = await mountSmall("10m");
		await (await createTold()).write("bucket", version, 0, block);
		await remount(disk, "ro");
		const cache = await createTold();
		expect(await read(cache, 0)).toEqual(block);
		await cache.write("bucket", version, MiB, block);
		await cache.write("bucket", version, MiB, block);
		expect(told).toEqual([unkept()]);
		expect(await read(cache, 0)).toEqual(block);
		await remount(disk, "rw");
		vi.advanceTimersByTime(31_000);
		await cache.write("bucket", version, MiB, block);
		expect(await read(cache, MiB)).toEqual(block);
		expect(told).toEqual([unkept(), undefined]);
	});

	test("that is read-only and has no directory yet is only not used, until it can be", async () => {
		const disk = await mountSmall("10m");
		await remount(disk, "ro");
		const cache = await createTold();
		expect(told).toEqual([unkept()]);
		expect(await read(cache, 0)).toBeUndefined();
		await remount(disk, "rw");
		vi.advanceTimersByTime(31_000);
		await cache.write("bucket", version, 0, block);
		expect(await read(cache, 0)).toEqual(block);
	});

	test("that becomes read-only while it is used serves what it has", async () => {
		const disk = await mountSmall("10m");
		const cache = await createTold();
		await cache.write("bucket", version, 0, block);
		await remount(disk, "ro");
		for (let index = 1; index < 3; index++) await cache.write("bucket", version, index * MiB, block);
		expect(told).toEqual([unkept()]);
		expect(await read(cache, 0)).toEqual(block);
	});

	test("that is gone is used again when it is back", async () => {
		const cache = await createTold();
		await cache.write("bucket", version, 0, block);
		await rm(directory, { recursive: true, maxRetries: 20 });
		expect(await read(cache, 0)).toBeUndefined();
		await cache.write("bucket", version, 0, block);
		expect(cache.has("bucket", version, 0)).toBe(false);
		expect(told).toEqual([unkept()]);
		vi.advanceTimersByTime(31_000);
		await cache.write("bucket", version, 0, block);
		expect(await read(cache, 0)).toEqual(block);
		expect(told).toEqual([unkept(), undefined]);
	});

	test("that has a file in the directory's place is only not used, until it has not", async () => {
		const path = join(directory, "file");
		await writeFile(path, "somebody's");
		directory = path;
		const cache = await createTold();
		await cache.write("bucket", version, 0, block);
		expect(told).toEqual([unkept()]);
		expect(await readFile(path, "utf8")).toBe("somebody's");
		await rename(path, `${path}.old`);
		vi.advanceTimersByTime(31_000);
		await cache.write("bucket", version, 0, block);
		expect(await read(cache, 0)).toEqual(block);
		directory = join(path, "..");
	});

	test("that has somebody's folder in one block's place keeps all others", async () => {
		const cache = await createTold();
		await cache.write("bucket", version, 0, block);
		const file = await theFile();
		await rm(file);
		await mkdir(file);
		expect(await read(cache, 0)).toBeUndefined();
		await cache.write("bucket", version, 0, block);
		await cache.write("bucket", version, MiB, block);
		expect(await read(cache, MiB)).toEqual(block);
		expect(told).toEqual([]);
	});
});

describe("below the memory", () => {
	const setUp = async (limitBytes = 100 * MiB) => {
		const source = createSourceInMemory({ sizeBytes: 24 * MiB + 5000 });
		const process = async () => {
			const diskCache = createDiskCache({ directory, limitBytes });
			await diskCache.ready;
			const reading = createReading({ budget: createMemoryBudget(128 * MiB), diskCache });
			return { reading, diskCache, reader: reading.open(source, source.version, "bucket") };
		};
		const see = (offset: number, bytes: Buffer): void =>
			expect(bytes.equals(source.content.subarray(offset, offset + bytes.length)), `bytes at ${offset}`).toBe(true);
		return { source, process, see, end: source.version.sizeBytes };
	};
	/** What is read is only kept as far as the disk has time for it. */
	const keepAll = async (cache: DiskCache, { content, version }: SourceInMemory, end: number): Promise<void> => {
		for (let start = 0; start < end; start += MiB)
			await cache.write("bucket", version, start, content.subarray(start, start + MiB));
	};
	const untilWritten = async (count: number): Promise<void> =>
		vi.waitFor(
			async () => expect((await readdir(directory)).filter((name) => name.endsWith(".part"))).toHaveLength(count),
			5000,
		);

	test("keeps what is read in order for the next process", async () => {
		const { source, process, see, end } = await setUp();
		const first = await process();
		await readInOrder(first.reader, { end, see });
		await vi.waitFor(async () => expect(await readdir(directory)).not.toEqual([]), 5000);
		await keepAll(first.diskCache, source, end);
		source.requests.length = 0;
		const second = await process();
		await readInOrder(second.reader, { end, see });
		expect(source.requests).toEqual([]);
		expect(second.reading.stats).toMatchObject({ fetched_bytes: 0, disk_cache_read_bytes: end });
	});

	test("serves random reads from blocks on the disk", async () => {
		const { source, process, see } = await setUp();
		const first = await process();
		await readInOrder(first.reader, { end: 8 * MiB, see });
		await keepAll(first.diskCache, source, 8 * MiB);
		source.requests.length = 0;
		const { reader } = await process();
		const offset = 5 * MiB + 300 * KiB;
		see(offset, await readOf(reader, offset, 4096));
		expect(source.requests).toEqual([]);
		// What is not there is fetched as without a disk.
		see(20 * MiB + 5000, await readOf(reader, 20 * MiB + 5000, 100));
		expect(source.requestedBytes).toBe(4096);
	});

	test("fetches blocks that were damaged", async () => {
		const { source, process, see, end } = await setUp();
		const first = await process();
		await readInOrder(first.reader, { end, see });
		await keepAll(first.diskCache, source, end);
		const names = (await readdir(directory)).filter((name) => name.endsWith(".part"));
		for (const name of names) {
			const path = join(directory, name);
			await writeFile(path, (await readFile(path)).fill(1, 100, 200));
		}
		source.requests.length = 0;
		const second = await process();
		await readInOrder(second.reader, { end, see });
		expect(source.requestedBytes).toBeGreaterThanOrEqual((names.length - 1) * MiB);
		expect(second.reading.stats).toMatchObject({ fetched_bytes: source.requestedBytes });
	});

	test("does not show what a disk brings too late, and keeps the memory that it goes into until then", async () => {
		const { source, see, end } = await setUp();
		const late: { readonly into: Buffer; readonly end: () => void }[] = [];
		// A disk that hangs now and then.
		const diskCache: DiskCache = {
			ready: Promise.resolve(),
			usedBytes: 0,
			limitBytes: 0,
			damagedBlocks: 0,
			evictedBlocks: 0,
			has: () => true,
			write: async () => undefined,
			giveWay: () => false,
			read: async (_identity, _version, start, into): Promise<BlockRead> => {
				if ((start / MiB) % 8 !== 2) {
					source.content.copy(into, 0, start, start + into.length);
					return { kind: "read" };
				}
				const { promise, resolve } = Promise.withResolvers<void>();
				late.push({ into, end: resolve });
				return { kind: "late", ended: promise };
			},
		};
		const budget = createMemoryBudget(64 * MiB);
		const reader = createReading({ budget, diskCache }).open(source, source.version, "bucket");
		const damage = (): void => {
			for (const { into } of late) into.fill("late");
		};
		await readInOrder(reader, {
			end,
			see: (offset, bytes) => {
				damage();
				see(offset, bytes);
			},
		});
		expect(late.length).toBeGreaterThan(0);
		reader.close();
		expect(late.every(({ into }) => into.length === MiB)).toBe(true);
		damage();
		for (const one of late) one.end();
		await vi.waitFor(() => expect(budget.tryAllocate(40 * MiB)).toBeDefined(), 10_000);
	});

	test("reads a small file whole from the disk", async () => {
		const source = createSourceInMemory({ sizeBytes: 300_000 });
		for (const requests of [1, 1]) {
			const diskCache = createDiskCache({ directory, limitBytes: 100 * MiB });
			await diskCache.ready;
			const reader = createReading({ budget: createMemoryBudget(32 * MiB), diskCache }).open(
				source,
				source.version,
				"b",
			);
			expect(await readOf(reader, 0, MiB)).toEqual(source.content);
			expect(source.requests).toHaveLength(requests);
			await untilWritten(1);
		}
	});
});
