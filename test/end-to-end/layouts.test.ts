import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, until, type FluidMount, type PodOptions, unmountAll } from "../support/pod.ts";
import { minioPod, testedDrivers } from "../support/s3-drivers.ts";

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
		await minio.put(bucket, "inner/below.txt", "below\n");
		await minio.put(bucket, "prefix with spaces/ü $(touch canary)/deep.txt", "deep\n");
	}
});
beforeAll(async () => {
	for (const bucket of ["my-first-bucket", "mybucket", "bucket-a", "bucket-b", "bucket"]) {
		await minio.createBucket(bucket);
		for (const prefix of ["", "path/to/data/", "pfx/"]) await minio.put(bucket, `${prefix}hello.txt`, "hello\n");
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

function createPod(options: PodOptions): Pod {
	pod = new Pod(options);
	return pod;
}

function read(path: string): string {
	return execFileSync("cat", [path], { encoding: "utf8", timeout: 10_000 });
}

function fails(...[file, ...args]: [string, ...string[]]): string {
	const { status, stderr } = spawnSync(file, args, { encoding: "utf8", timeout: 10_000 });
	expect(status).not.toBe(0);
	return stderr;
}

describe.each(testedDrivers())("$title", (driver) => {
	/** The usual pod with other mounts, each with the keys of the usual one. */
	function podWith(mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): PodOptions {
		const usual = minioPod(minio, "one", driver, more);
		const keys = usual.mounts[0]?.options ?? {};
		return { ...usual, mounts: mounts.map((mount) => ({ ...mount, options: { ...keys, ...mount.options } })) };
	}

	test("no mounts: an empty, read-only folder is mounted at targetPath, and every way to end it works", async () => {
		const here = createPod(podWith([]));
		for (const end of ["SIGTERM", "umount", "prestop"] as const) {
			here.start();
			await here.untilReady();
			expect(execFileSync("ls", ["-lA", here.target], { encoding: "utf8" })).toBe("total 0\n");
			expect(fails("touch", join(here.target, "new"))).toContain("Read-only file system");
			if (end === "umount") execFileSync("umount", [here.target]);
			if (end === "prestop") await here.command("prestop");
			if (end === "SIGTERM") here.launcher?.kill("SIGTERM");
			expect(await here.ended(10_000)).toBe(0);
			expect(await here.layers()).toEqual([]);
		}
	});

	test("two mounts are folders below targetPath, by path or else by name, and Fluid finds the type in mountinfo", async () => {
		const here = createPod(
			podWith([
				{ mountPoint: "minio://one", name: "first" },
				{ mountPoint: "minio://two", name: "second", path: "/deep/er" },
			]),
		);
		here.start();
		await here.untilReady();
		expect(read(join(here.target, "first/hello.txt"))).toBe("hello from one\n");
		expect(read(join(here.target, "deep/er/hello.txt"))).toBe("hello from two\n");
		const [root] = (await here.layers()).slice(-1);
		expect(`${root?.type} ${root?.source}`).toContain(
			{ native: "fuse.thin-s3", goofys: "fuse", s3fs: "fuse.s3fs" }[driver.name],
		);
		expect(fails("touch", join(here.target, "new"))).toContain("Read-only file system");
		expect(await here.stop()).toBe(0);
		expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target))).toEqual([]);
	});

	test.each([
		["one mount", ["one"]],
		["two mounts", ["one", "two"]],
	] as const)("links in targetPath and in RUN_DIR: %s, ready and gone at the real place", async (_, buckets) => {
		const here = createPod(podWith(buckets.map((bucket) => ({ mountPoint: `minio://${bucket}`, name: bucket }))));
		symlinkSync("runtime-mnt", join(here.folder, "link"));
		symlinkSync(here.runDirectory, join(here.folder, "run-link"));
		const linked = join(here.folder, "link/thin-fuse");
		here.writeConfig(here.renderConfig().replaceAll(here.target, linked));
		const env = { MOUNT_POINT: linked, FLUID_FUSE_RUN_DIR: join(here.folder, "run-link") };
		const data = join(linked, buckets.length === 1 ? "." : "one", "hello.txt");
		for (const end of ["SIGTERM", ...(buckets.length === 1 ? ["umount" as const] : []), "SIGKILL"] as const) {
			here.start(env);
			await here.untilReady();
			expect(read(data)).toBe("hello from one\n");
			// What it reads again is the same place.
			here.writeConfig(here.renderConfig().replaceAll(here.target, linked));
			if (end === "umount") execFileSync("umount", [linked]);
			else here.launcher?.kill(end);
			expect(await here.ended(20_000)).toBe(end === "SIGKILL" ? 137 : 0);
			if (end === "SIGKILL") {
				await until(
					() => spawnSync("cat", [data], { timeout: 5000 }).status !== 0,
					10_000,
					() => "still served",
				);
				execFileSync(program, ["prestop"], { env: { ...here.environment(), ...env }, stdio: "pipe" });
			}
			expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target))).toEqual([]);
		}
	});

	test("stopped while it begins with many mounts, it begins with none any more, and leaves nothing", async () => {
		const many = Array.from({ length: 16 }, (_, index) => ({ mountPoint: "minio://one", name: `mount-${index}` }));
		const here = createPod(podWith(many));
		here.start();
		await until(
			() => here.output.includes('"to":"checking"'),
			20_000,
			() => here.output,
		);
		expect(await here.stop()).toBe(0);
		const draining = here.log.findIndex(({ msg }) => msg === "draining");
		// But for the one that it was at.
		expect(here.log.slice(draining).filter(({ to }) => to === "checking").length).toBeLessThanOrEqual(1);
		expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target))).toEqual([]);
		expect(readdirSync(here.runDirectory)).toEqual([]);
	});

	test("one bad mount never stops the other, and is reported", async () => {
		const here = createPod(
			podWith([
				{ mountPoint: "minio://one", name: "good" },
				{ mountPoint: "minio://no-such-bucket", name: "bad" },
			]),
		);
		here.start();
		await until(
			async () => (await here.ask("/readyz/mount/good")).statusCode === 200,
			20_000,
			() => here.output,
		);
		await until(
			async () => (await here.mount("bad").catch(() => undefined))?.state === "failed",
			20_000,
			() => here.output,
		);
		expect(read(join(here.target, "good/hello.txt"))).toBe("hello from one\n");
		expect((await here.mount("bad")).lastError?.code).toBe("BUCKET_MISSING");
		expect((await here.ask("/readyz")).statusCode).toBe(503);
		expect((await here.ask("/readyz?exclude=mount/bad")).statusCode).toBe(200);
		const { pid } = await here.mount("good");
		expect(() => process.kill(pid ?? 0, 0)).not.toThrow();
		expect(await here.stop()).toBe(0);
	});

	test("a mount with faults in its options is refused alone", async () => {
		const here = createPod(
			podWith([
				{ mountPoint: "minio://one", name: "good" },
				{ mountPoint: "minio://two", name: "bad", options: { regoin: "x" } },
			]),
		);
		here.start();
		await until(
			async () => (await here.ask("/readyz/mount/good")).statusCode === 200,
			20_000,
			() => here.output,
		);
		await until(
			async () => (await here.mount("bad").catch(() => undefined))?.lastError?.code === "CONFIG_INVALID",
			10_000,
			() => here.output,
		);
		expect((await here.mount("bad")).lastError?.message).toContain('did you mean "region"');
		expect(await here.stop()).toBe(0);
	});

	test("a mount inside another one comes back when the outer one is started again", async () => {
		const here = createPod(
			podWith([
				{ mountPoint: "minio://one", name: "outer", path: "/" },
				{ mountPoint: "minio://two", name: "inner" },
			]),
		);
		here.start();
		await here.untilReady();
		expect(read(join(here.target, "hello.txt"))).toBe("hello from one\n");
		expect(read(join(here.target, "inner/hello.txt"))).toBe("hello from two\n");
		const { pid: innerPid } = await here.mount("inner");
		process.kill((await here.mount("outer")).pid ?? 0, "SIGKILL");
		const isBack = async (): Promise<boolean> =>
			(await here.mount("outer")).restarts === 1 && (await here.ask("/readyz")).statusCode === 200;
		await until(isBack, 15_000, () => here.output);
		expect(read(join(here.target, "hello.txt"))).toBe("hello from one\n");
		expect(read(join(here.target, "inner/hello.txt"))).toBe("hello from two\n");
		// Where each has a process of its own, the inner one's is not touched.
		const isOneProcess = driver.name === "native";
		expect((await here.mount("inner")).pid === innerPid).toBe(!isOneProcess);
		expect(await here.stop()).toBe(0);
		expect(here.log.map(({ msg }) => msg)).not.toContain("mount aborted by force");
		expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target))).toEqual([]);
	});

	test("a new launcher takes over several mounts that a killed one has left, and heals who had them mounted", async () => {
		const here = createPod(
			podWith([
				{ mountPoint: "minio://one", name: "first" },
				{ mountPoint: "minio://two", name: "second" },
			]),
		);
		here.start();
		await here.untilReady();
		const application = join(here.folder, "application");
		mkdirSync(application);
		execFileSync("mount", ["--rbind", here.target, application]);
		execFileSync("mount", ["--make-rslave", application]);
		here.launcher?.kill("SIGKILL");
		await here.ended();
		here.start();
		await here.untilReady();
		for (const folder of [here.target, application]) {
			expect(read(join(folder, "first/hello.txt"))).toBe("hello from one\n");
			expect(read(join(folder, "second/hello.txt"))).toBe("hello from two\n");
		}
		await unmountAll(application);
		expect(await here.stop()).toBe(0);
		expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target))).toEqual([]);
	});

	test("layout named puts a single mount below targetPath, layout root refuses two", async () => {
		const single = createPod(
			podWith([{ mountPoint: "minio://one", name: "only" }], { env: { FLUID_FUSE_LAYOUT: "named" } }),
		);
		single.start();
		await single.untilReady();
		expect(read(join(single.target, "only/hello.txt"))).toBe("hello from one\n");
		expect(await single.stop()).toBe(0);
		await single.cleanup();
		const two = createPod(
			podWith(
				[
					{ mountPoint: "minio://one", name: "a" },
					{ mountPoint: "minio://two", name: "b" },
				],
				{ env: { FLUID_FUSE_LAYOUT: "root" } },
			),
		);
		two.start();
		expect(await two.ended()).toBe(78);
		expect(String(two.terminationMessage?.["message"])).toContain("FLUID_FUSE_LAYOUT");
	});

	test("df lists the target, as Fluid looks for it, also where that is the longer path", async () => {
		const here = createPod(podWith([{ mountPoint: "minio://one", name: "x" }]));
		here.start();
		await here.untilReady();
		// By itself it would list `<run>/mounts/x/staging`, which is shorter.
		expect(join(here.runDirectory, "mounts/x/staging").length).toBeLessThan(here.target.length);
		// It ends with 1 for a mount of somebody else that is dead, and lists all others.
		const { stdout: listed } = spawnSync("df", ["--block-size=1", "--output=target"], {
			encoding: "utf8",
			timeout: 10_000,
		});
		expect(listed.split("\n")).toContain(here.target);
	});

	test("names with spaces, quotes, unicode and shell signs are only names", async () => {
		const names = [
			"a b",
			"quote\"'`",
			"ünïcødé 数据",
			"$(touch canary)",
			"-rf",
			"100%",
			"back\\slash",
			"semi;colon|pipe&",
		];
		const here = createPod(
			podWith(names.map((name) => ({ mountPoint: "minio://one/prefix with spaces/ü $(touch canary)/", name }))),
		);
		here.start();
		await here.untilReady(40_000);
		expect(readdirSync(here.target).toSorted()).toEqual(names.toSorted());
		for (const name of names) expect(read(`${here.target}/${name}/deep.txt`)).toBe("deep\n");
		expect(await here.stop()).toBe(0);
		for (const folder of ["/", here.folder, process.cwd()]) expect(existsSync(join(folder, "canary"))).toBe(false);
	});

	const readOnly: [string, PodOptions["accessModes"] & object, Partial<FluidMount>, boolean][] = [
		["accessModes is ReadOnlyMany", ["ReadOnlyMany"], {}, true],
		["accessModes has both", ["ReadOnlyMany", "ReadWriteMany"], {}, true],
		["the mount says readOnly", ["ReadWriteMany"], { readOnly: true }, true],
		["the option ro is given", ["ReadWriteMany"], { options: { ro: "" } }, true],
		["accessModes is ReadWriteMany", ["ReadWriteMany"], {}, false],
		["accessModes is ReadWriteOnce", ["ReadWriteOnce"], {}, false],
	];
	test.each(readOnly)("%s: read-only %#", async (_, accessModes, change, expected) => {
		const here = createPod(podWith([{ mountPoint: "minio://one", name: "data", ...change }], { accessModes }));
		here.start();
		await here.untilReady();
		const { status, stderr } = spawnSync("touch", [join(here.target, "written")], {
			encoding: "utf8",
			timeout: 10_000,
		});
		expect(status === 0).toBe(!expected);
		expect(stderr.includes("Read-only file system")).toBe(expected);
		expect(await here.stop()).toBe(0);
	});

	test("an application that is not root can read", async () => {
		const here = createPod(podWith([{ mountPoint: "minio://one", name: "data" }]));
		here.start();
		await here.untilReady();
		// The way to the pod's temporary folder is root's alone.
		execFileSync("chmod", ["755", here.folder]);
		const asNobody = [
			"--reuid",
			"65534",
			"--regid",
			"65534",
			"--clear-groups",
			"cat",
			join(here.target, "inner/below.txt"),
		];
		expect(execFileSync("setpriv", asNobody, { encoding: "utf8", timeout: 10_000 })).toBe("below\n");
		expect(await here.stop()).toBe(0);
	});

	test("uid, gid and modes are what applications see", async () => {
		const modes: Record<string, string> =
			driver.name === "s3fs" ? { umask: "0027" } : { "dir-mode": "750", "file-mode": "0640" };
		const here = createPod(
			podWith([{ mountPoint: "minio://one", name: "data", options: { uid: "1234", gid: "4321", ...modes } }]),
		);
		here.start();
		await here.untilReady();
		const stat = (name: string): string =>
			execFileSync("stat", ["-c", "%u %g %a", join(here.target, name)], { encoding: "utf8", timeout: 10_000 }).trim();
		expect(stat("hello.txt")).toBe(`1234 4321 ${driver.name === "s3fs" ? "750" : "640"}`);
		expect(stat("inner")).toBe("1234 4321 750");
		expect(await here.stop()).toBe(0);
	});

	test("the config file at its place before Fluid 1.0.1 works as well", async () => {
		const here = createPod({ ...podWith([{ mountPoint: "minio://one", name: "data" }]), oldConfigPlace: true });
		here.start();
		await here.untilReady();
		expect(read(join(here.target, "hello.txt"))).toBe("hello from one\n");
		expect(await here.stop()).toBe(0);
	});
});

