import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, type PodOptions } from "../support/pod.ts";
import { minioPod, testedDrivers } from "../support/s3-drivers.ts";

/** Not what anybody would guess. */
const region = "eu-central-7";
let minio: Minio;
let proxy: FaultProxy;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio({ region });
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
	proxy = await startFaultProxy(minio.endpoint);
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

const redirect = (status: number, code: string, headers: Readonly<Record<string, string>> = {}) =>
	({
		kind: "answer",
		status,
		headers,
		body: `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>Elsewhere.</Message></Error>`,
	}) as const;

describe.each(testedDrivers())("$title", (driver) => {
	function start(endpoint: string, options: Readonly<Record<string, string>> = {}): Pod {
		const base = minioPod({ ...minio, endpoint }, "data", driver);
		const mounts = base.mounts.map((mount) => ({ ...mount, options: { ...mount.options, ...options } }));
		pod = new Pod({ ...base, mounts } satisfies PodOptions);
		pod.start();
		return pod;
	}

	test("a bucket in a region that the config does not name is read", async () => {
		const here = start(minio.endpoint);
		await here.untilReady();
		const { stdout } = await execa("cat", ["hello.txt"], { cwd: here.target, timeout: 20_000 });
		expect(stdout).toBe("hello");
		expect(await here.stop()).toBe(0);
	});

	test.each([
		["301 PermanentRedirect", redirect(301, "PermanentRedirect")],
		["307 TemporaryRedirect", redirect(307, "TemporaryRedirect", { location: "http://elsewhere.invalid/data" })],
	])("%s that names no region is refused, not taken for success", async (_, answer) => {
		await proxy.fail(answer);
		const here = start(proxy.endpoint);
		expect(await here.ended(), here.output).toBe(78);
		expect(here.terminationMessage).toMatchObject({ reason: "REGION_WRONG" });
	});

	test.runIf(driver.name === "native")("a bucket that is elsewhere later is EIO, not EINVAL", async () => {
		const here = start(proxy.endpoint, { region, "retry-for": "1s", ttl: "0" });
		await here.untilReady();
		await proxy.fail(redirect(301, "PermanentRedirect"));
		const { stderr } = await execa("cat", ["other"], { cwd: here.target, reject: false, timeout: 20_000 });
		expect(stderr).toContain("Input/output error");
		expect(await here.stop()).toBe(0);
	});
});
