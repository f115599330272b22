import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { ExchangeOutcome } from "../../src/probe/status.ts";
import { Reader } from "../support/application.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, until } from "../support/pod.ts";
import { bucketsPod, minioPod } from "../support/s3-drivers.ts";

const MiB = 1024 ** 2;

let minio: Minio;
let pod: Pod | undefined;
let reader: Reader | undefined;

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await reader?.stop();
	await pod?.cleanup();
	pod = reader = undefined;
});

test("several native mounts get one other process, with the options that waited for one, and readers get no error", async () => {
	const options = bucketsPod(minio, minio.endpoint, ["one", "two"]);
	const here = (pod = new Pod(options));
	here.start();
	await here.untilReady();
	const [first] = (await here.status()).mounts;
	reader = new Reader(...["one", "two"].map((name) => join(here.target, name, "hello.txt")));
	const { reads } = reader;
	const mounts = options.mounts.map((mount) => ({ ...mount, options: { ...mount.options, memory: "48Mi" } }));
	here.writeConfig(here.renderConfig({ mounts }));
	await until(
		async () => (await here.status()).changes.filter(({ state }) => state === "done").length === 2,
		20_000,
		() => here.output,
	);
	expect((await here.status()).mounts[0]).toMatchObject({ pid: first?.pid });
	const { exitCode, stdout } = await here.command("reload", "--json");
	const [outcome, ...others] = JSON.parse(stdout) as ExchangeOutcome[];
	expect(outcome, here.output).toMatchObject({ kind: "done", mount: "one, two" });
	expect(others).toEqual([]);
	expect(exitCode).toBe(0);
	await until(
		() => (reader?.reads ?? 0) > reads + 20,
		20_000,
		() => reader?.errors.join("\n") ?? "",
	);
	expect(reader.errors).toEqual([]);
	const { mounts: after } = await here.status();
	expect(after[0]?.pid).not.toBe(first?.pid);
	expect(after[0]).toMatchObject({ state: "ready", restarts: 0, layers: 1 });
	await until(
		async () => (await here.status()).mounts[0]?.driverStats?.["memory_limit_bytes"] === 48 * MiB,
		20_000,
		() => here.output,
	);
	expect((await here.ask("/metrics")).body).toContain('fluid_fuse_exchanges_total{mount="one, two",result="done"} 1');
	// The first process may still be ending, and a statfs may be asked for.
	await until(
		() => here.descendants().length === 1,
		20_000,
		() => JSON.stringify(here.descendants()),
	);
	expect(await here.stop()).toBe(0);
	expect(await here.layers()).toEqual([]);
});

test("a driver that cannot do that goes on, and the command says so", async () => {
	const here = (pod = new Pod(minioPod(minio, "one", { title: "s3fs", name: "s3fs" })));
	here.start();
	await here.untilReady();
	const { exitCode, stdout } = await here.command("reload");
	expect(stdout).toContain("minio: EXCHANGE_REFUSED: s3fs cannot leave its mount to another process");
	expect(exitCode).toBe(75);
	expect(await here.mount()).toMatchObject({ state: "ready", restarts: 0 });
	expect(await here.stop()).toBe(0);
});
