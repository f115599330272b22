import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { mountOf, parseMountinfo, type MountEntry } from "../../src/mounts/mountinfo.ts";
import { requestLauncher } from "../../src/probe/client.ts";
import type { LauncherStatus } from "../../src/probe/status.ts";
import { cachedBinaries, Pod, program, projectRoot, until, type PodOptions } from "./pod.ts";

const inRoot = join(projectRoot, "test/fixtures/node/in-root.sh");

type Bind = readonly [source: string, target: string, propagation: "shared" | "slave" | "private" | "alone"];

/**
 * A node in miniature: mounts and processes of its own and a root that propagates, as kubelet finds it. Containers in it have what a
 * container runtime gives them, and Fluid's CSI plugin publishes a volume as its own source does.
 */
export class MiniatureNode {
	/** What Fluid and kubelet lay out for the storage pod, at the same paths on this machine. */
	readonly layout: Pod;
	readonly #own: ChildProcess;
	readonly #init: number;
	readonly #binds: readonly Bind[];
	readonly #containers: Container[] = [];

	private constructor(layout: Pod, own: ChildProcess, init: number, binds: readonly Bind[]) {
		this.layout = layout;
		this.#own = own;
		this.#init = init;
		this.#binds = binds;
	}

	static async start(options: PodOptions): Promise<MiniatureNode> {
		const layout = new Pod(options);
		const { folder, target } = layout;
		const [base, containers] = [join(folder, "base"), join(folder, "containers")];
		for (const each of [base, containers, join(folder, "kubelet")]) mkdirSync(each, { recursive: true });
		// What is mounted on this machine does not come along: it belongs to others, who wait for its last unmount.
		const entries = parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"));
		const binds = [projectRoot, dirname(process.execPath), cachedBinaries, folder].flatMap((path): Bind[] =>
			mountOf(entries, path)?.mountPoint === "/" || !existsSync(path) ? [] : [[path, path, "alone"]],
		);
		const setUp = [
			`mount -t tmpfs none ${base} && mount --make-private ${base}`,
			`exec ${inRoot} ${base}/root shared ${binds.flat().join(" ")} -- sh -c '${[
				`mount -t tmpfs none ${containers} && mount --make-private ${containers}`,
				`mkdir -p ${dirname(target)}`,
				"echo up; exec sleep infinity",
			].join("; ")}'`,
		];
		const own = spawn("unshare", ["-m", "-p", "-f", "--propagation", "slave", "sh", "-ec", setUp.join("\n")], {
			// It complains when its child is killed.
			stdio: ["ignore", "pipe", "ignore"],
		});
		if (own.stdout === null) throw new Error("no output");
		await once(own.stdout, "data");
		return new MiniatureNode(layout, own, childOf(own.pid ?? 0), binds);
	}

	/** Runs a program on the node itself. */
	run(...command: readonly string[]): string {
		return enter(this.#init, command);
	}

	/** All that is mounted on the node. */
	mounts(): MountEntry[] {
		return parseMountinfo(readFileSync(`/proc/${this.#init}/mountinfo`, "utf8"));
	}

	/** The storage pod's container, as kubelet starts it in the pod's first life or a later one. */
	startStorage({ seesNode, isSidecar = false }: { readonly seesNode: boolean; readonly isSidecar?: boolean }): Storage {
		const { folder, target } = this.layout;
		const parent = dirname(target);
		const storage = new Storage(
			this.layout,
			this.#spawnContainer(
				[
					[parent, parent, "shared"],
					...(seesNode ? [["/proc", "/host/proc", "private"] satisfies Bind] : []),
					...(isSidecar ? [[this.layout.terminationLog, "/check-mount.sh", "private"] satisfies Bind] : []),
				],
				[program],
				{ FLUID_FUSE_RUN_DIR: join(folder, "container-run") },
			),
		);
		this.#containers.push(storage);
		return storage;
	}

	/** What NodePublishVolume does: https://github.com/fluid-cloudnative/fluid/blob/master/pkg/csi/plugins/nodeserver.go */
	publish(podUid: string, { readOnly }: { readonly readOnly: boolean }): string {
		const path = join(this.layout.folder, "kubelet/pods", podUid, "volumes/kubernetes.io~csi/default-demo/mount");
		this.run("mkdir", "-p", path);
		this.run("mount", "--bind", ...(readOnly ? ["-o", "ro"] : []), this.layout.target, path);
		return path;
	}

	/** What NodeUnpublishVolume does; kubelet asks again while it is busy. */
	async unpublish(path: string): Promise<void> {
		await until(
			() => {
				if (!this.mounts().some(({ mountPoint }) => mountPoint === path)) return true;
				this.run("sh", "-c", `umount ${path} 2>&1 || true`);
				return false;
			},
			20_000,
			() => `${path} stays busy`,
		);
	}

	/** What NodeStageVolume does before the first application of a Dataset comes to the node: once, if it is dead. */
	stage(): void {
		const { target } = this.layout;
		if (this.run("sh", "-c", `stat ${target} 2>&1 || true`).includes("Transport endpoint is not connected"))
			this.run("umount", target);
	}

