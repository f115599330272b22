import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { sh, useBuckets } from "./buckets.ts";
import type { BucketOptions, MountedBucket } from "./mounted-bucket.ts";

const buckets = useBuckets("killed");

/** Far longer than who is killed may take. */
const store = { timeouts: { firstByteMs: 30_000, idleMs: 30_000 }, retryForMs: 30_000 } as const;
const mebibyte = 1024 ** 2;

async function mount(ttlMs: number, more: Partial<BucketOptions> = {}): Promise<MountedBucket> {
	for (const key of ["f", "d/1", "d/e/2", "empty/"]) await buckets.minio.put(buckets.name, key, `content of ${key}`);
	await buckets.minio.put(buckets.name, "large", Buffer.alloc(20 * mebibyte));
	return buckets.mountThroughProxy({
		store,
		volume: { ttlMs },
		settings: { stagingLimitBytes: 64 * mebibyte },
		...more,
	});
}

/** How long a program that waits for a server that hangs outlives its SIGKILL, in milliseconds. */
async function afterlife(here: MountedBucket, command: string): Promise<number> {
	await buckets.proxy.mode("hang");
	const before = buckets.proxy.requests;
	const program = spawn("bash", ["-c", `cd "$0" && exec ${command}`, here.target], { cwd: "/", stdio: "ignore" });
	const isWaiting = (): boolean =>
		buckets.proxy.requests > before && /fuse|request_wait|folio|completion/.test(waitsFor(program));
	await expect.poll(isWaiting, { timeout: 20_000, interval: 100 }).toBe(true);
	const killedAt = performance.now();
	program.kill("SIGKILL");
	await once(program, "exit");
	const milliseconds = performance.now() - killedAt;
	await buckets.proxy.mode("pass");
	// What went on without it is in nobody's way.
	expect(await sh(here, "ls -R && touch afterwards && rm afterwards")).toContain("d");
	await here.unmount();
	return milliseconds;
}

/** The kernel's function that it sleeps in. */
function waitsFor(program: ChildProcess): string {
	try {
		return readFileSync(`/proc/${program.pid}/wchan`, "latin1");
	} catch {
		return "it has ended";
	}
}

describe("who is killed goes at once while the server hangs:", () => {
	test.each([
		"ls",
		"ls -l d",
		"stat f",
		"mkdir new",
		"mv f new",
		"mv d new",
		"rm f",
		"rm -r d",
		"rmdir empty",
		"touch f",
		"touch new",
		"truncate -s 2 f",
		"chmod 600 f",
		"chmod 700 d",
		"ln -s f new",
		"cat f",
		"dd if=large iflag=direct bs=1M",
		"dd if=/dev/zero of=new bs=1M count=30",
	])("%s", async (command) => {
		expect(await afterlife(await mount(0), command)).toBeLessThan(2000);
	});
});

describe("also when all names are known, and only the operation itself waits:", () => {
	test.each([
		"mkdir new",
		"mv f new",
		"mv d new",
		"rm -f f",
		"rm -rf d",
		"rmdir empty",
		"touch f",
		"touch new",
		"truncate -s 2 f",
		"chmod 600 f",
		"ln -s f new",
		"cat large",
		"dd if=large iflag=direct bs=1M",
		"dd if=/dev/zero of=new bs=1M count=30",
		"dd if=/dev/zero of=new bs=1M count=1 conv=fsync",
		"dd if=/dev/zero of=new bs=1M count=300",
	])("%s", async (command) => {
		const here = await mount(60_000);
		await sh(here, "ls -lR");
		expect(await afterlife(here, command)).toBeLessThan(2000);
	});
});

describe("who is killed in another pod, whose processes the filesystem does not see,", () => {
	test.each(["stat f", "mv f new"])("goes when its request has been tried for long enough: %s", async (command) => {
		const limits = { timeouts: { firstByteMs: 2000, idleMs: 2000 }, retryForMs: 2000 } as const;
		const milliseconds = await afterlife(await mount(0, { store: limits, isAlone: true }), command);
		// Both limits, and what a busy machine takes beside them. A request that would go on takes for ever.
		expect(milliseconds).toBeLessThan(15_000);
	});

	test("goes at once when it reads a file", async () => {
		const here = await mount(60_000, { isAlone: true });
		await sh(here, "ls -lR");
		expect(await afterlife(here, "cat large")).toBeLessThan(2000);
	});

	test("is not seen", async () => {
		const here = await mount(0, { isAlone: true });
		await buckets.proxy.mode("hang");
		const program = spawn("stat", [join(here.target, "f")], { cwd: "/", stdio: "ignore" });
		await expect.poll(() => waitsFor(program), { timeout: 20_000, interval: 100 }).toMatch(/fuse|request_wait/);
		program.kill("SIGKILL");
		const exited = once(program, "exit");
		// A second is long for one that is looked at four times in it, and short for the server's limits.
		expect(await Promise.race([exited.then(() => "gone"), delay(1000, "waits")])).toBe("waits");
		await buckets.proxy.mode("pass");
		await exited;
		await here.unmount();
	});
});
