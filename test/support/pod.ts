import { execFileSync } from "node:child_process";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	renameSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, delimiter, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { layersAt, readMountinfo } from "../../src/mounts/mountinfo.ts";
import { requestLauncher } from "../../src/probe/client.ts";
import type { LauncherStatus, MountStatus } from "../../src/probe/status.ts";

export const projectRoot = resolve(import.meta.dirname, "../..");

/** The program as users start it. */
export const program = join(projectRoot, "bin/fluid-fuse");

/** `test/s3-filesystem/serve-bucket.ts` in one file. */
export const bucketServer = join(projectRoot, "node_modules/.cache/serve-bucket/serve-bucket.js");

/** Where `npm run setup` puts what it builds. */
export const cachedBinaries = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "fluid-fuse/bin");

export interface FluidMount {
	readonly mountPoint: string;
	readonly name?: string;
	readonly path?: string;
	readonly readOnly?: boolean;
	readonly options?: Readonly<Record<string, string>>;
}

export interface PodOptions {
	readonly mounts: readonly FluidMount[];
	/** Secret name to key to value, as kubelet mounts them. */
	readonly secrets?: Readonly<Record<string, Readonly<Record<string, string>>>>;
	readonly accessModes?: readonly string[];
	readonly runtimeOptions?: Readonly<Record<string, string>>;
	readonly env?: Readonly<Record<string, string>>;
	/** Fluid before 1.0.1 mounted the file itself instead of its folder. */
	readonly oldConfigPlace?: boolean;
	/** A folder with the programs to find first, such as another goofys. */
	readonly programs?: string;
	/** To be run instead of the checkout's. */
	readonly program?: string;
	/** The node's folder is mounted at targetPath itself, as CacheRuntime does, and not the one around it. */
	readonly volumeAtTarget?: boolean;
	/** Of a CacheRuntime: what runtime.json has as its client. The whole pod is laid out as Fluid does it for one. */
	readonly client?: Readonly<Record<string, unknown>>;
}

/** What Fluid and kubelet lay out for one storage pod, in a temporary folder, and the launcher in it. */
export class Pod {
	readonly folder: string;
	readonly target: string;
	/** The same on the node. */
	readonly targetOnNode: string;
	readonly runDirectory: string;
	readonly terminationLog: string;
	readonly secretsDirectory: string;
	readonly configFile: string;
	readonly options: PodOptions;
	launcher: ReturnType<typeof spawnLauncher> | undefined;
	/** Everything that the launcher has printed, in all its runs. */
	output = "";

