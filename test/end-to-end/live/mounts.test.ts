import { execa } from "execa";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readMountinfo } from "../../../src/mounts/mountinfo.ts";
import { OpenFile, Reader } from "../../support/application.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { Pod, until, type FluidMount, type PodOptions } from "../../support/pod.ts";
import { testedDrivers } from "../../support/s3-drivers.ts";

let minio: Minio;
let pod: Pod | undefined;
const opened: { kill?: () => void; stop?: () => Promise<void> }[] = [];

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["one", "two", "three"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
		await minio.put(bucket, "inner/below.txt", `below ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	for (const { kill, stop } of opened.splice(0)) await (stop?.() ?? kill?.());
	await pod?.cleanup();
	pod = undefined;
});

function opens<T extends Reader | OpenFile>(application: T): T {
	opened.push(
		application instanceof Reader ? { stop: async () => application.stop() } : { kill: () => application.kill() },
	);
	return application;
}

/** Never with blocking calls: what hangs must not keep the test from ending. */
async function run(file: string, ...args: string[]): Promise<string> {
	const { stdout, stderr } = await execa(file, args, { reject: false, timeout: 10_000, env: { LC_ALL: "C" } });
	return stdout + stderr;
}

const read = async (...path: string[]): Promise<string> => run("cat", join(...path));

function mount(bucket: string, more: Partial<FluidMount> = {}): FluidMount {
	return {
		mountPoint: `s3://${bucket}`,
		name: bucket,
		...more,
		options: {
			endpoint: minio.endpoint,
			"access-key": "/etc/fluid/secrets/keys/access-key",
			"secret-key": "/etc/fluid/secrets/keys/secret-key",
			...more.options,
		},
	};
}

function podWith(mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): Pod {
	pod = new Pod({
		mounts,
		secrets: { keys: { "access-key": minio.accessKey, "secret-key": minio.secretKey } },
		accessModes: ["ReadWriteMany"],
		...more,
	});
	pod.start();
	return pod;
}

async function rewrite(here: Pod, mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): Promise<void> {
	here.writeConfig(here.renderConfig({ mounts, ...more }));
}

/** Waits for the end of the change number `number`. */
async function changeDone(here: Pod, number: number): Promise<string> {
	let state = "";
	await until(
		async () => {
			const change = (await here.status()).changes.find((each) => each.number === number);
			state = `${change?.change} ${change?.mount}: ${change?.outcome}`;
			return change?.state === "done";
		},
		20_000,
		() => `change ${number} is not done:\n${here.output}`,
	);
	return state;
}

