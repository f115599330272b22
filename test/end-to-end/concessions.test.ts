import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startLyingProxy, type LyingProxy } from "../support/lying-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, until } from "../support/pod.ts";
import { bucketsPod } from "../support/s3-drivers.ts";

let minio: Minio;
let proxy: LyingProxy;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startLyingProxy(minio.endpoint);
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "file", "content");
	}
});
afterAll(async () => {
	await proxy.stop();
	await minio.stop();
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

test("what a server lacks is learnt once for all of its buckets, and shown wherever an operator looks", async () => {
	let refused = 0;
	proxy.manners({
		refuses({ headers }) {
			if (!("if-match" in headers)) return undefined;
			refused++;
			// Not every server keeps for itself what it was told.
			const message = `If-Match is not known, ${minio.secretKey}`;
			return { status: 501, body: `<Error><Code>NotImplemented</Code><Message>${message}</Message></Error>` };
		},
	});
	pod = new Pod(bucketsPod(minio, proxy.endpoint, ["one", "two"]));
	pod.start();
	const here = pod;
	await here.untilReady();
	for (const name of ["one", "two"]) {
		const { stdout } = await execa("cat", [`${here.target}/${name}/file`], { timeout: 20_000 });
		expect(stdout).toBe("content");
	}
	expect(refused).toBe(1);
	await until(
		async () => (await here.mount("two")).concessions !== undefined,
		10_000,
		() => here.output,
	);
	for (const name of ["one", "two"])
		expect((await here.mount(name)).concessions).toEqual([
			{
				name: "conditional-reads",
				message: expect.stringMatching(/^The server does not know If-Match for reads: .*\.$/),
				since: expect.any(String),
				noticed: expect.stringContaining("GetObject file: NotImplemented (If-Match is not known, [redacted]"),
			},
		]);
	const metrics = (await here.ask("/metrics")).body;
	for (const name of ["one", "two"])
		expect(metrics).toContain(`fluid_fuse_server_concession{mount="${name}",concession="conditional-reads"} 1`);
	const { stdout } = await execa(program, ["status"], { env: here.environment(), timeout: 20_000 });
	expect(stdout).toMatch(/without +The server does not know If-Match for reads/);
	const logged = here.output.split("\n").filter((line) => line.includes("the server differs from S3"));
	expect(logged).toHaveLength(1);
	expect(JSON.parse(logged[0] ?? "")).toMatchObject({ level: "warn", concession: "conditional-reads" });
	for (const text of [JSON.stringify(await here.status()), metrics, stdout, here.output])
		expect(text).not.toContain(minio.secretKey);
	expect(await here.stop()).toBe(0);
});
