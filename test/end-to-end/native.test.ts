import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { requestLauncher } from "../../src/probe/client.ts";
import { fuseServers } from "../../bench/machine.ts";
import { MiB, noise } from "../s3/bucket.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, until, type FluidMount, type PodOptions, unmountAll } from "../support/pod.ts";

let minio: Minio;
let other: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	[minio, other] = await Promise.all([
		startMinio(),
		startMinio({ rootUser: "otheruser", rootPassword: "otherpassword" }),
	]);
	for (const [server, bucket] of [
		[minio, "one"],
		[minio, "two"],
		[other, "three"],
	] as const) {
		await server.createBucket(bucket);
		await server.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => {
	await Promise.all([minio.stop(), other.stop()]);
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

function run(file: string, ...args: string[]): { status: number | null; out: string } {
	const { status, stdout, stderr } = spawnSync(file, args, { encoding: "utf8", timeout: 20_000 });
	return { status, out: stdout + stderr };
}

/** How long the threads of this name have run. */
function ranMs(pid: number, name: string): number {
	const threads = readdirSync(`/proc/${pid}/task`).map((id) => `/proc/${pid}/task/${id}`);
	const chosen = threads.filter((thread) => readFileSync(`${thread}/comm`, "utf8").trim() === name);
	return chosen.reduce(
		(sum, thread) => sum + Number(readFileSync(`${thread}/schedstat`, "utf8").split(" ")[0]) / 1e6,
		0,
	);
}

function mount(server: Minio, name: string, more: Partial<FluidMount> = {}): FluidMount {
	const secret = server === minio ? "one" : "three";
	return {
		mountPoint: `s3://${name}`,
		name,
		...more,
		options: {
			endpoint: server.endpoint,
			"access-key": `/etc/fluid/secrets/${secret}/access-key`,
			"secret-key": `/etc/fluid/secrets/${secret}/secret-key`,
			...more.options,
		},
	};
}

function createPod(mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): Pod {
	pod = new Pod({
		mounts,
		secrets: {
			one: { "access-key": minio.accessKey, "secret-key": minio.secretKey },
			three: { "access-key": other.accessKey, "secret-key": other.secretKey },
		},
		accessModes: ["ReadWriteMany"],
		...more,
	});
	pod.start();
	return pod;
}

describe("several mounts of a Dataset", () => {
	test("are folders of one mount, each with its own server, keys and mode", async () => {
		const here = createPod([mount(minio, "one"), mount(minio, "two", { readOnly: true }), mount(other, "three")]);
		await here.untilReady();
		const entries = (await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target));
		expect(entries.map(({ mountPoint, type }) => [mountPoint, type])).toEqual([[here.target, "fuse.thin-s3"]]);
		expect(run("ls", here.target).out).toBe("one\nthree\ntwo\n");
		for (const name of ["one", "two", "three"]) {
			expect(run("cat", join(here.target, name, "hello.txt")).out).toBe(`hello from ${name}\n`);
		}
		expect(run("cp", join(here.target, "one/hello.txt"), join(here.target, "three/copy.txt")).status).toBe(0);
		expect((await other.get("three", "copy.txt")).toString()).toBe("hello from one\n");
		expect(run("touch", join(here.target, "two/new")).out).toContain("Read-only file system");
		expect(run("touch", join(here.target, "new")).out).toContain("Read-only file system");
		expect(run("mv", "-T", join(here.target, "one"), join(here.target, "four")).status).not.toBe(0);
		const { mounts } = await here.status();
		expect(
			mounts.map(({ name, state, ready, readOnly, backend }) => [name, state, ready, readOnly, backend?.ok]),
		).toEqual([
			["one", "ready", true, false, true],
			["two", "ready", true, true, true],
			["three", "ready", true, false, true],
		]);
		expect(mounts.map(({ driverStats }) => driverStats?.["open_files"])).toEqual([0, undefined, undefined]);
		expect((await here.ask("/metrics")).body).toContain(
			'fluid_fuse_budget_used_bytes{mount="one",budget="write-buffer"} 0\n',
		);
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
	});

	test("are served without those that are faulty or whose bucket is missing", async () => {
		const here = createPod([
			mount(minio, "one"),
			mount(minio, "two", { options: { "red-ahead": "1Mi" } }),
			mount(minio, "missing"),
		]);
		await here.untilReady().catch(() => undefined);
		await until(
			async () => (await here.mount("one")).ready,
			10_000,
			() => here.output,
		);
		expect(run("cat", join(here.target, "one/hello.txt")).out).toBe("hello from one\n");
		const { mounts } = await here.status();
		expect(mounts.map(({ name, state, backend }) => [name, state, backend?.ok])).toEqual([
			["one", "ready", true],
			["two", "failed", undefined],
			["missing", "failed", false],
		]);
		expect(run("ls", here.target).out).toBe("one\n");
		expect((await here.mount("missing")).reason).toContain("does not exist");
		expect((await here.mount("two")).reason).toContain('did you mean "read-ahead"');
		expect((await here.mount("missing")).lastError?.code).toBe("BUCKET_MISSING");
		expect((await here.ask("/readyz?exclude=mount/two&exclude=mount/missing")).statusCode).toBe(200);
		expect(await here.stop()).toBe(0);
	});

	test("come in one by one, as soon as their secrets are there, while others are in use", async () => {
		const { accessKey, secretKey } = other;
		const here = createPod([mount(minio, "one"), mount(other, "three"), mount(minio, "two", { path: "/one/inner" })], {
			secrets: { one: { "access-key": minio.accessKey, "secret-key": minio.secretKey } },
		});
		const isReady = (name: string) => async (): Promise<boolean> =>
			(await here.mount(name).catch(() => undefined))?.ready === true;
		await until(isReady("one"), 10_000, () => here.output);
		expect(run("ls", here.target).out).toBe("one\n");
		expect(await here.mount("three")).toMatchObject({ state: "pending", lastError: { code: "SECRET_MISSING" } });
		expect((await here.ask("/readyz")).body).toContain("three/access-key");
		const inUse = execFileSync(
			"sh",
			["-c", `exec 9<${here.target}/one/hello.txt; sleep 60 >/dev/null 2>&1 & echo $!`],
			{
				encoding: "utf8",
			},
		).trim();
		try {
			here.writeSecret("three", { "access-key": accessKey, "secret-key": secretKey });
			await until(isReady("three"), 20_000, () => here.output);
			expect(run("cat", join(here.target, "three/hello.txt")).out).toBe("hello from three\n");
			expect(run("cat", join(here.target, "one/inner/hello.txt")).out).toBe("hello from two\n");
			expect(run("cat", `/proc/${inUse}/fd/9`).out).toBe("hello from one\n");
			const { mounts } = await here.status();
			expect(mounts.map(({ restarts, layers }) => [restarts, layers])).toEqual([0, 0, 0].map(() => [0, 1]));
			expect(new Set(mounts.map(({ pid }) => pid)).size).toBe(1);
		} finally {
			run("kill", inUse);
		}
		expect(await here.stop()).toBe(0);
	});

	test("come back together when their process is killed", async () => {
		const here = createPod([mount(minio, "one"), mount(other, "three")]);
		await here.untilReady();
		for (const kill of [1, 2, 3]) {
			process.kill((await here.mount("three")).pid ?? 0, "SIGKILL");
			await until(
				async () => (await here.status()).mounts.every(({ ready, restarts }) => ready && restarts === kill),
				10_000,
				() => here.output,
			);
			for (const name of ["one", "three"]) {
				expect(run("cat", join(here.target, name, "hello.txt")).out).toBe(`hello from ${name}\n`);
			}
		}
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
	});

	test("end the launcher, each with its reason, when none of them can ever be served", async () => {
		const here = createPod([mount(minio, "missing"), mount(other, "absent")]);
		expect(await here.ended()).toBe(69);
		const message = String(here.terminationMessage?.["message"]);
		expect(message).toMatch(/^missing: .*does not exist.*\nabsent: .*does not exist/);
		expect(await here.layers()).toEqual([]);
	});

	test("take the place of what another driver's launcher left when it was killed, and heal who had that mounted", async () => {
		const here = createPod([mount(minio, "one"), mount(other, "three")], { env: { FLUID_FUSE_DRIVER: "s3fs" } });
		await here.untilReady();
		const application = join(here.folder, "application");
		execFileSync("mkdir", [application]);
		execFileSync("mount", ["--bind", here.target, application]);
		execFileSync("mount", ["--make-slave", application]);
		here.launcher?.kill("SIGKILL");
		await here.ended();
		here.start({ FLUID_FUSE_DRIVER: "native" });
		await here.untilReady();
		for (const folder of [here.target, application]) {
			expect(run("cat", join(folder, "three/hello.txt")).out).toBe("hello from three\n");
		}
		await unmountAll(application);
		expect(await here.stop()).toBe(0);
		expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target))).toEqual([]);
	});

	test("leave a root alone in which another launcher serves", async () => {
		const here = createPod([mount(minio, "one"), mount(other, "three")], { env: { FLUID_FUSE_DRIVER: "s3fs" } });
		await here.untilReady();
		const theirs = await readMountinfo();
		const runDirectory = join(here.folder, "run-of-another");
		const second = execa(program, [], {
			env: { ...here.environment(), FLUID_FUSE_DRIVER: "native", FLUID_FUSE_RUN_DIR: runDirectory },
			extendEnv: false,
			reject: false,
			all: true,
		});
		await until(
			() => existsSync(join(runDirectory, "launcher.sock")),
			10_000,
			() => "not started",
		);
		await until(
			async () =>
				JSON.stringify(await requestLauncher(runDirectory, "/status", { timeoutMs: 2000 })).includes(
					"MOUNTPOINT_IN_USE",
				),
			10_000,
			() => "not refused",
		);
		second.kill("SIGTERM");
		await second;
		const isTheirs = ({ mountPoint }: { mountPoint: string }): boolean => mountPoint.startsWith(here.target);
		expect((await readMountinfo()).filter(isTheirs)).toEqual(theirs.filter(isTheirs));
		expect(await here.stop()).toBe(0);
	});

	test("are mounts of their own when they have several drivers", async () => {
		const here = createPod([mount(minio, "one"), mount(minio, "two", { options: { driver: "s3fs" } })]);
		await here.untilReady();
		const entries = (await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target));
		expect(entries.map(({ type }) => type).toSorted()).toEqual(["fuse.s3fs", "fuse.thin-s3", "tmpfs"]);
		for (const name of ["one", "two"]) {
			expect(run("cat", join(here.target, name, "hello.txt")).out).toBe(`hello from ${name}\n`);
		}
		expect(await here.stop()).toBe(0);
	});
});

