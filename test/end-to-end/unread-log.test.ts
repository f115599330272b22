import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, projectRoot, until } from "../support/pod.ts";
import { minioPod } from "../support/s3-drivers.ts";

let minio: Minio;
let pod: Pod | undefined;
const cleanups: (() => void)[] = [];

beforeAll(async () => {
	minio = await startMinio({ rootUser: "root-of-the-unread-log-test" });
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	for (const cleanup of cleanups.splice(0).toReversed()) cleanup();
	await pod?.cleanup();
	pod = undefined;
});

/** A launcher whose log goes into a full pipe, as when the container runtime hangs, and whose driver has much to say. */
async function startUnread() {
	const programs = join(projectRoot, "test/fixtures/programs/flood");
	const options = minioPod(minio, "data", { title: "goofys", name: "goofys", programs });
	const here = new Pod({ ...options, env: { ...options.env, FLUID_FUSE_STOP_TIMEOUT: "6s" } });
	pod = here;
	const pipe = join(here.folder, "log");
	execFileSync("mkfifo", [pipe]);
	const [end, unread] = [openSync(pipe, "r+"), openSync(pipe, "w")];
	const child = spawn(program, [], { env: here.environment(), stdio: ["ignore", unread, "ignore"] });
	closeSync(unread);
	cleanups.push(() => closeSync(end));
	cleanups.push(() => child.kill("SIGKILL"));
	await here.untilReady();
	for (let kill = 1; kill <= 6; kill++) {
		process.kill((await here.mount()).pid ?? 0, "SIGKILL");
		await until(
			async () => (await here.mount()).restarts === kill && (await here.mount()).ready,
			10_000,
			() => `not back after kill ${kill}`,
		);
	}
	return { here, child };
}

test("a launcher whose log nobody reads goes on supervising and answering, in bounded memory", async () => {
	const { here, child } = await startUnread();
	const { stdout } = await execa("cat", [join(here.target, "hello.txt")], { timeout: 10_000 });
	expect(stdout).toBe("hello");
	expect((await here.ask("/livez")).statusCode).toBe(200);
	const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1024;
	expect(peak).toBeLessThan(150);
});

test("a launcher whose log nobody reads unmounts and ends on SIGTERM, within the stop timeout", async () => {
	const { here, child } = await startUnread();
	const ended = once(child, "exit");
	child.kill("SIGTERM");
	expect(await Promise.race([ended, sleep(7000, "it still runs")])).toEqual([0, null]);
	expect(await here.layers()).toEqual([]);
});
