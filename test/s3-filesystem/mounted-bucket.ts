import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { execa } from "execa";
import type { ObjectStoreOptions, StaticCredentials } from "../../src/s3/object-store.ts";
import type { FilesystemSettings, VolumeOptions } from "../../src/s3-filesystem/index.ts";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { answerOf } from "../support/child-answer.ts";
import { bucketServer, projectRoot } from "../support/pod.ts";
import { plainVolume } from "./plain-volume.ts";

const MiB = 1024 ** 2;

export interface BucketOptions {
	readonly minio: { readonly region: string; readonly accessKey: string; readonly secretKey: string };
	/** Default: the server's own. Otherwise that of a proxy in front of it. */
	readonly endpoint: string;
	readonly bucket: string;
	readonly prefix?: string;
	readonly readOnly?: boolean;
	readonly credentials?: StaticCredentials;
	readonly store?: Partial<Pick<ObjectStoreOptions, "timeouts" | "retryForMs" | "maximumRequests">>;
	readonly settings?: Partial<Omit<FilesystemSettings, "log">>;
	readonly volume?: Partial<
		Pick<
			VolumeOptions,
			"attributes" | "contentTypes" | "ttlMs" | "uid" | "gid" | "directoryMode" | "fileMode" | "writeBack"
		>
	>;
	readonly env?: Readonly<Record<string, string>>;
	/** It sees no processes but its own, as a pod does. */
	readonly isAlone?: boolean;
	/** Default: what `MountedBucket.transport` says. */
	readonly transport?: Transport;
}

type Transport = "direct" | "libfuse";

/** What the process that serves is told first. */
export interface ServedBucket {
	readonly transport: Transport;
	readonly target: string;
	readonly readOnly: boolean;
	readonly store: Omit<ObjectStoreOptions, "endpoint" | "pathStyle" | "credentials" | "onEvent"> & {
		readonly endpoint: string;
		readonly credentials: StaticCredentials;
	};
	readonly settings: Omit<FilesystemSettings, "log">;
	readonly volume: Omit<VolumeOptions, "folder" | "readOnly" | "store">;
}

export type ToFilesystem =
	| { readonly kind: "stats" }
	| { readonly kind: "drain" }
	| { readonly kind: "credentials"; readonly credentials: StaticCredentials };

export type FromFilesystem =
	| { readonly kind: "mounted" }
	| { readonly kind: "failed"; readonly reason: string }
	| { readonly kind: "ended"; readonly reason?: string }
	| { readonly kind: "drained"; readonly reason?: string }
	| { readonly kind: "stats"; readonly stats: Readonly<Record<string, number>> }
	| { readonly kind: "log"; readonly level: string; readonly message: string; readonly fields: object };

const startLimitMs = 20_000;
const unmountLimitMs = 60_000;

/**
 * A bucket as a folder, served by a process of its own. The test's own process may use the folder, though only with promises and a
 * limit: synchronous calls would stop its proxy and its server's client.
 */
export class MountedBucket {
	/** For a file of tests that are all to be run over another one. */
	static transport: Transport = "direct";
	readonly target: string;
	/** Where changed content is until it is uploaded. */
	readonly stagingDirectory: string;
	readonly log: string[] = [];
	readonly #folder: string;
	readonly #process: ChildProcess;
	readonly #exited: Promise<unknown>;
	#isEnded = false;

	private constructor(folder: string, stagingDirectory: string, server: ChildProcess) {
		this.#folder = folder;
		this.target = join(folder, "mount");
		this.stagingDirectory = stagingDirectory;
		this.#process = server;
		this.#exited = once(server, "exit");
		server.on("message", (message: FromFilesystem) => {
			if (message.kind !== "log") return;
			if (this.log.length === 500) this.log.shift();
			this.log.push(`${message.level}: ${message.message} ${inspect(message.fields, { breakLength: Infinity })}`);
		});
		server.stderr?.on("data", (text: Buffer) => void this.log.push(text.toString().trimEnd()));
	}

