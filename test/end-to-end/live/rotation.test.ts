import { execa } from "execa";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { OpenFile, Reader } from "../../support/application.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { MinioUsers, type User } from "../../support/minio-users.ts";
import { Pod, until, type FluidMount } from "../../support/pod.ts";
import { testedDrivers } from "../../support/s3-drivers.ts";

let minio: Minio;
let users: MinioUsers;
let pod: Pod | undefined;
const opened: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
	minio = await startMinio();
	users = new MinioUsers(minio);
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	for (const end of opened.splice(0)) await end();
	await pod?.cleanup();
	pod = undefined;
});

function reads(...files: string[]): Reader {
	const reader = new Reader(...files);
	opened.push(async () => reader.stop());
	return reader;
}

function opens(path: string, flags: "r" | "w"): OpenFile {
	const file = new OpenFile(path, flags);
	opened.push(() => file.kill());
	return file;
}

const keysOf = ({ accessKey, secretKey }: User) => ({ "access-key": accessKey, "secret-key": `${secretKey}\n` });

function mount(bucket: string, options: Readonly<Record<string, string>> = {}): FluidMount {
	return {
		mountPoint: `s3://${bucket}`,
		name: bucket,
		options: {
			endpoint: minio.endpoint,
			"access-key": `/etc/fluid/secrets/${bucket}/access-key`,
			"secret-key": `/etc/fluid/secrets/${bucket}/secret-key`,
			...options,
		},
	};
}

async function changesDone(here: Pod): Promise<number> {
	const { body } = await here.ask("/metrics");
	return Number(/^fluid_fuse_changes_total\{change="change",result="done"\} (\d+)$/m.exec(body)?.[1] ?? 0);
}

/** Puts these keys into the secret, and waits until they are in use. Returns how long that took. */
async function rotate(here: Pod, secret: string, user: User, meanwhile?: () => Promise<void>): Promise<number> {
	const before = await changesDone(here);
	const startedAt = performance.now();
	here.writeSecret(secret, keysOf(user));
	await meanwhile?.();
	await until(
		async () => (await changesDone(here)) > before,
		20_000,
		() => `not applied:\n${here.output}`,
	);
	return performance.now() - startedAt;
}

async function podOf(driver: { name: string; programs?: string }, options: Readonly<Record<string, string>>) {
	const [one, two] = [await users.create(), await users.create()];
	pod = new Pod({
		mounts: [mount("one", options), mount("two", options)],
		secrets: { one: keysOf(one), two: keysOf(two) },
		accessModes: ["ReadWriteMany"],
		env: { FLUID_FUSE_DRIVER: driver.name },
		...(driver.programs !== undefined && { programs: driver.programs }),
	});
	pod.start();
	await pod.untilReady();
	return { here: pod, one, two };
}

test(
	"native: 50 rotations under load, each old key disabled at once and deleted, and no application notices",
	{
		timeout: 240_000,
	},
	async () => {
		const { here, one } = await podOf({ name: "native" }, { ttl: "0" });
		const { pid } = await here.mount("one");
		const reader = reads(join(here.target, "one/hello.txt"), join(here.target, "two/hello.txt"));
		const file = opens(join(here.target, "one/written.bin"), "w");
		expect(await file.step("open")).toBe('ok ""');
		const times: number[] = [];
		let current = one;
		for (let swap = 1; swap <= 50; swap++) {
			const next = await users.create();
			const old = current;
			times.push(await rotate(here, "one", next, async () => users.disable(old)));
			await users.remove(old);
			current = next;
			// 200 KiB a swap: more than a part of an upload in the end.
			expect(await file.step("write", 200 * 1024)).toBe('ok ""');
		}
		expect(await file.step("close")).toBe('ok ""');
		expect((await minio.get("one", "written.bin")).length).toBe(50 * 200 * 1024);
		await until(
			() => reader.reads > 100,
			20_000,
			() => `${reader.reads} reads`,
		);
		expect(reader.errors).toEqual([]);
		expect(Math.max(...times)).toBeLessThan(5000);
		expect(await changesDone(here)).toBe(50);
		expect(here.log.filter(({ msg }) => msg === "credentials replaced")).toHaveLength(50);
		const { mounts } = await here.status();
		expect(mounts.map((each) => [each.pid, each.restarts, each.pendingChange])).toEqual([
			[pid, 0, undefined],
			[pid, 0, undefined],
		]);
		expect(await here.stop()).toBe(0);
	},
);

