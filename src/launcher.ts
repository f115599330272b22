import { chmod, readdir, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Environment } from "./config/environment.ts";
import { ConfigError } from "./config/faults.ts";
import { loadFluidFile } from "./config/load.ts";
import { planMounts, type Plan, type PlannedMount, type RefusedMount } from "./config/plan.ts";
import type { Driver } from "./drivers/driver.ts";
import { LauncherError } from "./errors.ts";
import type { Logger } from "./log.ts";
import { maskRotatingKeys } from "./mask-keys.ts";
import {
	makeDirectory,
	makeFolderInMount,
	makeFolderInRoot,
	mountEmptyRoot,
	rootSourcePrefix,
} from "./mounts/mount.ts";
import { isAmong, layersAt, readMountinfo, type MountEntry } from "./mounts/mountinfo.ts";
import { checkHost, findWarnings } from "./mounts/preflight.ts";
import { unmount } from "./mounts/unmount.ts";
import { parseListenAddress } from "./probe/listen-address.ts";
import { createMetrics } from "./probe/metrics.ts";
import { startProbeServer } from "./probe/server.ts";
import type { LauncherStatus, MountStatus } from "./probe/status.ts";
import type { Redactor } from "./redact.ts";
import { createIdentity, type Identity } from "./s3/identity.ts";
import { SharedMount } from "./supervisor/shared-mount.ts";
import type { DriverFileFault } from "./vendor/load.ts";
import { defaultTiming, MountSupervisor, type Supervised } from "./supervisor/supervise.ts";

/** What the launcher needs at the end for itself: the last log lines, closing the sockets. */
const farewellMs = 1000;

/** Without a beat for so long the launcher's own threads are stuck, and only a restart of the container helps. */
const beatLimitMs = 60_000;

export interface LauncherOptions {
	readonly environment: Environment;
	/** The environment as it is, for what the drivers inherit of it. */
	readonly variables: NodeJS.ProcessEnv;
	readonly drivers: readonly Driver[];
	/** Driver files that cannot be used. */
	readonly driverFileFaults?: readonly DriverFileFault[];
	readonly version: string;
	readonly log: Logger;
	readonly redactor: Redactor;
	/** Aborted to make it stop: SIGTERM. */
	readonly signal: AbortSignal;
}

/** Mounts what the config says and keeps it mounted. Resolves after a clean end, rejects with what made it give up. */
export async function launch(options: LauncherOptions): Promise<void> {
	const { environment, log } = options;
	const runDirectory = environment.FLUID_FUSE_RUN_DIR;
	await makePrivateDirectory(runDirectory);
	const launcher = new Launcher(options);
	const metrics = createMetrics(() => launcher.status());
	launcher.metrics = metrics;
	const server = await startProbeServer({
		status: () => launcher.status(),
		metrics,
		listen: parseListenAddress(environment.FLUID_FUSE_PROBE_ADDRESS),
		runDirectory,
		log,
		actions: { prestop: async () => launcher.stop("prestop") },
	});
	launcher.warnings.push(...server.warnings);
	log.info({ addresses: server.addresses, version: options.version }, "launcher started");
	const onAbort = (): void => void launcher.stop("signal");
	options.signal.addEventListener("abort", onAbort, { once: true });
	if (options.signal.aborted) onAbort();
	try {
		await launcher.run();
		// Who asked for the end must have the answer, and have ended, before this container does.
		if (launcher.stoppedBy === "prestop") await sleep(500);
	} finally {
		options.signal.removeEventListener("abort", onAbort);
		await server.close();
		// Not empty when something could not be taken away; then it stays for whoever looks into it.
		await rmdir(join(runDirectory, "mounts")).catch(() => undefined);
	}
}

async function makePrivateDirectory(path: string): Promise<void> {
	await makeDirectory(path);
	const foreign = (await readdir(path)).filter((name) => !["launcher.sock", "mounts"].includes(name));
	if (foreign.length > 0) {
		throw new LauncherError(
			"USAGE",
			`FLUID_FUSE_RUN_DIR ${path} holds other files, such as ${JSON.stringify(foreign[0])}`,
			{
				hint: "Give it a folder of its own: its permissions are narrowed to root.",
			},
		);
	}
	await chmod(path, 0o700);
}

