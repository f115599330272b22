import { execFileSync } from "node:child_process";
import { connect } from "node:net";
import { mkdtempSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, projectRoot, until, type PodOptions } from "../support/pod.ts";
import { minioPod, s3Drivers } from "../support/s3-drivers.ts";

let minio: Minio;
const pods: Pod[] = [];
const goofys = s3Drivers().find(({ name }) => name === "goofys");
if (goofys === undefined) throw new Error("no goofys to test with: run npm run setup");

beforeAll(async () => {
	minio = await startMinio({ rootUser: "root-of-the-output-test" });
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	for (const pod of pods.splice(0)) await pod.cleanup();
});

function createPod(more: Partial<PodOptions> = {}): Pod {
	const pod = new Pod({ ...minioPod(minio, "data", { title: "goofys", name: "goofys" }), ...more });
	pods.push(pod);
	return pod;
}

/** A program that misbehaves and then becomes the real goofys. */
function misbehaving(name: string): Partial<PodOptions> {
	return {
		programs: [join(projectRoot, "test/fixtures/programs", name), goofys?.programs]
			.filter((path) => path !== undefined)
			.join(delimiter),
	};
}

function residentMegabytes(pid: number): number {
	return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

function lines(pod: Pod): string[] {
	return pod.log.filter(({ msg }) => msg === "driver output").map(({ line }) => String(line));
}

describe("a driver's output never stops the launcher or fills its memory", () => {
	test.each(["long-line", "flood", "binary", "closes-output"])("%s", async (name) => {
		const calm = createPod();
		calm.start();
		await calm.untilReady();
		const usualMegabytes = residentMegabytes(calm.pid);
		await calm.stop();
		const pod = createPod(misbehaving(name));
		pod.start();
		await pod.untilReady(30_000);
		expect(residentMegabytes(pod.pid) - usualMegabytes).toBeLessThan(40);
		expect(execFileSync("cat", [join(pod.target, "hello.txt")], { encoding: "utf8", timeout: 10_000 })).toBe("hello\n");
		expect(await pod.stop()).toBe(0);
		for (const line of pod.output.split("\n")) {
			expect(line.length).toBeLessThan(60_000);
			expect(line === "" || JSON.parse(line) !== undefined).toBe(true);
		}
	});

	test("a line of a mebibyte is cut, and the log says by how much", async () => {
		const pod = createPod(misbehaving("long-line"));
		pod.start();
		await pod.untilReady(30_000);
		await pod.stop();
		const long = pod.log.filter(({ line }) => String(line).startsWith("xxxx"));
		expect(new Set(long.map(({ stream }) => stream))).toEqual(new Set(["stdout", "stderr"]));
		for (const { line } of long) expect(String(line)).toHaveLength(8192);
		expect(Math.max(...long.map(({ truncatedBytes }) => Number(truncatedBytes)))).toBeGreaterThanOrEqual(
			1_048_576 - 8192,
		);
	});

	test("lines that come too fast are counted in the status, the metrics and the log", async () => {
		const pod = createPod(misbehaving("flood"));
		pod.start();
		await pod.untilReady(30_000);
		await until(
			async () => lines(pod).length + (await pod.mount()).droppedLines >= 200_000,
			10_000,
			() => "no dropped lines",
		);
		const { droppedLines } = await pod.mount();
		expect(lines(pod).length + droppedLines).toBeGreaterThanOrEqual(200_000);
		expect((await pod.ask("/metrics")).body).toContain(
			`fluid_fuse_driver_dropped_lines_total{mount="minio"} ${droppedLines}`,
		);
		await pod.stop();
		expect(pod.log.map(({ msg }) => msg)).toContain("driver output dropped");
	});

	test("a secret that a driver prints is masked in every form", async () => {
		const pod = createPod(misbehaving("tells-its-secret"));
		pod.start();
		await pod.untilReady();
		await pod.stop();
		expect(lines(pod)).toContain("told everything");
		expect(lines(pod).filter((line) => line.includes("[redacted]")).length).toBeGreaterThanOrEqual(4);
		const bytes = Buffer.from(minio.secretKey);
		for (const form of [minio.secretKey, bytes.toString("hex"), bytes.toString("base64").slice(0, 20)])
			expect(pod.output).not.toContain(form);
	});

	test("what looks like a log line of ours is only a driver's line", async () => {
		const pod = createPod(misbehaving("binary"));
		pod.start();
		await pod.untilReady(30_000);
		await pod.stop();
		expect(pod.log.filter(({ msg }) => msg === "forged")).toEqual([]);
	});
});

test("two launchers that want one port: the second warns, and both are ready", async () => {
	const listening = createPod({ env: { FLUID_FUSE_DRIVER: "goofys", FLUID_FUSE_PROBE_ADDRESS: "127.0.0.1:19180" } });
	const second = createPod({ env: { FLUID_FUSE_DRIVER: "goofys", FLUID_FUSE_PROBE_ADDRESS: "127.0.0.1:19180" } });
	listening.start();
	await listening.untilReady();
	second.start();
	await second.untilReady();
	expect((await listening.status()).warnings).toEqual([]);
	expect((await second.status()).warnings.join()).toContain("19180");
	expect(await second.stop()).toBe(0);
	expect(await listening.stop()).toBe(0);
});

test("a second launcher with the same RUN_DIR is refused and the first goes on", async () => {
	const pod = createPod();
	pod.start();
	await pod.untilReady();
	const { exitCode, stdout } = await execa(program, [], {
		env: pod.environment(),
		extendEnv: false,
		reject: false,
		timeout: 20_000,
	});
	expect(exitCode).toBe(64);
	expect(stdout).toContain("launcher");
	expect((await pod.mount()).ready).toBe(true);
	expect(await pod.stop()).toBe(0);
});

test("signals that mean nothing to it are ignored, never relayed, and open no debugger", async () => {
	const pod = createPod();
	pod.start();
	await pod.untilReady();
	const { pid } = await pod.mount();
	for (const signal of ["SIGUSR2", "SIGHUP", "SIGPIPE", "SIGUSR1"] as const) pod.launcher?.kill(signal);
	await sleep(1000);
	const debuggerPort = await new Promise<string>((resolve) => {
		const socket = connect(9229, "127.0.0.1", () => resolve("open"));
		socket.on("error", () => resolve("closed"));
	});
	expect(debuggerPort).toBe("closed");
	expect((await pod.mount()).pid).toBe(pid);
	expect((await pod.mount()).ready).toBe(true);
	expect(await pod.stop()).toBe(0);
});

/** What the native driver logs at that level while a file is read and a name is not found. */
async function loggedAt(level: string): Promise<{ readonly requests: unknown[]; readonly operations: unknown[] }> {
	const here = createPod({
		...minioPod(minio, "data", { title: "native", name: "native" }),
		env: { FLUID_FUSE_LOG_LEVEL: level },
	});
	here.start();
	await here.untilReady();
	expect(execFileSync("cat", [join(here.target, "hello.txt")], { encoding: "utf8", timeout: 10_000 })).toBe("hello\n");
	expect(() => execFileSync("cat", [join(here.target, "absent")], { stdio: "pipe", timeout: 10_000 })).toThrow(
		"absent",
	);
	await here.stop();
	const told = (message: string): unknown[] => here.log.filter(({ msg }) => msg === message);
	return { requests: told("request to the server"), operations: told("answered the kernel") };
}

test("at info nothing is logged of what goes well", async () => {
	expect(await loggedAt("info")).toEqual({ requests: [], operations: [] });
});

test("at debug each request to the server is logged, and at trace what the kernel asks for, too", async () => {
	const read = {
		level: "debug",
		bucket: "data",
		operation: "GetObject",
		key: "hello.txt",
		status: 200,
		receivedBytes: 6,
	};
	const debug = await loggedAt("debug");
	expect(debug.requests).toContainEqual(expect.objectContaining({ ...read, ms: expect.any(Number) as number }));
	expect(debug.operations).toEqual([]);
	const trace = await loggedAt("trace");
	expect(trace.requests).toContainEqual(expect.objectContaining(read));
	expect(trace.operations).toContainEqual(
		expect.objectContaining({ level: "trace", operation: "lookup", name: "absent", error: "ENOENT" }),
	);
	expect(trace.operations).toContainEqual(expect.objectContaining({ operation: "read", offset: 0 }));
});

test("goes on supervising when nobody reads its log", async () => {
	const pod = createPod({
		env: { FLUID_FUSE_DRIVER: "goofys", FLUID_FUSE_LOG_LEVEL: "trace" },
		...misbehaving("flood"),
	});
	const unread = execa(program, [], {
		env: pod.environment(),
		extendEnv: false,
		stdin: "ignore",
		stdout: ["pipe"],
		buffer: false,
		reject: false,
	});
	unread.stdout.pause();
	try {
		await pod.untilReady(30_000);
		process.kill((await pod.mount()).pid ?? 0, "SIGKILL");
		await until(
			async () => (await pod.mount()).restarts === 1 && (await pod.mount()).ready,
			30_000,
			() => "not back",
		);
		expect((await pod.ask("/livez")).statusCode).toBe(200);
	} finally {
		unread.stdout.resume();
		unread.kill("SIGTERM");
		await Promise.race([unread, sleep(10_000)]);
		unread.kill("SIGKILL");
	}
});

test("begins, serves, says its status and ends while the disk of its log is full", async () => {
	const disk = mkdtempSync(join(tmpdir(), "fluid-fuse-full-"));
	execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
	writeFileSync(join(disk, "log"), Buffer.alloc(64 * 1024));
	try {
		for (const output of ["/dev/full", join(disk, "log")]) {
			const pod = createPod({ env: { FLUID_FUSE_DRIVER: "goofys", FLUID_FUSE_LOG_LEVEL: "trace" } });
			const running = execa(program, [], {
				env: pod.environment(),
				extendEnv: false,
				stdin: "ignore",
				stdout: { file: output, append: true },
				stderr: "ignore",
				reject: false,
			});
			try {
				await pod.untilReady(30_000);
				expect((await pod.ask("/livez")).statusCode).toBe(200);
				expect(execFileSync("cat", [join(pod.target, "hello.txt")], { encoding: "utf8", timeout: 10_000 })).toBe(
					"hello\n",
				);
				running.kill("SIGTERM");
				const ended = await Promise.race([running, sleep(20_000)]);
				expect(ended).toMatchObject({ exitCode: 0 });
				expect(await pod.layers()).toEqual([]);
			} finally {
				running.kill("SIGKILL");
			}
		}
	} finally {
		execFileSync("umount", [disk]);
		rmdirSync(disk);
	}
});

test.each(["run", "validate", "probe", "status", "prestop", "drivers", "schema"])(
	"%s --help explains itself",
	async (command) => {
		const { exitCode, stdout } = await execa(program, [command, "--help"], { reject: false });
		expect(exitCode).toBe(0);
		expect(stdout).toContain("Usage: fluid-fuse");
	},
);
