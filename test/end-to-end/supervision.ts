import { execFileSync, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, until, unmountAll, type PodOptions } from "../support/pod.ts";
import { minioPod, type S3DriverUnderTest } from "../support/s3-drivers.ts";

/** A file of the mount, read by another process: a hung mount must not hang the tests. */
function readThroughMount(path: string): string {
	return execFileSync("cat", [path], { encoding: "utf8", timeout: 5000 });
}

function openDescriptors(pid: number): number {
	return Number(execFileSync("sh", ["-c", `ls /proc/${pid}/fd | wc -l`], { encoding: "utf8" }));
}

/** What becomes of a mount of this driver when it, the launcher or somebody else ends it: a file of tests for each, since they wait most of their time. */
export function testSupervision(driver: S3DriverUnderTest): void {
	let minio: Minio;
	let pod: Pod | undefined;

	beforeAll(async () => {
		minio = await startMinio();
		await minio.createBucket("data");
		await minio.put("data", "hello.txt", "hello\n");
	});
	afterAll(async () => minio.stop());
	afterEach(async () => {
		await pod?.cleanup();
		pod = undefined;
	});

	const createPod = (more: Partial<PodOptions> = {}): Pod => (pod = new Pod(minioPod(minio, "data", driver, more)));

	test(
		"comes back after its driver is killed twenty times in a row, and leaves nothing behind",
		{ timeout: 300_000 },
		async () => {
			const here = createPod();
			const { target } = here;
			here.start();
			await here.untilReady();
			const descriptorsBefore = openDescriptors(here.pid);
			for (let kill = 1; kill <= 20; kill++) {
				const { pid } = await here.mount();
				process.kill(pid ?? 0, "SIGKILL");
				await until(
					async () => {
						const mount = await here.mount();
						return mount.ready && mount.restarts === kill;
					},
					20_000,
					() => `not back after kill ${kill}:\n${here.output}`,
				);
				expect(readThroughMount(join(target, "hello.txt"))).toBe("hello\n");
			}
			// After a second each time, with a fifth of jitter.
			const waits = here.log.filter(({ msg }) => msg === "mount broken").map(({ retryInMs }) => Number(retryInMs));
			expect(waits).toHaveLength(20);
			expect(Math.max(...waits)).toBeLessThanOrEqual(1200);
			const children = here.descendants();
			expect(children.filter(({ state }) => state.startsWith("Z"))).toEqual([]);
			expect(children).toHaveLength(1);
			expect(openDescriptors(here.pid)).toBeLessThanOrEqual(descriptorsBefore + 1);
			// The lowest, and the one that is alive.
			expect((await here.layers()).length).toBe(2);
			expect((await here.mount()).layers).toBe((await here.layers()).length);
			expect(await here.stop()).toBe(0);
			expect(await here.layers()).toEqual([]);
			expect(
				(await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(`${here.runDirectory}/`)),
			).toEqual([]);
		},
	);

	test("goes on while it cannot look at the mounts, since that says nothing about them", async () => {
		const here = createPod();
		here.start();
		await here.untilReady();
		const { pid } = await here.mount();
		// No file can be opened and no process be started any more.
		const allow = (files: string): void => void execFileSync("prlimit", ["--pid", `${here.pid}`, `--nofile=${files}`]);
		const before = execFileSync("prlimit", ["--pid", `${here.pid}`, "--nofile", "-o", "SOFT,HARD", "--noheadings"]);
		allow("3:");
		await sleep(7000);
		expect(readThroughMount(join(here.target, "hello.txt"))).toBe("hello\n");
		allow(`${before.toString().trim().split(/\s+/)[0]}:`);
		await here.untilReady();
		expect(await here.mount()).toMatchObject({ pid, restarts: 0, state: "ready" });
		expect(await here.stop()).toBe(0);
	});

	test("a new launcher mounts over what a killed one has left, and heals who had it mounted", async () => {
		const here = createPod();
		const { target, folder } = here;
		here.start();
		await here.untilReady();
		// What an application's pod has: a bind of the target that gets later mounts (HostToContainer).
		const application = join(folder, "application");
		execFileSync("mkdir", [application]);
		execFileSync("mount", ["--bind", target, application]);
		execFileSync("mount", ["--make-slave", application]);
		here.launcher?.kill("SIGKILL");
		await here.ended();
		await until(
			() => {
				try {
					readThroughMount(join(application, "hello.txt"));
					return false;
				} catch {
					return true;
				}
			},
			5000,
			() => "the driver outlived its launcher",
		);
		here.start();
		await here.untilReady();
		expect(readThroughMount(join(target, "hello.txt"))).toBe("hello\n");
		expect(readThroughMount(join(application, "hello.txt"))).toBe("hello\n");
		await unmountAll(application);
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
	});

	test("a frozen driver makes it not ready within 5 s while probes answer fast, with one stuck process at most", async () => {
		const here = createPod();
		here.start();
		await here.untilReady();
		const { pid = 0 } = await here.mount();
		const asked = async (): Promise<readonly [ms: number, isReady: boolean]> => {
			const askedAt = performance.now();
			const ready = await here.ask("/readyz");
			const live = await here.ask("/livez");
			expect(live.statusCode).toBe(200);
			return [(performance.now() - askedAt) / 2, ready.statusCode === 200];
		};
		const latenciesBefore: number[] = [];
		for (let time = 0; time < 40; time++) {
			const [ms, isReady] = await asked();
			expect(isReady).toBe(true);
			latenciesBefore.push(ms);
		}
		process.kill(pid, "SIGSTOP");
		const frozenAt = performance.now();
		const latencies: number[] = [];
		let notReadyAfter: number | undefined;
		while (performance.now() - frozenAt < 8000) {
			const [ms, isReady] = await asked();
			latencies.push(ms);
			if (!isReady) notReadyAfter ??= performance.now() - frozenAt;
			expect(isReady, "it must not become ready again while frozen").toBe(notReadyAfter === undefined);
			expect(here.descendants().filter(({ command }) => command.startsWith("stat ")).length).toBeLessThanOrEqual(1);
			await sleep(50);
		}
		expect(notReadyAfter).toBeLessThan(5000);
		// On a busy machine everything takes longer, before as well.
		const atMost = (each: readonly number[], share: number): number =>
			each.toSorted((a, b) => a - b)[Math.floor(each.length * share)] ?? 0;
		expect(atMost(latencies, 0.95)).toBeLessThan(Math.max(50, 3 * atMost(latenciesBefore, 0.95)));
		expect((await here.mount()).state).toBe("degraded");
		expect((await here.ask("/readyz")).body).toContain("no answer to statfs");
		process.kill(pid, "SIGCONT");
		await here.untilReady(5000);
		expect((await here.mount()).restarts).toBe(0);
		expect(await here.stop()).toBe(0);
	});

	test("a driver that is frozen with a request swallowed is aborted past the limit, and its caller freed", async () => {
		const here = createPod({ env: { FLUID_FUSE_HANG_TIMEOUT: "5s" } });
		const { target } = here;
		here.start();
		await here.untilReady();
		const { pid = 0 } = await here.mount();
		process.kill(pid, "SIGSTOP");
		const caller = spawn("ls", ["-l", target], { stdio: "ignore" });
		const callerEnded = new Promise<void>((resolve) => caller.on("exit", () => resolve()));
		await until(
			async () => (await here.mount()).restarts === 1,
			15_000,
			() => here.output,
		);
		await Promise.race([
			callerEnded,
			sleep(5000).then(() => {
				throw new Error("the caller still hangs");
			}),
		]);
		await here.untilReady();
		expect(readThroughMount(join(target, "hello.txt"))).toBe("hello\n");
		// The native one is asked itself, and does not have to be waited for so long.
		expect((await here.mount()).lastError?.code, here.output).toBe(
			driver.name === "native" ? "DRIVER_HUNG" : "MOUNT_HUNG",
		);
		expect(await here.stop()).toBe(0);
	});

	test("SIGTERM with a frozen driver ends within the stop timeout", async () => {
		const here = createPod({ env: { FLUID_FUSE_STOP_TIMEOUT: "6s" } });
		here.start();
		await here.untilReady();
		const { pid = 0 } = await here.mount();
		process.kill(pid, "SIGSTOP");
		const startedAt = performance.now();
		expect(await here.stop()).toBe(0);
		expect(performance.now() - startedAt).toBeLessThan(6500);
		expect(await here.layers()).toEqual([]);
		expect(() => process.kill(pid, 0)).toThrow();
	});

	test("somebody's umount of the target means stop, not mount again", async () => {
		const here = createPod();
		const { target } = here;
		here.start();
		await here.untilReady();
		execFileSync("umount", [target]);
		expect(await here.ended(10_000)).toBe(0);
		expect(await here.layers()).toEqual([]);
		expect(here.log.filter(({ msg }) => msg === "mounted")).toHaveLength(1);
	});

	test("somebody's umount while the driver is dead and about to be started again means stop as well", async () => {
		const here = createPod();
		here.start();
		await here.untilReady();
		process.kill((await here.mount()).pid ?? 0, "SIGKILL");
		await until(
			async () => (await here.mount()).state === "recovering",
			5000,
			() => here.output,
		);
		execFileSync("umount", [here.target]);
		expect(await here.ended(10_000)).toBe(0);
		expect(await here.layers()).toEqual([]);
		expect(here.log.filter(({ msg }) => msg === "mounted")).toHaveLength(1);
	});

	test("SIGTERM while the driver is still starting ends at once, and is no forced abort", async () => {
		const here = createPod();
		here.start();
		await until(
			() => here.output.includes('"driver started"'),
			10_000,
			() => here.output,
		);
		const startedAt = performance.now();
		expect(await here.stop()).toBe(0);
		expect(performance.now() - startedAt).toBeLessThan(4000);
		expect(await here.layers()).toEqual([]);
		expect(here.log.map(({ msg }) => msg)).not.toContain("mount aborted by force");
	});

	test("a preStop of umount followed by SIGTERM at once leaves no mount behind", async () => {
		const here = createPod();
		const { target } = here;
		here.start();
		await here.untilReady();
		execFileSync("umount", [target]);
		here.launcher?.kill("SIGTERM");
		expect(await here.ended(10_000)).toBe(0);
		expect(await here.layers()).toEqual([]);
	});

	test("prestop unmounts, ends the launcher with 0, and may be called again", async () => {
		const here = createPod();
		here.start();
		await here.untilReady();
		const [first, second] = await Promise.all([here.command("prestop"), here.command("prestop")]);
		expect([first.exitCode, second.exitCode], first.stderr + second.stderr).toEqual([0, 0]);
		expect(await here.ended(5000)).toBe(0);
		expect(await here.layers()).toEqual([]);
		expect((await here.command("prestop")).exitCode).toBe(0);
	});

	test.each([
		["ReadWriteMany", "what may be lost"],
		["ReadOnlyMany", "nothing lost"],
	])(
		"a busy mount at SIGTERM (%s) gets time, then is detached within the stop timeout, and the log names who held it, and %s",
		async (mode) => {
			const here = createPod({ accessModes: [mode], env: { FLUID_FUSE_STOP_TIMEOUT: "6s" } });
			const { target } = here;
			here.start();
			await here.untilReady();
			const held = openSync(join(target, "hello.txt"), "r");
			const startedAt = performance.now();
			try {
				expect(await here.stop()).toBe(0);
			} finally {
				// Its mount is gone.
				expect(() => readSync(held, Buffer.alloc(1))).toThrow("ENOTCONN");
				try {
					closeSync(held);
				} catch {
					// Only where closing is a request.
				}
			}
			expect(performance.now() - startedAt).toBeLessThan(6500);
			expect(await here.layers()).toEqual([]);
			expect(here.output).toContain(`"pid":${process.pid}`);
			const aborted = here.log.find(({ msg }) => msg === "mount aborted by force");
			expect(aborted).toBeDefined();
			expect(aborted !== undefined && "mayHaveLost" in aborted).toBe(mode === "ReadWriteMany");
		},
	);

	test("what an application wrote and closed before SIGTERM is in the bucket", async () => {
		const here = createPod({ accessModes: ["ReadWriteMany"] });
		const { target } = here;
		here.start();
		await here.untilReady();
		const content = "x".repeat(3_000_000);
		writeFileSync(join(target, "written.bin"), content);
		expect(await here.stop()).toBe(0);
		expect((await minio.get("data", "written.bin")).toString() === content).toBe(true);
	});

	test("never touches a filesystem of somebody else at the target", async () => {
		const here = createPod();
		const { target } = here;
		execFileSync("mkdir", [target]);
		execFileSync("mount", ["-t", "tmpfs", "somebody", target]);
		writeFileSync(join(target, "theirs"), "theirs");
		here.start();
		await until(
			async () => (await here.ask("/status")).body.includes("MOUNTPOINT_IN_USE"),
			10_000,
			() => here.output,
		);
		expect(readFileSync(join(target, "theirs"), "utf8")).toBe("theirs");
		expect(await here.stop()).toBe(0);
		expect((await here.layers()).map(({ source }) => source)).toEqual(["somebody"]);
	});

	test("mounts as soon as somebody else's filesystem has gone", async () => {
		const here = createPod();
		const { target } = here;
		execFileSync("mkdir", [target]);
		execFileSync("mount", ["-t", "tmpfs", "somebody", target]);
		here.start();
		await until(
			async () => (await here.ask("/status")).body.includes("MOUNTPOINT_IN_USE"),
			10_000,
			() => here.output,
		);
		execFileSync("umount", [target]);
		await here.untilReady(10_000);
		expect(await here.stop()).toBe(0);
	});
}
