import { fork, type ChildProcess } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { DriverSession, StartContext } from "../../src/drivers/driver.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { OpenFile } from "../support/application.ts";
import { answerOf } from "../support/child-answer.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { fuseDescriptors } from "../support/fuse-descriptors.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { until } from "../support/pod.ts";
import { prepareNative } from "./prepare-native.ts";

const MiB = 1024 ** 2;
const names = 1200;
const large = randomBytes(24 * MiB);
const kills = 5;

interface Done {
	readonly kind: "done";
	readonly counts: Readonly<Record<string, number>>;
	readonly faults: readonly string[];
}

let minio: Minio;
let folder: DriverFolder | undefined;
let session: DriverSession | undefined;
const lines: string[] = [];
const files: OpenFile[] = [];

beforeAll(async () => {
	minio = await startMinio();
});
afterAll(async () => minio.stop());
afterEach(async () => {
	for (const file of files.splice(0)) file.kill();
	await session?.stop({ graceMs: 0 });
	await folder?.remove();
	folder = session = undefined;
	lines.length = 0;
});

async function mount(
	bucket: string,
	options: Readonly<Record<string, string>> = {},
	continues: Partial<StartContext> = {},
) {
	folder = new DriverFolder();
	const context = {
		...folder.context({ continuesAfterCrash: true, ...continues }),
		log: pino({ level: "info" }, { write: (line) => void lines.push(line) }),
	};
	const started = await prepareNative(minio, bucket, options).start(context);
	session = started;
	const { mountpoint } = folder;
	await until(
		async () => (await statfs(mountpoint, 2000)).kind === "answered",
		60_000,
		() => "not mounted",
	);
	return { session: started, mountpoint };
}

/** Ends the process that serves, and waits for another one. Returns how long that took. */
async function killed(here: DriverSession, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
	const { pid } = here;
	process.kill(pid, signal);
	await until(
		() => here.pid !== pid,
		60_000,
		() => `no other process:\n${lines.join("")}`,
	);
}

/** Again and again while the application is at work, which is to end then. */
async function killUnder(application: ChildProcess, here: DriverSession): Promise<void> {
	for (let round = 0; round < kills; round++) {
		await sleep(200 + Math.random() * 800);
		await killed(here);
	}
	await sleep(500);
	application.send("end");
}

test(
	"who reads and changes names sees a pause and nothing else when its process is killed",
	{ timeout: 180_000 },
	async () => {
		await minio.createBucket("read");
		await minio.put("read", "large", large);
		await Promise.all(Array.from({ length: names }, async (_, index) => minio.put("read", `many/${index}`, "x")));
		await Promise.all(
			Array.from({ length: 400 }, async (_, index) => minio.put("read", `tree/${index % 20}/${index}`, `${index}`)),
		);
		const waits: number[] = [];
		const { session: here, mountpoint } = await mount(
			"read",
			{},
			{ onContinued: (seconds) => void waits.push(seconds) },
		);
		const digest = createHash("sha256").update(large).digest("hex");
		const application = fork(join(import.meta.dirname, "at-reading.ts"), [mountpoint, `${names}`, digest], {
			stdio: "inherit",
		});
		const done = answerOf<Done, "done">(application, "done", { limitMs: 170_000, log: lines });
		await until(
			() => here.stats?.()["open_files"] !== undefined,
			60_000,
			() => lines.join(""),
		);
		await killUnder(application, here);
		const { counts, faults } = await done;
		expect(faults, lines.join("")).toEqual([]);
		for (const name of ["read", "readWhole", "list", "walk", "look", "change"])
			expect(counts[name], name).toBeGreaterThan(0);
		expect(waits).toHaveLength(kills);
	},
);

test("who writes sees a pause and nothing else when its process is killed", { timeout: 180_000 }, async () => {
	await minio.createBucket("work");
	await minio.put("work", "large", large);
	await minio.put("work", "removed", "removed");
	await Promise.all(Array.from({ length: names }, async (_, index) => minio.put("work", `many/${index}`, "x")));
	const { session: here, mountpoint } = await mount("work");
	const digest = createHash("sha256").update(large).digest("hex");
	const application = fork(join(import.meta.dirname, "at-work.ts"), [mountpoint, `${names}`, digest], {
		stdio: "inherit",
	});
	const done = answerOf<Done & { readonly logged: string }, "done">(application, "done", {
		limitMs: 170_000,
		log: lines,
	});
	await until(
		() => here.stats?.()["open_files"] === 3,
		60_000,
		() => lines.join(""),
	);
	await killUnder(application, here);
	const { counts, faults, logged } = await done;
	expect(faults, lines.join("")).toEqual([]);
	for (const name of ["read", "list", "append", "change", "look"]) expect(counts[name], name).toBeGreaterThan(0);
	expect((await minio.get("work", "log")).toString()).toBe(logged);
	// Nobody waits for the release that follows the last close, and with it the object goes.
	await until(
		async () => !(await minio.list("work")).includes("removed"),
		60_000,
		() => lines.join(""),
	);
});

