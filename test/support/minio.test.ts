import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { execa } from "execa";
import { expect, test } from "vitest";

import { startMinio } from "./minio.ts";

const limit = { timeout: 60_000 };

test.each([{ tls: false }, { tls: true }])("keeps objects: %j", limit, async ({ tls }) => {
	const minio = await startMinio({ tls });
	try {
		await minio.createBucket("bucket");
		await minio.put("bucket", "b/ü $()", "text");
		await minio.put("bucket", "a", Buffer.from([0, 255]));
		expect(await minio.list("bucket")).toEqual(["a", "b/ü $()"]);
		expect(await minio.get("bucket", "a")).toEqual(Buffer.from([0, 255]));
		const { sessionToken } = await minio.temporaryCredentials();
		expect(sessionToken).not.toBe("");
	} finally {
		await minio.stop();
	}
	expect(existsSync(`/proc/${minio.pid}`)).toBe(false);
	await minio.stop();
});

test("comes back with the same data at the same port", limit, async () => {
	const dataDir = await mkdtemp(join(tmpdir(), "minio-data-"));
	const first = await startMinio({ dataDir });
	await first.createBucket("bucket");
	first.pause();
	await first.stop();
	const second = await startMinio({ dataDir, port: first.port });
	try {
		await second.put("bucket", "key", "value");
		expect(second.endpoint).toBe(first.endpoint);
	} finally {
		await second.stop();
		await rm(dataDir, { recursive: true });
	}
});

test("does not mistake another server at the port for itself", limit, async () => {
	const minio = await startMinio();
	try {
		await expect(startMinio({ port: minio.port })).rejects.toThrow("already in use");
	} finally {
		await minio.stop();
	}
});

test("dies with the process that started it, even a killed one", limit, async () => {
	const home = await mkdtemp(join(tmpdir(), "minio-killed-"));
	const script = `
		import { startMinio } from ${JSON.stringify(import.meta.resolve("./minio.ts"))};
		process.env.TMPDIR = ${JSON.stringify(home)};
		const { pid } = await startMinio();
		console.log(pid);
		setInterval(() => {}, 1000);`;
	const parent = execa(process.execPath, ["--input-type=module", "-e", script], { reject: false });
	const [line] = await once(parent.stdout, "data");
	const pid = Number(line);
	const isRunning = () => existsSync(`/proc/${pid}`);
	expect(isRunning()).toBe(true);
	parent.kill("SIGKILL");
	await parent;
	await expect.poll(isRunning, { timeout: 10_000 }).toBe(false);
	// It could not do that itself any more.
	await rm(home, { recursive: true });
});
