import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { Secret } from "../../src/secrets/secret.ts";
import { DriverFaults, type RawOptions, type DriverSession, type StartContext } from "../../src/drivers/driver.ts";
import { native } from "../../src/drivers/native.ts";
import { layersAt, readMountinfo } from "../../src/mounts/mountinfo.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { fuseDescriptors } from "../support/fuse-descriptors.ts";
import { until } from "../support/pod.ts";

/** Nothing listens there: it is mounted all the same. */
const endpoint = "http://127.0.0.1:1";
const keys = {
	"access-key": new Secret("an-access-key", "login/id"),
	"secret-key": new Secret("a-secret-key", "login/key"),
};
const mount = { source: "s3://bucket/a b/", readOnly: false };

let folder: DriverFolder | undefined;
const sessions: DriverSession[] = [];

afterEach(async () => {
	for (const session of sessions.splice(0)) await session.stop({ graceMs: 0 });
	await folder?.remove();
	folder = undefined;
});

function contextWith(changes: Partial<StartContext> = {}): StartContext {
	folder = new DriverFolder();
	return { ...folder.context(), ...changes };
}

async function start(options: RawOptions, changes: Partial<StartContext> = {}) {
	const context = contextWith(changes);
	const session = await native.prepare(mount, { endpoint, ...options }).start(context);
	sessions.push(session);
	const { mountpoint } = context;
	await until(
		async () =>
			(await statfs(mountpoint, 2000)).kind === "answered" && layersAt(await readMountinfo(), mountpoint).length === 1,
		60_000,
		() => "not mounted",
	);
	return { session, mountpoint };
}

function faultsOf(options: RawOptions): string[] {
	try {
		native.prepare(mount, options);
		return [];
	} catch (error) {
		if (!(error instanceof DriverFaults)) throw error;
		return error.faults.map(({ at, message }) => `${at.kind === "option" ? at.name : at.kind}: ${message}`);
	}
}

describe("options", () => {
	test("that need or exclude each other are refused", () => {
		expect(faultsOf({ "cache-size": "1Gi" })).toEqual(["cache-size: given without cache-dir"]);
		expect(faultsOf({ sse: "", "sse-kms": "" })).toEqual(["sse-kms: cannot be combined with sse"]);
		expect(faultsOf({ sse: "false", "sse-kms": "" })).toEqual([]);
		expect(faultsOf({ "sse-c": new Secret("c2hvcnQ=", "login/sse") })).toEqual(["sse-c: expected 32 bytes in base64"]);
		expect(faultsOf({ "sse-c": new Secret(Buffer.alloc(32).toString("base64"), "login/sse") })).toEqual([]);
	});

	test("with sizes that nothing could work with are refused", () => {
		expect(faultsOf({ memory: "1Mi", "cache-dir": "/cache", "cache-size": "1Mi", "write-buffer": "1Mi" })).toEqual([
			"memory: expected at least 16Mi",
			"cache-size: expected at least 64Mi",
			"write-buffer: expected at least 16Mi",
		]);
	});
});

test("the mount has one word as its source, and a type by which Fluid knows it", async () => {
	const { mountpoint } = await start(keys);
	const [entry] = layersAt(await readMountinfo(), mountpoint);
	expect(entry).toMatchObject({ source: "s3://bucket/a%20b/", type: "fuse.thin-s3", readOnly: false });
});

test("its process gets few variables, and no key or identity in its environment", async () => {
	const variables = {
		...process.env,
		AWS_ROLE_ARN: "arn:aws:iam::1:role/x",
		HTTPS_PROXY: "http://proxy:3128",
		FLUID_FUSE_X: "x",
		NODE_OPTIONS: "--title=x",
	};
	const { session } = await start(keys, { variables });
	const namesOf = (pid: number): string[] =>
		readFileSync(`/proc/${pid}/environ`, "utf8")
			.split("\0")
			.map((variable) => variable.split("=")[0] ?? "");
	const names = namesOf(session.pid);
	expect(names).toContain("HTTPS_PROXY");
	for (const name of ["AWS_ROLE_ARN", "FLUID_FUSE_X", "NODE_OPTIONS"]) expect(names).not.toContain(name);
	const command = readFileSync(`/proc/${session.pid}/cmdline`, "utf8");
	expect(command).not.toMatch(/an-access-key|a-secret-key/);
	await session.stop({ graceMs: 0 });
	await folder?.remove();
	const { session: other } = await start({}, { variables });
	expect(namesOf(other.pid)).toEqual(names);
});

test("this process lets go of the mount as soon as the other has ended", async () => {
	const { session, mountpoint } = await start(keys);
	expect(fuseDescriptors()).toBe(1);
	process.kill(session.pid, "SIGKILL");
	await session.ended;
	expect(fuseDescriptors()).toBe(0);
	expect(await statfs(mountpoint, 2000)).toEqual({ kind: "dead" });
});

test("a crash is not taken for a kill from outside, which says nothing about the driver", async () => {
	for (const [signal, code] of [
		["SIGABRT", "DRIVER_FAILED"],
		["SIGKILL", "DRIVER_KILLED"],
	] as const) {
		const { session } = await start(keys);
		process.kill(session.pid, signal);
		expect(await session.ended).toMatchObject({ kind: "failed", cause: { code } });
		await folder?.remove();
	}
	folder = undefined;
});

