import { existsSync, mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, until, type FluidMount, type PodOptions } from "../support/pod.ts";
import { minioPod, testedDrivers } from "../support/s3-drivers.ts";

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio({ rootUser: "root-of-the-nested-mounts-test" });
	for (const bucket of ["outer", "inner", "beside"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
	await minio.createBucket("linked");
	// The folder that the inner mount covers: a read-only bucket could not be given one.
	await minio.put("outer", "b/covered.txt", "covered\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

async function read(path: string): Promise<string> {
	const { stdout } = await execa("cat", [path], { timeout: 10_000 });
	return stdout;
}

async function mountsBelow(folder: string): Promise<string[]> {
	return (await readMountinfo()).map(({ mountPoint }) => mountPoint).filter((path) => path.startsWith(folder));
}

describe.each(testedDrivers())("$title", (driver) => {
	function createPod(mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): Pod {
		const usual = minioPod(minio, "outer", driver, more);
		const keys = usual.mounts[0]?.options ?? {};
		pod = new Pod({ ...usual, mounts: mounts.map((mount) => ({ ...mount, options: { ...keys, ...mount.options } })) });
		return pod;
	}

	/** `/a`, `/a/b` in it, and `/c` beside them; the config has them in another order. */
	async function startNested(): Promise<Pod> {
		const here = createPod([
			{ mountPoint: "minio://inner", name: "inner", path: "/a/b" },
			{ mountPoint: "minio://beside", name: "beside", path: "/c" },
			{ mountPoint: "minio://outer", name: "outer", path: "/a/" },
		]);
		here.start();
		await here.untilReady();
		await expectAll(here);
		return here;
	}

	async function expectAll(here: Pod): Promise<void> {
		expect(await read(join(here.target, "a/hello.txt"))).toBe("hello from outer");
		expect(await read(join(here.target, "a/b/hello.txt"))).toBe("hello from inner");
		expect(await read(join(here.target, "c/hello.txt"))).toBe("hello from beside");
	}

	async function killAndWait(here: Pod, name: string): Promise<void> {
		const { pid, restarts } = await here.mount(name);
		process.kill(pid ?? 0, "SIGKILL");
		await until(
			async () => (await here.mount(name)).restarts > restarts && (await here.ask("/readyz")).statusCode === 200,
			15_000,
			() => here.output,
		);
	}

	test("a mount within a mount comes back with either of them, again and again, and leaves nothing at the end", async () => {
		const here = await startNested();
		for (const name of ["outer", "inner", "outer", "outer", "beside"]) {
			await killAndWait(here, name);
			await expectAll(here);
		}
		// The native driver has one process for all of them.
		const own = driver.name === "native" ? 5 : 1;
		expect((await here.mount("inner")).restarts).toBe(own);
		expect((await here.mount("beside")).restarts).toBe(own);
		expect(await here.stop()).toBe(0);
		expect(await mountsBelow(here.target)).toEqual([]);
	});

	test.runIf(driver.name === "s3fs")(
		"a link in the outer bucket does not choose where the inner one is mounted",
		async () => {
			const writer = createPod([{ mountPoint: "minio://linked", name: "linked" }], { accessModes: ["ReadWriteMany"] });
			writer.start();
			await writer.untilReady();
			const elsewhere = mkdtempSync(join(tmpdir(), "fluid-fuse-elsewhere-"));
			try {
				await execa("ln", ["-s", elsewhere, join(writer.target, "b")], { timeout: 10_000 });
				expect(await writer.stop()).toBe(0);
				await writer.cleanup();
				const here = createPod([
					{ mountPoint: "minio://linked", name: "outer", path: "/a" },
					{ mountPoint: "minio://inner", name: "inner", path: "/a/b" },
				]);
				here.start();
				await until(
					async () => (await here.mount("inner").catch(() => undefined))?.lastError !== undefined,
					20_000,
					() => here.output,
				);
				const { lastError } = await here.mount("inner");
				expect(lastError?.code).toBe("MOUNTPOINT_UNUSABLE");
				expect(lastError?.message).toContain("a symbolic link leads elsewhere");
				expect(await mountsBelow(elsewhere)).toEqual([]);
				expect(await here.stop()).toBe(0);
				expect(await mountsBelow(here.target)).toEqual([]);
			} finally {
				rmdirSync(elsewhere);
			}
		},
	);

	test("prestop takes down mounts within mounts, and their folder", async () => {
		const here = await startNested();
		const { exitCode, stderr } = await here.command("prestop");
		expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
		expect(await here.ended(5000)).toBe(0);
		expect(await mountsBelow(here.target)).toEqual([]);
	});

	test.runIf(driver.name !== "native")(
		"a mount whose folder its outer bucket cannot get is reported, and the outer one is served",
		async () => {
			const here = createPod([
				{ mountPoint: "minio://outer", name: "outer", path: "/" },
				{ mountPoint: "minio://inner", name: "no-such-folder" },
			]);
			here.start();
			await until(
				async () => (await here.ask("/status")).body.includes("MOUNTPOINT_UNUSABLE"),
				20_000,
				() => here.output,
			);
			expect(await read(join(here.target, "hello.txt"))).toBe("hello from outer");
			expect((await here.mount("no-such-folder")).lastError?.hint).toContain("Make that folder in the outer bucket");
			expect(await here.stop()).toBe(0);
			expect(await mountsBelow(here.target)).toEqual([]);
		},
	);

	test("paths with spaces, quotes, unicode and shell signs are only paths", async () => {
		const canary = `canary-${process.pid}`;
		const paths = [
			"/a b/c  d",
			`/it's/"quoted"`,
			"/ü 数据/🪣",
			`/$(touch ${canary})`,
			`/\`touch ${canary}\``,
			"/-rf/--help",
			"/100%/%s%n",
			"/back\\slash/\\040",
			`/x;touch ${canary}/&&`,
			"/*/?[a]",
			"/~/#!",
		];
		const here = createPod(paths.map((path, index) => ({ mountPoint: "minio://beside", name: `m${index}`, path })));
		here.start();
		await here.untilReady(40_000);
		for (const path of paths) expect(await read(`${here.target}${path}/hello.txt`)).toBe("hello from beside");
		expect(await here.stop()).toBe(0);
		expect(await mountsBelow(here.target)).toEqual([]);
		for (const folder of ["/", here.folder, process.cwd()]) expect(existsSync(join(folder, canary))).toBe(false);
	});

	test("layout root puts a mount at targetPath, whatever its name and path", async () => {
		const only = { mountPoint: "minio://beside", name: "only", path: "/some/where" };
		const here = createPod([only], { env: { FLUID_FUSE_LAYOUT: "root" } });
		here.start();
		await here.untilReady();
		expect(await read(join(here.target, "hello.txt"))).toBe("hello from beside");
		expect(await here.layers()).toHaveLength(1);
		expect(await here.stop()).toBe(0);
	});

	test.each([
		["runtimeOptions", { runtimeOptions: { ro: "" } }, {}],
		["MOUNT_OPTIONS", {}, { MOUNT_OPTIONS: "allow_other,ro" }],
	])("ro in %s is enforced by the mount itself", async (_, options, env) => {
		const here = createPod([{ mountPoint: "minio://beside", name: "data" }], {
			accessModes: ["ReadWriteMany"],
			...options,
		});
		here.start(env);
		await here.untilReady();
		const { stderr } = await execa("touch", [join(here.target, "new")], { reject: false, timeout: 10_000 });
		expect(stderr).toContain("Read-only file system");
		expect((await here.mount()).readOnly).toBe(true);
		expect(await here.stop()).toBe(0);
	});
});
