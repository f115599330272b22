import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { initFlags } from "../../src/fuse/abi.ts";
import { bash } from "./application.ts";
import { MountedMemory } from "./mounted-memory.ts";

let mounted: MountedMemory;

beforeEach(async () => {
	mounted = await MountedMemory.mount();
});

afterEach(async () => {
	await mounted.clear();
});

/** Asks until it is so, for a few seconds. */
async function eventually(condition: () => Promise<boolean>): Promise<void> {
	await expect.poll(condition, { timeout: 10_000, interval: 50 }).toBe(true);
}

test("ends when the mount is gone, and the filesystem is told", async () => {
	await bash(mounted.path, "echo x > f; cat f");
	expect(await mounted.unmount()).toMatchObject({ how: "unmounted", isDestroyed: true });
	expect(mounted.log).toEqual([]);
});

test("ends when the mount is taken away by force", async () => {
	await bash(mounted.path, "echo x > slow");
	await bash("/", `umount -f -l ${mounted.path}`);
	expect(await mounted.ended).toMatchObject({ how: "unmounted", isDestroyed: true });
});

test("leaves ENOTCONN behind when its process is killed, and frees who waits", async () => {
	await bash(mounted.path, "touch slow; sync .");
	const waiting = bash(mounted.path, "cat slow 2>&1 || true");
	await eventually(async () => (await mounted.stats()).inFlight > 0);
	await mounted.kill();
	expect(await waiting).toMatch(/connection abort|not connected/);
	expect(await bash("/", `LC_ALL=C stat ${mounted.path} 2>&1 || true`)).toContain("not connected");
});

test("lets the kernel forget: no node is left when its caches are dropped", async () => {
	await bash(
		mounted.path,
		"mkdir -p d/e; (cd d; seq 300 | xargs touch); ls -lR > /dev/null; mv d x; rm x/1 x/2; test ! -e missing",
	);
	expect(await mounted.stats()).toMatchObject({ nodeCount: 301 });
	await eventually(async () => {
		writeFileSync("/proc/sys/vm/drop_caches", "2");
		return (await mounted.stats()).remembered === 0;
	});
	await bash(mounted.path, "ls -lR > /dev/null; rm -r x");
	await eventually(async () => {
		writeFileSync("/proc/sys/vm/drop_caches", "2");
		return (await mounted.stats()).nodeCount === 1;
	});
});

test("tells a filesystem that a caller was interrupted", async () => {
	const printed = await bash(
		mounted.path,
		"touch slow; for i in $(seq 20); do timeout -s INT 0.3 cat slow & done; wait; echo all ended",
	);
	expect(printed).toBe("all ended\n");
	await eventually(async () => (await mounted.stats()).inFlight === 0);
	expect((await mounted.stats()).interrupted).toBeGreaterThanOrEqual(20);
});

test("has several reads and writes in flight, and answers others meanwhile", async () => {
	await bash(
		mounted.path,
		`touch other; for i in 1 2 3 4; do dd if=/dev/zero of=wait-$i bs=1M count=2 status=none; done
		for i in 1 2 3 4; do dd if=wait-$i iflag=nocache count=0 status=none; done
		for i in 1 2 3 4; do cat wait-$i > /dev/null & done
		for i in 1 2 3 4 5; do timeout 5 stat other > /dev/null; done; wait
		for i in $(seq 30); do head -c 8192 /dev/zero > wait-$i & done; wait`,
	);
	const { mostReads, mostWrites } = await mounted.stats();
	expect(mostReads).toBeGreaterThanOrEqual(4);
	expect(mostWrites).toBeGreaterThanOrEqual(8);
});