describe.each(testedDrivers())("$title", (driver) => {
	test(
		"rotations are in use within five seconds, also when the old key is gone then; others are left alone",
		{
			timeout: 120_000,
		},
		async () => {
			// What was not there at one swap is there at the next.
			const { here, one } = await podOf(driver, driver.name === "native" ? { ttl: "0" } : {});
			const before = [await here.mount("one"), await here.mount("two")];
			const reader = reads(join(here.target, "two/hello.txt"));
			let current = one;
			for (let swap = 1; swap <= 3; swap++) {
				const next = await users.create();
				expect(await rotate(here, "one", next)).toBeLessThan(5000);
				// goofys asks for its keys every three seconds.
				if (driver.name === "goofys") await sleep(4000);
				await users.disable(current);
				current = next;
				await minio.put("one", `after-${swap}.txt`, "new\n");
				const path = join(here.target, `one/after-${swap}.txt`);
				const { stdout, stderr } = await execa("cat", [path], { reject: false, timeout: 10_000 });
				expect(stdout + stderr).toBe("new");
			}
			const [first, second] = [await here.mount("one"), await here.mount("two")];
			expect(second.pid).toBe(before[1]?.pid);
			expect(first.pid === before[0]?.pid).toBe(driver.name !== "s3fs");
			expect(reader.errors).toEqual([]);
			expect(await changesDone(here)).toBe(3);
			expect(await here.stop()).toBe(0);
		},
	);

	test("a file that is written across a rotation is complete", { timeout: 90_000 }, async () => {
		const { here } = await podOf(driver, {});
		const path = `across-${driver.title.replace(" ", "-")}.bin`;
		const file = opens(join(here.target, "one", path), "w");
		expect(await file.step("open")).toBe('ok ""');
		expect(await file.step("write", 1_000_000)).toBe('ok ""');
		await rotate(here, "one", await users.create());
		for (let more = 0; more < 4; more++) {
			expect(await file.step("write", 1_000_000)).toBe('ok ""');
			await sleep(500);
		}
		expect(await file.step("close")).toBe('ok ""');
		expect((await minio.get("one", path)).length).toBe(5_000_000);
		expect(await here.stop()).toBe(0);
	});

	test("keys that are refused are not used, which is said, until they are right", { timeout: 90_000 }, async () => {
		const { here, one } = await podOf(driver, {});
		const { pid } = await here.mount("one");
		const wrong = { accessKey: one.accessKey, secretKey: "this-is-not-the-secret-key" };
		here.writeSecret("one", keysOf(wrong));
		await until(
			async () => (await here.mount("one")).pendingChange !== undefined,
			20_000,
			() => here.output,
		);
		const status = await here.mount("one");
		expect(status.pendingChange).toContain("other secrets, not in use yet: SIGNATURE_WRONG");
		expect(status).toMatchObject({ ready: true, state: "ready", pid });
		expect((await here.ask("/readyz")).statusCode).toBe(200);
		expect((await here.status()).changes.at(-1)).toMatchObject({ state: "waiting", code: "SIGNATURE_WRONG" });
		await minio.put("one", "with-the-old-key.txt", "works\n");
		const path = join(here.target, "one/with-the-old-key.txt");
		expect((await execa("cat", [path], { timeout: 10_000 })).stdout).toBe("works");
		expect(here.output).not.toContain(wrong.secretKey);
		const next = await users.create();
		await rotate(here, "one", next);
		expect((await here.mount("one")).pendingChange).toBeUndefined();
		expect(await here.stop()).toBe(0);
	});
});

test("native: certificates that are replaced in their secret are trusted without a restart", async () => {
	const [first, second] = [await startMinio({ tls: true }), await startMinio({ tls: true })];
	try {
		const texts = [first, second].map(({ caFile = "" }) => readFileSync(caFile, "utf8"));
		await second.createBucket("tls");
		await second.put("tls", "hello.txt", "hello\n");
		pod = new Pod({
			mounts: [
				{
					mountPoint: "s3://tls",
					name: "tls",
					options: {
						endpoint: second.endpoint,
						"access-key": "/etc/fluid/secrets/keys/access-key",
						"secret-key": "/etc/fluid/secrets/keys/secret-key",
						"ca-bundle": "/etc/fluid/secrets/ca/ca.crt",
					},
				},
			],
			secrets: { keys: keysOf(second), ca: { "ca.crt": `${texts[1]}` } },
		});
		const here = pod;
		here.start();
		await here.untilReady();
		const { pid } = await here.mount();
		here.writeSecret("ca", { "ca.crt": texts.join("") });
		await until(
			() => here.log.some(({ msg, options }) => msg === "options changed" && String(options) === "ca"),
			10_000,
			() => here.output,
		);
		expect((await execa("cat", [join(here.target, "hello.txt")], { timeout: 10_000 })).stdout).toBe("hello");
		expect((await here.mount()).pid).toBe(pid);
		// One that does not know the server is not taken.
		here.writeSecret("ca", { "ca.crt": `${texts[0]}` });
		await until(
			async () => (await here.mount()).pendingChange?.includes("BACKEND_TLS") === true,
			10_000,
			() => here.output,
		);
		expect(await here.stop()).toBe(0);
	} finally {
		await Promise.all([first.stop(), second.stop()]);
	}
});
