import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { Pod, program, until } from "../support/pod.ts";

const periodMicroseconds = 100_000;

/**
 * What kubelet makes of a container's limit for CPU, of version 1 or 2. Undefined where this machine allows none. It comes
 * before all others, so that a limit is what it really gets, whatever else runs on this machine.
 */
function createCpuGroup(): { readonly folder: string; readonly limit: (microseconds: number) => void } | undefined {
	const name = `fluid-fuse-test-${process.pid}`;
	const first = "/sys/fs/cgroup/cpu";
	const [parent, weight, share] = existsSync(join(first, "cpu.cfs_quota_us"))
		? [first, "cpu.shares", "262144"]
		: ["/sys/fs/cgroup", "cpu.weight", "10000"];
	const folder = join(parent, name);
	const limit = (microseconds: number): void =>
		parent === first
			? writeFileSync(join(folder, "cpu.cfs_quota_us"), `${microseconds}`)
			: writeFileSync(join(folder, "cpu.max"), `${microseconds} ${periodMicroseconds}`);
	try {
		mkdirSync(folder);
		limit(periodMicroseconds);
		writeFileSync(join(folder, weight), share);
		return { folder, limit };
	} catch {
		// Not root, read-only, or a group whose parent does not share out CPU.
		return undefined;
	}
}

const group = createCpuGroup();
if (group === undefined) process.stderr.write("skipped: starvation, because no cgroup for CPU can be made here\n");

describe.skipIf(group === undefined)("a container that gets too little CPU", () => {
	const { folder, limit } = group ?? { folder: "", limit: () => undefined };
	const enter = (pid: number): void => writeFileSync(join(folder, "cgroup.procs"), `${pid}`);
	let pod: Pod;
	let loops: ReturnType<typeof startLoop>[] = [];

	beforeEach(async () => {
		// Nobody is at that address: liveness has nothing to do with a backend.
		pod = new Pod({
			mounts: [{ mountPoint: "s3://bucket", options: { endpoint: "http://127.0.0.1:9" } }],
			env: { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" },
		});
		pod.start();
		await until(
			async () => (await pod.ask("/livez")).statusCode === 200,
			20_000,
			() => `not live:\n${pod.output}`,
		);
		for (const { pid } of [{ pid: pod.pid }, ...pod.descendants()]) enter(pid);
		loops = Array.from({ length: 20 }, startLoop);
		for (const { pid = 0 } of loops) enter(pid);
	});
	afterEach(async () => {
		limit(periodMicroseconds);
		for (const loop of loops) loop.kill("SIGKILL");
		await Promise.all(loops);
		await pod.cleanup();
	});
	afterAll(async () => {
		// Empty as soon as the kernel has buried what was in it.
		const left = (): string => readFileSync(join(folder, "cgroup.procs"), "utf8");
		await until(() => left() === "", 10_000, left);
		rmdirSync(folder);
	});

	/** A probe of kubelet: in the container, ended after timeoutSeconds. */
	const probe = async (question: string, { inside }: { inside: boolean }) => {
		const script = `${inside ? `echo $$ >${folder}/cgroup.procs; ` : ""}exec "$0" probe ${question}`;
		const { exitCode, stdout, stderr } = await execa("sh", ["-c", script, program], {
			env: pod.environment(),
			reject: false,
			timeout: 10_000,
		});
		return { exitCode, stdout, stderr };
	};

	test("is live, with a fifth of a processor and twenty others who want it", { timeout: 120_000 }, async () => {
		limit(periodMicroseconds / 5);
		const answers: Awaited<ReturnType<typeof probe>>[] = [];
		// As many in a row have to fail before kubelet ends a container.
		while (answers.length < 6) answers.push(await probe("live", { inside: true }));
		expect(answers).toContainEqual({ exitCode: 0, stdout: "ok", stderr: "" });
		// The others had no time to ask, or no answer; none was told that something is wrong.
		for (const { exitCode, stderr } of answers) expect([0, undefined], stderr).toContain(exitCode);
	});

	test("is told from one that is stuck when it has no time to answer", { timeout: 120_000 }, async () => {
		limit(periodMicroseconds / 100);
		// The others come first, always.
		await execa("chrt", ["--all-tasks", "--idle", "--pid", "0", `${pod.pid}`]);
		const [live, ready] = await Promise.all([probe("live", { inside: false }), probe("ready", { inside: false })]);
		expect(live.stderr).toMatch(/did not answer within 9 s, .*: it is starved, not dead\. Give the container/);
		expect(live.exitCode).toBe(0);
		expect(ready.stderr).toContain("it is starved, not dead");
		expect(ready.exitCode).toBe(1);
		limit(periodMicroseconds);
		for (const loop of loops) loop.kill("SIGKILL");
		await execa("chrt", ["--all-tasks", "--other", "--pid", "0", `${pod.pid}`]);
		pod.launcher?.kill("SIGSTOP");
		await expect.poll(() => readFileSync(`/proc/${pod.pid}/stat`, "utf8")).toMatch(/\) T /);
		const stuck = await probe("live", { inside: false });
		pod.launcher?.kill("SIGCONT");
		expect(stuck.stderr).toMatch(
			/did not answer within 9 s, in which it ran for 0\.0 s and waited \d\.\d s for a processor$/,
		);
		expect(stuck.exitCode).toBe(1);
		await expect.poll(async () => (await probe("live", { inside: false })).exitCode, { timeout: 20_000 }).toBe(0);
	});
});

function startLoop() {
	return execa("sh", ["-c", "while :; do :; done"], { reject: false, forceKillAfterDelay: false });
}
