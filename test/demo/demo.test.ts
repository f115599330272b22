import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { afterEach, describe, expect, test } from "vitest";
import { projectRoot, until } from "../support/pod.ts";
import { mountsBelow, removeFolder } from "./leftovers.ts";

/** How often to interrupt at a random moment; more for a long look. */
const interruptions = Number(process.env["DEMO_INTERRUPTIONS"] ?? 3);

let demo: Demo | undefined;

/** `npm run demo` as a shell starts it: in a process group of its own, with all its temporary files in one folder. */
class Demo {
	readonly folder = mkdtempSync(join(tmpdir(), "fluid-fuse-demo-test-"));
	readonly child: ChildProcess;
	readonly ended: Promise<number | string>;
	output = "";

	constructor(args: readonly string[] = []) {
		this.child = spawn("npm", ["run", "demo", "--", ...args], {
			cwd: projectRoot,
			detached: true,
			stdio: ["ignore", "pipe", "pipe"],
			env: { ...process.env, TMPDIR: this.folder },
		});
		for (const stream of [this.child.stdout, this.child.stderr]) {
			stream?.on("data", (chunk: Buffer) => {
				this.output += chunk.toString();
			});
		}
		// Not "exit": the output is complete, and nobody holds it any more.
		this.ended = new Promise((resolve) => {
			this.child.on("close", (exitCode, signal) => resolve(signal ?? exitCode ?? -1));
		});
	}

	async untilPrinted(text: string): Promise<void> {
		await until(
			() => this.output.includes(text),
			60_000,
			() => `"${text}" was not printed:\n${this.output}`,
		);
	}

	/** What stands behind one of the names that --keep prints. */
	printed(name: string): string {
		const value = new RegExp(`^ {2}${name} {2,}(.+)$`, "m").exec(this.output)?.[1];
		if (value === undefined) throw new Error(`"${name}" was not printed:\n${this.output}`);
		return value;
	}

	/** As Ctrl-C in a terminal: to everything in the foreground. */
	interrupt(): void {
		this.kill("SIGINT");
	}

	kill(signal: NodeJS.Signals): void {
		try {
			process.kill(-(this.child.pid ?? 0), signal);
		} catch {
			// Nobody is left in the group.
		}
	}

	async untilEnded(limitMs: number): Promise<number | string> {
		const result = await Promise.race([this.ended, sleep(limitMs, undefined, { ref: false })]);
		if (result === undefined) throw new Error(`it did not end within ${limitMs} ms:\n${this.output}`);
		return result;
	}

	/** Mounts, processes and files of it that still exist. */
	async leftovers(): Promise<string[]> {
		// Node keeps compiled code there, for later runs.
		const files = readdirSync(this.folder).filter((name) => name !== "node-compile-cache");
		return [...(await mountsBelow(this.folder)), ...this.processes(), ...files];
	}

	/** Those that have the folder in their arguments or their environment. */
	processes(): string[] {
		return readdirSync("/proc").filter((pid) => {
			try {
				return (
					/^\d+$/.test(pid) &&
					["cmdline", "environ"].some((file) => readFileSync(`/proc/${pid}/${file}`).includes(this.folder))
				);
			} catch {
				// It has ended meanwhile.
				return false;
			}
		});
	}
}

afterEach(async () => {
	if (demo === undefined) return;
	demo.kill("SIGKILL");
	for (const pid of demo.processes()) process.kill(Number(pid), "SIGKILL");
	await removeFolder(demo.folder);
	demo = undefined;
});

function start(...args: readonly string[]): Demo {
	demo = new Demo(args);
	return demo;
}

test("shows a mount's whole life in about a minute, and leaves nothing behind", { timeout: 120_000 }, async () => {
	const here = start();
	expect(await here.untilEnded(90_000), here.output).toBe(0);
	expect(await here.leftovers()).toEqual([]);
	const inOrder = [
		"1. A bucket",
		"images/cat.jpg",
		"2. What Fluid puts into the storage pod",
		"..data",
		'{"mounts":[{"mountPoint":"s3://training","options":{"access-key":"/etc/fluid/secrets/',
		"3. The plan",
		"accessModes has ReadWriteMany",
		"4. The bucket becomes a folder",
		"mounted and ready after",
		"5. Reading",
		"-rw-r--r-- 1 root root",
		"Hello from the bucket.",
		"6. Writing",
		"Written through the folder.",
		"GET http://127.0.0.1:",
		"Written through the folder.",
		"7. What Kubernetes asks",
		"$ fluid-fuse probe ready",
		"ok",
		"[+]mount/training ok",
		"is killed",
		"Transport endpoint is not connected",
		"Hello from the bucket.",
		"DRIVER_KILLED",
		'"msg":"mounted"',
		"1 restart",
		"9. The end",
		"exit code 0",
		"mounts left: 0",
		"notes.txt",
	];
	let from = 0;
	for (const text of inOrder) {
		const at = here.output.indexOf(text, from);
		expect(at, `"${text}" after:\n${here.output.slice(0, from)}`).toBeGreaterThanOrEqual(from);
		from = at + text.length;
	}
	const recovered = /could read again ([\d.]+) s after the kill/.exec(here.output)?.[1];
	expect(Number(recovered)).toBeLessThan(3);
	expect(here.output, "no colours without a terminal").not.toContain("\u001b");
});

