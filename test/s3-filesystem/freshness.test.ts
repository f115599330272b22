import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { MountedBucket, type BucketOptions } from "./mounted-bucket.ts";

let minio: Minio;
let bucket: string;
let buckets = 0;
let mounted: MountedBucket[] = [];

beforeAll(async () => {
	minio = await startMinio();
});
afterAll(() => minio.stop());
beforeEach(async () => {
	bucket = `freshness-${++buckets}`;
	await minio.createBucket(bucket);
});
afterEach(async () => {
	for (const one of mounted) await one.abort();
	mounted = [];
});

async function mount(options: Partial<BucketOptions> = {}): Promise<MountedBucket> {
	const one = await MountedBucket.mount({ minio, endpoint: minio.endpoint, bucket, ...options });
	mounted.push(one);
	return one;
}

async function sh(here: MountedBucket, script: string): Promise<string> {
	const { stdout } = await execa("bash", ["-c", `cd "$M" && ${script}`], {
		env: { M: here.target, LC_ALL: "C" },
		cwd: "/",
		timeout: 40_000,
	});
	return stdout;
}

const ttlMs = 3000;

test("what was not young any more when the kernel learnt it gets no second TTL there", async () => {
	await minio.put(bucket, "file", "old");
	await minio.put(bucket, "other", "x");
	const here = await mount({ volume: { ttlMs } });
	// The listing has both names from now on, the kernel only that one.
	await sh(here, "stat other");
	const changedAt = performance.now();
	await minio.put(bucket, "file", "newer");
	await delay(ttlMs * 0.7);
	await sh(here, "stat file");
	await delay(changedAt + ttlMs * 1.2 - performance.now());
	expect(await sh(here, "stat -c %s file; cat file")).toBe("5\nnewer");
});

test("the same holds for a name that readdir shows, and for one that is gone", async () => {
	await minio.put(bucket, "directory/file", "old");
	await minio.put(bucket, "directory/gone", "old");
	const here = await mount({ volume: { ttlMs } });
	await sh(here, "stat directory/absent || true");
	const changedAt = performance.now();
	await minio.put(bucket, "directory/file", "newer");
	await minio.delete(bucket, "directory/gone");
	await delay(ttlMs * 0.7);
	await sh(here, "ls -l directory");
	await delay(changedAt + ttlMs * 1.2 - performance.now());
	expect(await sh(here, "stat -c %s directory/file; test ! -e directory/gone")).toBe("5");
});

test("attributes of a directory that another mount changed are seen after the TTL", async () => {
	const [here, there] = [await mount({ volume: { ttlMs: 1000 } }), await mount()];
	await sh(there, "mkdir -m 755 directory; echo x >directory/file");
	expect(await sh(here, "stat -c %a directory")).toBe("755");
	await sh(there, "chmod 700 directory");
	await delay(1500);
	expect(await sh(here, "stat -c %a directory")).toBe("700");
});

test.each(["chmod 600 file", "mv file other; mv other file", `perl -e 'truncate("file", 12)'`])(
	"pages of the version before are not shown after %s",
	async (change) => {
		await minio.put(bucket, "file", "old content, long");
		const here = await mount({ volume: { ttlMs: 0 } });
		expect(await sh(here, "cat file")).toBe("old content, long");
		await minio.put(bucket, "file", "new content, long");
		expect(await sh(here, `${change}; head -c 12 file`)).toBe("new content,");
	},
);

test("a file that another node has replaced is not taken for the old one when its directory is renamed", async () => {
	await minio.put(bucket, "directory/file", "old content");
	const here = await mount();
	await sh(here, "cat directory/file");
	await minio.put(bucket, "directory/file", "new content");
	expect(await sh(here, "exec 3<directory/file; mv directory to; cat to/file")).toBe("new content");
	expect(await sh(here, "exec 3<to/file; mv to directory; cat <&3 directory/file")).toBe("new content");
});

test("directories in a listing take no request each until somebody wants their attributes", async () => {
	await Promise.all(Array.from({ length: 300 }, async (_, index) => minio.put(bucket, `all/${index}/file`, "x")));
	const here = await mount();
	await sh(here, "stat all");
	const before = (await here.stats())["requests"] ?? 0;
	expect(await sh(here, "ls -U all | wc -l")).toBe("300");
	expect((await here.stats())["requests"]).toBeLessThanOrEqual(before + 2);
});
