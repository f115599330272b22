import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { startFaultProxy, type FaultProxy } from "./fault-proxy.ts";
import { startMinio, type Minio } from "./minio.ts";

let minio: Minio;
let proxy: FaultProxy;
let client: S3Client;

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	client = new S3Client({
		endpoint: proxy.endpoint,
		region: minio.region,
		forcePathStyle: true,
		maxAttempts: 1,
		credentials: { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey },
	});
	await minio.createBucket("bucket");
	await minio.put("bucket", "key", "value");
}, 60_000);

beforeEach(async () => {
	await proxy.mode("pass");
});

afterAll(async () => {
	client?.destroy();
	await proxy?.stop();
	await proxy?.stop();
	await minio?.stop();
}, 30_000);

const url = () => `${proxy.endpoint}/minio/health/live`;
const get = () => fetch(url(), { signal: AbortSignal.timeout(500) });

test("passes signed requests and large bodies both ways", async () => {
	const Body = Buffer.alloc(20 * 1024 * 1024, "0123456789abcdefg");
	await client.send(new PutObjectCommand({ Bucket: "bucket", Key: "large", Body }));
	const { Body: body } = await client.send(new GetObjectCommand({ Bucket: "bucket", Key: "large" }));
	expect(Buffer.from((await body?.transformToByteArray()) ?? []).equals(Body)).toBe(true);
});

test("counts requests", async () => {
	const before = proxy.requests;
	await get();
	await proxy.mode("reset");
	await expect(get()).rejects.toMatchObject({ cause: { code: "ECONNRESET" } });
	expect(proxy.requests - before).toBe(2);
});

test("refuses connections, and takes them again at the same port", async () => {
	await get();
	await proxy.mode("refuse");
	await expect(get()).rejects.toMatchObject({ cause: { code: "ECONNREFUSED" } });
	await proxy.mode("pass");
	expect((await get()).status).toBe(200);
});

test("hangs, and lets go of what hung when the mode changes", async () => {
	await proxy.mode("hang");
	await expect(get()).rejects.toThrow("timeout");
	const held = fetch(url());
	held.catch(() => {});
	const before = proxy.requests;
	await expect.poll(() => proxy.requests).toBeGreaterThan(before);
	await proxy.mode("pass");
	await expect(held).rejects.toThrow("fetch failed");
});

test("answers with S3's error or with a web page", async () => {
	await proxy.mode("error-503");
	await expect(client.send(new GetObjectCommand({ Bucket: "bucket", Key: "key" }))).rejects.toThrow(
		"reduce your request rate",
	);
	await proxy.mode("html");
	expect((await get()).headers.get("content-type")).toBe("text/html");
});

test("begins its answers late", async () => {
	await proxy.mode("slow-first-byte");
	await expect(get()).rejects.toThrow("timeout");
	const start = performance.now();
	expect((await fetch(url())).status).toBe(200);
	expect(performance.now() - start).toBeGreaterThan(950);
});

test("shifts the server's time", async () => {
	proxy.shiftDate(-3_600_000);
	const date = Date.parse((await get()).headers.get("date") ?? "");
	proxy.shiftDate(0);
	expect(Math.abs(Date.now() - 3_600_000 - date)).toBeLessThan(10_000);
});

test("breaks off its answer when the server does", async () => {
	const other = await startMinio();
	const otherProxy = await startFaultProxy(other.endpoint);
	await other.stop();
	await expect(fetch(otherProxy.endpoint)).rejects.toThrow("fetch failed");
	await otherProxy.stop();
});
