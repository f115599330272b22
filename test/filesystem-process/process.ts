import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { join } from "node:path";
import type { FilesystemConfig, Order, Report, VolumeConfig } from "../../src/filesystem-process/messages.ts";
import { openAndMount } from "../../src/fuse/mount.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { projectRoot } from "../support/pod.ts";
import { plainVolume } from "../s3-filesystem/plain-volume.ts";

const MiB = 1024 ** 2;

/** A bucket of a server that nobody has started: it is mounted all the same. */
export const unreachableVolume: VolumeConfig = {
	...plainVolume,
	bucket: "bucket",
	pathStyle: true,
	endpoint: "http://127.0.0.1:1",
	region: "us-east-1",
	credentials: { kind: "anonymous" },
	maximumRequests: 32,
	connectMs: 5000,
	silenceMs: 30_000,
	retryForMs: 60_000,
};

/** The filesystem's process as the native driver starts it, with the test in the launcher's place. */
export class FilesystemProcess {
	readonly folder = new DriverFolder();
	readonly mountpoint = this.folder.mountpoint;
	readonly stagingDirectory = join(this.folder.directory, "writing");
	readonly reports: Report[] = [];
	/** What it has printed. */
	output = "";
	#child: ChildProcess | undefined;
	#ended: Promise<{ readonly exitCode: number | null; readonly signal: string | null }> | undefined;

	/** `preload`: a module that does, in that process, what a bug would do. */
	async start(config: Partial<FilesystemConfig> = {}, preload?: string): Promise<void> {
		const { volumes = [unreachableVolume] } = config;
		const fd = await openAndMount({
			target: this.mountpoint,
			source: "bucket",
			subtype: "thin-s3",
			readOnly: volumes.every(({ readOnly }) => readOnly),
			allowOther: true,
			signal: AbortSignal.timeout(20_000),
		});
		const imported = preload === undefined ? [] : ["--import", `data:text/javascript,${encodeURIComponent(preload)}`];
		const child = spawn(process.execPath, [...imported, join(projectRoot, "src/main.ts"), "filesystem"], {
			env: { PATH: process.env["PATH"], UV_THREADPOOL_SIZE: "16" },
			cwd: "/",
			stdio: ["ignore", "pipe", "pipe", fd, "ipc"],
		});
		this.#child = child;
		child.once("exit", () => closeSync(fd));
		// Not "exit": its last words are still to be read then.
		this.#ended = once(child, "close").then(([exitCode, signal]: (number | string | null)[]) => ({
			exitCode: typeof exitCode === "number" ? exitCode : null,
			signal: typeof signal === "string" ? signal : null,
		}));
		for (const stream of [child.stdout, child.stderr]) {
			stream?.on("data", (chunk: Buffer) => {
				this.output += chunk.toString();
			});
		}
		child.on("message", (message: Report) => this.reports.push(message));
		this.tell({
			kind: "serve",
			config: {
				mount: { kind: "inherited" },
				volumes,
				logLevel: "info",
				memoryBytes: 64 * MiB,
				readAheadBytes: 16 * MiB,
				stagingDirectory: this.stagingDirectory,
				...config,
			},
		});
	}

	get pid(): number {
		return this.#child?.pid ?? -1;
	}

	tell(order: Order): void {
		this.#child?.send(order);
	}

	signal(signal: NodeJS.Signals): void {
		process.kill(this.pid, signal);
	}

	/** Of log lines, those of a level and more. */
	lines(...levels: readonly string[]): Record<string, unknown>[] {
		return this.output
			.split("\n")
			.filter((line) => line.startsWith("{") && line.endsWith("}"))
			.map((line) => JSON.parse(line) as Record<string, unknown>)
			.filter(({ level }) => levels.includes(String(level)));
	}

	async ended(): Promise<{ readonly exitCode: number | null; readonly signal: string | null }> {
		if (this.#ended === undefined) throw new Error("it was not started");
		return this.#ended;
	}

	async cleanUp(): Promise<void> {
		this.#child?.kill("SIGKILL");
		await this.#ended;
		await this.folder.remove();
	}
}
