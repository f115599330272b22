import { execa } from "execa";
import fc from "fast-check";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type Minio } from "../../support/minio.ts";
import { Pod, until, writeAtomically, type FluidMount, type PodOptions } from "../../support/pod.ts";

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["one", "two", "three"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

const secrets = () => ({ keys: { "access-key": minio.accessKey, "secret-key": minio.secretKey } });

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

async function podWith(mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): Promise<Pod> {
	pod = new Pod({ mounts, secrets: secrets(), accessModes: ["ReadWriteMany"], ...more });
	pod.start();
	await pod.untilReady();
	return pod;
}

const ls = async (path: string): Promise<string[]> => {
	const { stdout } = await execa("ls", [path], { reject: false, timeout: 10_000 });
	return stdout.split("\n").filter((name) => name !== "");
};
const cat = async (...path: string[]): Promise<string> => {
	const { stdout, stderr } = await execa("cat", [join(...path)], {
		reject: false,
		timeout: 10_000,
		env: { LC_ALL: "C" },
	});
	return stdout + stderr;
};

async function metric(here: Pod, series: string): Promise<number> {
	const { body } = await here.ask("/metrics");
	const line = body.split("\n").find((each) => each.startsWith(`fluid_fuse_${series} `));
	return Number(line?.split(" ").at(-1));
}

async function untilState(here: Pod, state: "applied" | "rejected", message = ""): Promise<void> {
	await until(
		async () => {
			const { config } = await here.status();
			return config?.state === state && (config.error?.message ?? "").includes(message);
		},
		10_000,
		() => `not ${state}:\n${here.output}`,
	);
}

describe("a config that is not usable", () => {
	const files: [what: string, text: (here: Pod) => string, message: string][] = [
		["is empty", () => "", "the file is empty"],
		["is half-written", (here) => here.renderConfig().slice(0, 100), "not valid JSON"],
		["is no object", () => "[]", "expected object"],
		["has no targetPath", () => "{}", "targetPath is missing"],
		["has another targetPath", (here) => here.renderConfig().replaceAll("thin-fuse", "other"), "targetPath has become"],
		["has faults in two places", (here) => here.renderConfig().replaceAll('"mountPoint"', '"mountpoint"'), "2 faults"],
	];
	test("keeps what runs, is told with all faults, and is applied as soon as it is right", async () => {
		const here = await podWith([mount("one"), mount("two")]);
		const { pid } = await here.mount("one");
		const { hash } = (await here.status()).config ?? {};
		for (const [index, [what, text, message]] of files.entries()) {
			here.writeConfig(text(here));
			await untilState(here, "rejected", message);
			expect(await metric(here, 'config_reload_total{result="rejected"}'), what).toBe(index + 1);
			expect(await metric(here, "config_ok"), what).toBe(0);
			expect((await here.status()).config?.hash, what).toBe(hash);
			expect(await cat(here.target, "one/hello.txt"), what).toBe("hello from one");
		}
		expect((await here.ask("/readyz")).statusCode).toBe(200);
		const told = here.log.filter(({ msg }) => msg === "config rejected, what runs goes on");
		expect(told).toHaveLength(files.length);
		expect(String(told.at(-1)?.["error"])).toContain("mounts[1].mountPoint");
		here.writeConfig(here.renderConfig({ mounts: [mount("one"), mount("three")] }));
		await untilState(here, "applied");
		await until(
			async () => (await cat(here.target, "three/hello.txt")) === "hello from three",
			10_000,
			() => here.output,
		);
		expect((await here.mount("one")).pid).toBe(pid);
		expect(await here.stop()).toBe(0);
	});

	test("in one mount is no pending change any more once it is mended", async () => {
		const here = await podWith([mount("one"), mount("two")]);
		const pending = async () => (await here.mount("one")).pendingChange;
		const faulty: [Partial<FluidMount>, string][] = [
			[{ options: { "red-ahead": "1Mi" } }, "red-ahead"],
			[{ options: { driver: "nativ" } }, "nativ"],
			[{ mountPoint: "ftp://one" }, "ftp"],
		];
		for (const [bad, problem] of faulty) {
			here.writeConfig(here.renderConfig({ mounts: [mount("one", bad), mount("two")] }));
			await until(
				async () => (await pending())?.includes(problem) === true,
				10_000,
				() => here.output,
			);
			here.writeConfig(here.renderConfig());
			await until(
				async () => (await pending()) === undefined,
				10_000,
				() => `still pending:\n${here.output}`,
			);
		}
		expect(await here.stop()).toBe(0);
	});

	test("in one mount keeps that one alone as it is", async () => {
		const here = await podWith([mount("one"), mount("two")]);
		here.writeConfig(
			here.renderConfig({ mounts: [mount("one", { options: { "red-ahead": "1Mi" } }), mount("three")] }),
		);
		await until(
			async () => (await here.mount("one")).pendingChange?.includes('did you mean "read-ahead"') === true,
			10_000,
			() => here.output,
		);
		await until(
			async () => (await ls(here.target)).join() === "one,three",
			10_000,
			() => here.output,
		);
		expect(await cat(here.target, "one/hello.txt")).toBe("hello from one");
		expect(await here.mount("one")).toMatchObject({ ready: true });
		expect(await here.stop()).toBe(0);
	});
});

test("the same in other bytes does nothing", async () => {
	const here = await podWith([mount("one"), mount("two")]);
	const { mounts, hash } = { mounts: (await here.status()).mounts, hash: (await here.status()).config?.hash };
	here.writeConfig(`${JSON.stringify(JSON.parse(here.renderConfig()), undefined, 4)}\n\n`);
	await until(
		async () => (await metric(here, 'config_reload_total{result="unchanged"}')) === 1,
		10_000,
		() => here.output,
	);
	for (const [name, data] of Object.entries(secrets())) here.writeSecret(name, data);
	await sleep(500);
	const after = await here.status();
	expect(after.changes).toEqual([]);
	expect(after.config?.hash).toBe(hash);
	expect(after.mounts.map(({ pid, since }) => [pid, since])).toEqual(mounts.map(({ pid, since }) => [pid, since]));
	expect(await here.stop()).toBe(0);
});

test("an added mount whose secret is not there yet waits and says so, and the pod stays ready", async () => {
	const here = await podWith([mount("one"), mount("two")]);
	const late = {
		"access-key": "/etc/fluid/secrets/late/access-key",
		"secret-key": "/etc/fluid/secrets/late/secret-key",
	};
	here.writeConfig(here.renderConfig({ mounts: [mount("one"), mount("two"), mount("three", { options: late })] }));
	await until(
		async () => (await here.status()).changes[0]?.code === "SECRET_MISSING",
		10_000,
		() => here.output,
	);
	expect(await here.mount("three")).toMatchObject({ state: "pending", joining: true });
	expect((await here.mount("three")).reason).toContain("late/access-key");
	expect((await here.ask("/readyz")).statusCode).toBe(200);
	expect((await here.ask("/readyz?verbose")).body).toContain("[+]mount/three ok (joining: pending: ");
	const startedAt = performance.now();
	here.writeSecret("late", secrets().keys);
	await until(
		async () => (await cat(here.target, "three/hello.txt")) === "hello from three",
		10_000,
		() => here.output,
	);
	expect(performance.now() - startedAt).toBeLessThan(5000);
	expect(await here.stop()).toBe(0);
});

test("access modes that Fluid does not bring to the DaemonSet are said to have no effect", async () => {
	pod = new Pod({ mounts: [mount("one")], secrets: secrets(), accessModes: ["ReadOnlyMany"] });
	pod.start({ MOUNT_OPTIONS: "ro" });
	await pod.untilReady();
	const here = pod;
	expect((await here.mount("one")).withoutEffect).toBeUndefined();
	const config = JSON.parse(here.renderConfig({ mounts: [mount("one")] })) as object;
	here.writeConfig(JSON.stringify({ ...config, accessModes: ["ReadWriteMany"] }));
	await until(
		async () => (await here.mount("one")).withoutEffect?.startsWith("accessModes is ReadWriteMany now") === true,
		10_000,
		() => here.output,
	);
	expect((await here.mount("one")).readOnly).toBe(true);
	here.writeConfig(here.renderConfig({ mounts: [mount("one")] }));
	await until(
		async () => (await here.mount("one")).withoutEffect === undefined,
		10_000,
		() => here.output,
	);
	expect(await here.stop()).toBe(0);
});

describe("the layout", () => {
	test("auto: a second mount would move the first, is refused with the way out, and nothing moves", async () => {
		const here = await podWith([mount("one")]);
		expect(await cat(here.target, "hello.txt")).toBe("hello from one");
		here.writeConfig(here.renderConfig({ mounts: [mount("one"), mount("two")] }));
		await untilState(here, "rejected", "it would move to a folder below");
		const { config } = await here.status();
		expect(config?.error).toMatchObject({ code: "CHANGE_REFUSED" });
		expect(config?.error?.hint).toContain("Set FLUID_FUSE_LAYOUT to named");
		expect(await cat(here.target, "hello.txt")).toBe("hello from one");
		here.writeConfig(here.renderConfig({ mounts: [mount("one")] }));
		await untilState(here, "applied");
		expect(await here.stop()).toBe(0);
	});

	test("auto: the one that is left of two stays in its folder", async () => {
		const here = await podWith([mount("one"), mount("two")]);
		here.writeConfig(here.renderConfig({ mounts: [mount("two")] }));
		await until(
			async () => (await ls(here.target)).join() === "two",
			10_000,
			() => here.output,
		);
		expect(await cat(here.target, "two/hello.txt")).toBe("hello from two");
		expect(await here.stop()).toBe(0);
	});

	test("a driver that cannot mount into the one that runs is refused alone", async () => {
		const here = await podWith([mount("one"), mount("two")]);
		here.writeConfig(
			here.renderConfig({ mounts: [mount("one"), mount("two"), mount("three", { options: { driver: "s3fs" } })] }),
		);
		await until(
			async () =>
				(await here.mount("three").catch(() => undefined))?.reason?.includes("into which s3fs cannot mount") === true,
			10_000,
			() => here.output,
		);
		expect(await cat(here.target, "one/hello.txt")).toBe("hello from one");
		expect((await here.ask("/readyz")).statusCode).toBe(200);
		expect(await here.stop()).toBe(0);
	});
});

test("options that can be changed in the process that runs are, and the other mounts do not notice", async () => {
	const here = await podWith([mount("one"), mount("two")]);
	const { pid } = await here.mount("one");
	const options = {
		ttl: "1s",
		"read-ahead": "1Mi",
		"max-requests": "4",
		uid: "1234",
		"cache-size": "1Gi",
		"cache-dir": "/tmp",
	};
	here.writeConfig(here.renderConfig({ mounts: [mount("one", { options }), mount("two")] }));
	await until(
		async () => (await here.status()).changes[0]?.state === "done",
		10_000,
		() => here.output,
	);
	const [change] = (await here.status()).changes;
	expect(change?.outcome).toBe("in the process that runs; cache-dir, cache-size from its next start on");
	const { stdout } = await execa("stat", ["-c", "%u", join(here.target, "one/hello.txt")], { timeout: 10_000 });
	expect(stdout).toBe("1234");
	expect((await here.status()).mounts.map((each) => each.pid)).toEqual([pid, pid]);
	expect(here.log.some(({ msg, readAheadBytes }) => msg === "read-ahead changed" && readAheadBytes === 1024 ** 2)).toBe(
		true,
	);
	// Now it may be written.
	here.writeConfig(here.renderConfig({ mounts: [mount("one", { readOnly: true }), mount("two")] }));
	await until(
		async () => (await here.status()).changes[1]?.state === "done",
		10_000,
		() => here.output,
	);
	const { stderr } = await execa("touch", [join(here.target, "one/new")], { reject: false, timeout: 10_000 });
	expect(stderr).toContain("Read-only file system");
	expect(await here.stop()).toBe(0);
});

test("status --watch shows it happen", async () => {
	const here = await podWith([mount("one"), mount("two")]);
	const watching = execa(
		here.options.program ?? join(import.meta.dirname, "../../../bin/fluid-fuse"),
		["status", "--watch"],
		{
			env: here.environment(),
			extendEnv: false,
			reject: false,
			all: true,
		},
	);
	let shown = "";
	watching.all.on("data", (chunk: Buffer) => (shown += chunk.toString()));
	await until(
		() => shown.includes("ready, pid"),
		10_000,
		() => shown,
	);
	here.writeConfig(here.renderConfig({ mounts: [mount("one"), mount("three")] }));
	for (const line of [
		"config  ",
		"change 1 (unmount: removed) done",
		"change 2 (mount: added) done: mounted",
		"two    gone",
	]) {
		await until(
			() => shown.replaceAll(/ +gone/g, "    gone").includes(line),
			10_000,
			() => `${line} is not in\n${shown}`,
		);
	}
	expect(await here.stop()).toBe(0);
	expect((await watching).exitCode).toBe(69);
});

test(
	"any sequence of configs, usable or not, ends in what the last usable one says",
	{ timeout: 180_000 },
	async () => {
		const here = await podWith([], { env: { FLUID_FUSE_LAYOUT: "named" } });
		const wanted = fc.uniqueArray(
			fc.record({ bucket: fc.constantFrom("one", "two", "three"), path: fc.constantFrom("a", "b", "a/c", "d") }),
			{ maxLength: 4, selector: ({ path }) => path },
		);
		const step = fc.oneof(
			{ weight: 4, arbitrary: wanted },
			{ weight: 1, arbitrary: fc.constantFrom("", "{", "{}", "null", '{"mounts":[{}]}') },
		);
		await fc.assert(
			fc.asyncProperty(
				fc.array(step, { minLength: 1, maxLength: 5 }),
				fc.integer({ min: 0, max: 150 }),
				async (steps, pause) => {
					let last: { bucket: string; path: string }[] | undefined;
					for (const each of steps) {
						if (typeof each === "string") here.writeConfig(each);
						else {
							last = each;
							const mounts = each.map(({ bucket, path }) => mount(bucket, { name: path.replace("/", "-"), path }));
							here.writeConfig(here.renderConfig({ mounts }));
						}
						await sleep(pause);
					}
					if (last === undefined) return;
					// The launcher may not have seen one that was overwritten at once: then it is the last file that counts.
					const isLastUsable = typeof steps.at(-1) !== "string";
					if (!isLastUsable) {
						here.writeConfig(
							here.renderConfig({
								mounts: last.map(({ bucket, path }) => mount(bucket, { name: path.replace("/", "-"), path })),
							}),
						);
					}
					const tops = [...new Set(last.map(({ path }) => path.split("/")[0] ?? ""))].toSorted();
					await until(
						async () => {
							if ((await ls(here.target)).join() !== tops.join()) return false;
							const texts = await Promise.all(last.map(async ({ path }) => cat(here.target, path, "hello.txt")));
							return texts.every((text, index) => text === `hello from ${last[index]?.bucket}`);
						},
						20_000,
						() => `not as ${JSON.stringify(last)}:\n${here.output.slice(-6000)}`,
					);
				},
			),
			{ numRuns: 15 },
		);
		expect(new Set((await here.status()).mounts.map(({ restarts }) => restarts)).has(1)).toBe(false);
		expect(await here.stop()).toBe(0);
	},
);

test("a plain file that is written in place is followed as well", async () => {
	const here = await podWith([mount("one"), mount("two")], { oldConfigPlace: true });
	writeFileSync(here.configFile, here.renderConfig({ mounts: [mount("one"), mount("two"), mount("three")] }));
	await until(
		async () => (await cat(here.target, "three/hello.txt")) === "hello from three",
		10_000,
		() => here.output,
	);
	expect(await here.stop()).toBe(0);
});

test("what changes between the first look at the config and the first look at the files is not lost", async () => {
	for (let round = 0; round < 5; round++) {
		pod = new Pod({ mounts: [mount("one"), mount("two")], secrets: secrets() });
		const here = pod;
		here.start();
		await until(
			() => here.log.some(({ msg }) => msg === "launcher started"),
			10_000,
			() => here.output,
		);
		await sleep(round * 60);
		writeAtomically(join(here.folder, "config"), {
			"config.json": here.renderConfig({ mounts: [mount("three"), mount("one")] }),
		});
		await until(
			async () => (await ls(here.target)).join() === "one,three",
			10_000,
			() => here.output,
		);
		expect(await here.stop()).toBe(0);
		await here.cleanup();
	}
});
