import { readdirSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { DriverSession, StartContext } from "../../src/drivers/driver.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { until } from "../support/pod.ts";
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

test("a disk that goes with the container is refused", async () => {
	const folder = new DriverFolder();
	folders.push(folder);
	const prepared = prepareNative(minio, "any", { "cache-dir": "/dev/shm/cache", "write-back": "true" });
	await expect(prepared.start(folder.context())).rejects.toThrow("is on tmpfs, which goes with the container");
	expect(() => prepareNative(minio, "any", { "write-back": "true" })).toThrow("needs cache-dir");
});
