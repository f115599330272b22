import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { drivers as programDrivers } from "../src/drivers/index.ts";
import { layersAt, parseMountinfo } from "../src/mounts/mountinfo.ts";
import { statfs } from "../src/mounts/statfs.ts";
import type { Minio } from "../test/support/minio.ts";
import { cachedBinaries, Pod, until } from "../test/support/pod.ts";
import { minioPod } from "../test/support/s3-drivers.ts";
import { startChild, type Child } from "./child.ts";
import type { LoadRequest } from "./load.ts";
import { fuseServers, processTree } from "./machine.ts";
import { runOnMount, type Stage } from "./on-mount.ts";

export interface Driver {
	readonly name: string;
	/** Why it cannot be measured here, if so; its version otherwise. */
	describe(): Promise<{ readonly version: string } | { readonly missing: string }>;
	/** A fresh one, with empty caches of its own. */
	start(place: Place): Promise<Served>;
}

export interface Place {
	readonly server: Minio;
	readonly bucket: string;
	/** Path of fluid-fuse. */
	readonly program: string;
}

export interface Served {
	/** The filesystem's processes. */
	processes(): readonly number[];
	/** Does the job and returns its seconds. */
	run(request: Omit<LoadRequest, "root">, stage: Stage): Promise<number>;
	/** Ends it, by force if need be. Never rejects. */
	stop(): Promise<void>;
}

export const drivers: readonly Driver[] = [
	throughLauncher("native", () => execa("git", ["-C", import.meta.dirname, "describe", "--always", "--dirty"])),
	throughLauncher("goofys", () => execa(join(cachedBinaries, "goofys"), ["--version"])),
	throughLauncher("s3fs", () => execa("s3fs", ["--version"])),
	{
		name: "rclone",
		describe: async () => version(() => execa("rclone", ["version"])),
		start: startRclone,
	},
	{
		name: "ceiling",
		describe: async () => ({ version: "ranged GETs and PUTs by src/s3, no filesystem" }),
		start: startCeiling,
	},
];

async function version(
	ask: () => Promise<{ stdout: string }>,
): Promise<{ readonly version: string } | { readonly missing: string }> {
	try {
		const { stdout } = await ask();
		return { version: stdout.split("\n")[0] ?? "" };
	} catch {
		return { missing: "it is not installed" };
	}
}

/** A driver of this program, as in production: the real launcher mounts it in what kubelet would lay out. */
function throughLauncher(name: "native" | "goofys" | "s3fs", ask: () => Promise<{ stdout: string }>): Driver {
	return {
		name,
		async describe() {
			if (!programDrivers.some((driver) => driver.name === name)) return { missing: "the launcher has no such driver" };
			return version(ask);
		},
		async start({ server, bucket, program }) {
			const pod = new Pod(minioPod(server, bucket, { title: name, name }, { accessModes: ["ReadWriteMany"], program }));
			try {
				pod.start();
				await pod.untilReady(30_000);
			} catch (error) {
				await pod.cleanup();
				throw error;
			}
			return {
				processes: () => fuseServers(pod.pid),
				run: async (request, stage) => runOnMount({ ...request, root: pod.target }, stage),
				async stop() {
					await Promise.race([pod.stop().catch(() => undefined), sleep(15_000, undefined, { ref: false })]);
					await pod.cleanup();
				},
			};
		},
	};
}

/** What README.md explains, flag by flag. */
const rcloneFlags = [
	"--vfs-cache-mode=writes",
	"--vfs-write-back=0s",
	"--use-server-modtime",
	"--no-checksum",
	"--buffer-size=64M",
	"--max-read-ahead=1M",
	"--attr-timeout=60s",
	"--dir-cache-time=60s",
	"--transfers=8",
	"--s3-chunk-size=16M",
	"--s3-upload-cutoff=16M",
	"--s3-upload-concurrency=8",
	"--s3-disable-checksum",
	"--s3-no-check-bucket",
	"--s3-no-head",
];

async function startRclone({ server, bucket }: Place): Promise<Served> {
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-bench-rclone-"));
	const target = join(folder, "mount");
	await mkdir(target);
	// --pdeathsig: it never outlives the bench.
	const rclone = execa(
		"setpriv",
		[
			"--pdeathsig",
			"KILL",
			"rclone",
			"mount",
			`:s3:${bucket}`,
			target,
			"--cache-dir",
			join(folder, "cache"),
			...rcloneFlags,
		],
		{
			extendEnv: false,
			env: {
				PATH: process.env["PATH"] ?? "",
				HOME: folder,
				RCLONE_CONFIG: "/dev/null",
				RCLONE_S3_PROVIDER: "Minio",
				RCLONE_S3_ENDPOINT: server.endpoint,
				RCLONE_S3_REGION: server.region,
				RCLONE_S3_ACCESS_KEY_ID: server.accessKey,
				RCLONE_S3_SECRET_ACCESS_KEY: server.secretKey,
			},
			stdin: "ignore",
			all: true,
			reject: false,
		},
	);
	const { pid } = rclone;
	const isMounted = () => layersAt(parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8")), target).length > 0;
	const stop = async () => {
		await execa("umount", [target], { reject: false, timeout: 10_000, killSignal: "SIGKILL" });
		if (isMounted())
			await execa("umount", ["-f", "-l", target], { reject: false, timeout: 10_000, killSignal: "SIGKILL" });
		rclone.kill("SIGTERM");
		await Promise.race([rclone, sleep(5000, undefined, { ref: false })]);
		rclone.kill("SIGKILL");
		await rclone;
		// Never recursively into a mount.
		if (!isMounted()) rmSync(folder, { recursive: true, force: true });
	};
	try {
		const ended = new AbortController();
		void rclone.finally(() => ended.abort());
		await until(
			async () => {
				if (ended.signal.aborted) throw new Error(`rclone ended: ${(await rclone).all}`);
				return isMounted() && (await statfs(target, 2000)).kind === "answered";
			},
			30_000,
			() => "rclone does not get ready",
		);
	} catch (error) {
		await stop();
		throw error;
	}
	return {
		processes: () => (pid === undefined ? [] : processTree(pid)),
		run: async (request, stage) => runOnMount({ ...request, root: target }, stage),
		stop,
	};
}

async function startCeiling({ server, bucket }: Place): Promise<Served> {
	let child: Child | undefined;
	return {
		processes: () => (child === undefined ? [] : [child.pid]),
		async run(request, stage) {
			const { endpoint, region, accessKey, secretKey } = server;
			child = await startChild(
				new URL("ceiling.ts", import.meta.url),
				{ request: { ...request, root: "" }, store: { endpoint, bucket, region } },
				{ signal: stage.signal, env: { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey } },
			);
			stage.dropCaches();
			stage.begin();
			return child.go();
		},
		async stop() {
			await child?.end().catch(() => undefined);
		},
	};
}
