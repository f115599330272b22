import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { MountedBucket, type BucketOptions } from "./mounted-bucket.ts";

let minio: Minio;
let proxy: FaultProxy;
let bucket: string;
let buckets = 0;
let mounted: MountedBucket[] = [];

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
});
afterAll(async () => {
	await proxy.stop();
	await minio.stop();
});
beforeEach(async () => {
	bucket = `failed-uploads-${++buckets}`;
	await minio.createBucket(bucket);
});
afterEach(async () => {
	await proxy.mode("pass");
	for (const one of mounted) await one.abort();
	mounted = [];
});

async function mount(options: Partial<BucketOptions> = {}): Promise<MountedBucket> {
	const one = await MountedBucket.mount({ minio, endpoint: proxy.endpoint, bucket, ...options });
	mounted.push(one);
	return one;
}

/** What a script prints, errors too; it is not waited for longer than its limit. */
async function sh(here: MountedBucket, script: string): Promise<string> {
	const { all } = await execa("bash", ["-c", `cd "$M" && ${script}`], {
		env: { M: here.target, LC_ALL: "C" },
		cwd: "/",
		timeout: 40_000,
		reject: false,
		all: true,
	});
	return all;
}

async function get(key: string): Promise<string> {
	return (await minio.get(bucket, key)).toString();
}

const denied = { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } as const;
const isPut = ({ method }: { method?: string | undefined }): boolean => method === "PUT";
const truncate = (path: string, sizeBytes: number): string =>
	`perl -e 'truncate("${path}", ${sizeBytes}) or die "$!\\n"'`;
const mknod = (path: string): string => `python3 -c 'import os, stat; os.mknod("${path}", 0o644 | stat.S_IFREG)'`;

test("what others do with a file that mknod or truncate by its path has made is seen", async () => {
	await minio.put(bucket, "truncated", "0123456789");
	const here = await mount({ volume: { ttlMs: 300 } });
	expect(await sh(here, `${mknod("made")}; ${truncate("truncated", 4)}; cat truncated`)).toBe("0123");
	await minio.put(bucket, "made", "by another");
	await minio.put(bucket, "truncated", "by another");
	await delay(600);
	expect(await sh(here, "cat made; echo; cat truncated")).toBe("by another\nby another");
});

test("a truncate by path that fails leaves the file as it was, and mknod no name", async () => {
	await minio.put(bucket, "file", "0123456789");
	const here = await mount();
	await sh(here, "ls");
	await proxy.fail(denied, { only: isPut });
	expect(await sh(here, truncate("file", 4))).toBe("Permission denied");
	expect(await sh(here, mknod("new"))).toContain("Permission denied");
	await proxy.mode("pass");
	expect(await sh(here, "cat file; echo; ls; echo more >>file")).toBe("0123456789\nfile");
	expect(await get("file")).toBe("0123456789more\n");
	await here.unmount();
	expect(await minio.list(bucket)).toEqual(["file"]);
});