test("a mount is there while its server cannot be reached, answers with errors, and with data as soon as it can", async () => {
	const proxy = await startFaultProxy(minio.endpoint);
	try {
		await proxy.mode("refuse");
		const here = createPod([mount(minio, "one", { options: { endpoint: proxy.endpoint, "retry-for": "1s" } })]);
		await here.untilReady(10_000);
		expect(await here.mount()).toMatchObject({ state: "degraded", ready: true, backend: { ok: false } });
		// Not with run(): the proxy lives in this process and must not be blocked.
		const cat = async () => execa("cat", [join(here.target, "hello.txt")], { reject: false, timeout: 10_000 });
		expect((await cat()).stderr).toContain("Input/output error");
		expect(run("stat", "-f", here.target).status).toBe(0);
		await proxy.mode("pass");
		await until(
			async () => (await cat()).stdout === "hello from one",
			10_000,
			() => here.output,
		);
	} finally {
		await proxy.stop();
	}
});

test("large files are read by other threads, if so wanted, and come back right when the process is killed", async () => {
	const content = noise(40 * MiB);
	await minio.put("two", "large", content);
	const here = createPod([mount(minio, "two", { options: { threads: "2" } })]);
	await here.untilReady();
	const digest = createHash("md5").update(content).digest("hex");
	const threadsOf = (): number => readdirSync(`/proc/${fuseServers(here.pid)[0]}/task`).length;
	const read = (): string => {
		const path = join(here.target, "large");
		// Not what the kernel has.
		run("dd", "of=/dev/null", `if=${path}`, "iflag=nocache", "count=0");
		return run("md5sum", path).out.slice(0, 32);
	};
	const atFirst = threadsOf();
	for (let round = 0; round < 4; round++) expect(read()).toBe(digest);
	expect(threadsOf()).toBeGreaterThan(atFirst);
	process.kill(fuseServers(here.pid)[0] ?? Number.NaN, "SIGKILL");
	await until(
		() => read() === digest,
		30_000,
		() => here.output,
	);
	expect(await here.stop()).toBe(0);
	expect(here.output).not.toContain("a bug ends");
});

