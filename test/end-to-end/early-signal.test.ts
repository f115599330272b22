import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Pod, program, until } from "../support/pod.ts";

let pod: Pod;
const hasTini = process.env["CI"] !== undefined || spawnSync("tini", ["--version"]).status === 0;
if (!hasTini) process.stderr.write("skipped: signals to PID 1 while it starts, because tini is not installed\n");

beforeAll(async () => {
	pod = new Pod({ mounts: [] });
	// It may have to be built first.
	await pod.command("--version");
});
afterAll(async () => pod.cleanup());

/** SIGTERM is 15, and the masks begin with 1. */
const termBit = 1n << 14n;

const statusOf = (pid: number): string => readFileSync(`/proc/${pid}/status`, "utf8");

function childOf(pid: number | undefined): number | undefined {
	const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
	// Before its exec it is a copy of its parent.
	return child > 0 && !readFileSync(`/proc/${child}/cmdline`, "utf8").startsWith("unshare") ? child : undefined;
}

/**
 * Sends SIGTERM where somebody gets it. The kernel gives PID 1 none that it has neither asked for nor holds back, and a program that has just been
 * executed has not yet: neither the shell before its first line nor tini before its own. Stopped, it cannot become another one meanwhile.
 */
function isTold(pid: number): boolean {
	process.kill(pid, "SIGSTOP");
	try {
		while (!/^State:\s+[TZ]/m.test(statusOf(pid)));
		const status = statusOf(pid);
		const masks = [...status.matchAll(/^Sig(?:Cgt|Blk):\s+(\w+)$/gm)].map(([, mask = ""]) => BigInt(`0x${mask}`));
		const takes = masks.some((mask) => (mask & termBit) !== 0n);
		if (takes) process.kill(pid, "SIGTERM");
		return takes;
	} finally {
		process.kill(pid, "SIGCONT");
	}
}

test.runIf(hasTini)("SIGTERM ends it with 0 from its first moment on, with nothing mounted", async () => {
	const exits: string[] = [];
	for (let delayMs = 0; delayMs < 1200; delayMs += 60) {
		const container = spawn("unshare", ["--pid", "--fork", "--kill-child", "--mount-proc", program], {
			env: pod.environment(),
			stdio: "ignore",
		});
		const ended = once(container, "exit");
		let init: number | undefined;
		await until(
			() => (init = childOf(container.pid)) !== undefined,
			5000,
			() => "it has not started",
		);
		await sleep(delayMs);
		await until(
			() => isTold(init ?? 0),
			5000,
			() => "it takes no SIGTERM",
		);
		const [exitCode, signal] = (await ended) as [number | null, string | null];
		if (exitCode !== 0) exits.push(`${exitCode ?? signal} after ${delayMs} ms`);
		expect(await pod.layers()).toEqual([]);
	}
	expect(exits).toEqual([]);
});

test("SIGTERM ends it with 0 before it has started anything", async () => {
	const programs = join(pod.folder, "programs");
	mkdirSync(programs);
	// The first program that it starts, before tini has taken its place.
	writeFileSync(
		join(programs, "readlink"),
		'#!/bin/sh\n[ $PPID != 1 ] || kill -TERM 1\nexec /usr/bin/readlink "$@"\n',
		{ mode: 0o755 },
	);
	const environment = pod.environment();
	const { exitCode } = await execa("unshare", ["--pid", "--fork", "--kill-child", "--mount-proc", program], {
		env: { ...environment, PATH: `${programs}:${environment["PATH"]}` },
		extendEnv: false,
		reject: false,
		timeout: 30_000,
	});
	expect(exitCode).toBe(0);
});
