import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../support/listen.ts";
import { projectRoot, until } from "../support/pod.ts";
import { minioPod } from "../support/s3-drivers.ts";
import type { StorageContainer, StorageContainerOptions } from "./storage-container.ts";
import { podman } from "./store.ts";
import { useImages } from "./use-images.ts";

const given = useImages();

beforeAll(async () => {
	await given.minio.createBucket("bucket");
	await given.minio.put("bucket", "hello.txt", "hello\n");
});

async function start(more: Partial<StorageContainerOptions> = {}, image: "native" | "goofys" = "native") {
	const options = minioPod(given.minio, "bucket", { title: image, name: image });
	return given.start(given.images.references[image], { ...options, ...more });
}

interface Process {
	readonly pid: number;
	readonly name: string;
	readonly state: string;
	readonly commandLine: string;
}

async function processes(here: StorageContainer): Promise<Process[]> {
	const command =
		'for each in /proc/[0-9]*; do echo "$(cat $each/stat 2>/dev/null) $(tr "\\0" " " <$each/cmdline)"; done 2>/dev/null';
	const { stdout } = await here.exec(["bash", "-c", command]);
	return [...stdout.matchAll(/^(\d+) \((.*)\) (\S)(?: -?\d+)+ ?(.*)$/gm)].map(
		([, pid, name = "", state = "", commandLine = ""]) => ({
			pid: Number(pid),
			name,
			state,
			commandLine: commandLine.trim(),
		}),
	);
}

describe("PID 1", () => {
	test.each([
		["of the image's entrypoint", {}],
		["of a profile's command fluid-fuse", { command: ["fluid-fuse"] }],
		["of a profile's command with arguments", { command: ["fluid-fuse"], args: ["run"] }],
		["of a profile's command tini -- fluid-fuse", { command: ["tini", "--", "fluid-fuse"] }],
	])("%s is tini, which ends with the launcher", async (_name, form) => {
		const here = await start(form);
		await here.untilReady();
		const all = await processes(here);
		expect(all.find(({ pid }) => pid === 1)?.name).toBe("tini");
		expect(all.filter(({ name }) => name === "tini")).toHaveLength(1);
		await here.kill("TERM");
		expect(await here.ended()).toBe(0);
		expect(await here.pod.layers()).toEqual([]);
	});

	test("reaps 1,000 orphans", async () => {
		const here = await start();
		await here.untilReady();
		// Each sleep loses its parent at once, and ends as a child of PID 1.
		const orphans =
			"for i in {1..1000}; do (exec 2>/dev/null; sleep 1 & ); done; sleep 0.2; grep -l '^PPid:\t1$' /proc/[0-9]*/status | wc -l";
		const { stdout } = await here.exec(["bash", "-c", orphans]);
		expect(Number(stdout.trim())).toBeGreaterThan(100);
		await until(
			async () => !(await processes(here)).some(({ name, state }) => name === "sleep" || state === "Z"),
			20_000,
			() => "there are zombies",
		);
	});

	test.each(["TERM", "INT"])("SIG%s ends it with 0", async (signal) => {
		const here = await start();
		await here.untilReady();
		await here.kill(signal);
		expect(await here.ended()).toBe(0);
	});

	test("survives the signals that are not for it", async () => {
		const here = await start();
		await here.untilReady();
		for (const signal of ["HUP", "USR2", "PIPE"]) await here.kill(signal);
		await until(
			async () => (await here.logs()).match(/signal ignored/g)?.length === 3,
			10_000,
			() => "not all were passed on",
		);
		expect((await here.exec(["fluid-fuse", "probe", "ready"])).exitCode).toBe(0);
	});

	test("ends with each of the 256 exit codes of the program below it", async () => {
		const here = await start({ files: { "/node/node": join(projectRoot, "test/images/exit-with.sh") } });
		await here.untilReady();
		// In a PID namespace for each, so that fluid-fuse is PID 1 there and starts tini.
		const codes = Array.from({ length: 256 }, (_, code) => code);
		const script = `export PATH=/node:$PATH; for code in {0..255}; do unshare --pid --fork --mount-proc fluid-fuse $code; echo $?; done`;
		const { stdout } = await here.exec(["bash", "-c", script], 60_000);
		expect(stdout.trim().split("\n")).toEqual(codes.map((code) => `${code}`));
	});
});

