import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { requestLauncher } from "../../src/probe/client.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, until } from "../support/pod.ts";
import { bucketsPod, minioPod, s3Drivers, testedDrivers } from "../support/s3-drivers.ts";

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["data", "more"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

function createPod(...args: Parameters<typeof minioPod> extends [unknown, unknown, ...infer Rest] ? Rest : never): Pod {
	const [driver, more] = args;
	pod = new Pod(minioPod(minio, "data", driver, { ...more, volumeAtTarget: true }));
	return pod;
}

/** In another process: a mount that hangs must not hang the tests. */
const read = (...path: string[]): string => execFileSync("cat", [join(...path)], { encoding: "utf8", timeout: 5000 });

const typesAt = async (here: Pod, path: string): Promise<string[]> => (await here.layers(path)).map(({ type }) => type);

/** The volume, and in it nothing: on the node an empty folder. */
async function expectOnlyTheFolder(here: Pod, volume: readonly string[]): Promise<void> {
	expect(await typesAt(here, here.target)).toEqual(volume);
	expect(await typesAt(here, here.targetOnNode)).toEqual([]);
	expect(readdirSync(here.targetOnNode)).toEqual([]);
}

async function kill(here: Pod): Promise<void> {
	here.launcher?.kill("SIGKILL");
	await here.ended();
}

/** Killed with its launcher, but not in the same moment. */
const untilDead = async (path: string): Promise<void> =>
	until(
		async () => (await execa("stat", ["-f", path], { reject: false })).stderr.includes("not connected"),
		10_000,
		() => `${path} is not dead`,
	);

describe.each(testedDrivers())("$title, where the volume is mounted at targetPath itself", (driver) => {
	test("mounts on it, seen on the node, and leaves the folder as it was", { timeout: 60_000 }, async () => {
		const here = createPod(driver);
		const volume = await typesAt(here, here.target);
		here.start();
		await here.untilReady();
		expect((await here.status()).warnings.filter((warning) => warning.includes("not seen outside"))).toEqual([]);
		expect(read(here.targetOnNode, "hello.txt")).toBe("hello from data\n");
		expect(read(here.target, "hello.txt")).toBe("hello from data\n");
		expect((await here.mount()).layers).toBe(1);
		// As CSI's bind for an application: elsewhere the mount would stay for it to heal by, here it would be in the next container's way.
		const application = join(here.folder, "application");
		mkdirSync(application);
		execFileSync("mount", ["-i", "-n", "--bind", here.targetOnNode, application]);
		expect(await here.stop()).toBe(0);
		await expectOnlyTheFolder(here, volume);
	});

	test("heals over dead layers there, of its driver and of a killed launcher", { timeout: 60_000 }, async () => {
		const here = createPod(driver);
		const volume = await typesAt(here, here.target);
		here.start();
		await here.untilReady();
		process.kill((await here.mount()).pid ?? 0, "SIGKILL");
		await until(
			async () => (await here.mount()).ready && (await here.mount()).restarts === 1,
			10_000,
			() => here.output,
		);
		expect((await here.mount()).layers).toBe(2);
		await kill(here);
		await untilDead(here.target);
		here.start();
		await here.untilReady();
		// Nobody's volume began with the second one.
		expect((await here.mount()).layers).toBe(2);
		expect(read(here.targetOnNode, "hello.txt")).toBe("hello from data\n");
		expect(await here.stop()).toBe(0);
		await expectOnlyTheFolder(here, volume);
	});

	test("ends when somebody unmounts it, and never takes the volume", { timeout: 60_000 }, async () => {
		const here = createPod(driver);
		const volume = await typesAt(here, here.target);
		here.start();
		await here.untilReady();
		execFileSync("umount", [here.target]);
		expect(await here.ended()).toBe(0);
		await expectOnlyTheFolder(here, volume);
	});
});

const [native, s3fs] = ["native", "s3fs"].map((name) => s3Drivers().find((driver) => driver.name === name));
if (native === undefined || s3fs === undefined) throw new Error("native and s3fs are there on every machine");

describe("where the volume is mounted at targetPath itself", () => {
	test("prestop takes away what a killed launcher left, and not the volume", { timeout: 60_000 }, async () => {
		const here = createPod(native);
		const volume = await typesAt(here, here.target);
		here.start();
		await here.untilReady();
		await kill(here);
		await untilDead(here.target);
		expect(await here.command("prestop")).toMatchObject({ exitCode: 0 });
		await expectOnlyTheFolder(here, volume);
		expect(await here.command("prestop")).toMatchObject({ exitCode: 0 });
	});

	test("a container that has the dead mount as its volume heals the node's", { timeout: 60_000 }, async () => {
		const here = createPod(native);
		const volume = openSync(here.target, "r");
		here.start();
		await here.untilReady();
		await kill(here);
		await untilDead(here.targetOnNode);
		// The container goes with its mounts, which takes none from the node, and the next one is given what is there.
		const args = ["-i", "-n", "-c", "--make-private", "/proc/self/fd/3"];
		execFileSync("mount", args, { stdio: ["ignore", "ignore", "inherit", volume] });
		closeSync(volume);
		while ((await here.layers()).length > 0) execFileSync("umount", ["-i", "-n", "-l", here.target]);
		here.mountVolume();
		expect(await typesAt(here, here.target)).toEqual(["fuse.thin-s3"]);
		here.start();
		await here.untilReady();
		expect((await here.status()).warnings.filter((warning) => warning.includes("not seen outside"))).toEqual([]);
		expect(read(here.targetOnNode, "hello.txt")).toBe("hello from data\n");
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
	});

	test("a live FUSE mount of somebody else is refused", { timeout: 60_000 }, async () => {
		const here = createPod(native);
		here.start();
		await here.untilReady();
		const before = await here.layers();
		const runDirectory = join(here.folder, "run-of-another");
		const second = execa(program, [], {
			env: { ...here.environment(), FLUID_FUSE_RUN_DIR: runDirectory },
			extendEnv: false,
			reject: false,
			all: true,
		});
		await until(
			async () =>
				existsSync(join(runDirectory, "launcher.sock")) &&
				JSON.stringify(await requestLauncher(runDirectory, "/status", { timeoutMs: 2000 })).includes(
					"MOUNTPOINT_IN_USE",
				),
			20_000,
			() => "not refused",
		);
		second.kill("SIGTERM");
		expect((await second).exitCode).toBe(0);
		expect(await here.layers()).toEqual(before);
		expect(await here.stop()).toBe(0);
	});

	test("a volume that does not propagate is told of by its own name", { timeout: 60_000 }, async () => {
		const here = createPod(native);
		execFileSync("mount", ["--make-private", here.target]);
		here.start();
		await here.untilReady();
		const { warnings } = await here.status();
		expect(warnings.join("\n")).toContain(
			`what is mounted at ${here.target} is not seen outside this container: set mountPropagation: Bidirectional on the volumeMount ${here.target}`,
		);
		expect(await here.stop()).toBe(0);
	});

	test.each([
		{ driver: "native", types: ["fuse.thin-s3"] },
		{ driver: "s3fs", types: ["tmpfs"] },
	])("several mounts of $driver are folders there, after a kill too", { timeout: 60_000 }, async (each) => {
		const buckets = bucketsPod(minio, minio.endpoint, ["data", "more"]);
		const here = new Pod({ ...buckets, volumeAtTarget: true, env: { FLUID_FUSE_DRIVER: each.driver } });
		pod = here;
		const volume = await typesAt(here, here.target);
		for (const isLast of [false, true]) {
			here.start();
			await here.untilReady();
			expect((await typesAt(here, here.targetOnNode)).slice(-1)).toEqual(each.types);
			for (const bucket of ["data", "more"])
				expect(read(here.targetOnNode, bucket, "hello.txt")).toBe(`hello from ${bucket}\n`);
			if (!isLast) await kill(here);
		}
		expect(await here.stop()).toBe(0);
		await expectOnlyTheFolder(here, volume);
	});
});
