import { mkdirSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { DriverSession, StartContext } from "../../src/drivers/driver.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { projectRoot, until, writeAtomically } from "../support/pod.ts";
import { prepareNative } from "./prepare-native.ts";

const slowDown = { kind: "answer", status: 503, body: "<Error><Code>SlowDown</Code></Error>" } as const;

let minio: Minio;
let proxy: FaultProxy;
let disk: string;
const folders: DriverFolder[] = [];
const sessions: DriverSession[] = [];
const lines: string[] = [];

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
});
afterAll(async () => {
	await proxy.stop();
	await minio.stop();
});
beforeEach(async () => {
	disk = await mkdtemp(join(tmpdir(), "fluid-fuse-disk-"));
});
afterEach(async () => {
	for (const session of sessions.splice(0)) await session.stop({ graceMs: 0 });
	for (const folder of folders.splice(0)) await folder.remove();
	await rm(disk, { recursive: true, force: true });
	await proxy.mode("pass");
	lines.length = 0;
});

async function mount(bucket: string, context: Partial<StartContext> = {}, options: Record<string, string> = {}) {
	const folder = new DriverFolder();
	folders.push(folder);
	const own = {
		...folder.context(context),
		log: pino({ level: "info" }, { write: (line) => void lines.push(line) }),
	};
	const given = { endpoint: proxy.endpoint, "cache-dir": disk, "write-back": "true", "retry-for": "1s", ...options };
	const session = await prepareNative(minio, bucket, given).start(own);
	sessions.push(session);
	const { mountpoint } = folder;
	await until(
		async () => (await statfs(mountpoint, 2000)).kind === "answered",
		60_000,
		() => `not mounted:\n${lines.join("")}`,
	);
	return { session, mountpoint };
}

const hold = async (): Promise<void> => proxy.fail(slowDown, { only: ({ method = "" }) => /PUT|POST/.test(method) });
const text = async (here: { mountpoint: string }, name: string): Promise<string> =>
	readFile(join(here.mountpoint, name), "utf8");

async function stored(bucket: string, key: string, content: string): Promise<void> {
	await until(
		async () => (await minio.list(bucket)).includes(key) && (await minio.get(bucket, key)).toString() === content,
		60_000,
		() => `${key} is not stored:\n${lines.join("")}`,
	);
}

/** What the folders of processes hold that are there. */
const pending = (): string[] => {
	const names = readdirSync(disk).includes("pending") ? readdirSync(join(disk, "pending"), { recursive: true }) : [];
	return names.map(String).filter((name) => name.endsWith(".pending"));
};

test("a process goes on with what one that was killed has left, and not with that of one that lives", async () => {
	await minio.createBucket("killed");
	const first = await mount("killed");
	await hold();
	await writeFile(join(first.mountpoint, "file"), "closed");
	expect(pending()).toHaveLength(1);
	const second = await mount("killed");
	await expect(text(second, "file")).rejects.toThrow("ENOENT");
	process.kill(first.session.pid ?? 0, "SIGKILL");
	await first.session.ended;
	expect(pending()).toHaveLength(1);
	const third = await mount("killed");
	expect(await text(third, "file")).toBe("closed");
	await proxy.mode("pass");
	await stored("killed", "file", "closed");
	await until(
		() => pending().length === 0,
		30_000,
		() => pending().join(" "),
	);
});

test("what cannot be uploaded when a mount stops is named and stays, and the next one uploads it", async () => {
	await minio.createBucket("stopped");
	const here = await mount("stopped");
	await mkdir(join(here.mountpoint, "d"));
	await hold();
	await writeFile(join(here.mountpoint, "d", "file"), "closed");
	await here.session.stop({ graceMs: 30_000 });
	expect(lines.join("")).toContain("closed files stay on the disk");
	expect(lines.join("")).toContain("d/file");
	expect(pending()).toHaveLength(1);
	await proxy.mode("pass");
	await mount("stopped");
	await stored("stopped", "d/file", "closed");
});