type StopReason = "signal" | "prestop" | "unmounted" | "hopeless";

class Launcher {
	readonly warnings: string[] = [];
	metrics: ReturnType<typeof createMetrics> | undefined;
	stoppedBy: StopReason | undefined;
	readonly #options: LauncherOptions;
	readonly #identity: Identity;
	readonly #startedAt = new Date();
	readonly #stopping = new AbortController();
	#plan: Plan | undefined;
	#supervisors: MountSupervisor[] = [];
	#root: MountEntry | undefined;
	#refused: readonly MountStatus[] = [];
	#running = false;
	#stopped: Promise<void> | undefined;
	#finished: Promise<unknown> = Promise.resolve();
	#giveUp: LauncherError | undefined;
	#beatAt = performance.now();

	constructor(options: LauncherOptions) {
		this.#options = options;
		// What it fails at is reported by the check that needed it.
		this.#identity = createIdentity(options.variables, { onRenewed: maskRotatingKeys(options.redactor) });
	}

	status(): LauncherStatus {
		const { version, environment } = this.#options;
		return {
			version,
			pid: process.pid,
			startedAt: this.#startedAt.toISOString(),
			state: this.stoppedBy !== undefined ? "draining" : this.#running ? "running" : "starting",
			started: this.#running && this.#supervisors.every(({ settled }) => settled),
			targetPath: this.#plan?.targetPath ?? environment.MOUNT_POINT ?? "",
			configFile: this.#plan?.configFile ?? "",
			warnings: this.warnings,
			alive: performance.now() - this.#beatAt < beatLimitMs,
			mounts: [...this.#supervisors.flatMap(statusesOf), ...this.#refused],
		};
	}

	/** Until everything is unmounted again. */
	async run(): Promise<void> {
		const { environment, drivers, driverFileFaults = [], redactor, log } = this.#options;
		const beating = this.#beat();
		try {
			const loaded = await loadFluidFile(environment);
			const plan = planMounts(loaded, {
				environment,
				drivers,
				driverFileFaults,
				onSecret: (secret) => redactor.add(secret),
			});
			this.#plan = plan;
			await refuseIfAllFaulty(plan);
			await checkHost();
			await makeDirectory(dirname(plan.targetPath));
			this.warnings.push(...(await findWarnings(dirname(plan.targetPath), environment.FLUID_FUSE_RUN_DIR)));
			this.warnings.push(...driverFileFaults.map(({ message }) => `a driver file cannot be used: ${message}`));
			for (const warning of this.warnings) log.warn(warning);
			this.#refused = plan.refused.map((mount) => this.#refusedStatus(mount));
			if (this.#stopping.signal.aborted) return;
			await this.#mountRoot(plan);
			if (this.#stopping.signal.aborted) return await this.#unmountRoot();
			this.#supervisors = this.#createSupervisors(plan);
			this.#running = true;
			log.info(
				{ mounts: plan.mounts.length, refused: plan.refused.length, layout: plan.layout, configFile: plan.configFile },
				"config applied",
			);
			const runs = this.#supervisors.map(async (supervisor) => supervisor.run());
			this.#finished = Promise.all(runs);
			// With a root of our own there is something to keep though every mount has ended.
			await (this.#root === undefined ? this.#finished : waitForAbort(this.#stopping.signal));
			await (this.#stopped ?? this.#finished);
			await this.#unmountRoot();
			if (this.#giveUp !== undefined) throw this.#giveUp;
			log.info({ reason: this.stoppedBy }, "launcher stopped");
		} finally {
			this.#stopping.abort();
			await beating;
		}
	}

	/** Drains and unmounts everything. Resolves when it is done; calling it again waits for the same end. */
	async stop(reason: StopReason): Promise<void> {
		this.stoppedBy ??= reason;
		this.#stopped ??= this.#drain();
		await this.#stopped;
	}

	async #drain(): Promise<void> {
		const { environment, log } = this.#options;
		const deadline = performance.now() + environment.FLUID_FUSE_STOP_TIMEOUT - farewellMs;
		log.info({ reason: this.stoppedBy, stopTimeoutMs: environment.FLUID_FUSE_STOP_TIMEOUT }, "draining");
		this.#stopping.abort();
		// Those inside others first: a mount with another one in it is busy. Their drivers may take their time: a bind of an inner
		// mount that an outer one hides, since it was started again, only goes with that.
		const depths = new Set(this.#supervisors.map(({ mount }) => mount.target.split("/").length));
		for (const depth of [...depths].toSorted((a, b) => b - a)) {
			const level = this.#supervisors.filter(({ mount }) => mount.target.split("/").length === depth);
			for (const supervisor of level) supervisor.stop(deadline);
			await Promise.all(level.map(async (supervisor) => supervisor.detached));
		}
		await this.#finished;
		await this.#unmountRoot();
	}

	#createSupervisors(plan: Plan): MountSupervisor[] {
		if (plan.together) return [this.#supervise(this.#share(plan), plan)];
		const created: MountSupervisor[] = [];
		// Outer mounts first, so that an inner one finds the one around it.
		for (const mount of plan.mounts.toSorted((a, b) => a.target.length - b.target.length)) {
			const parent = created.findLast((other) => mount.target.startsWith(`${other.mount.target}/`));
			created.push(this.#supervise(mount, plan, parent));
		}
		const order = ({ mount: { target } }: MountSupervisor): number =>
			plan.mounts.findIndex((mount) => mount.target === target);
		return created.toSorted((a, b) => order(a) - order(b));
	}

	#share({ mounts, targetPath }: Plan): SharedMount {
		const { log, redactor, variables } = this.#options;
		const shared = new SharedMount({
			mounts,
			targetPath,
			variables,
			identity: this.#identity,
			timing: defaultTiming,
			logOf: ({ name, driver }) => log.child({ mount: name, driver: driver.name }),
			redact: (text) => redactor.redact(text),
			events: { error: (name, code) => this.metrics?.countError(name, code) },
		});
		this.#stopping.signal.addEventListener("abort", () => shared.stop(), { once: true });
		return shared;
	}

	#supervise(mount: Supervised & { readonly id: string }, plan: Plan, parent?: MountSupervisor): MountSupervisor {
		const { environment, log, redactor } = this.#options;
		const { id, name, target, driver } = mount;
		const names = mount instanceof SharedMount ? mount.names : [name];
		return new MountSupervisor({
			mount,
			...(parent !== undefined && { parent }),
			makeTarget: parent === undefined ? makeDirectory : makeFolderInMount,
			directory: join(environment.FLUID_FUSE_RUN_DIR, "mounts", id),
			variables: this.#options.variables,
			identity: this.#identity,
			log: log.child({ mount: name, driver: driver.name }),
			timing: { ...defaultTiming, hangTimeoutMs: environment.FLUID_FUSE_HANG_TIMEOUT },
			redact: (text) => redactor.redact(text),
			events: {
				changed: () => this.#giveUpIfHopeless(),
				error: (code) => {
					for (const each of names) this.metrics?.countError(each, code);
				},
				forcedAbort: () => {
					for (const each of names) this.metrics?.countForcedAbort(each);
				},
				started: (seconds) => this.metrics?.observeStart(driver.name, seconds),
				unmountedFromOutside: () => {
					if (target === plan.targetPath) void this.stop("unmounted");
				},
			},
		});
	}

	/** A folder to hold several mounts, or none: Fluid waits for a mount at targetPath in any case. */
	async #mountRoot(plan: Plan): Promise<void> {
		const { targetPath, mounts, together } = plan;
		const isTaken = together || mounts.some(({ target }) => target === targetPath);
		if (isTaken || (plan.layout === "root" && plan.refused.length > 0)) return;
		this.#root = await mountEmptyRoot(targetPath, rootSource(mounts, this.#options));
		for (const mount of mounts) {
			const isInner = mounts.some((other) => mount.target.startsWith(`${other.target}/`));
			if (!isInner) await makeFolderInRoot(targetPath, mount.target);
		}
	}

	async #unmountRoot(): Promise<void> {
		const root = this.#root;
		const target = this.#plan?.targetPath;
		this.#root = undefined;
		if (root === undefined || target === undefined || !isAmong(root, layersAt(await readMountinfo(), target))) return;
		const outcome = await unmount(target);
		if (outcome.kind !== "done") await unmount(target, { lazy: true });
	}

	/** Looks every two seconds whether somebody took the root away, and proves that this process can still do anything. */
	async #beat(): Promise<void> {
		const { signal } = this.#stopping;
		while (!signal.aborted) {
			const entries = await readMountinfo();
			this.#beatAt = performance.now();
			if (
				this.#root !== undefined &&
				this.#plan !== undefined &&
				!isAmong(this.#root, layersAt(entries, this.#plan.targetPath))
			) {
				this.#options.log.info({ target: this.#plan.targetPath }, "unmounted from outside");
				this.#root = undefined;
				void this.stop("unmounted");
			}
			await sleep(2000, undefined, { signal }).catch(() => undefined);
		}
	}

	/** When the first start of every mount has failed for good, nobody is using anything: exit, so that Kubernetes shows why. */
	#giveUpIfHopeless(): void {
		if (!this.#running || this.stoppedBy !== undefined || this.#supervisors.length === 0) return;
		const errors = this.#supervisors.map(({ hopeless }) => hopeless);
		const [first] = errors;
		if (first === undefined || errors.includes(undefined)) return;
		const hint = first.hint === undefined ? {} : { hint: first.hint };
		const message = this.#supervisors.map(({ mount }, index) => explained(mount, errors[index]?.message)).join("\n");
		this.#giveUp = new LauncherError(first.code, message, hint);
		void this.stop("hopeless");
	}

	#refusedStatus(mount: RefusedMount): MountStatus {
		const error = new ConfigError(mount.faults, mount.path);
		const now = new Date().toISOString();
		const { message, hint } = error;
		this.#options.log.error({ mount: mount.name, code: error.code, error: message, hint }, "mount refused");
		this.metrics?.countError(mount.name, error.code);
		return {
			name: mount.name,
			driver: "",
			source: mount.source,
			target: "",
			readOnly: true,
			state: "failed",
			since: now,
			ready: false,
			reason: message,
			restarts: 0,
			layers: 0,
			lastError: { code: error.code, class: error.class, message, at: now, ...(hint !== undefined && { hint }) },
			droppedLines: 0,
		};
	}
}

/** Faults of one mount are that mount's; a config in which nothing can work is refused as a whole, with all its faults. */
async function refuseIfAllFaulty(plan: Plan): Promise<void> {
	if (plan.mounts.length + plan.refused.length === 0) return;
	const faulty = await Promise.all(plan.mounts.map(faultsOf));
	if (faulty.includes(undefined)) return;
	throw new ConfigError(
		[...plan.refused.flatMap(({ faults }) => faults), ...faulty.flatMap((faults) => faults ?? [])],
		plan.configFile,
	);
}

function statusesOf(supervisor: MountSupervisor): MountStatus[] {
	const { mount } = supervisor;
	const status = supervisor.status();
	return mount instanceof SharedMount ? mount.statuses(status) : [status];
}

/** Several mounts that share one say each by its name what is wrong. */
function explained(mount: Supervised, message = ""): string {
	return mount instanceof SharedMount ? message : `${mount.name}: ${message}`;
}

async function faultsOf(mount: PlannedMount): Promise<ConfigError["faults"] | undefined> {
	try {
		await mount.prepare();
		return undefined;
	} catch (error) {
		// What is not a fault of the config, such as a secret that is not there yet, is for the supervisor to handle.
		return error instanceof ConfigError ? error.faults : undefined;
	}
}

/** The root shows the type of what is mounted in it in its source, because that is what Fluid looks for in mountinfo. */
function rootSource(mounts: readonly PlannedMount[], { environment, drivers }: LauncherOptions): string {
	const driver = mounts[0]?.driver ?? drivers.find(({ name }) => name === environment.FLUID_FUSE_DRIVER) ?? drivers[0];
	return `${rootSourcePrefix}${driver?.filesystemTypes.at(-1) ?? "fuse"}`;
}

async function waitForAbort(signal: AbortSignal): Promise<void> {
	if (signal.aborted) return;
	await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
