import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { mountLoopDisk } from "../s3-filesystem/loop-disk.ts";
import { mountTmpfs, remountTmpfs, unmountTmpfs } from "../s3-filesystem/tmpfs.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, until } from "../support/pod.ts";
import { minioPod } from "../support/s3-drivers.ts";

let minio: Minio;
let pod: Pod | undefined;
let disk: string;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
	await minio.put("data", "large", Buffer.alloc(20 * 1024 ** 2, "large"));
});
afterAll(async () => minio.stop());
beforeEach(async () => {
	disk = await mountTmpfs("30m");
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
	await unmountTmpfs(disk);
});

async function startPod(cacheDirectory: string, accessMode: "ReadOnlyMany" | "ReadWriteMany"): Promise<Pod> {
	pod = new Pod(
		minioPod(
			minio,
			"data",
			{ title: "native", name: "native" },
			{
				accessModes: [accessMode],
				runtimeOptions: { "cache-dir": cacheDirectory },
			},
		),
	);
	pod.start();
	await pod.untilReady();
	return pod;
}

/** What the shell says of it. */
function writeInto(here: Pod, name: string): string {
	return spawnSync("sh", ["-c", `echo ${name} >${here.target}/${name}`], { encoding: "utf8", timeout: 20_000 }).stderr;
}

const readLarge = (here: Pod) => execFileSync("md5sum", [join(here.target, "large")], { encoding: "utf8" });

/** What the log says of disks, once for each start of the process. */
const saidOfDisks = (here: Pod) => here.log.filter(({ msg }) => String(msg).startsWith("a disk is"));

test("a read-only Dataset is there with a cache's disk that is read-only, comes back when its process is killed, and says what it costs", async () => {
	await remountTmpfs(disk, "ro");
	const here = await startPod(disk, "ReadOnlyMany");
	for (let restarts = 0; restarts < 3; restarts++) {
		await until(
			async () => {
				const mount = await here.mount();
				return mount.ready && mount.restarts === restarts;
			},
			20_000,
			() => here.output,
		);
		expect(readLarge(here)).toContain("large");
		await until(
			() => saidOfDisks(here).length === restarts + 1,
			10_000,
			() => here.output,
		);
		if (restarts < 2) process.kill((await here.mount()).pid ?? 0, "SIGKILL");
	}
	const message = `parts of objects cannot be kept in ${disk}/parts, and are fetched again`;
	const { state, troubles } = await here.mount();
	expect(state).toBe("ready");
	expect(troubles).toEqual([{ about: "disk of cache", message, since: expect.any(String) as unknown }]);
	expect((await here.ask("/metrics")).body).toContain('fluid_fuse_mount_troubles{mount="minio"} 1\n');
	expect((await here.command("status")).stdout).toContain(message);
	expect(await here.stop()).toBe(0);
});

test("a disk that becomes read-only while it is used costs no more than the cache and what is written", async () => {
	const broken = await mountLoopDisk(64);
	try {
		const here = await startPod(broken.folder, "ReadWriteMany");
		expect(writeInto(here, "one")).toBe("");
		expect((await here.ask("/metrics")).body).toContain('fluid_fuse_mount_troubles{mount="minio"} 0\n');
		const { pid } = await here.mount();
		await broken.becomeReadOnly();
		expect(writeInto(here, "two")).toContain("I/O error");
		expect(readLarge(here)).toContain("large");
		await until(
			async () => (await here.mount()).troubles?.length === 2,
			20_000,
			() => here.output,
		);
		const { troubles = [], ...mount } = await here.mount();
		expect(mount).toMatchObject({ ready: true, restarts: 0, pid });
		expect(troubles.map(({ about }) => about).toSorted()).toEqual(["disk of cache", "disk of writes"]);
		expect(await here.stop()).toBe(0);
	} finally {
		await pod?.cleanup();
		pod = undefined;
		await broken.remove();
	}
});

test("a Dataset that is written is there with a disk that is read-only, and takes what is written when it is not any more", async () => {
	await remountTmpfs(disk, "ro");
	const here = await startPod(disk, "ReadWriteMany");
	expect(readLarge(here)).toContain("large");
	expect(writeInto(here, "two")).toContain("I/O error");
	expect((await here.mount()).troubles?.map(({ about }) => about)).toContain("disk of writes");
	await remountTmpfs(disk, "rw");
	expect(writeInto(here, "two")).toBe("");
	expect((await minio.get("data", "two")).toString()).toBe("two\n");
	expect(await here.stop()).toBe(0);
});

test("a file in place of cache-dir costs the cache, and what is written", async () => {
	const file = join(disk, "file");
	writeFileSync(file, "somebody's");
	const here = await startPod(file, "ReadWriteMany");
	expect(readLarge(here)).toContain("large");
	expect(writeInto(here, "two")).toContain("I/O error");
	expect((await here.mount()).troubles).toHaveLength(2);
	expect(await here.stop()).toBe(0);
	expect(execFileSync("cat", [file], { encoding: "utf8" })).toBe("somebody's");
});
