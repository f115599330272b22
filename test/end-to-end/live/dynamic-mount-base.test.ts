import { execa } from "execa";
import { chmodSync, globSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readMountinfo } from "../../../src/mounts/mountinfo.ts";
import { OpenFile } from "../../support/application.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { MinioUsers, type User } from "../../support/minio-users.ts";
import { Pod, projectRoot, until, type FluidMount, type PodOptions } from "../../support/pod.ts";

/** A vendor's image on Fluid's dynamic-mount base, with ours in its place: the same hook, called the same way. */
const hook = join(projectRoot, "test/fixtures/mount.sh");

let minio: Minio;
let users: MinioUsers;
let pod: Pod | undefined;
let file: OpenFile | undefined;

beforeAll(async () => {
	minio = await startMinio();
	users = new MinioUsers(minio);
	for (const bucket of ["one", "two", "three"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	file?.kill();
	file = undefined;
	await pod?.cleanup();
	pod = undefined;
});

function mount(bucket: string, more: Partial<FluidMount> = {}, secret = "keys"): FluidMount {
	return {
		mountPoint: `s3://${bucket}`,
		name: bucket,
		options: {
			url: minio.endpoint,
			"access-key": `/etc/fluid/secrets/${secret}/access-key`,
			"secret-key": `/etc/fluid/secrets/${secret}/secret-key`,
		},
		...more,
	};
}

const keysOf = ({ accessKey, secretKey }: User) => ({ "access-key": accessKey, "secret-key": secretKey });

function podWith(mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): Pod {
	pod = new Pod({
		mounts,
		secrets: { keys: keysOf(minio) },
		accessModes: ["ReadWriteMany"],
		...more,
		env: { FLUID_FUSE_DRIVER: "script", FLUID_FUSE_SCRIPT: hook, ...more.env },
	});
	pod.start();
	return pod;
}

async function readyPod(...args: Parameters<typeof podWith>): Promise<Pod> {
	const here = podWith(...args);
	await here.untilReady();
	return here;
}

const cat = async (...path: string[]): Promise<string> => {
	const { stdout, stderr } = await execa("cat", [join(...path)], {
		reject: false,
		timeout: 10_000,
		env: { LC_ALL: "C" },
	});
	return stdout + stderr;
};

async function untilRead(here: Pod, path: string, text: string): Promise<void> {
	await until(
		async () => (await cat(here.target, path)) === text,
		20_000,
		() => `${path} is not there:\n${here.output}`,
	);
}

const mountsOf = async (here: Pod) =>
	(await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(`${here.folder}/runtime-mnt/`));

describe("what is wrong with the base of Fluid's dynamic mounts is right here", () => {
	test("1: a mount without options or a name stops no other one", async () => {
		const here = podWith([{ mountPoint: "s3://three" }, mount("one"), mount("two")]);
		await untilRead(here, "one/hello.txt", "hello from one");
		await untilRead(here, "two/hello.txt", "hello from two");
		await until(
			async () => (await here.mount("three")).lastError !== undefined,
			10_000,
			() => here.output,
		);
		expect(await here.stop()).toBe(0);
	});

	test("2: an edit of a mount with the same name is applied", async () => {
		const here = await readyPod([mount("one"), mount("two")]);
		const { pid } = await here.mount("one");
		here.writeConfig(here.renderConfig({ mounts: [mount("one"), mount("three", { name: "two" })] }));
		await untilRead(here, "two/hello.txt", "hello from three");
		expect((await here.mount("one")).pid).toBe(pid);
		expect(await here.stop()).toBe(0);
	});

	test("3: an update right after the start is not lost", async () => {
		const here = podWith([mount("one"), mount("two")]);
		await until(
			() => here.output.includes("launcher started"),
			10_000,
			() => here.output,
		);
		here.writeConfig(here.renderConfig({ mounts: [mount("one"), mount("three")] }));
		await untilRead(here, "three/hello.txt", "hello from three");
		expect(await here.stop()).toBe(0);
	});

	test("4, 8: nested mounts are mounted from the outside in, and SIGTERM takes them down from the inside out", async () => {
		const here = await readyPod([mount("two", { path: "/a/b" }), mount("one", { path: "/a" }), mount("three")]);
		await untilRead(here, "a/b/hello.txt", "hello from two");
		await untilRead(here, "a/hello.txt", "hello from one");
		const startedAt = performance.now();
		expect(await here.stop()).toBe(0);
		expect(performance.now() - startedAt).toBeLessThan(25_000);
		expect(await mountsOf(here)).toEqual([]);
		expect(here.log.filter(({ msg }) => msg === "mount aborted by force")).toEqual([]);
	});

	test("5: a busy mount is waited for, is read meanwhile, and goes when it is not busy any more", async () => {
		const here = await readyPod([mount("one"), mount("two")]);
		file = new OpenFile(join(here.target, "two/hello.txt"), "r");
		expect(await file.step("open")).toBe('ok ""');
		here.writeConfig(here.renderConfig({ mounts: [mount("one")] }));
		await until(
			() => here.output.includes("mount is busy, waiting for applications"),
			10_000,
			() => here.output,
		);
		expect(await file.step("read", 100)).toBe(String.raw`ok "hello from two\n"`);
		expect(await cat(here.target, "two/hello.txt")).toBe("hello from two");
		expect(await here.mount("two")).toMatchObject({ state: "draining", leaving: true });
		file.kill();
		await until(
			async () => (await here.status()).mounts.length === 1,
			10_000,
			() => here.output,
		);
		expect((await mountsOf(here)).filter(({ mountPoint }) => mountPoint.endsWith("/two"))).toEqual([]);
		expect(await here.stop()).toBe(0);
	});

	test("6: stacked mounts all go, and a name is not a pattern", async () => {
		const here = await readyPod([mount("one", { name: "m.1" }), mount("two", { name: "mx1" })]);
		const { pid } = await here.mount("m.1");
		process.kill(pid ?? 0, "SIGKILL");
		await until(
			async () => (await here.mount("m.1")).layers === 2,
			60_000,
			() => here.output,
		);
		here.writeConfig(here.renderConfig({ mounts: [mount("two", { name: "mx1" })] }));
		await until(
			async () => (await here.status()).changes[0]?.state === "done",
			60_000,
			() => here.output,
		);
		expect((await mountsOf(here)).filter(({ mountPoint }) => mountPoint.endsWith("m.1"))).toEqual([]);
		expect(await cat(here.target, "mx1/hello.txt")).toBe("hello from two");
		expect(await here.mount("mx1")).toMatchObject({ restarts: 0, ready: true });
		expect(await here.stop()).toBe(0);
	});

	test("7: a target that is stale from before is mounted over", async () => {
		const here = await readyPod([mount("one"), mount("two")]);
		const left = here.descendants();
		here.launcher?.kill("SIGKILL");
		await here.ended();
		for (const { pid } of left) {
			try {
				process.kill(pid, "SIGKILL");
			} catch {
				// It has ended with the launcher.
			}
		}
		// The processes are still ending.
		await until(
			async () => (await cat(here.target, "one/hello.txt")).includes("not connected"),
			60_000,
			() => here.output,
		);
		here.start();
		await here.untilReady();
		expect(await cat(here.target, "one/hello.txt")).toBe("hello from one");
		expect(await here.stop()).toBe(0);
		expect(await mountsOf(here)).toEqual([]);
	});

	test("9: with no mounts targetPath is there and mounted, as Fluid waits for", async () => {
		const here = await readyPod([]);
		expect((await here.layers()).map(({ type }) => type)).toEqual(["tmpfs"]);
		expect(await here.stop()).toBe(0);
	});

	test("10, 11: health, readiness and status answer, and what the hook prints is in the log", async () => {
		const here = await readyPod([mount("one")]);
		for (const path of ["/livez", "/readyz", "/status", "/metrics"]) {
			expect((await here.ask(path)).statusCode, path).toBe(200);
		}
		expect(here.log).toContainEqual(
			expect.objectContaining({ msg: "driver output", mount: "one", line: "mounting one, rw" }),
		);
		expect(await here.stop()).toBe(0);
	});

	test("12: a mount that dies after a second is started ever later", async () => {
		const here = podWith([mount("one")], { env: { FLUID_FUSE_SCRIPT: hook.replace(".sh", "-dies.sh") } });
		const broken = () => here.log.filter(({ msg }) => msg === "mount broken").map(({ retryInMs }) => Number(retryInMs));
		await until(
			() => broken().length >= 3,
			40_000,
			() => here.output,
		);
		const [first = 0, second = 0, third = 0] = broken();
		expect(second).toBeGreaterThan(first);
		expect(third).toBeGreaterThan(second);
		await here.stop();
	});

	test("13: spaces, globs and percent signs are only characters", async () => {
		const names = ["with spaces", "100%s", "a*[b]?", "$(touch canary)", "ü'\""];
		const here = await readyPod(names.map((name) => mount("one", { name })));
		for (const name of names) expect(await cat(here.target, name, "hello.txt"), name).toBe("hello from one");
		here.writeConfig(here.renderConfig({ mounts: names.slice(1).map((name) => mount("one", { name })) }));
		await until(
			async () => (await here.status()).mounts.length === names.length - 1,
			60_000,
			() => here.output,
		);
		// The folder goes a moment after what was mounted on it.
		await expect
			.poll(() => readdirSync(here.target).toSorted(), { timeout: 20_000 })
			.toEqual(names.slice(1).toSorted());
		expect(await here.stop()).toBe(0);
	});

	test("14: each mount has an option file of its own that nobody else reads, and it goes with the mount", async () => {
		const [one, two] = [await users.create(), await users.create()];
		const here = await readyPod([mount("one", {}, "one"), mount("two", {}, "two")], {
			secrets: { one: keysOf(one), two: keysOf(two) },
		});
		const optionFiles = (): string[] =>
			globSync("mounts/*/options.json", { cwd: here.runDirectory }).map((path) => join(here.runDirectory, path));
		expect(optionFiles()).toHaveLength(2);
		for (const path of optionFiles()) {
			expect(statSync(path).mode & 0o777).toBe(0o600);
			expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
		}
		const told = optionFiles().map((path) => JSON.parse(readFileSync(path, "utf8")) as Record<string, string>);
		expect(new Set(told.map(({ name }) => name))).toEqual(new Set(["one", "two"]));
		here.writeConfig(here.renderConfig({ mounts: [mount("two", {}, "two")] }));
		await until(
			() => optionFiles().length === 1,
			60_000,
			() => here.output,
		);
		expect(await here.stop()).toBe(0);
		expect(optionFiles()).toEqual([]);
	});

	test("15: no secret is in the arguments, others may read, and a rotation is used", async () => {
		const [before, after] = [await users.create(), await users.create()];
		const here = await readyPod([mount("one"), mount("two")], { secrets: { keys: keysOf(before) } });
		for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
			try {
				expect(readFileSync(`/proc/${pid}/cmdline`, "latin1")).not.toContain(before.secretKey);
			} catch (error) {
				// It has ended.
				if ((error as NodeJS.ErrnoException).code === undefined) throw error;
			}
		}
		// The way to the pod's temporary folder is root's alone.
		chmodSync(here.folder, 0o755);
		const asNobody = await execa(
			"setpriv",
			["--reuid", "65534", "--clear-groups", "cat", join(here.target, "one/hello.txt")],
			{
				reject: false,
				timeout: 10_000,
			},
		);
		expect(asNobody.stdout).toBe("hello from one");
		here.writeSecret("keys", keysOf(after));
		await until(
			async () => (await here.status()).changes.filter(({ state }) => state === "done").length === 2,
			60_000,
			() => here.output,
		);
		await users.disable(before);
		await minio.put("one", "later.txt", "with the new key\n");
		await untilRead(here, "one/later.txt", "with the new key");
		await minio.delete("one", "later.txt");
		expect(await here.stop()).toBe(0);
	});

	test("a mount that is to be read-only is, also where the hook forgets it", async () => {
		const here = await readyPod([mount("one")], { accessModes: ["ReadOnlyMany"], env: { HOOK_FORGETS_MODE: "1" } });
		const { stderr } = await execa("touch", [join(here.target, "new")], { reject: false, timeout: 10_000 });
		expect(stderr).toContain("Read-only file system");
		expect(await cat(here.target, "hello.txt")).toBe("hello from one");
		expect(await here.stop()).toBe(0);
	});
});
