import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";

import type { Staging } from "../../../src/s3-filesystem/writing/staging.ts";
import { mountLoopDisk } from "../loop-disk.ts";
import { mountTmpfs, remountTmpfs, unmountTmpfs } from "../tmpfs.ts";
import { pattern, readAll, writeAll } from "./drafts.ts";
import { MiB, startRealBucket, type RealBucket } from "./real-bucket.ts";

let bucket: RealBucket;
let disk: string;
let directory: string;
let staging: Staging;
/** What was told of the disk, the present last. */
let told: (string | undefined)[];

beforeAll(async () => {
	bucket = await startRealBucket();
});
afterAll(async () => bucket.stop());
beforeEach(async () => {
	disk = await mountTmpfs("40m");
	directory = join(disk, "writing", "one");
	told = [];
	staging = bucket.staging(256 * MiB, directory, { onDiskTrouble: (problem) => void told.push(problem?.message) });
});
afterEach(async () => {
	vi.useRealTimers();
	await unmountTmpfs(disk);
});

const broken = (): string => `changes cannot be kept in ${directory}, and writing them fails with EIO`;
const failed = expect.objectContaining({ kind: "DISK_FAILED" }) as unknown;

/** What is thrown, at once or later. */
async function errorOf(work: () => unknown): Promise<unknown> {
	try {
		return await work();
	} catch (error) {
		return error;
	}
}

test("a disk that is read-only from the start refuses what is written, and takes it when it is not any more", async () => {
	vi.useFakeTimers({ toFake: ["performance"] });
	await remountTmpfs(disk, "ro");
	await staging.prepare();
	expect(told).toEqual([broken()]);
	const draft = bucket.draft("read-only", { staging });
	const content = pattern(1000, 1);
	for (let attempt = 0; attempt < 3; attempt++) expect(await errorOf(() => draft.write(0, content))).toEqual(failed);
	expect(staging.usedBytes).toBe(0);
	expect(told).toEqual([broken()]);
	await remountTmpfs(disk, "rw");
	vi.advanceTimersByTime(10_000);
	await writeAll(draft, 0, content);
	expect(told).toEqual([broken(), undefined]);
	await draft.commit();
	expect((await bucket.minio.get("writing", "read-only")).equals(content)).toBe(true);
});

test("what was written before the disk became read-only is stored", async () => {
	const broken = await mountLoopDisk(64);
	try {
		const own = bucket.staging(256 * MiB, join(broken.folder, "writing"));
		const draft = bucket.draft("became-read-only", { staging: own });
		const content = pattern(20 * MiB, 1);
		await writeAll(draft, 0, content);
		await broken.becomeReadOnly();
		expect(await errorOf(() => draft.write(content.length, Buffer.from("more")))).toEqual(failed);
		expect(await errorOf(() => draft.truncate(content.length - 1000))).toEqual(failed);
		expect((await readAll(draft, 18 * MiB)).equals(content.subarray(18 * MiB))).toBe(true);
		await draft.commit();
		expect((await bucket.minio.get("writing", "became-read-only")).equals(content)).toBe(true);
		await vi.waitFor(() => expect(own.usedBytes).toBe(0), 10_000);
	} finally {
		await broken.remove();
	}
});

test("a directory that was taken away is made again, and what was in it is never taken for zeros", async () => {
	const lost = bucket.draft("taken-away", { staging });
	await writeAll(lost, 0, pattern(1000, 1));
	// More files than are kept open.
	const others = Array.from({ length: 70 }, (_, index) => bucket.draft(`other-${index}`, { staging }));
	for (const other of others) await writeAll(other, 0, Buffer.from("other"));
	renameSync(directory, `${directory}.away`);
	rmSync(`${directory}.away`, { recursive: true });
	for (const work of [async () => lost.commit(), async () => readAll(lost), () => lost.write(5, Buffer.from("x"))])
		expect(await errorOf(work)).toEqual(failed);
	expect(await bucket.minio.list("writing")).not.toContain("taken-away");
	expect(told).toEqual([broken()]);
	const draft = bucket.draft("after", { staging });
	await writeAll(draft, 0, Buffer.from("content"));
	await draft.commit();
	expect((await bucket.minio.get("writing", "after")).toString()).toBe("content");
	for (const other of others) await other.discard();
	await lost.discard();
	expect(staging.usedBytes).toBe(0);
});