describe.each(testedDrivers())("a file that Fluid wrote is served by $title", (driver) => {
	const fixtures = join(import.meta.dirname, "../fixtures/fluid");

	/** The file with the test's own server and folder in place of those that it was written for. */
	function createPodFor(file: string): Pod {
		const usual = minioPod(minio, "one", driver);
		const here = createPod({
			...usual,
			secrets: {
				"minio-secret": { "minio-access-key": minio.accessKey, "minio-access-secret": minio.secretKey },
				"oss-cred-secret": { akId: minio.accessKey, akSecret: minio.secretKey },
			},
			env: { ...usual.env, AWS_ACCESS_KEY_ID: minio.accessKey, AWS_SECRET_ACCESS_KEY: minio.secretKey },
		});
		const text = readFileSync(join(fixtures, file), "utf8")
			.replaceAll("/runtime-mnt/thin/default/demo/thin-fuse", here.target)
			.replaceAll(/http:\/\/minio:9000|oss-cn-[a-z-]+\.aliyuncs\.com/g, minio.endpoint);
		here.writeConfig(text);
		return here;
	}

	const files = ["e2e-minio-doc.json", "e2e-two-oss.json", "e2e-no-mounts.json", "e2e-full.json", "e2e-no-name.json"];
	test.each(files)("%s", async (file) => {
		// The server that ambient keys reach has no place in that file.
		const here = createPodFor(file);
		here.start(file === "e2e-no-name.json" ? { MOUNT_OPTIONS: `ro,endpoint=${minio.endpoint}` } : {});
		await here.untilReady();
		const { mounts } = await here.status();
		for (const { target } of mounts) expect(read(join(target, "hello.txt"))).toBe("hello\n");
		expect(await here.stop()).toBe(0);
	});

	test.each(["e2e-nfs.json", "e2e-pvc.json"])("%s is refused, naming the mount", async (file) => {
		const here = createPodFor(file);
		here.start();
		expect(await here.ended()).toBe(78);
		expect(String(here.terminationMessage?.["message"])).toContain("mounts[0].mountPoint");
	});
});