describe.each(testedDrivers())("$title: mounts that run", (driver) => {
	const more: Partial<PodOptions> = {
		env: { FLUID_FUSE_DRIVER: driver.name },
		...(driver.programs !== undefined && { programs: driver.programs }),
	};

	test("come and go with the config while others are read without an error or another process", async () => {
		const here = podWith([mount("one"), mount("two")], more);
		await here.untilReady();
		const { pid } = await here.mount("one");
		const reader = opens(new Reader(join(here.target, "one/hello.txt")));
		await until(
			() => reader.reads > 0,
			10_000,
			() => "nothing is read",
		);
		await rewrite(here, [mount("one"), mount("two"), mount("three")]);
		expect(await changeDone(here, 1)).toBe("mount three: mounted");
		expect(await read(here.target, "three/hello.txt")).toBe("hello from three");
		await rewrite(here, [mount("three"), mount("one")]);
		expect(await changeDone(here, 2)).toBe("unmount two: unmounted");
		expect((await run("ls", here.target)).split("\n")).toEqual(["one", "three"]);
		expect(await read(here.target, "two/hello.txt")).toContain("No such file");
		await until(
			async () => (await here.status()).mounts.map(({ name }) => name).join() === "three,one",
			10_000,
			() => here.output,
		);
		expect((await here.mount("one")).pid).toBe(pid);
		expect(reader.errors).toEqual([]);
		// What was removed can come back.
		await rewrite(here, [mount("three"), mount("one"), mount("two")]);
		await changeDone(here, 3);
		expect(await read(here.target, "two/hello.txt")).toBe("hello from two");
		expect(await here.stop()).toBe(0);
		expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target))).toEqual([]);
	});

	test("show another bucket at the same place, and what was open stays what it was", async () => {
		const here = podWith([mount("one"), mount("two")], more);
		await here.untilReady();
		const { pid } = await here.mount("one");
		const reader = opens(new Reader(join(here.target, "one/hello.txt"), join(here.target, "two/hello.txt")));
		const file = opens(new OpenFile(join(here.target, "two/inner/below.txt"), "r"));
		expect(await file.step("open")).toBe('ok ""');
		await rewrite(here, [mount("one"), mount("three", { name: "two" })]);
		await changeDone(here, 1);
		await until(
			async () => (await read(here.target, "two/hello.txt")) === "hello from three",
			10_000,
			() => here.output,
		);
		expect(await file.step("read", 100)).toBe(`ok ${JSON.stringify("below two\n")}`);
		expect(reader.errors).toEqual([]);
		expect((await here.mount("one")).pid).toBe(pid);
		file.kill();
		expect(await here.stop()).toBe(0);
	});

	test("that are removed while a file is being written wait for it, and lose nothing", async () => {
		const here = podWith([mount("one"), mount("two")], more);
		await here.untilReady();
		const file = opens(new OpenFile(join(here.target, "two/written.bin"), "w"));
		expect(await file.step("open")).toBe('ok ""');
		expect(await file.step("write", 300_000)).toBe('ok ""');
		await rewrite(here, [mount("one")]);
		await until(
			async () => (await here.status()).changes[0]?.state === "under way",
			10_000,
			() => here.output,
		);
		expect(await file.step("write", 300_000)).toBe('ok ""');
		expect(await file.step("close")).toBe('ok ""');
		expect(await changeDone(here, 1)).toBe("unmount two: unmounted");
		expect((await minio.get("two", "written.bin")).length).toBe(600_000);
		await until(
			async () => (await here.status()).mounts.length === 1,
			10_000,
			() => here.output,
		);
		await minio.delete("two", "written.bin");
		expect(await here.stop()).toBe(0);
	});

	test("that come back while one in them is still leaving stay", async () => {
		const around = [mount("one", { path: "/a" }), mount("two", { path: "/a/c" }), mount("three")];
		const here = podWith(around, more);
		await here.untilReady();
		const file = opens(new OpenFile(join(here.target, "a/c/written.bin"), "w"));
		expect(await file.step("open")).toBe('ok ""');
		await rewrite(here, [mount("three")]);
		await until(
			async () => (await here.status()).changes.length === 2,
			10_000,
			() => here.output,
		);
		await rewrite(here, [mount("one", { path: "/a" }), mount("three")]);
		await until(
			async () => (await here.status()).changes.length === 3,
			10_000,
			() => here.output,
		);
		expect(await file.step("close")).toBe('ok ""');
		await until(
			async () => (await here.status()).changes.every(({ state }) => state !== "under way"),
			20_000,
			() => here.output,
		);
		await until(
			async () => (await here.status()).mounts.map(({ name }) => name).join() === "one,three",
			10_000,
			() => here.output,
		);
		expect(await read(here.target, "a/hello.txt")).toBe("hello from one");
		await minio.delete("two", "written.bin");
		expect(await here.stop()).toBe(0);
	});

	test("are told of other names, and nothing moves", async () => {
		const here = podWith([mount("one"), mount("two", { path: "/data" })], more);
		await here.untilReady();
		const { pid } = await here.mount("two");
		await rewrite(here, [mount("one"), mount("two", { path: "/data", name: "deux" })]);
		expect(await changeDone(here, 1)).toBe("rename deux: nothing moved");
		expect((await here.mount("deux")).pid).toBe(pid);
		expect(await read(here.target, "data/hello.txt")).toBe("hello from two");
		expect(await here.stop()).toBe(0);
	});

	test("the last goes and the first comes", async () => {
		const here = podWith([], { ...more, env: { ...more.env, FLUID_FUSE_LAYOUT: "named" } });
		await here.untilReady();
		await rewrite(here, [mount("one")]);
		await changeDone(here, 1);
		expect(await read(here.target, "one/hello.txt")).toBe("hello from one");
		await rewrite(here, []);
		await changeDone(here, 2);
		expect(await run("ls", "-A", here.target)).toBe("");
		expect((await here.ask("/readyz")).statusCode).toBe(200);
		await rewrite(here, [mount("two")]);
		await changeDone(here, 3);
		expect(await read(here.target, "two/hello.txt")).toBe("hello from two");
		expect(await here.stop()).toBe(0);
	});

	test("at targetPath itself: from none to one, to another and back to none", async () => {
		const here = podWith([], more);
		await here.untilReady();
		await rewrite(here, [mount("one")]);
		await changeDone(here, 1);
		expect(await read(here.target, "hello.txt")).toBe("hello from one");
		await rewrite(here, [mount("two")]);
		await until(
			async () => (await read(here.target, "hello.txt")) === "hello from two",
			20_000,
			() => here.output,
		);
		await rewrite(here, []);
		await until(
			async () => (await here.status()).mounts.length === 0 && (await run("ls", "-A", here.target)) === "",
			20_000,
			() => here.output,
		);
		expect((await here.layers()).map(({ type }) => type)).toEqual(["tmpfs"]);
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
	});
});