describe("--keep", () => {
	test("leaves it running to play with, and takes everything away at Ctrl-C", async () => {
		const here = start("--keep");
		await here.untilPrinted("The launcher's log:");
		expect((await fetch(here.printed("status page"), { signal: AbortSignal.timeout(5000) })).status).toBe(200);
		const status = async (): Promise<string> =>
			(await execa("sh", ["-c", here.printed("status")], { cwd: projectRoot, timeout: 10_000 })).stdout;
		expect(await status()).toContain("1 of 1 ready");
		expect((await execa("cat", [join(here.printed("the folder"), "notes.txt")], { timeout: 5000 })).stdout).toBe(
			"Written through the folder.",
		);
		await execa("sh", ["-c", here.printed("kill a driver")], { timeout: 5000 });
		await until(
			async () => /1 of 1 ready[^]*2 restarts/.test(await status()),
			10_000,
			() => here.output,
		);
		here.interrupt();
		// npm itself ends with 0 or by the signal, depending on the shell between.
		await here.untilEnded(20_000);
		expect(here.output).toMatch(/exit code 0 .*mounts left: 0/);
		expect(here.output).not.toContain("ended early");
		expect(await here.leftovers()).toEqual([]);
	});

	test("goes on to its end when the launcher is stopped by hand", async () => {
		const here = start("--keep");
		await here.untilPrinted("The launcher's log:");
		// Also what the demo has left dead below it: if only the uppermost goes, it is mounted again.
		const everything = 'while umount "$0"; do :; done';
		await execa("sh", ["-c", everything, here.printed("the folder")], { reject: false, timeout: 5000 });
		expect(await here.untilEnded(20_000), here.output).toBe(0);
		expect(await here.leftovers()).toEqual([]);
	});

	test("ends when npm is killed", async () => {
		const here = start("--keep");
		await here.untilPrinted("The launcher's log:");
		here.child.kill("SIGKILL");
		await until(
			() => here.processes().length === 0,
			20_000,
			() => here.output,
		);
		expect(await here.leftovers()).toEqual([]);
	});
});

test.each(Array.from({ length: interruptions }, (_, index) => index + 1))(
	"leaves nothing behind when it is interrupted at a random moment (%i)",
	async () => {
		const here = start();
		const moment = Math.round(Math.random() * 5000);
		await Promise.race([here.ended, sleep(moment)]);
		here.interrupt();
		await here.untilEnded(30_000);
		// npm may end before what it has started.
		await until(
			() => here.processes().length === 0,
			20_000,
			() => `at ${moment} ms:\n${here.output}`,
		);
		expect(await here.leftovers(), `at ${moment} ms:\n${here.output}`).toEqual([]);
		expect(here.output).not.toMatch(/^\s+at .*:\d+:\d+/m);
	},
);

test("says what an empty machine lacks and how to get it, without a stack trace", async () => {
	// No programs, no /dev/fuse, no capabilities: a mount namespace with hardly any devices, and an ordinary user's rights.
	const script = `
		devices=$(mktemp -d) && mount -t tmpfs devices "$devices"
		for device in null zero urandom; do cp -a /dev/$device "$devices/"; done
		mount --move "$devices" /dev && rmdir "$devices"
		exec "$0" test/demo/demo.ts`;
	const { exitCode, all } = await execa("unshare", ["--mount", "sh", "-c", script, process.execPath], {
		cwd: projectRoot,
		all: true,
		reject: false,
		timeout: 20_000,
		env: { XDG_CACHE_HOME: "/nonexistent", PATH: "/usr/bin:/bin" },
	});
	expect(exitCode).toBe(1);
	expect(all).toContain("The demo cannot run here:");
	expect(all).toMatch(/\/dev\/fuse is missing: .*modprobe fuse/);
	expect(all).toMatch(/versitygw is missing: .*setup\.sh demo/);
	expect(all).not.toMatch(/^\s+at /m);
});

test("says that only root may mount", async () => {
	const options = ["--reuid", "65534", "--clear-groups", process.execPath, "test/demo/demo.ts"];
	const { exitCode, all } = await execa("setpriv", options, {
		cwd: projectRoot,
		all: true,
		reject: false,
		timeout: 20_000,
	});
	expect(exitCode).toBe(1);
	expect(all).toContain("Only root may mount");
	expect(all).not.toMatch(/^\s+at /m);
});

test("refuses an option that it does not know", async () => {
	const { exitCode, stderr } = await execa(process.execPath, ["test/demo/demo.ts", "--keeep"], {
		cwd: projectRoot,
		reject: false,
		timeout: 20_000,
	});
	expect(exitCode).toBe(64);
	expect(stderr).toContain("Usage: npm run demo");
});
