import { link, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bash } from "../fuse/application.ts";
import { useBuckets } from "./buckets.ts";
import type { MountedBucket } from "./mounted-bucket.ts";
import { mountTmpfs, unmountTmpfs } from "./tmpfs.ts";

const mebibyte = 1024 ** 2;
const buckets = useBuckets("large");

/** Bytes that do not repeat, the same for the same seed; made faster than they can be written. */
const noise = (sizeMib: number, seed: number): string =>
	`(openssl enc -aes-128-ctr -nosalt -K ${String(seed).padStart(32, "0")} -iv 00 -in /dev/zero 2>/dev/null || true) | head -c ${sizeMib}M`;
const digest = "openssl dgst -sha256 -r";
/** `openssl` ends with an error when it is not listened to any more. */
const shell = async (folder: string, script: string, limitMs: number): Promise<string> =>
	bash(folder, `set +o pipefail; ${script}`, limitMs);

/**
 * How much the process may grow beyond what it has at rest. Besides the budget there are requests of the kernel that are being read (4) or kept
 * until they are answered (16), of 1 MiB each; uploads (8), with 1 MiB of their part each; and what V8 has not collected yet.
 */
const largestGrowthBytes = (memoryBytes: number): number => memoryBytes + (4 + 16 + 8 + 36) * mebibyte;

test(
	"4 GiB come back as they were written, through little memory and little staging",
	{ timeout: 240_000 },
	async () => {
		const settings = { memoryBytes: 32 * mebibyte, stagingLimitBytes: 32 * mebibyte };
		const here = await buckets.mount({ settings });
		const restingBytes = here.memoryBytes;
		await shell(here.target, `${noise(4096, 1)} | dd of=big bs=1M iflag=fullblock status=none`, 110_000);
		expect(here.peakMemoryBytes - restingBytes).toBeLessThan(largestGrowthBytes(settings.memoryBytes));
		await here.unmount();
		const again = await buckets.mount({ settings });
		const [written, read] = await Promise.all([
			shell("/", `${noise(4096, 1)} | ${digest}`, 110_000),
			shell(again.target, `${digest} <big`, 110_000),
		]);
		expect(read).toBe(written);
		expect((await again.stats())["fetched_bytes"]).toBe(4096 * mebibyte);
		expect(again.peakMemoryBytes - restingBytes).toBeLessThan(largestGrowthBytes(settings.memoryBytes));
	},
);

describe("100,000 objects", () => {
	/** The server's folder, in memory: disks take minutes to forget so many files. */
	let disk: string;
	beforeAll(async () => {
		disk = await mountTmpfs("4g");
	});
	// The first to be registered is the last to run: after the server's end.
	afterAll(async () => unmountTmpfs(disk));
	const many = useBuckets("many", async () => disk);

	/** MinIO keeps a small object in one file that does not hold its name: links to it are objects of the same content. */
	async function makeObjects(keys: readonly string[]): Promise<void> {
		await many.minio.put(many.name, "template", "content");
		const folder = join(disk, many.name);
		for (let start = 0; start < keys.length; start += 500) {
			await Promise.all(
				keys.slice(start, start + 500).map(async (key) => {
					await mkdir(join(folder, key), { recursive: true });
					await link(join(folder, "template/xl.meta"), join(folder, key, "xl.meta"));
				}),
			);
		}
	}

	interface Listing {
		readonly names: readonly string[];
		readonly requests: number;
	}

	async function list(here: MountedBucket, command: string): Promise<Listing> {
		const before = (await here.stats())["requests"] ?? 0;
		const names = (await bash(here.target, command)).split("\n").filter(Boolean).toSorted();
		return { names, requests: ((await here.stats())["requests"] ?? 0) - before };
	}

	/** A node of the filesystem and its place in the listing, as large again with the garbage that was left by the answers. */
	const largestListBytes = 100_000 * 2500;

	test("in one directory are listed with one request for each thousand", { timeout: 120_000 }, async () => {
		const names = Array.from({ length: 100_000 }, (_, index) => `file-${String(index).padStart(6, "0")}`);
		await makeObjects(names.map((name) => `all/${name}`));
		const here = await many.mount();
		const restingBytes = here.memoryBytes;
		const first = await list(here, "ls -U all");
		expect(first.names).toEqual(names);
		expect(first.requests).toBeGreaterThanOrEqual(100);
		expect(first.requests).toBeLessThanOrEqual(110);
		// Sizes came with the names.
		const second = await list(here, "ls -lU all | awk '$5 == 7 { print $9 }'");
		expect(second.names).toEqual(names);
		expect(second.requests).toBeLessThanOrEqual(110);
		expect(here.peakMemoryBytes - restingBytes).toBeLessThan(largestListBytes);
	});

	test(
		"in a tree are listed with one request for each directory, and one for its attributes",
		{ timeout: 120_000 },
		async () => {
			const names = Array.from(
				{ length: 100_000 },
				(_, index) => `all/${Math.floor(index / 9900)}/${Math.floor(index / 990)}/${index % 990}`,
			);
			const directories = 1 + 11 + 102;
			await makeObjects(names);
			const here = await many.mount();
			const restingBytes = here.memoryBytes;
			const { names: found, requests } = await list(here, "find all -type f");
			expect(found).toEqual(names.toSorted());
			expect(requests).toBeLessThanOrEqual(2 * directories + 5);
			expect(here.peakMemoryBytes - restingBytes).toBeLessThan(largestListBytes);
		},
	);
});