	/** An application with `mountPropagation: HostToContainer`, that uses the volume ten times a second. */
	startApplication(
		published: string,
		files: { readonly read: readonly string[]; readonly write?: string },
	): Application {
		const application = new Application(
			this.#spawnContainer(
				[[published, join(this.layout.folder, "data"), "slave"]],
				[process.execPath, "-e", useVolume, join(this.layout.folder, "data"), JSON.stringify(files)],
			),
		);
		this.#containers.push(application);
		return application;
	}

	async stop(): Promise<void> {
		kill(this.#init, "SIGKILL");
		await Promise.all([this.#own, ...this.#containers.map(({ child }) => child)].map(untilEnded));
		await this.layout.cleanup();
	}

	#spawnContainer(binds: readonly Bind[], command: readonly string[], env: Record<string, string> = {}): ChildProcess {
		const root = join(this.layout.folder, "containers", String(this.#containers.length));
		const enterNode = ["-t", String(this.#init), "-m", "-p"];
		const unshare = ["unshare", "-m", "-p", "-f", "--propagation", "unchanged"];
		const run = [inRoot, root, "private", ...[...this.#binds, ...binds].flat(), "--", ...command];
		return spawn("nsenter", [...enterNode, ...unshare, ...run], {
			stdio: ["ignore", "pipe", "pipe"],
			// The node's /proc is at its default place.
			env: { ...this.layout.environment(), FLUID_FUSE_NODE_PROC: "", ...env },
		});
	}
}

abstract class Container {
	readonly child: ChildProcess;
	output = "";

	constructor(child: ChildProcess) {
		this.child = child;
		for (const stream of [child.stdout, child.stderr])
			stream?.on("data", (chunk: Buffer) => {
				this.output += chunk.toString();
			});
	}

	/** Its first process, by its number on this machine: below nsenter and unshare. */
	get init(): number {
		return childOf(childOf(this.child.pid ?? 0));
	}

	get isRunning(): boolean {
		return this.child.exitCode === null && this.child.signalCode === null;
	}

	signal(name: "SIGTERM" | "SIGKILL"): void {
		kill(this.init, name);
	}

	async ended(): Promise<void> {
		await untilEnded(this.child);
	}
}

export class Storage extends Container {
	readonly #layout: Pod;
	readonly #runDirectory: string;

	constructor(layout: Pod, child: ChildProcess) {
		super(child);
		this.#layout = layout;
		this.#runDirectory = join(layout.folder, "container-run");
	}

	async untilReady(): Promise<void> {
		await until(
			async () => {
				const answer = await requestLauncher(this.#runDirectory, "/readyz");
				return answer.kind === "answer" && answer.statusCode === 200;
			},
			30_000,
			() => `not ready:\n${this.output}`,
		);
	}

	async status(): Promise<LauncherStatus> {
		const answer = await requestLauncher(this.#runDirectory, "/status");
		if (answer.kind !== "answer") throw new Error(answer.reason);
		return JSON.parse(answer.body) as LauncherStatus;
	}

	/** Sends a signal to a process by the number that it has in the container. */
	killInside(pid: number, name: "KILL" | "STOP"): void {
		enter(this.init, ["kill", `-${name}`, String(pid)]);
	}

	/** What kubelet does with `lifecycle.preStop`. */
	async preStop(): Promise<number> {
		const env = { ...this.#layout.environment(), FLUID_FUSE_RUN_DIR: this.#runDirectory, FLUID_FUSE_NODE_PROC: "" };
		const child = spawn("nsenter", ["-t", String(this.init), "-m", "-p", program, "prestop"], {
			stdio: "ignore",
			env,
		});
		await untilEnded(child);
		return child.exitCode ?? 137;
	}
}

/** What an application saw from then on. */
export interface Sight {
	readonly at: number;
	/** `ok`, or an error's code. */
	readonly what: string;
}

export class Application extends Container {
	/** Each time that it saw something else. */
	readonly sights: Sight[] = [];
	#lastOk = 0;

	constructor(child: ChildProcess) {
		super(child);
		if (child.stdout === null) throw new Error("no output");
		createInterface({ input: child.stdout }).on("line", (what) => {
			const at = performance.now();
			if (what === "ok") this.#lastOk = at;
			if (this.sights.at(-1)?.what !== what) this.sights.push({ at, what });
		});
	}

	async untilBroken(): Promise<void> {
		await until(
			() => this.sights.at(-1)?.what !== "ok",
			20_000,
			() => "the application has noticed nothing",
		);
	}

	/** Waits for a round of reading, and writing, that was good and ended after this moment. Returns when that was. */
	async untilGood(): Promise<number> {
		const from = performance.now();
		await until(
			() => this.#lastOk > from,
			20_000,
			() => `the application did not heal: ${JSON.stringify(this.sights.slice(-5))}\n${this.output.slice(-300)}`,
		);
		return this.#lastOk;
	}
}

const useVolume = `
	const fs = require("node:fs");
	const [folder, files] = [process.argv[1], JSON.parse(process.argv[2])];
	process.on("SIGTERM", () => process.exit(0));
	(function next() {
		let what = "ok";
		try {
			for (const name of files.read) fs.readFileSync(folder + "/" + name);
			if (files.write !== undefined) {
				const text = String(Date.now());
				fs.writeFileSync(folder + "/" + files.write, text);
				// Not as utf8: then Node ends with an assertion when close fails.
				const read = fs.readFileSync(folder + "/" + files.write).toString();
				if (read !== text) what = "wrote " + text + ", read " + JSON.stringify(read);
			}
		} catch (error) { what = error.code; }
		process.stdout.write(what + "\\n");
		setTimeout(next, 100);
	})();`;

function childOf(pid: number): number {
	const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
	const child = Number(children[0]);
	if (!(child > 0)) throw new Error(`process ${pid} has no child`);
	return child;
}

function enter(init: number, command: readonly string[]): string {
	return execFileSync("nsenter", ["-t", String(init), "-m", "-p", ...command], { encoding: "utf8", timeout: 20_000 });
}

function kill(pid: number, name: NodeJS.Signals): void {
	process.kill(pid, name);
}

async function untilEnded(child: ChildProcess): Promise<void> {
	if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}