test("keeps what concurrent slow writers write apart", async () => {
	const printed = await bash(
		mounted.path,
		`for i in $(seq 24); do (head -c $((i * 3000)) /dev/zero | tr '\\0' "\\\\$(printf %o $((i + 40)))" | dd of=wait-$i bs=30000 iflag=fullblock status=none) & done; wait
		for i in $(seq 24); do test $(tr -d "\\\\$(printf %o $((i + 40)))" < wait-$i | wc -c) = 0; stat -c %s wait-$i; done | awk '{ sum += $1 } END { print sum }'`,
	);
	expect(printed.trim()).toBe(String(3000 * 300));
});

test("answers EIO to what a filesystem does wrong, says so, and goes on", async () => {
	const printed = await bash(
		mounted.path,
		`echo x > broken; LC_ALL=C cat broken 2>&1 || true; echo x > long; truncate -s 10000 long; LC_ALL=C cat long 2>&1 || true; ls`,
	);
	expect(printed).toBe("cat: broken: Input/output error\ncat: long: Input/output error\nbroken\nlong\n");
	expect(mounted.log.join("\n")).toContain("failed unexpectedly");
	expect(mounted.log.join("\n")).toContain("the kernel refused an answer");
});

test("makes the kernel drop what changed behind its back", async () => {
	await bash(mounted.path, "echo before > f; echo x > g; cat f g");
	await mounted.replace("f", "now another and longer content\n");
	await mounted.unlink("g");
	await eventually(async () => (await bash(mounted.path, "cat f; ls")) === "now another and longer content\nf\n");
	expect((await mounted.stats()).notifications).toBe(2);
});

test("notifies without a deadlock while the same file is read and the same folder is used", async () => {
	const busy = bash(
		mounted.path,
		`dd if=/dev/zero of=wait-f bs=1M count=2 status=none; for i in $(seq 20); do cat wait-f > /dev/null; ls -l > /dev/null; touch new-$i; done; echo fine`,
	);
	await eventually(async () => (await bash(mounted.path, "ls")).includes("wait-f"));
	for (let round = 0; round < 50; round++) await mounted.replace("wait-f", `content ${round}`);
	expect(await busy).toBe("fine\n");
});

test("agrees with the kernel on large requests and on fewer ones for a directory", async () => {
	await bash(mounted.path, "ls");
	const { connection } = await mounted.stats();
	const flags = BigInt(`0x${connection?.flags}`);
	for (const flag of ["asyncRead", "maxPages", "readdirplus", "parallelDirectoryOperations", "atomicTruncate"] as const)
		expect(flags & initFlags[flag], flag).toBe(initFlags[flag]);
	const { requests: before } = await mounted.stats();
	await bash(mounted.path, "dd if=/dev/zero of=f bs=1M count=8 status=none");
	const { requests: afterWrites } = await mounted.stats();
	// Eight writes, each with a question for its capabilities, and what opening and closing take.
	expect(afterWrites - before).toBeLessThan(30);
	await bash(mounted.path, "seq 1000 | xargs touch");
	const { requests: beforeList } = await mounted.stats();
	await bash(mounted.path, "ls -l > /dev/null");
	expect((await mounted.stats()).requests - beforeList).toBeLessThan(100);
});