test(
	"16 programs that read and 16 that write have their bytes, and share the memory",
	{ timeout: 120_000 },
	async () => {
		const settings = { memoryBytes: 64 * mebibyte, stagingLimitBytes: 128 * mebibyte };
		const numbers = Array.from({ length: 16 }, (_, index) => index + 1);
		const forEach = (script: (number: number) => string): string => numbers.map(script).join("\n");
		const before = await buckets.mount({ settings });
		await shell(
			before.target,
			forEach((number) => `${noise(24, number)} >read-${number}`),
			60_000,
		);
		await before.unmount();

		const here = await buckets.mount({ settings });
		const restingBytes = here.memoryBytes;
		const read = await shell(
			here.target,
			`${forEach((number) => `${digest} <read-${number} | sed s/^/${number}:/ & ${noise(24, 100 + number)} >write-${number} & writers+=" $!"`)}
		for writer in $writers; do wait $writer; done; wait`,
			60_000,
		);
		expect(here.peakMemoryBytes - restingBytes).toBeLessThan(largestGrowthBytes(settings.memoryBytes));
		const expected = await shell(
			"/",
			forEach((number) => `${noise(24, number)} | ${digest} | sed s/^/${number}:/`),
			60_000,
		);
		expect(read.split("\n").toSorted()).toEqual(expected.split("\n").toSorted());
		await here.unmount();
		const after = await buckets.mount({ settings });
		const differing = forEach((number) => `${noise(24, 100 + number)} | cmp - write-${number}`);
		expect(await shell(after.target, differing, 60_000)).toBe("");
	},
);

describe("a staging disk that is full", () => {
	let disk: string;
	let elsewhere: string;
	beforeEach(async () => {
		disk = await mountTmpfs("24m");
		elsewhere = await mkdtemp(join(tmpdir(), "fluid-fuse-elsewhere-"));
	});
	afterEach(async () => {
		await unmountTmpfs(disk);
		await rm(elsewhere, { recursive: true, force: true });
	});

	test("gives ENOSPC to the writer, leaves other files alone, and is used again when it has room", async () => {
		await bash(elsewhere, "head -c 8M /dev/urandom >content");
		const content = join(elsewhere, "content");
		const others = join(disk, "others");
		const here = await buckets.mount({
			settings: {
				stagingDirectory: join(disk, "writing"),
				stagingLimitBytes: 256 * mebibyte,
				cache: { directory: join(disk, "parts"), limitBytes: 64 * mebibyte },
			},
		});
		const refuse = (name: string): string =>
			`! dd if=${content} of=${name} bs=64k 2>${elsewhere}/error; grep -q "No space left on device" ${elsewhere}/error`;
		const printed = await bash(
			here.target,
			`export LC_ALL=C; cp ${content} before
			exec 3>held; head -c 4M ${content} >&3
			(head -c 64M /dev/zero || true) >${others} 2>/dev/null || true
			${refuse("nothing")}; stat -c %s nothing
			truncate -s -2M ${others}
			${refuse("some")}; test $(stat -c %s some) -gt 1000000; cmp -n $(stat -c %s some) some ${content}
			grep -q "^$(stat -c %s some) bytes" ${elsewhere}/error
			cmp before ${content}
			rm ${others}
			tail -c +4194305 ${content} >&3; exec 3>&-; cmp held ${content}
			cp ${content} after; cmp after ${content}; cp ${content} some; cmp some ${content}`,
		);
		expect(printed).toBe("0\n");
		for (const key of ["before", "held", "after", "some"]) {
			expect((await buckets.minio.get(buckets.name, key)).length, key).toBe(8 * mebibyte);
		}
	});

	test("only slows down who writes more than it holds, as long as uploads make room", async () => {
		const here = await buckets.mountThroughProxy({
			settings: { stagingDirectory: join(disk, "writing"), stagingLimitBytes: 256 * mebibyte },
		});
		await bash(here.target, "ls");
		await buckets.proxy.mode("slow-first-byte");
		await shell(here.target, `${noise(100, 7)} >large; ls large >${elsewhere}/closed`, 50_000);
		await buckets.proxy.mode("pass");
		expect(await shell(here.target, `${noise(100, 7)} | cmp - large; cat ${elsewhere}/closed`, 50_000)).toBe("large\n");
	});
});