test("what is written comes to be, whatever it is, when processes are killed", { timeout: 240_000 }, async () => {
	await minio.createBucket("written");
	const { session: here, mountpoint } = await mount("written", { "write-buffer": "64Mi" });
	const application = fork(join(import.meta.dirname, "at-writing.ts"), [mountpoint], { stdio: "inherit" });
	const done = answerOf<Done & { readonly sums: Readonly<Record<string, string>> }, "done">(application, "done", {
		limitMs: 230_000,
		log: lines,
	});
	await until(
		() => (here.stats?.()["open_files"] ?? 0) > 0,
		60_000,
		() => lines.join(""),
	);
	await killUnder(application, here);
	const { counts, faults, sums } = await done;
	expect(faults, lines.join("")).toEqual([]);
	for (const name of ["long", "change", "nameless", "replace", "move"]) expect(counts[name], name).toBeGreaterThan(0);
	for (const [name, sum] of Object.entries(sums))
		expect(
			createHash("sha256")
				.update(await minio.get("written", name))
				.digest("hex"),
			name,
		).toBe(sum);
	await expect
		.poll(async () => (await minio.list("written")).filter((key) => /nameless|unlinked|new/.test(key)), {
			timeout: 10_000,
		})
		.toEqual([]);
	expect(readdirSync(join(folder?.directory ?? "", "writing"))).toEqual([]);
});

/** In a process of its own: who keeps the mount alive must not have to wait for it. */
function opened(...args: ConstructorParameters<typeof OpenFile>): OpenFile {
	const file = new OpenFile(...args);
	files.push(file);
	return file;
}

test("one that hangs is replaced the same way", { timeout: 120_000 }, async () => {
	await minio.createBucket("hangs");
	const { session: here, mountpoint } = await mount("hangs", {}, { hangTimeoutMs: 5000 });
	const file = opened(join(mountpoint, "file"), "w+");
	expect(await file.step("open")).toBe('ok ""');
	expect(await file.step("write", 3)).toBe('ok ""');
	await killed(here, "SIGSTOP");
	expect(await file.step("read", 100)).toBe('ok "xxx"');
	expect(await file.step("close")).toBe('ok ""');
	expect((await minio.get("hangs", "file")).toString()).toBe("xxx");
});

test("one that is told to end leaves to the next one what it could not store", { timeout: 120_000 }, async () => {
	await minio.createBucket("ends");
	const proxy = await startFaultProxy(minio.endpoint);
	try {
		const limits = { "retry-for": "1s", "http-timeout": "1s" };
		const { session: here, mountpoint } = await mount("ends", { endpoint: proxy.endpoint, ...limits });
		const file = opened(join(mountpoint, "file"), "w+");
		expect(await file.step("open")).toBe('ok ""');
		expect(await file.step("write", 3)).toBe('ok ""');
		await proxy.mode("hang");
		await killed(here, "SIGTERM");
		await proxy.mode("pass");
		expect(await file.step("read", 100)).toBe('ok "xxx"');
		expect(await file.step("close")).toBe('ok ""');
		expect((await minio.get("ends", "file")).toString()).toBe("xxx");
	} finally {
		await proxy.stop();
	}
});

test("processes that die by themselves again and again are not replaced for ever", { timeout: 120_000 }, async () => {
	await minio.createBucket("loop");
	const { session: here, mountpoint } = await mount("loop");
	for (let death = 0; death < 4; death++) await killed(here, "SIGABRT");
	process.kill(here.pid, "SIGABRT");
	expect(await here.ended).toMatchObject({ kind: "failed", cause: { code: "DRIVER_FAILED" } });
	expect(fuseDescriptors()).toBe(0);
	expect(await statfs(mountpoint, 2000)).toEqual({ kind: "dead" });
});

test("a request in whose hands processes die is refused", { timeout: 120_000 }, async () => {
	await minio.createBucket("deadly");
	await minio.put("deadly", "file", "content");
	const proxy = await startFaultProxy(minio.endpoint);
	try {
		const { session: here, mountpoint } = await mount("deadly", { endpoint: proxy.endpoint });
		const file = opened(join(mountpoint, "file"), "r");
		await proxy.mode("hang");
		const answers: string[] = [];
		const opening = file.step("open").then((answer) => void answers.push(answer));
		for (let death = 0; death < 4 && answers.length === 0; death++) {
			// Time to ask the server. Of the first three only those count that had the request by then.
			await sleep(1500);
			await killed(here, "SIGABRT");
		}
		await opening;
		expect(answers).toEqual(["EIO"]);
		expect(lines.join("")).toContain("a request is refused that several processes had in their hands when they died");
		await proxy.mode("pass");
		expect(await file.step("open")).toBe('ok ""');
	} finally {
		await proxy.stop();
	}
});

test("is as it was without the switch", { timeout: 120_000 }, async () => {
	await minio.createBucket("off");
	const { session: here, mountpoint } = await mount("off", {}, { continuesAfterCrash: false });
	process.kill(here.pid, "SIGKILL");
	expect(await here.ended).toMatchObject({ kind: "failed", cause: { code: "DRIVER_KILLED" } });
	expect(fuseDescriptors()).toBe(0);
	expect(await statfs(mountpoint, 2000)).toEqual({ kind: "dead" });
});
