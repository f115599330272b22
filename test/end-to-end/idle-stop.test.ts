import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { OpenFile } from "../support/application.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, until } from "../support/pod.ts";
import { minioPod, testedDrivers } from "../support/s3-drivers.ts";

/** Far from the 25 s of the default, and enough for a busy machine; by itself it takes less than two. */
const soonMs = 8000;
const podUid = "0f8b5d2e-3c1a-4e67-9b21-7d5a6c4e8f10";

let minio: Minio;
let pod: Pod | undefined;
let file: OpenFile | undefined;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	file?.kill();
	await pod?.cleanup();
	pod = undefined;
});

/** A pod that is ready, and the place where CSI has mounted its volume for an application. */
async function usedPod(...args: Parameters<typeof minioPod> extends [unknown, unknown, ...infer Rest] ? Rest : never) {
	const [driver, more] = args;
	pod = new Pod(minioPod(minio, "data", driver, more));
	pod.start();
	await pod.untilReady();
	const published = join(pod.folder, "kubelet/pods", podUid, "volumes/kubernetes.io~csi/default-demo/mount");
	mkdirSync(published, { recursive: true });
	execFileSync("mount", ["--bind", pod.target, published]);
	return { here: pod, published };
}

describe.each(testedDrivers())("$title", (driver) => {
	test.each([
		["an application that only has the volume mounted is nobody to wait for", "/proc"],
		["nor is it where the node cannot be seen", "/nowhere"],
	])("%s", async (_, FLUID_FUSE_NODE_PROC) => {
		const { here, published } = await usedPod(driver, {
			accessModes: ["ReadWriteMany"],
			env: { FLUID_FUSE_NODE_PROC },
		});
		execFileSync("sh", ["-c", `echo written > ${published}/written.txt && cat ${published}/hello.txt`]);
		const startedAt = performance.now();
		expect(await here.stop()).toBe(0);
		expect(performance.now() - startedAt).toBeLessThan(soonMs);
		expect(here.log.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
		expect(here.output).not.toContain("mayHaveLost");
		expect((await minio.get("data", "written.txt")).toString()).toBe("written\n");
	});

	test("who reads is waited for and named, with the pod's mount that it reads through", async () => {
		const { here, published } = await usedPod(driver, { env: { FLUID_FUSE_NODE_PROC: "/proc" } });
		file = new OpenFile(join(published, "hello.txt"), "r");
		expect(await file.step("open")).toBe('ok ""');
		here.launcher?.kill("SIGTERM");
		const message = "files are open, waiting for applications";
		await until(
			() => here.output.includes(message),
			10_000,
			() => here.output,
		);
		expect(await file.step("read", 100)).toBe(String.raw`ok "hello\n"`);
		expect(await file.step("close")).toBe('ok ""');
		const closedAt = performance.now();
		expect(await here.ended()).toBe(0);
		expect(performance.now() - closedAt).toBeLessThan(soonMs);
		expect(here.log.find(({ msg }) => msg === message)).toMatchObject({
			holders: [{ pid: file.pid, path: join(published, "hello.txt"), isOpen: true }],
		});
		expect(here.output).not.toContain("aborted by force");
	});

	test("who writes is waited for, also where it cannot be seen, and loses nothing", async () => {
		const { here, published } = await usedPod(driver, {
			accessModes: ["ReadWriteMany"],
			env: { FLUID_FUSE_NODE_PROC: "/nowhere" },
		});
		file = new OpenFile(join(published, "late.bin"), "w");
		expect(await file.step("open")).toBe('ok ""');
		here.launcher?.kill("SIGTERM");
		await until(
			() => here.output.includes("files are open, waiting for applications"),
			10_000,
			() => here.output,
		);
		expect(await file.step("write", 100_000)).toBe('ok ""');
		expect(await file.step("close")).toBe('ok ""');
		expect(await here.ended()).toBe(0);
		expect((await minio.get("data", "late.bin")).length).toBe(100_000);
		expect(here.output).not.toContain("aborted by force");
	});
});

test("the time that preStop's own process has waited for its turn is part of the time to stop", async () => {
	const { here } = await usedPod({ title: "native", name: "native" });
	// What a busy node does to it: the same process, long before it can ask.
	await execa("sh", ["-c", 'sleep 1.5; exec "$0" prestop', program], { env: here.environment(), extendEnv: false });
	expect(await here.ended()).toBe(0);
	const { stopTimeoutMs } = here.log.find(({ msg }) => msg === "draining") ?? {};
	expect(stopTimeoutMs).toBeLessThanOrEqual(25_000 - 1400);
	expect(stopTimeoutMs).toBeGreaterThan(10_000);
});
