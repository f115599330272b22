import { open, readFile, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { until, type Pod } from "../support/pod.ts";
import { createPodOf } from "../support/pod-of-buckets.ts";

// The proxy is in this process: nothing here may wait for a mount synchronously.
let minio: Minio;
let proxy: FaultProxy;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "data.bin", Buffer.alloc(3_000_000, bucket));
	}
});
afterAll(async () => {
	await proxy.stop();
	await minio.stop();
});
afterEach(async () => {
	await proxy.mode("pass");
	await pod?.cleanup();
	pod = undefined;
});

async function startedPod(): Promise<Pod> {
	pod = createPodOf(["one", "two"], minio, proxy.endpoint);
	pod.start();
	await pod.untilReady();
	return pod;
}

/** Of one scrape: the sum of all series with that name and these labels. */
async function scrape(here: Pod): Promise<(name: string, ...labels: string[]) => number> {
	const { body } = await here.ask("/metrics");
	return (name, ...labels) =>
		body
			.split("\n")
			.filter((line) => line.startsWith(`fluid_fuse_${name}{`) && labels.every((label) => line.includes(label)))
			.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

const one = 'mount="one"';
const two = 'mount="two"';

test("tell what applications did, in which of two buckets of one process, and what it cost at the server", async () => {
	const here = await startedPod();
	const before = await scrape(here);
	expect(await readFile(join(here.target, "one/data.bin"))).toHaveLength(3_000_000);
	await writeFile(join(here.target, "two/new.bin"), Buffer.alloc(1_234_567));
	for (const name of ["a", "b", "c"])
		await expect(execa("stat", [join(here.target, "two", name)])).rejects.toThrow("No such file");
	const after = await scrape(here);
	const more = (name: string, ...labels: string[]): number => after(name, ...labels) - before(name, ...labels);

	expect(more("read_bytes_total", one)).toBe(3_000_000);
	expect(more("read_bytes_total", two)).toBe(0);
	expect(more("written_bytes_total", two)).toBe(1_234_567);
	expect(more("written_bytes_total", one)).toBe(0);
	expect(more("operations_total", two, 'operation="lookup"', 'errno="ENOENT"')).toBeGreaterThanOrEqual(3);
	expect(more("operations_total", one, 'errno="ENOENT"')).toBe(0);
	expect(more("operations_total", one, 'operation="open"', 'errno=""')).toBe(1);
	for (const operation of ['operation="read"', 'operation="open"', 'operation="release"'])
		expect(more("operation_duration_seconds_count", one, operation)).toBe(more("operations_total", one, operation));
	const whole = 'le="+Inf"';
	expect(more("operation_duration_seconds_bucket", one, whole)).toBe(more("operation_duration_seconds_count", one));

	expect(more("s3_requests_total", two, 'operation="PutObject"', 'code="200"')).toBe(1);
	expect(more("s3_sent_bytes_total", two)).toBe(1_234_567);
	const gets = more("s3_requests_total", one, 'operation="GetObject"');
	expect(gets).toBeGreaterThan(0);
	expect(more("s3_request_first_byte_seconds_count", one, 'operation="GetObject"')).toBe(gets);
	expect(more("s3_request_duration_seconds_sum", one, 'operation="GetObject"')).toBeGreaterThanOrEqual(
		more("s3_request_first_byte_seconds_sum", one, 'operation="GetObject"'),
	);
	expect(more("s3_received_bytes_total", one)).toBeGreaterThanOrEqual(3_000_000);
	expect(more("s3_connection_wait_seconds_count", two)).toBe(more("s3_requests_total", two));

	// Shared, and therefore with the first of them.
	expect(more("cache_served_bytes_total", one)).toBe(3_000_000);
	expect(more("cache_filled_bytes_total", one, 'from="server"')).toBe(3_000_000);
	expect(after("cache_served_bytes_total", two)).toBe(0);
	expect(after("budget_limit_bytes", one, 'budget="memory"')).toBeGreaterThan(16 * 1024 ** 2);
	expect(after("driver_cpu_seconds_total", one)).toBeGreaterThan(0);
	expect(after("driver_resident_memory_bytes", one)).toBeGreaterThan(20e6);
	expect((await here.ask("/metrics")).body).not.toMatch(/data\.bin|new\.bin|s3:\/\/|127\.0\.0\.1/);
});

test("tell what is open and not in the bucket, and for how long", async () => {
	const here = await startedPod();
	const file = await open(join(here.target, "two/open.bin"), "w");
	try {
		await file.write(Buffer.alloc(53_248));
		await until(
			async () => (await scrape(here))("pending_age_seconds", two) > 1,
			20_000,
			() => here.output,
		);
		const during = await scrape(here);
		expect(during("open_files", two)).toBe(1);
		expect(during("open_files", one)).toBe(0);
		expect(during("pending_files", two)).toBe(1);
		expect(during("pending_bytes", two)).toBe(53_248);
		expect(during("budget_used_bytes", 'budget="write-buffer"')).toBeGreaterThanOrEqual(53_248);
	} finally {
		await file.close();
	}
	await until(
		async () => (await scrape(here))("open_files", two) === 0,
		20_000,
		() => here.output,
	);
	const after = await scrape(here);
	expect([after("pending_files", two), after("pending_bytes", two), after("pending_age_seconds", two)]).toEqual([
		0, 0, 0,
	]);
});

test("tell how the server failed, and why requests were tried again", async () => {
	const here = await startedPod();
	// Not for the launcher, which looks at the buckets meanwhile.
	const ofFile = { only: ({ url = "" }: IncomingMessage) => url.includes("data.bin"), times: 2 };
	await proxy.fail({ kind: "answer", status: 503, body: "<Error><Code>SlowDown</Code></Error>" }, ofFile);
	expect(await readFile(join(here.target, "one/data.bin"))).toHaveLength(3_000_000);
	const after = await scrape(here);
	expect(after("s3_requests_total", one, 'code="SlowDown"')).toBe(2);
	expect(after("s3_retries_total", one, 'reason="THROTTLED"')).toBe(2);
	expect(after("s3_retries_total", two)).toBe(0);
});
