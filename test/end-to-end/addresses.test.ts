import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../support/listen.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, type PodOptions } from "../support/pod.ts";
import { bucketsPod, testedDrivers } from "../support/s3-drivers.ts";

const name = "s3.example.test";
let folder: string;
let pod: Pod | undefined;
const cleanups: (() => void)[] = [];

afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
	for (const cleanup of cleanups.splice(0)) cleanup();
});
beforeAll(() => {
	folder = mkdtempSync(join(tmpdir(), "addresses-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const hostsFile = (): string => join(folder, "hosts");
/** In place, since it is mounted. */
const setHosts = (...lines: readonly string[]): void => writeFileSync(hostsFile(), `${lines.join("\n")}\n`);

/** A pod whose launcher, and all that it starts, finds names in a file of its own. */
async function startPod(options: PodOptions): Promise<Pod> {
	const own = join(folder, "fluid-fuse");
	const mount = `mount --make-private / && mount --bind "$0" /etc/hosts && exec ${program} "$@"`;
	const script = `#!/bin/sh\nexec unshare --mount --propagation unchanged sh -c '${mount}' ${hostsFile()} "$@"\n`;
	writeFileSync(own, script, { mode: 0o755 });
	pod = new Pod({ accessModes: ["ReadWriteMany"], ...options, program: own });
	pod.start();
	await pod.untilReady();
	return pod;
}

describe("a certificate for the buckets' own host names", () => {
	let minio: Minio;
	beforeAll(async () => {
		minio = await startMinio({ tls: true, domain: name });
		for (const bucket of ["plain", "dots.in.its-name"]) await minio.createBucket(bucket);
	});
	afterAll(async () => minio.stop());

	test.each(testedDrivers())("is enough, with $title", async ({ name: driver, programs }) => {
		// The server's own name leads nowhere.
		setHosts(`127.0.0.1 plain.${name}`);
		const { mounts, ...others } = bucketsPod(minio, `https://${name}:${minio.port}`, ["plain"]);
		const here = await startPod({
			...others,
			mounts,
			runtimeOptions: { "path-style": "false", "ca-bundle": minio.caFile ?? "" },
			env: { FLUID_FUSE_DRIVER: driver },
			...(programs !== undefined && { programs }),
		});
		await writeFile(join(here.target, driver), "through TLS");
		expect(await readFile(join(here.target, driver), "utf8")).toBe("through TLS");
		expect((await minio.get("plain", driver)).toString()).toBe("through TLS");
		expect(await here.stop()).toBe(0);
	});

	test.each(testedDrivers())("is not asked for a bucket with dots, with $title", async ({ name: driver, programs }) => {
		setHosts(`127.0.0.1 ${name}`);
		const here = await startPod({
			...bucketsPod(minio, `https://${name}:${minio.port}`, ["dots.in.its-name"]),
			runtimeOptions: { "ca-bundle": minio.caFile ?? "" },
			env: { FLUID_FUSE_DRIVER: driver },
			...(programs !== undefined && { programs }),
		});
		await writeFile(join(here.target, driver), "through TLS");
		expect((await minio.get("dots.in.its-name", driver)).toString()).toBe("through TLS");
		expect(await here.stop()).toBe(0);
	});
});

describe("a server of several addresses", () => {
	let minio: Minio;
	let port: number;
	beforeAll(async () => {
		minio = await startMinio();
		await minio.createBucket("bucket");
		port = await freePort();
	});
	afterAll(async () => minio.stop());

	interface Address {
		readonly connections: number;
		/** Nothing listens any more, and who is connected is told so. */
		stop(): void;
		/** It says nothing any more. */
		silence(): void;
	}

	/** The server at another address of this machine. */
	async function listenAt(address: string): Promise<Address> {
		const sockets = new Set<Socket>();
		let connections = 0;
		let isSilent = false;
		const server = createServer((near) => {
			connections++;
			const far = connect({ host: "127.0.0.1", port: minio.port });
			for (const socket of [near, far]) {
				sockets.add(socket);
				socket.on("error", () => undefined);
				socket.on("close", () => {
					near.destroy();
					far.destroy();
				});
			}
			near.on("data", (bytes) => {
				if (!isSilent) far.write(bytes);
			});
			far.on("data", (bytes) => {
				if (!isSilent) near.write(bytes);
			});
		});
		server.listen(port, address);
		await once(server, "listening");
		const stop = (): void => {
			server.close();
			for (const socket of sockets) socket.destroy();
		};
		cleanups.push(stop);
		return {
			get connections() {
				return connections;
			},
			stop,
			silence() {
				isSilent = true;
			},
		};
	}

	/** An address whose packets get lost: those who would connect wait. */
	async function loseAt(address: string): Promise<void> {
		const script = `import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("${address}", ${port})); s.listen(0)
full = [socket.socket() for _ in range(2)]
for each in full: each.setblocking(False); each.connect_ex(("${address}", ${port}))
print("full", flush=True); sys.stdin.read()`;
		const child = spawn("python3", ["-c", script], { stdio: ["pipe", "pipe", "inherit"] });
		cleanups.push(() => void child.kill("SIGKILL"));
		await once(child.stdout, "data");
	}

	const podOf = async (): Promise<Pod> =>
		startPod({
			...bucketsPod(minio, `http://${name}:${port}`, ["bucket"]),
			runtimeOptions: { "http-timeout": "3s", ttl: "0s" },
		});

	async function use(here: Pod, file: string): Promise<void> {
		await writeFile(join(here.target, file), `content of ${file}`);
		expect(await readFile(join(here.target, file), "utf8")).toBe(`content of ${file}`);
		expect((await minio.get("bucket", file)).toString()).toBe(`content of ${file}`);
	}

	test.each([
		["has ended", "stop"],
		["says nothing any more", "silence"],
	] as const)("is followed to another one while it is mounted, when the first %s", async (_, end) => {
		const first = await listenAt("127.0.0.2");
		const second = await listenAt("127.0.0.3");
		setHosts(`127.0.0.2 ${name}`);
		const here = await podOf();
		await use(here, `before-${end}`);
		expect(second.connections).toBe(0);
		setHosts(`127.0.0.3 ${name}`);
		first[end]();
		await use(here, `after-${end}`);
		expect(second.connections).toBeGreaterThan(0);
		expect(await here.stop()).toBe(0);
	});

	test.each(["refuses", "is silent"])("is reached although one of them %s", async (how) => {
		if (how === "is silent") await loseAt("127.0.0.2");
		const alive = await listenAt("127.0.0.3");
		setHosts(`127.0.0.2 ${name}`, `127.0.0.3 ${name}`);
		const here = await podOf();
		await use(here, how);
		expect(alive.connections).toBeGreaterThan(0);
		expect(await here.stop()).toBe(0);
	});
});