test("a mount without write-back says that files are pending", async () => {
	await minio.createBucket("without");
	const here = await mount("without");
	await hold();
	await writeFile(join(here.mountpoint, "file"), "closed");
	await here.session.stop({ graceMs: 0 });
	const other = await mount("without", {}, { "write-back": "false" });
	await until(
		() => other.session.troubles?.().some(({ message }) => message.includes("1 closed files")) === true,
		30_000,
		() => lines.join(""),
	);
	expect(pending()).toHaveLength(1);
});

test("none goes on under the same mount where one has died, and another mount uploads what was closed there", async () => {
	await minio.createBucket("continued");
	const here = await mount("continued", { continuesAfterCrash: true });
	await hold();
	await writeFile(join(here.mountpoint, "file"), "closed");
	process.kill(here.session.pid ?? 0, "SIGKILL");
	await here.session.ended;
	const again = await mount("continued", { continuesAfterCrash: true });
	expect(await text(again, "file")).toBe("closed");
	await proxy.mode("pass");
	await stored("continued", "file", "closed");
	await until(
		() => pending().length === 0,
		30_000,
		() => pending().join(" "),
	);
});

describe("upload-pending", () => {
	/** A folder with the keys, as a Secret is mounted. */
	function keysFolder(secretKey = minio.secretKey): string {
		const keys = join(disk, "keys");
		mkdirSync(keys, { recursive: true });
		writeAtomically(keys, { "access-key": minio.accessKey, "secret-key": secretKey });
		return keys;
	}

	function run(words: readonly string[]) {
		const main = join(projectRoot, "src/main.ts");
		return execa(process.execPath, [main, ...words], { reject: false, cwd: "/" });
	}

	function upload(words: readonly string[], { folder = disk, secretKey = minio.secretKey } = {}) {
		const flags = ["--endpoint", proxy.endpoint, "--keys", keysFolder(secretKey), "--option", "retry-for=1s"];
		return run(["upload-pending", folder, ...words, ...flags]);
	}

	/** A process that has died, and what it had closed. */
	async function killed(
		bucket: string,
		files: Readonly<Record<string, string>>,
		removed: string[] = [],
	): Promise<void> {
		const here = await mount(bucket);
		await hold();
		for (const name of removed) await rm(join(here.mountpoint, name));
		for (const [name, content] of Object.entries(files)) {
			await mkdir(dirname(join(here.mountpoint, name)), { recursive: true }).catch(() => undefined);
			await writeFile(join(here.mountpoint, name), content);
		}
		process.kill(here.session.pid ?? 0, "SIGKILL");
		await here.session.ended;
	}

	test("uploads what processes have left that are gone, and not what is another mount's or in use", async () => {
		for (const bucket of ["gone", "other", "used"]) await minio.createBucket(bucket);
		await minio.put("gone", "old", "old");
		await killed("gone", { first: "1", second: "2" }, ["old"]);
		expect(await minio.list("gone")).toEqual(["old"]);
		await killed("other", { third: "3" });
		const alive = await mount("used");
		await writeFile(join(alive.mountpoint, "fourth"), "4");
		await proxy.mode("pass");
		const { exitCode, stdout, stderr } = await upload(["s3://gone", "s3://other/prefix"]);
		expect(stdout, stderr).toMatch(/pending +4 files\n +in use +1 folder of processes/);
		expect(stdout).toMatch(/s3:\/\/gone\n +uploaded +3 files\n/);
		expect(stdout).toMatch(/prefix\n +uploaded +0 files\nfor other mounts.*\n +http.* other\/ +1 file\nOK\n?$/);
		expect(exitCode, stderr).toBe(0);
		expect(await minio.list("gone")).toEqual(["first", "second"]);
		expect((await minio.get("gone", "first")).toString()).toBe("1");
		expect((await minio.get("gone", "second")).toString()).toBe("2");
		expect(await minio.list("other")).toEqual([]);
		expect((await upload(["s3://other"])).exitCode).toBe(0);
		expect((await minio.get("other", "third")).toString()).toBe("3");
		await stored("used", "fourth", "4");
	});

	test("leaves what somebody else has changed since, and says so", async () => {
		await minio.createBucket("changed");
		await killed("changed", { ours: "ours", theirs: "ours" });
		await proxy.mode("pass");
		await minio.put("changed", "theirs", "theirs");
		for (const uploaded of ["1 file", "0 files"]) {
			const { exitCode, stdout, stderr } = await upload(["s3://changed"]);
			expect(stdout, stderr).toMatch(/LEFT +theirs, 4 bytes: .*changed by somebody else/);
			expect(stdout).toContain(`uploaded  ${uploaded}`);
			expect(exitCode).toBe(75);
			expect(pending()).toHaveLength(1);
		}
		expect((await minio.get("changed", "theirs")).toString()).toBe("theirs");
		await minio.delete("changed", "theirs");
		expect((await upload(["s3://changed"])).exitCode).toBe(0);
		expect((await minio.get("changed", "theirs")).toString()).toBe("ours");
		expect(await readdir(join(disk, "pending"))).toEqual([]);
	});

	test("keeps all when it cannot upload, or is killed, and can be run again", async () => {
		await minio.createBucket("again");
		await killed("again", { file: "closed" });
		const wrong = await upload(["s3://again"], { secretKey: "not-the-secret-key" });
		expect([wrong.exitCode, wrong.stdout]).toEqual([77, expect.stringContaining("SIGNATURE_WRONG")]);
		// Listings are answered, and nothing else.
		const held = await upload(["s3://again", "--json"]);
		expect(held.exitCode, held.stderr).toBe(75);
		expect(JSON.parse(held.stdout)).toMatchObject({ ok: false, mounts: [{ uploaded: 0, left: [{ key: "file" }] }] });
		const only = ({ method = "" }): boolean => /PUT|POST/.test(method);
		await proxy.fail(slowDown, { only, before: async () => Promise.withResolvers<void>().promise });
		const hanging = upload(["s3://again"]);
		await until(
			() => proxy.failed > 0,
			30_000,
			() => "nothing is uploaded",
		);
		hanging.kill("SIGKILL");
		expect((await hanging).signal).toBe("SIGKILL");
		expect(pending()).toHaveLength(1);
		await proxy.mode("pass");
		expect((await upload(["s3://again"])).exitCode).toBe(0);
		expect((await minio.get("again", "file")).toString()).toBe("closed");
	});

	test("the Job of examples/upload-pending brings in what a node still has", async () => {
		const job = parse(await readFile(join(projectRoot, "examples/upload-pending/job.yaml"), "utf8")) as {
			spec: { template: { spec: { containers: { command: string[] }[] } } };
		};
		const here: Readonly<Record<string, string>> = {
			"/cache": disk,
			"/keys": keysFolder(),
			"http://minio:9000": proxy.endpoint,
		};
		const [, ...words] = job.spec.template.spec.containers[0]?.command ?? [];
		await minio.createBucket("my-first-bucket");
		await killed("my-first-bucket", { file: "closed" });
		await proxy.mode("pass");
		const { exitCode, stderr } = await run(words.map((word) => here[word] ?? word));
		expect(exitCode, stderr).toBe(0);
		expect((await minio.get("my-first-bucket", "file")).toString()).toBe("closed");
	});

	test("refuses a folder that is not there", async () => {
		const { exitCode, stderr } = await upload(["s3://any"], { folder: join(disk, "absent") });
		expect([exitCode, stderr]).toEqual([64, expect.stringContaining("absent is not a folder")]);
	});
});

test("a disk that goes with the container is refused", async () => {
	const folder = new DriverFolder();
	folders.push(folder);
	const prepared = prepareNative(minio, "any", { "cache-dir": "/dev/shm/cache", "write-back": "true" });
	await expect(prepared.start(folder.context())).rejects.toThrow("is on tmpfs, which goes with the container");
	expect(() => prepareNative(minio, "any", { "write-back": "true" })).toThrow("needs cache-dir");
});