test("a disk that is unmounted refuses, or another one takes what is written", async () => {
	const draft = bucket.draft("unmounted", { staging });
	await writeAll(draft, 0, Buffer.from("content"));
	execFileSync("umount", ["-l", disk]);
	try {
		await draft.commit();
		await writeAll(draft, 0, Buffer.from("other"));
		await draft.commit();
		expect((await bucket.minio.get("writing", "unmounted")).toString()).toBe("othernt");
	} finally {
		rmSync(disk, { recursive: true });
		mkdirSync(disk);
		execFileSync("mount", ["-t", "tmpfs", "tmpfs", disk]);
	}
});

test("a file in the directory's place refuses what is written, and stays", async () => {
	mkdirSync(join(directory, ".."), { recursive: true });
	writeFileSync(directory, "somebody's");
	const draft = bucket.draft("file", { staging });
	expect(await errorOf(() => draft.write(0, Buffer.from("x")))).toEqual(failed);
	expect(told).toEqual([broken()]);
	rmSync(directory);
	await writeAll(draft, 0, Buffer.from("content"));
	await draft.commit();
	expect((await bucket.minio.get("writing", "file")).toString()).toBe("content");
});

test("what is cached on a full disk gives way to what is written, parts to be completed for a commit too", async () => {
	const files = Array.from({ length: 39 }, (_, index) => join(disk, `cached-${index}`));
	for (const file of files) writeFileSync(file, Buffer.alloc(MiB, 1));
	const given: number[] = [];
	const cached = bucket.staging(256 * MiB, join(disk, "other"), {
		giveWay: (bytes) => {
			given.push(bytes);
			const going = files.splice(0, bytes / MiB);
			for (const file of going) rmSync(file);
			return going.length > 0;
		},
		onDiskTrouble: (problem) => void told.push(problem?.message),
	});
	const content = pattern(100 * MiB, 1);
	const draft = bucket.draft("gives-way", { staging: cached });
	await writeAll(draft, 0, content);
	await draft.commit();
	expect((await bucket.minio.get("writing", "gives-way")).equals(content)).toBe(true);
	expect(given.length).toBeGreaterThan(2);
	for (let index = 0; index < 38; index++) {
		files.push(join(disk, `again-${index}`));
		writeFileSync(join(disk, `again-${index}`), Buffer.alloc(MiB, 1));
	}
	// The server has no copies of so small a part: it has to be read and completed here.
	await writeAll(draft, 9 * MiB, Buffer.from("changed"));
	content.write("changed", 9 * MiB);
	await draft.commit();
	expect((await bucket.minio.get("writing", "gives-way")).equals(content)).toBe(true);
	expect(told).toEqual([]);
});

test("parts that were written in any order leave a full disk while the program writes on", async () => {
	const content = pattern(100 * MiB, 1);
	const draft = bucket.draft("any-order", { staging });
	const half = 4 * MiB;
	for (let start = 0; start < content.length; start += 8 * MiB) {
		const end = Math.min(start + 8 * MiB, content.length);
		for (const from of [start + half, start]) {
			const to = from === start ? Math.min(start + half, end) : end;
			if (from < to) await writeAll(draft, from, content.subarray(from, to));
		}
	}
	await draft.commit();
	expect((await bucket.minio.get("writing", "any-order")).equals(content)).toBe(true);
});

test("a full disk is told of when it refuses what is written, once", async () => {
	writeFileSync(join(disk, "foreign"), Buffer.alloc(38 * MiB));
	const draft = bucket.draft("full", { staging });
	let done = 0;
	const writeOn = async (): Promise<never> => {
		for (;;) done += await draft.write(done, pattern(300_000, 2));
	};
	for (let attempt = 0; attempt < 2; attempt++) expect(await errorOf(writeOn)).toMatchObject({ kind: "NO_SPACE" });
	expect(told).toEqual([`the disk of ${directory} is full, and writing more fails with ENOSPC`]);
	await draft.discard();
});