	static async mount(options: BucketOptions): Promise<MountedBucket> {
		const { minio, endpoint, bucket, prefix = "", readOnly = false, credentials, settings } = options;
		const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-mounted-"));
		const stagingDirectory = settings?.stagingDirectory ?? join(folder, "staging");
		await mkdir(join(folder, "mount"));
		const server = fork(bucketServer, {
			// Not inside the mount, and no debugger's port.
			cwd: projectRoot,
			...(options.isAlone === true
				? { execPath: "unshare", execArgv: ["--pid", "--fork", "--kill-child", process.execPath] }
				: { execArgv: ["--enable-source-maps"] }),
			stdio: ["ignore", "ignore", "pipe", "ipc"],
			serialization: "advanced",
			env: { ...process.env, UV_THREADPOOL_SIZE: "16", ...options.env },
		});
		const mounted = new MountedBucket(folder, stagingDirectory, server);
		const served: ServedBucket = {
			transport: options.transport ?? MountedBucket.transport,
			target: mounted.target,
			readOnly,
			store: {
				endpoint,
				region: minio.region,
				bucket,
				credentials: credentials ?? { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey },
				...options.store,
			},
			settings: {
				memoryBytes: 64 * MiB,
				readAheadBytes: 16 * MiB,
				stagingLimitBytes: 256 * MiB,
				...settings,
				stagingDirectory,
			},
			volume: { ...plainVolume, identity: `${endpoint}/${bucket}`, prefix, ...options.volume },
		};
		try {
			const answered = mounted.#answer("mounted", startLimitMs);
			server.send(served);
			await answered;
		} catch (error) {
			await mounted.abort();
			throw error;
		}
		return mounted;
	}

	get pid(): number {
		return this.#process.pid ?? -1;
	}

	async stats(): Promise<Readonly<Record<string, number>>> {
		const answered = this.#answer("stats", 10_000);
		this.#tell({ kind: "stats" });
		return (await answered).stats;
	}

	/** Uploads what is not in the bucket yet; why that failed, if it did. */
	async drain(limitMs = 60_000): Promise<string | undefined> {
		const answered = this.#answer("drained", limitMs);
		this.#tell({ kind: "drain" });
		return (await answered).reason;
	}

	setCredentials(credentials: StaticCredentials): void {
		this.#tell({ kind: "credentials", credentials });
	}

	/** The most memory that the process ever had, in bytes. */
	get peakMemoryBytes(): number {
		return this.#memory("VmHWM");
	}

	get memoryBytes(): number {
		return this.#memory("VmRSS");
	}

	#memory(field: string): number {
		const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
		return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
	}

	/** As kill -9 does. What hangs in the mount is answered by the kernel. */
	async kill(): Promise<void> {
		this.#process.kill("SIGKILL");
		await this.#exited;
	}

	/** Unmounts as an operator does, and waits for the process's end. */
	async unmount(): Promise<void> {
		try {
			await execa("umount", [this.target], { timeout: unmountLimitMs });
			const ended = await Promise.race([this.#exited, sleep(unmountLimitMs, undefined, { ref: false })]);
			if (ended === undefined) throw new Error(`the filesystem did not end after its unmount\n${this.log.join("\n")}`);
		} finally {
			await this.abort();
		}
	}

	/** Frees whoever is stuck in the mount, and leaves neither mount nor process nor files. Calling it twice is fine. */
	async abort(): Promise<void> {
		if (this.#isEnded) return;
		this.#isEnded = true;
		if (await isMounted(this.target))
			await execa("umount", ["-f", "-l", this.target], { reject: false, timeout: 10_000 });
		this.#process.kill("SIGKILL");
		await this.#exited;
		if (!(await isMounted(this.target))) await rm(this.#folder, { recursive: true, force: true });
	}

	#tell(message: ToFilesystem): void {
		this.#process.send(message);
	}

	async #answer<Kind extends FromFilesystem["kind"]>(
		kind: Kind,
		limitMs: number,
	): Promise<FromFilesystem & { readonly kind: Kind }> {
		return answerOf<FromFilesystem, Kind>(this.#process, kind, { limitMs, log: this.log });
	}
}

async function isMounted(target: string): Promise<boolean> {
	return (await readMountinfo()).some(({ mountPoint }) => mountPoint === target);
}
