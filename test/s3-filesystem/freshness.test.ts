import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { OpenFile } from "../support/application.ts";
import { sh, useBuckets } from "./buckets.ts";

const buckets = useBuckets("freshness");

const ttlMs = 3000;

test("what was not young any more when the kernel learnt it gets no second TTL there", async () => {
	await buckets.minio.put(buckets.name, "file", "old");
	await buckets.minio.put(buckets.name, "other", "x");
	const here = await buckets.mount({ volume: { ttlMs } });
	// The listing has both names from now on, the kernel only that one.
	await sh(here, "stat other");
	const changedAt = performance.now();
	await buckets.minio.put(buckets.name, "file", "newer");
	await delay(ttlMs * 0.7);
	await sh(here, "stat file");
	await delay(changedAt + ttlMs * 1.2 - performance.now());
	expect(await sh(here, "stat -c %s file; cat file")).toBe("5\nnewer");
});

test("the same holds for a name that readdir shows, and for one that is gone", async () => {
	await buckets.minio.put(buckets.name, "directory/file", "old");
	await buckets.minio.put(buckets.name, "directory/gone", "old");
	const here = await buckets.mount({ volume: { ttlMs } });
	await sh(here, "stat directory/absent || true");
	const changedAt = performance.now();
	await buckets.minio.put(buckets.name, "directory/file", "newer");
	await buckets.minio.delete(buckets.name, "directory/gone");
	await delay(ttlMs * 0.7);
	await sh(here, "ls -l directory");
	await delay(changedAt + ttlMs * 1.2 - performance.now());
	expect(await sh(here, "stat -c %s directory/file; test ! -e directory/gone")).toBe("5");
});

test("attributes of a directory that another mount changed are seen after the TTL", async () => {
	const [here, there] = [await buckets.mount({ volume: { ttlMs: 1000 } }), await buckets.mount()];
	await sh(there, "mkdir -m 755 directory; echo x >directory/file");
	expect(await sh(here, "stat -c %a directory")).toBe("755");
	await sh(there, "chmod 700 directory");
	await delay(1500);
	expect(await sh(here, "stat -c %a directory")).toBe("700");
});

test.each(["chmod 600 file", "mv file other; mv other file", `perl -e 'truncate("file", 12)'`])(
	"pages of the version before are not shown after %s",
	async (change) => {
		await buckets.minio.put(buckets.name, "file", "old content, long");
		const here = await buckets.mount({ volume: { ttlMs: 0 } });
		expect(await sh(here, "cat file")).toBe("old content, long");
		await buckets.minio.put(buckets.name, "file", "new content, long");
		expect(await sh(here, `${change}; head -c 12 file`)).toBe("new content,");
	},
);

test("a file that another node has replaced is not taken for the old one when its directory is renamed", async () => {
	await buckets.minio.put(buckets.name, "directory/file", "old content");
	const here = await buckets.mount();
	await sh(here, "cat directory/file");
	await buckets.minio.put(buckets.name, "directory/file", "new content");
	expect(await sh(here, "exec 3<directory/file; mv directory to; cat to/file")).toBe("new content");
	expect(await sh(here, "exec 3<to/file; mv to directory; cat <&3 directory/file")).toBe("new content");
});

test("directories in a listing take no request each until somebody wants their attributes", async () => {
	await Promise.all(
		Array.from({ length: 300 }, async (_, index) => buckets.minio.put(buckets.name, `all/${index}/file`, "x")),
	);
	const here = await buckets.mount();
	await sh(here, "stat all");
	const before = (await here.stats())["requests"] ?? 0;
	expect(await sh(here, "ls -U all | wc -l")).toBe("300");
	expect((await here.stats())["requests"]).toBeLessThanOrEqual(before + 2);
});

test("a file that is being written is in its directory, although somebody else has removed its object meanwhile", async () => {
	const here = await buckets.mount({ volume: { ttlMs: 0 } });
	await sh(here, "mkdir directory; echo old >directory/file");
	const file = new OpenFile(join(here.target, "directory/file"), "w");
	try {
		for (const word of ["open", "write"] as const) expect(await file.step(word, 3)).toMatch(/^ok/);
		await buckets.minio.delete(buckets.name, "directory/file");
		const seen = await sh(here, "cat directory/file; ls directory; rmdir directory 2>&1 || true");
		expect(seen).toMatch(/^xxxfile\nrmdir: .*not empty$/);
		expect(await file.step("close")).toMatch(/^ok/);
	} finally {
		file.kill();
	}
	expect((await buckets.minio.get(buckets.name, "directory/file")).toString()).toBe("xxx");
});
