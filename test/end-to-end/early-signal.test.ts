import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
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

function childOf(pid: number | undefined): number | undefined {
	const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
	// Before its exec it is a copy of its parent.
	return child > 0 && !readFileSync(`/proc/${child}/cmdline`, "utf8").startsWith("unshare") ? child : undefined;
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
		process.kill(init ?? 0, "SIGTERM");
		const [exitCode, signal] = (await ended) as [number | null, string | null];
		if (exitCode !== 0) exits.push(`${exitCode ?? signal} after ${delayMs} ms`);
		expect(await pod.layers()).toEqual([]);
	}
	expect(exits).toEqual([]);
});
