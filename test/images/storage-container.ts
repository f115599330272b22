import { randomBytes } from "node:crypto";
import { dirname } from "node:path";
import { Pod, until, type PodOptions } from "../support/pod.ts";
import { podman } from "./store.ts";

export interface StorageContainerOptions extends PodOptions {
	/** What a ThinRuntimeProfile's `command` and `args` are: they replace the entrypoint, and follow it. */
	readonly command?: readonly string[];
	readonly args?: readonly string[];
	/** Files of the test, at their places in the container. */
	readonly files?: Readonly<Record<string, string>>;
	/** Besides /run. */
	readonly tmpfs?: readonly string[];
	readonly writableRoot?: boolean;
	/** As no version of Fluid starts it. */
	readonly unprivileged?: boolean;
}

export interface Answer {
	readonly exitCode: number;
	readonly stdout: string;
	readonly stderr: string;
}

/**
 * The container `thin-fuse`, or with `client` that of a CacheRuntime, as Fluid and kubelet start it: privileged, on the node's network, the
 * parent of targetPath mounted at the same path with Bidirectional propagation, or a folder of the node at targetPath itself, the config and
 * each secret as a folder. The root is read-only, and /run a tmpfs.
 */
export class StorageContainer {
	readonly pod: Pod;
	readonly name = `fluid-fuse-test-${randomBytes(6).toString("hex")}`;
	readonly #reference: string;
	readonly #options: StorageContainerOptions;

	constructor(reference: string, options: StorageContainerOptions) {
		this.#reference = reference;
		this.#options = options;
		this.pod = new Pod(options);
	}

	get target(): string {
		return this.pod.target;
	}

	async start(): Promise<void> {
		const {
			command,
			args = [],
			files = {},
			secrets = {},
			env = {},
			tmpfs = [],
			writableRoot,
			unprivileged,
			client,
		} = this.#options;
		const { folder, secretsDirectory, terminationLog, target, targetOnNode } = this.pod;
		const parent = dirname(target);
		const volumes = [
			client === undefined ? `${parent}:${parent}:rshared` : `${targetOnNode}:${target}:rshared`,
			`${folder}/config:/etc/fluid/config:ro`,
			`${terminationLog}:/dev/termination-log`,
			"/proc:/host/proc:ro",
			...Object.keys(secrets).map((secret) => `${secretsDirectory}/${secret}:/etc/fluid/secrets/${secret}:ro`),
			...Object.entries(files).map(([place, file]) => `${file}:${place}:ro`),
		];
		const variables = {
			...(client === undefined
				? {
						FLUID_RUNTIME_TYPE: "thin",
						FLUID_RUNTIME_NS: "default",
						FLUID_RUNTIME_NAME: "demo",
						MOUNT_POINT: target,
					}
				: {
						FLUID_DATASET_NAME: "demo",
						FLUID_DATASET_NAMESPACE: "default",
						FLUID_RUNTIME_CONFIG_PATH: "/etc/fluid/config/runtime.json",
						FLUID_RUNTIME_MOUNT_PATH: target,
						FLUID_RUNTIME_COMPONENT_TYPE: "client",
						FLUID_RUNTIME_COMPONENT_SVC_NAME: "",
					}),
			FLUID_FUSE_PROBE_ADDRESS: "off",
			...env,
		};
		await podman([
			"run",
			"--detach",
			`--name=${this.name}`,
			...(unprivileged === true ? [] : ["--privileged"]),
			"--network=host",
			"--pull=never",
			...(writableRoot === true ? [] : ["--read-only", "--read-only-tmpfs=false"]),
			...["/run", ...tmpfs].flatMap((place) => ["--tmpfs", `${place}:mode=0755`]),
			...volumes.flatMap((volume) => ["--volume", volume]),
			...Object.entries(variables).flatMap(([name, value]) => ["--env", `${name}=${value}`]),
			...(command === undefined ? [] : ["--entrypoint", JSON.stringify(command)]),
			this.#reference,
			...args,
		]);
	}

	/** As kubelet restarts a container of the same pod: what was mounted stays. */
	async startAgain(): Promise<void> {
		await podman(["start", this.name]);
	}

	/** As kubelet runs an exec probe or a preStop: an argument vector, no shell. */
	async exec(argv: readonly string[], timeoutMs = 30_000): Promise<Answer> {
		const { exitCode, stdout, stderr } = await podman(["exec", this.name, ...argv], {
			reject: false,
			timeout: timeoutMs,
		});
		return { exitCode: exitCode ?? -1, stdout, stderr };
	}

	async untilReady(timeoutMs = 30_000): Promise<void> {
		let answer: Answer | undefined;
		await until(
			async () => (answer = await this.exec(["fluid-fuse", "probe", "ready"])).exitCode === 0,
			timeoutMs,
			() => `not ready: ${answer?.stdout}${answer?.stderr}`,
		);
	}

	async kill(signal: string): Promise<void> {
		await podman(["kill", "--signal", signal, this.name]);
	}

	/** The exit code of the container's own end. */
	async ended(timeoutMs = 40_000): Promise<number> {
		const { stdout } = await podman(["wait", this.name], { timeout: timeoutMs });
		return Number(stdout);
	}

	async logs(): Promise<string> {
		const { stdout, stderr } = await podman(["logs", this.name]);
		return `${stdout}${stderr}`;
	}

	/** Leaves no container and no mount, also of one that hangs. */
	async remove(): Promise<void> {
		await podman(["rm", "--force", "--time", "0", "--ignore", this.name], { reject: false });
		await this.pod.cleanup();
	}
}