describe("lets who is killed go at once, and nothing of what was begun stays with the kernel:", () => {
	test.each([
		["lookup", "stat a/f"],
		["getattr", "stat a"],
		["setattr", "chmod 600 a/f"],
		["setattr", "truncate -s 1 a/f"],
		["setattr", "touch a/f"],
		["readlink", "readlink a/l"],
		["symlink", "ln -s f a/new"],
		["mknod", "mkfifo a/new"],
		["mkdir", "mkdir a/new"],
		["unlink", "rm -f a/f"],
		["rmdir", "rmdir a/empty"],
		["rename", "mv a/f a/new"],
		["create", "cp a/f a/new"],
		["open", "cat a/f"],
		["read", "dd if=a/f iflag=direct"],
		["write", "dd if=/dev/zero of=a/f bs=1M count=3"],
		["flush", "dd if=/dev/zero of=a/f bs=1M count=3"],
		["fsync", "dd if=/dev/zero of=a/f bs=1M count=3 conv=fsync"],
		["opendir", "ls a"],
		["readdir", "ls -l a"],
		["statfs", "stat -f a/f"],
		["getxattr", "getfattr -n user.a a/f"],
		["setxattr", "setfattr -n user.a -v 1 a/f"],
		["fallocate", "fallocate -l 100 a/f"],
	])("%s: %s", async (operation, command) => {
		await mounted.clear();
		mounted = await MountedMemory.mount({ validMs: 0 });
		await bash(mounted.path, "mkdir -p a/empty; echo content > a/f; ln -s f a/l; setfattr -n user.a -v 1 a/f");
		await mounted.hold(operation);
		const child = start(`exec ${command}`);
		await eventually(async () => (await mounted.stats()).held > 0);
		await expectGone(child);
		expect(await mounted.stats()).toMatchObject({ inFlight: 0 });
		await mounted.hold();
		await bash(mounted.path, "ls -lR; test ! -e a/f || cat a/f; test ! -e a/new || stat a/new");
		await eventually(async () => {
			writeFileSync("/proc/sys/vm/drop_caches", "2");
			const { held, remembered, openFiles, openDirectories } = await mounted.stats();
			return held + remembered + openFiles + openDirectories === 0;
		});
		expect(mounted.log).toEqual([]);
	});
});

test("lets who was killed while it wrote end although its close is not answered", async () => {
	await mounted.hold("flush");
	const child = start("exec 3> f; echo begun >&3; while :; do :; done");
	await eventually(async () => (await bash(mounted.path, "stat -c %s f || true")) === "6\n");
	await expectGone(child);
	await mounted.hold();
	expect(await bash(mounted.path, "cat f")).toBe("begun\n");
});

test("makes who ends by itself wait for its close", async () => {
	await mounted.hold("flush");
	const child = start("exec 3> f; echo content >&3");
	const ended = once(child, "exit");
	await eventually(async () => (await mounted.stats()).held > 0);
	// So long that one that was killed would be gone.
	await sleep(1000);
	expect(child.exitCode).toBe(null);
	await mounted.hold();
	expect(await ended).toEqual([0, null]);
});

test("goes on serving while a program that another one takes the place of waits for its close", async () => {
	await mounted.hold("flush");
	// Python opens files to be closed then.
	const program = `import os; f = open("f", "w"); f.write("content"); f.flush(); os.execv("/bin/true", ["true"])`;
	const child = start(`exec python3 -c '${program}'`);
	const ended = once(child, "exit");
	await eventually(async () => (await mounted.stats()).held > 0);
	// Longer than until its process is looked at, twice.
	await sleep(1000);
	expect(await bash(mounted.path, "mkdir other; ls")).toBe("f\nother\n");
	await mounted.hold();
	expect(await ended).toEqual([0, null]);
});

test("does not interrupt who gets signals that do not kill it", async () => {
	await mounted.hold("mkdir");
	const program = `process.on("SIGUSR2", () => undefined); require("fs").mkdirSync("new")`;
	const child = start(`exec ${process.execPath} -e '${program}'`);
	const ended = once(child, "exit");
	await eventually(async () => (await mounted.stats()).held > 0);
	for (let round = 0; round < 5; round++) {
		child.kill("SIGUSR2");
		await sleep(200);
	}
	await mounted.hold();
	expect(await ended).toEqual([0, null]);
});

/** Runs a script in the mount. */
function start(script: string): ChildProcess {
	return spawn("bash", ["-c", `cd "$0" && ${script}`, mounted.path], { cwd: "/", stdio: "ignore" });
}

async function expectGone(child: ChildProcess): Promise<void> {
	const killedAt = performance.now();
	child.kill("SIGKILL");
	await once(child, "exit");
	expect(performance.now() - killedAt).toBeLessThan(2000);
}