	constructor(options: PodOptions) {
		this.options = options;
		this.folder = mkdtempSync(join(tmpdir(), "fluid-fuse-pod-"));
		const { volumeAtTarget = options.client !== undefined } = options;
		const onNode = join(this.folder, volumeAtTarget ? "node" : "runtime-mnt");
		mountFolder(onNode, "--make-shared");
		if (volumeAtTarget) {
			this.target = join(this.folder, "runtime-mnt/cache-fuse");
			// The end of the path is the same there.
			this.targetOnNode = join(onNode, basename(this.folder), "runtime-mnt/cache-fuse");
			mkdirSync(this.targetOnNode, { recursive: true });
			mountFolder(join(this.folder, "runtime-mnt"), "--make-private");
			mkdirSync(this.target);
			this.mountVolume();
		} else {
			// kubelet makes the parent of targetPath, on a mount that propagates both ways.
			this.target = join(onNode, "thin-fuse");
			this.targetOnNode = this.target;
		}
		this.runDirectory = join(this.folder, "run");
		mkdirSync(this.runDirectory);
		execFileSync("mount", ["-t", "tmpfs", "-o", "mode=0777", "tmpfs", this.runDirectory]);
		this.terminationLog = join(this.folder, "termination-log");
		writeFileSync(this.terminationLog, "");
		this.secretsDirectory = join(this.folder, "secrets");
		mkdirSync(this.secretsDirectory);
		for (const [name, data] of Object.entries(options.secrets ?? {})) this.writeSecret(name, data);
		this.configFile =
			options.oldConfigPlace === true ? join(this.folder, "config.json") : join(this.folder, "config", this.#fileName);
		this.writeConfig(this.renderConfig());
	}

	/** What kubelet does for a container whose volume is at targetPath: what is mounted there on the node comes with it. */
	mountVolume(): void {
		execFileSync("mount", ["-i", "-n", "--rbind", this.targetOnNode, this.target]);
	}

	/** One line of JSON, as Fluid's Go code writes it. */
	renderConfig(overrides: Partial<PodOptions> = {}): string {
		const { mounts, accessModes = ["ReadOnlyMany"], runtimeOptions, client } = { ...this.options, ...overrides };
		const withPaths = mounts.map((mount) => ({ ...mount, path: mount.path ?? `/${mount.name}` }));
		const json = JSON.stringify({
			mounts: client === undefined ? mounts : withPaths,
			targetPath: this.target,
			runtimeOptions,
			accessModes,
			client,
		});
		return json.replaceAll("<", "\\u003c").replaceAll(">", "\\u003e").replaceAll("&", "\\u0026");
	}

	writeConfig(text: string): void {
		if (this.options.oldConfigPlace === true) writeFileSync(this.configFile, `${text}\n`);
		else writeAtomically(join(this.folder, "config"), { [this.#fileName]: `${text}\n` });
	}

	get #fileName(): string {
		return this.options.client === undefined ? "config.json" : "runtime.json";
	}

	/** Writes or rotates a secret as kubelet does. */
	writeSecret(name: string, data: Readonly<Record<string, string>>): void {
		writeAtomically(join(this.secretsDirectory, name), data);
	}

	environment(): Record<string, string> {
		const path = [this.options.programs, cachedBinaries, process.env["PATH"]]
			.filter((part) => part !== undefined)
			.join(delimiter);
		return {
			PATH: path,
			HOME: "/root",
			...(this.options.client === undefined
				? {
						FLUID_RUNTIME_TYPE: "thin",
						FLUID_RUNTIME_NS: "default",
						FLUID_RUNTIME_NAME: "demo",
						MOUNT_POINT: this.target,
						FLUID_FUSE_CONFIG: this.configFile,
					}
				: {
						FLUID_DATASET_NAME: "demo",
						FLUID_DATASET_NAMESPACE: "default",
						FLUID_RUNTIME_CONFIG_PATH: this.configFile,
						FLUID_RUNTIME_MOUNT_PATH: this.target,
						FLUID_RUNTIME_COMPONENT_TYPE: "client",
						FLUID_RUNTIME_COMPONENT_SVC_NAME: "",
					}),
			FLUID_FUSE_SECRETS_DIR: this.secretsDirectory,
			FLUID_FUSE_RUN_DIR: this.runDirectory,
			// This machine is the node.
			FLUID_FUSE_NODE_PROC: "/proc",
			FLUID_FUSE_TERMINATION_LOG: this.terminationLog,
			FLUID_FUSE_PROBE_ADDRESS: "off",
			...this.options.env,
		};
	}

	start(env: Readonly<Record<string, string>> = {}, file = this.options.program ?? program): void {
		const launcher = spawnLauncher(file, { ...this.environment(), ...env });
		launcher.all.on("data", (chunk: Buffer) => {
			this.output += chunk.toString();
		});
		this.launcher = launcher;
	}

	/** Runs another command of the program in this pod. */
	async command(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
		const { exitCode, stdout, stderr } = await execa(this.options.program ?? program, args, {
			env: this.environment(),
			extendEnv: false,
			reject: false,
			timeout: 60_000,
		});
		return { exitCode: exitCode ?? -1, stdout, stderr };
	}

	get pid(): number {
		const pid = this.launcher?.pid;
		if (pid === undefined) throw new Error("the launcher is not running");
		return pid;
	}

	/** Log lines, parsed. */
	get log(): Record<string, unknown>[] {
		return this.output
			.split("\n")
			.filter((line) => line.startsWith("{") && line.endsWith("}"))
			.map((line) => JSON.parse(line) as Record<string, unknown>);
	}

	async ask(path: string, timeoutMs = 2000): Promise<{ statusCode: number; body: string }> {
		const answer = await requestLauncher(this.runDirectory, path, { timeoutMs });
		return answer.kind === "answer" ? answer : { statusCode: 0, body: answer.reason };
	}

	async status(): Promise<LauncherStatus> {
		const { statusCode, body } = await this.ask("/status");
		if (statusCode !== 200) throw new Error(`no status: ${body}\n${this.output}`);
		return JSON.parse(body) as LauncherStatus;
	}

	async mount(name?: string): Promise<MountStatus> {
		const { mounts } = await this.status();
		const found = name === undefined ? mounts[0] : mounts.find((mount) => mount.name === name);
		if (found === undefined) throw new Error(`no mount ${name ?? ""} in ${JSON.stringify(mounts)}`);
		return found;
	}

	async untilReady(timeoutMs = 45_000): Promise<void> {
		await until(
			async () => (await this.ask("/readyz")).statusCode === 200,
			timeoutMs,
			() => `not ready:\n${this.output}`,
		);
	}

	/** Waits for the launcher's own end. */
	async ended(timeoutMs = 40_000): Promise<number> {
		const launcher = this.launcher;
		if (launcher === undefined) throw new Error("the launcher was not started");
		const result = await Promise.race([launcher, sleep(timeoutMs)]);
		if (result === undefined) throw new Error(`the launcher did not end within ${timeoutMs} ms:\n${this.output}`);
		return result.exitCode ?? (result.signal === "SIGKILL" ? 137 : -1);
	}

	async stop(): Promise<number> {
		this.launcher?.kill("SIGTERM");
		return this.ended();
	}

	/** Mounts at the target, bottom first. */
	async layers(target = this.target) {
		return layersAt(await readMountinfo(), target);
	}

	get terminationMessage(): Record<string, unknown> | undefined {
		const text = readFileSync(this.terminationLog, "utf8");
		return text === "" ? undefined : (JSON.parse(text) as Record<string, unknown>);
	}

	/** Processes below the launcher, zombies too. */
	descendants(): { pid: number; command: string; state: string }[] {
		const processes = processTable();
		const found: { pid: number; command: string; state: string }[] = [];
		const queue = [this.pid];
		for (let parent = queue.shift(); parent !== undefined; parent = queue.shift()) {
			for (const entry of processes) {
				if (entry.parentPid !== parent) continue;
				found.push(entry);
				queue.push(entry.pid);
			}
		}
		return found;
	}

	/** Ends whatever is left by force, and leaves no mount. */
	async cleanup(): Promise<void> {
		const left = this.launcher?.pid === undefined ? [] : this.descendants();
		this.launcher?.kill("SIGKILL");
		for (const { pid } of left) {
			try {
				process.kill(pid, "SIGKILL");
			} catch {
				// It has ended with the launcher.
			}
		}
		for (let tries = 0; tries < 50; tries++) {
			const mounted = (await readMountinfo()).findLast(({ mountPoint }) => mountPoint.startsWith(`${this.folder}/`));
			if (mounted === undefined) break;
			await execa("umount", ["-f", "-l", mounted.mountPoint], { reject: false, timeout: 5000 });
		}
		// Never recursively while anything could be mounted below.
		if (!(await readMountinfo()).some(({ mountPoint }) => mountPoint.startsWith(`${this.folder}/`))) {
			rmSync(this.folder, { recursive: true, force: true });
		}
	}
}

function mountFolder(folder: string, propagation: string): void {
	mkdirSync(folder);
	execFileSync("mount", ["--bind", folder, folder]);
	execFileSync("mount", ["--make-private", folder]);
	execFileSync("mount", [propagation, folder]);
}

function spawnLauncher(file: string, env: Readonly<Record<string, string>>) {
	return execa(file, [], {
		env,
		extendEnv: false,
		stdin: "ignore",
		all: true,
		buffer: false,
		reject: false,
		cleanup: true,
		// Its own end is what is tested.
		forceKillAfterDelay: false,
	});
}

interface ProcessEntry {
	readonly pid: number;
	readonly parentPid: number;
	readonly command: string;
	readonly state: string;
}

function processTable(): ProcessEntry[] {
	const rows = execFileSync("ps", ["-eo", "pid=,ppid=,stat=,args="], { encoding: "utf8" }).split("\n");
	return rows.flatMap((row) => {
		const match = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(row);
		const [, pid, parentPid, state = "", command = ""] = match ?? [];
		return match === null ? [] : [{ pid: Number(pid), parentPid: Number(parentPid), state, command }];
	});
}

/** Takes away whatever is mounted at a path, and in it, as an application's end does. */
export async function unmountAll(path: string): Promise<void> {
	for (;;) {
		const left = (await readMountinfo()).findLast(
			({ mountPoint }) => mountPoint === path || mountPoint.startsWith(`${path}/`),
		);
		if (left === undefined) return;
		await execa("umount", ["-l", left.mountPoint]);
	}
}

/** kubelet's way to publish files: a new folder, and one rename of the ..data link. */
export function writeAtomically(folder: string, files: Readonly<Record<string, string>>): void {
	mkdirSync(folder, { recursive: true });
	const version = `..${new Date().toISOString().replaceAll(/[^\d]/g, "_")}${Math.random().toString().slice(2, 11)}`;
	mkdirSync(join(folder, version));
	for (const [name, content] of Object.entries(files))
		writeFileSync(join(folder, version, name), content, { mode: 0o644 });
	let old: string | undefined;
	if (existsSync(join(folder, "..data")))
		old = execFileSync("readlink", [join(folder, "..data")], { encoding: "utf8" }).trim();
	symlinkSync(version, join(folder, "..data_tmp"));
	renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
	for (const name of Object.keys(files)) {
		if (!existsSync(join(folder, name))) symlinkSync(join("..data", name), join(folder, name));
	}
	if (old !== undefined) rmSync(join(folder, old), { recursive: true });
}

/** Waits for a condition, as long as its limit, and longer on a machine that is late in everything: up to three times as long. */
export async function until(
	condition: () => boolean | Promise<boolean>,
	timeoutMs: number,
	explain: () => string,
): Promise<void> {
	const pauseMs = 25;
	const startedAt = performance.now();
	let pauses = 0;
	let pausedMs = 0;
	while (!(await condition())) {
		const lateness = pauses === 0 ? 1 : pausedMs / (pauses * pauseMs);
		if (performance.now() - startedAt > timeoutMs * Math.min(3, lateness)) throw new Error(explain());
		const pausedAt = performance.now();
		await sleep(pauseMs);
		pauses++;
		pausedMs += performance.now() - pausedAt;
	}
}