describe("the probes of kubelet", () => {
	test("by exec answer within its time limits, also while the mount hangs, and say why not", async () => {
		const here = await start();
		await here.untilReady();
		for (const probe of ["live", "ready", "startup"]) {
			expect(await here.exec(["fluid-fuse", "probe", probe], 3000)).toEqual({ exitCode: 0, stdout: "ok", stderr: "" });
		}
		expect((await here.exec(["fluid-fuse", "status"])).stdout).toMatch(/^ +mounts +1 of 1 ready$/m);
		const filesystem = (await processes(here)).find(({ commandLine }) => commandLine.endsWith("filesystem"));
		await here.exec(["bash", "-c", `kill -STOP ${filesystem?.pid}`]);
		let answer = await here.exec(["fluid-fuse", "probe", "ready"], 3000);
		await until(
			async () => (answer = await here.exec(["fluid-fuse", "probe", "ready"], 3000)).exitCode !== 0,
			10_000,
			() => "it stayed ready",
		);
		expect(answer.exitCode).toBe(1);
		expect(`${answer.stdout}${answer.stderr}`).toContain("mount/minio failed");
		expect((await here.exec(["fluid-fuse", "probe", "live"], 3000)).exitCode).toBe(0);
		await here.exec(["bash", "-c", `kill -CONT ${filesystem?.pid}`]);
		await here.untilReady();
	});

	test("by HTTP are answered on the node's network", async () => {
		const port = await freePort();
		const here = await start({ env: { FLUID_FUSE_PROBE_ADDRESS: `127.0.0.1:${port}` } });
		await here.untilReady();
		for (const path of ["livez", "readyz", "startupz"]) {
			const { status } = await fetch(`http://127.0.0.1:${port}/${path}`, { signal: AbortSignal.timeout(1000) });
			expect(status).toBe(200);
		}
		await here.exec(["fluid-fuse", "prestop"]);
		expect(await here.ended()).toBe(0);
	});
});

test("a driver's exit code is in the log, for each of 256", async () => {
	const mounts = Array.from({ length: 256 }, (_, code) => ({
		mountPoint: `minio://bucket/${code}/`,
		name: `exits-${code}`,
		options: minioPod(given.minio, "bucket", { title: "", name: "goofys" }).mounts[0]?.options ?? {},
	}));
	const here = await start(
		{ mounts, files: { "/usr/local/bin/goofys": join(projectRoot, "test/images/exit-with.sh") } },
		"goofys",
	);
	const seen = async (): Promise<Set<unknown>> => {
		const lines = (await here.logs()).split("\n").filter((line) => line.includes('"driver ended"'));
		const ended = lines.map((line) => JSON.parse(line) as { mount?: string; exitCode?: number });
		return new Set(
			ended.filter(({ mount, exitCode }) => mount === `exits-${exitCode}`).map(({ exitCode }) => exitCode),
		);
	};
	await expect.poll(async () => (await seen()).size, { timeout: 45_000, interval: 500 }).toBe(256);
});

test("the root is read-only, and the compiled code of both processes comes with the image", async () => {
	const here = await start();
	await here.untilReady();
	expect((await here.exec(["touch", "/new"])).stderr).toContain("Read-only file system");
	await here.remove();
	// Where it can, Node writes at its end what it did not find.
	const writable = await start({ writableRoot: true });
	await writable.untilReady();
	await writable.kill("TERM");
	expect(await writable.ended()).toBe(0);
	expect((await podman(["diff", writable.name])).stdout).not.toContain("compile-cache");
	await writable.remove();
	const withoutKeys = await start({
		writableRoot: true,
		mounts: [{ mountPoint: "s3://bucket", name: "bucket", options: { endpoint: given.minio.endpoint } }],
		env: { AWS_EC2_METADATA_DISABLED: "true" },
	});
	expect(await withoutKeys.ended()).toBe(77);
	expect(withoutKeys.pod.terminationMessage).toMatchObject({ class: "authentication" });
	expect((await podman(["diff", withoutKeys.name])).stdout).not.toContain("compile-cache");
});

test("without the rights that Fluid gives it says so", async () => {
	const here = await start({ unprivileged: true });
	expect(await here.ended()).toBe(71);
	expect(here.pod.terminationMessage).toMatchObject({
		exitCode: 71,
		hint: expect.stringContaining("privileged: true"),
	});
});
