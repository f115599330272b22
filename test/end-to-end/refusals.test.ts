import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, until } from "../support/pod.ts";
import { bucketsPod } from "../support/s3-drivers.ts";

let minio: Minio;
let proxy: FaultProxy;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "archived.bin", "x");
		await minio.put(bucket, "file", "x");
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

async function cat(path: string): Promise<string> {
	const { all } = await execa("cat", [path], { all: true, reject: false, timeout: 20_000, env: { LC_ALL: "C" } });
	return all;
}

test.each([
	["one mount", ["one"]],
	["folders of one mount", ["one", "two"]],
])("what the server has refused is shown wherever an operator looks, without secrets: %s", async (_, names) => {
	pod = new Pod(bucketsPod(minio, proxy.endpoint, names));
	pod.start();
	const here = pod;
	await here.untilReady();
	const folder = names.length === 1 ? here.target : `${here.target}/one`;
	// Not every server keeps for itself what it was told.
	const message = `Not valid for the storage class, ${minio.secretKey}`;
	await proxy.fail(
		{
			kind: "answer",
			status: 403,
			body: `<Error><Code>InvalidObjectState</Code><Message>${message}</Message></Error>`,
		},
		{ only: ({ method, url = "" }) => method === "GET" && url.includes("archived.bin") },
	);
	expect(await cat(`${folder}/archived.bin`)).toContain("Permission denied");
	expect(await cat(`${folder}/file`)).toBe("x");
	await until(
		async () => (await here.mount("one")).refusals !== undefined,
		10_000,
		() => here.output,
	);
	const { refusals } = await here.mount("one");
	expect(refusals?.counts["InvalidObjectState"]).toBeGreaterThanOrEqual(1);
	expect(Object.keys(refusals?.counts ?? {})).toEqual(["InvalidObjectState"]);
	expect(refusals?.last).toMatchObject({
		operation: "GetObject",
		code: "InvalidObjectState",
		message: expect.stringContaining("archived.bin: InvalidObjectState (Not valid for the storage class, [redacted]"),
		hint: expect.stringContaining("restore it"),
	});
	const { mounts } = await here.status();
	expect(mounts.filter((mount) => mount.refusals !== undefined).map(({ name }) => name)).toEqual(["one"]);

	const metrics = (await here.ask("/metrics")).body;
	expect(metrics).toMatch(/^fluid_fuse_refusals_total\{mount="one",code="InvalidObjectState"\} [1-9]/m);
	expect(metrics).not.toContain("archived");
	expect(metrics).not.toContain('fluid_fuse_refusals_total{mount="two"');
	const { stdout } = await execa(program, ["status"], { env: here.environment(), timeout: 20_000 });
	expect(stdout).toMatch(/refused +InvalidObjectState, \d+s ago/);
	const logged = here.output.split("\n").filter((line) => line.includes("the server has refused a request"));
	expect(logged).toHaveLength(1);
	expect(JSON.parse(logged[0] ?? "")).toMatchObject({
		level: "warn",
		operation: "GetObject",
		key: "archived.bin",
		serverCode: "InvalidObjectState",
		hint: expect.stringContaining("restore"),
	});
	for (const text of [JSON.stringify(await here.status()), metrics, stdout, here.output])
		expect(text).not.toContain(minio.secretKey);
	expect(await here.stop()).toBe(0);
});

test("a list that is longer than any can be is EIO, one line and a count, and the rest of the mount goes on", async () => {
	await minio.put("one", "endless/file", "x");
	pod = new Pod(bucketsPod(minio, proxy.endpoint, ["one"]));
	pod.start();
	const here = pod;
	await here.untilReady();
	await proxy.fail(
		{ kind: "answer", status: 200, body: "<Contents></Contents>".repeat(900_000) },
		{ only: ({ url = "" }) => url.includes("prefix=endless%2F") },
	);
	for (let count = 0; count < 3; count++) {
		const { all } = await execa("ls", [`${here.target}/endless`], {
			all: true,
			reject: false,
			timeout: 60_000,
			env: { LC_ALL: "C" },
		});
		expect(all).toContain("Input/output error");
	}
	expect(await cat(`${here.target}/file`)).toBe("x");
	await until(
		async () => ((await here.mount("one")).refusals?.counts["EMSGSIZE"] ?? 0) >= 3,
		10_000,
		() => here.output,
	);
	expect((await here.ask("/metrics")).body).toMatch(/^fluid_fuse_refusals_total\{mount="one",code="EMSGSIZE"\} [3-9]/m);
	const logged = here.output.split("\n").filter((line) => line.includes("EMSGSIZE"));
	expect(logged).toHaveLength(1);
	expect(JSON.parse(logged[0] ?? "")).toMatchObject({
		level: "warn",
		operation: "ListObjectsV2",
		key: "endless/",
		serverCode: "EMSGSIZE",
		error: expect.stringContaining("more than 16 MiB"),
	});
	expect(await here.stop()).toBe(0);
}, 120_000);