test("what is being written when the pod is stopped is in the bucket afterwards", async () => {
	const here = createPod([mount(minio, "one")]);
	await here.untilReady();
	// Its descriptor stays open until it is killed.
	const writer = execFileSync(
		"sh",
		["-c", `(dd if=/dev/zero bs=1M count=20 2>/dev/null; exec sleep 60) >${here.target}/open.bin & echo $!`],
		{ encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
	).trim();
	try {
		await until(
			() => run("stat", "-c", "%s", join(here.target, "open.bin")).out.trim() === String(20 * 1024 ** 2),
			10_000,
			() => "not written",
		);
		expect(await here.stop()).toBe(0);
		expect((await minio.get("one", "open.bin")).length).toBe(20 * 1024 ** 2);
	} finally {
		run("kill", "-9", writer);
	}
});

test("keys that are replaced in their secret are used without a restart", { timeout: 90_000 }, async () => {
	const keys = await minio.temporaryCredentials();
	const withToken = mount(minio, "one", { options: { "session-token": "/etc/fluid/secrets/one/token" } });
	const proxy = await startFaultProxy(minio.endpoint);
	try {
		await proxy.mode("refuse");
		const here = createPod([{ ...withToken, options: { ...withToken.options, endpoint: proxy.endpoint } }], {
			secrets: {
				one: { "access-key": keys.accessKeyId, "secret-key": keys.secretAccessKey, token: keys.sessionToken },
			},
		});
		await here.untilReady();
		const { pid } = await here.mount();
		const next = await minio.temporaryCredentials();
		here.writeSecret("one", {
			"access-key": next.accessKeyId,
			"secret-key": next.secretAccessKey,
			token: next.sessionToken,
		});
		await proxy.mode("pass");
		await until(
			() => here.log.some(({ msg }) => msg === "credentials replaced"),
			40_000,
			() => here.output,
		);
		const { stdout } = await execa("cat", [join(here.target, "hello.txt")], { timeout: 10_000 });
		expect(stdout).toBe("hello from one");
		expect(await here.mount()).toMatchObject({ pid, restarts: 0 });
		expect(await here.stop()).toBe(0);
	} finally {
		await proxy.stop();
	}
});

test("compiles with no other thread, which its exit and that would wait for each other", async () => {
	const here = createPod([mount(minio, "one")]);
	await here.untilReady();
	expect(ranMs(here.pid, "MainThread")).toBeGreaterThan(50);
	// They are there, and have found nothing to do.
	expect(ranMs(here.pid, "V8Worker")).toBeLessThan(ranMs(here.pid, "MainThread") / 100);
	expect(await here.stop()).toBe(0);
});
