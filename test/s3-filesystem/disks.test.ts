import { createHash, randomBytes } from "node:crypto";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { MountedMemory } from "../fuse/mounted-memory.ts";
import { sh, useBuckets } from "./buckets.ts";
import type { MountedBucket } from "./mounted-bucket.ts";
import { mountTmpfs, remountTmpfs, unmountTmpfs } from "./tmpfs.ts";

const MiB = 1024 ** 2;
const buckets = useBuckets("disks");

let disk: string;
beforeEach(async () => {
	disk = await mountTmpfs("30m");
});
afterEach(async () => unmountTmpfs(disk));

/** With its cache, and what is being written, on that disk. */
async function mountOn(folder: string, readOnly = false): Promise<MountedBucket> {
	return buckets.mount({
		readOnly,
		settings: {
			stagingDirectory: join(folder, "writing", "one"),
			cache: { directory: join(folder, "parts"), limitBytes: 1024 * MiB },
		},
	});
}

const digestOf = (content: Buffer): string => createHash("md5").update(content).digest("hex");
const troubles = ({ log }: MountedBucket): string[] => log.filter((line) => line.includes("disk of "));

async function put(name: string, sizeBytes: number): Promise<string> {
	const content = randomBytes(sizeBytes);
	await buckets.minio.put(buckets.name, name, content);
	return digestOf(content);
}

test("a file that is larger than the cache's disk can be written although reads have filled it, and while they go on", async () => {
	const digest = await put("large", 60 * MiB);
	const here = await mountOn(disk);
	expect(await sh(here, "md5sum <large")).toContain(digest);
	const full = expect.stringContaining("has no room for all that cache-size allows") as unknown;
	await vi.waitFor(() => expect(troubles(here)).toEqual([full]), 10_000);
	await sh(
		here,
		`{ (for i in 1 2 3; do dd if=large iflag=direct bs=1M of=/dev/null status=none; done) & dd if=/dev/urandom bs=1M count=100 status=none | tee written | md5sum >sum; wait; }`,
	);
	expect(await sh(here, "cat sum")).toContain(digestOf(await buckets.minio.get(buckets.name, "written")));
	expect(troubles(here)).toEqual([full]);
});

test("a disk that is read-only costs a read-only mount its cache, and nothing else", async () => {
	const digest = await put("file", 20 * MiB);
	await remountTmpfs(disk, "ro");
	const here = await mountOn(disk, true);
	expect(await sh(here, "md5sum <file")).toContain(digest);
	expect(troubles(here)).toEqual([expect.stringContaining("disk of cache: parts of objects cannot be kept")]);
});

test("a mount that writes is there with a disk that is read-only, refuses with EIO what is written until it is not, and loses nothing", async () => {
	await buckets.minio.put(buckets.name, "file", "old");
	await remountTmpfs(disk, "ro");
	const here = await mountOn(disk);
	expect(await sh(here, "cat file")).toBe("old");
	expect(await sh(here, "echo new 2>&1 >>file || true")).toContain("Input/output error");
	expect(await sh(here, "(echo new >other) 2>&1 || true")).toContain("Input/output error");
	expect((await buckets.minio.get(buckets.name, "file")).toString()).toBe("old");
	expect(troubles(here).filter((line) => line.includes("disk of writes"))).toHaveLength(1);
	await remountTmpfs(disk, "rw");
	await sh(here, "echo new >>file");
	expect((await buckets.minio.get(buckets.name, "file")).toString()).toBe("oldnew\n");
});

test.each([
	["whose folders are removed", async () => rm(join(disk, "writing"), { recursive: true })],
	[
		"with files in place of its folders",
		async () => {
			for (const name of ["writing", "parts"]) {
				await rename(join(disk, name), join(disk, `${name}.old`));
				await writeFile(join(disk, name), "somebody's");
			}
			setTimeout(() => void rm(join(disk, "writing")), 500);
		},
	],
])("a disk %s while it is used takes what is written as soon as it can", async (_, change) => {
	const digest = await put("file", 20 * MiB);
	const here = await mountOn(disk);
	await sh(here, "echo one >one");
	await change();
	expect(await sh(here, "md5sum <file")).toContain(digest);
	await vi.waitFor(async () => sh(here, "echo two >two"), 10_000);
	expect((await buckets.minio.get(buckets.name, "two")).toString()).toBe("two\n");
});

test("a disk that others have filled refuses what is written with ENOSPC, and reads go on", async () => {
	const digest = await put("file", 20 * MiB);
	const here = await mountOn(disk);
	await mkdir(join(disk, "others"));
	await sh(here, `(dd if=/dev/zero of=${disk}/others/full bs=1M status=none || true) 2>&1`);
	expect(await sh(here, "(echo new >other) 2>&1 || true")).toContain("No space left on device");
	expect(await sh(here, "md5sum <file")).toContain(digest);
	expect(troubles(here).filter((line) => line.includes("disk of writes"))).toEqual([
		expect.stringContaining("is full, and writing more fails with ENOSPC"),
	]);
	await rm(join(disk, "others"), { recursive: true });
	await sh(here, "echo new >other");
	expect((await buckets.minio.get(buckets.name, "other")).toString()).toBe("new\n");
});

const everything = ["lookup", "getattr", "open", "read", "create", "write", "opendir", "readdir", "mkdir", "unlink"];

test.each([
	["from the start", [everything, [], []]],
	["when it is read", [[], everything, []]],
] as const)("a disk that does not answer %s costs seconds, however many read", async (_, [first, second]) => {
	const memory = await MountedMemory.mount();
	try {
		const names = Array.from({ length: 8 }, (_, index) => `file-${index}`);
		const digests = await Promise.all(names.map(async (name) => put(name, 3 * MiB)));
		const before = await mountOn(memory.path, true);
		expect(await sh(before, `md5sum ${names.join(" ")}`)).toContain(digests[7]);
		await before.unmount();
		await memory.hold(...first);
		const here = await mountOn(memory.path, true);
		await memory.hold(...first, ...second);
		const startedAt = performance.now();
		const sums = await sh(here, `for f in ${names.join(" ")}; do md5sum $f & done; wait`);
		for (const digest of digests) expect(sums).toContain(digest);
		expect(performance.now() - startedAt).toBeLessThan(20_000);
		const silent = expect.stringContaining("does not answer: parts of objects are fetched") as unknown;
		await vi.waitFor(() => expect(troubles(here)).toEqual([silent]), 10_000);
		await memory.hold();
	} finally {
		await memory.clear();
	}
});

test("a disk that does not answer refuses what is written with EIO, and reads go on", async () => {
	const memory = await MountedMemory.mount();
	try {
		const digest = await put("file", 20 * MiB);
		await memory.hold(...everything);
		const here = await mountOn(memory.path);
		expect(await sh(here, "md5sum <file")).toContain(digest);
		const told = expect.stringContaining("does not answer, and writing fails with EIO") as unknown;
		await vi.waitFor(() => expect(troubles(here)).toContainEqual(told), 10_000);
		expect(await sh(here, "(echo new >other) 2>&1 || true")).toContain("Input/output error");
		await memory.hold();
		await vi.waitFor(async () => sh(here, "echo new >other"), 10_000);
		expect((await buckets.minio.get(buckets.name, "other")).toString()).toBe("new\n");
	} finally {
		await memory.clear();
	}
});