describe("a process that does not run on", () => {
	/** A folder with a setpriv that has the process load this first. */
	function preloaded(code: string): string {
		const programs = mkdtempSync(join(tmpdir(), "fluid-fuse-programs-"));
		const preload = join(programs, "preload.mjs");
		writeFileSync(preload, code);
		const setpriv = `#!/bin/bash\nPATH=\${PATH#*:} exec setpriv "\${@:1:4}" --import ${preload} "\${@:5}"\n`;
		writeFileSync(join(programs, "setpriv"), setpriv, { mode: 0o755 });
		return programs;
	}

	test.each([
		["a circle", "while (true) Math.random();"],
		["promises that never let go", "for (;;) for (let spins = await 10_000; spins > 0; spins--) Math.random();"],
		["an expression that never ends", `/^(a+)+$/.test("a".repeat(64) + "b");`],
	])("because of %s is ended, with its stack in the log, and nobody waits for it", async (_, code) => {
		const programs = preloaded(`process.on("SIGUSR2", async function bug() { ${code} });`);
		try {
			const lines: string[] = [];
			const { session, mountpoint } = await start(keys, {
				hangTimeoutMs: 4000,
				log: pino({ level: "info" }, { write: (line) => void lines.push(line) }),
				variables: { ...process.env, PATH: `${programs}${delimiter}${process.env["PATH"]}` },
			});
			process.kill(session.pid, "SIGUSR2");
			const application = spawn("ls", [mountpoint], { stdio: "ignore" });
			const applicationEnded = once(application, "exit");
			expect(await session.ended).toMatchObject({
				kind: "failed",
				cause: {
					code: "DRIVER_HUNG",
					message: expect.stringMatching(/for 2 s, and is ended; it was at .*preload\.mjs/),
				},
			});
			await applicationEnded;
			const logged = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
			expect(logged).toContainEqual(
				expect.objectContaining({
					msg: "where the driver did not run on",
					stack: expect.arrayContaining([expect.stringMatching(/bug.*preload\.mjs/)]) as unknown,
				}),
			);
			expect(lines.join("")).not.toContain("KEYBOARD_INTERRUPT");
			expect(fuseDescriptors()).toBe(0);
		} finally {
			rmSync(programs, { recursive: true });
		}
	});

	test("because somebody has stopped it is ended", async () => {
		const { session } = await start(keys, { hangTimeoutMs: 4000 });
		process.kill(session.pid, "SIGSTOP");
		const cause = { code: "DRIVER_HUNG", message: "native was stopped by a signal for 2 s, and is ended" };
		expect(await session.ended).toMatchObject({ kind: "failed", cause });
	});
});

test("no descriptor is left when it is not wanted any more while it starts", async () => {
	let started = 0;
	const reasons: string[] = [];
	for (let delayMs = 0; delayMs < 60; delayMs += 3) {
		const context = contextWith({ signal: AbortSignal.timeout(delayMs) });
		try {
			const session = await native.prepare(mount, { endpoint, ...keys }).start(context);
			started++;
			await session.stop({ graceMs: 0 });
		} catch (error) {
			reasons.push(String(error));
		}
		expect(fuseDescriptors(), `after ${delayMs} ms`).toBe(0);
		await folder?.remove();
	}
	folder = undefined;
	expect(started).toBeLessThan(20);
	expect(reasons.filter((reason) => !/abort|timeout/i.test(reason))).toEqual([]);
});

test("what is being written is kept in a folder of its own on the cache's disk, and what a killed process left there goes", async () => {
	const cache = mkdtempSync(join(tmpdir(), "fluid-fuse-cache-"));
	try {
		const writing = join(cache, "writing");
		const { session } = await start({ ...keys, "cache-dir": cache });
		const [own = "", ...others] = readdirSync(writing);
		expect(others).toEqual([]);
		expect(statSync(join(writing, own)).mode & 0o777).toBe(0o700);
		process.kill(session.pid, "SIGKILL");
		await session.ended;
		expect(readdirSync(writing)).toEqual([own]);
		await folder?.remove();
		const { session: next } = await start({ ...keys, "cache-dir": cache });
		await until(
			() => !readdirSync(writing).includes(own),
			30_000,
			() => "still there",
		);
		expect(readdirSync(writing)).toHaveLength(1);
		const [theirs = ""] = readdirSync(writing);
		mkdirSync(join(writing, theirs, "thesis"));
		process.kill(next.pid, "SIGSTOP");
		await next.stop({ graceMs: 0 });
		await until(
			() => readdirSync(join(writing, theirs)).join() === "thesis",
			30_000,
			() => "still there, or somebody else's is not",
		);
	} finally {
		rmSync(cache, { recursive: true });
	}
});

test("a directory that cannot be mounted on is a failure with its reason, and leaves no descriptor", async () => {
	const context = contextWith();
	const starting = native
		.prepare(mount, { endpoint })
		.start({ ...context, mountpoint: join(folder?.path ?? "", "absent") });
	await expect(starting).rejects.toMatchObject({
		code: "MOUNTPOINT_UNUSABLE",
		message: expect.stringContaining("mount point does not exist"),
	});
	expect(fuseDescriptors()).toBe(0);
});

test("the process tells why it cannot serve", async () => {
	// Whatever is logged: this is what the launcher reports.
	const context = contextWith({ log: pino({ level: "fatal" }, { write: () => undefined }) });
	const variables = { ...process.env, HTTP_PROXY: "ftp://proxy", NO_PROXY: "" };
	// Not a local one, which no proxy reaches.
	const failing = await native
		.prepare(mount, { endpoint: "http://192.0.2.1", ...keys })
		.start({ ...context, variables });
	sessions.push(failing);
	expect(await failing.ended).toMatchObject({
		kind: "failed",
		cause: { code: "USAGE", message: "HTTP_PROXY is not the address of an HTTP proxy" },
	});
});
