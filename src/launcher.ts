import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { datasetOf, type Environment } from "./config/environment.ts";
import type { Plan, PlannedMount } from "./config/plan.ts";
import type { Driver } from "./drivers/driver.ts";
import type { LauncherError } from "./errors.ts";
import type { Logger, LogLevel } from "./log.ts";
import { maskRotatingKeys } from "./secrets/mask-keys.ts";
import { fateOf, takeAwayLeftBehind, whatIsUnseen, type Fate } from "./mounts/left-behind.ts";
import { makeDirectory } from "./mounts/mount.ts";
import { mountsIfReadable, readMountinfo, rootSourcePrefix } from "./mounts/mountinfo.ts";
import { realPath } from "./mounts/real-path.ts";
import { checkHost, findWarnings } from "./mounts/preflight.ts";
import { parseListenAddress } from "./probe/listen-address.ts";
import { createMetrics } from "./probe/metrics.ts";
import type { TraceWish } from "./probe/routes.ts";
import { startProbeServer } from "./probe/server.ts";
import type { ExchangeOutcome, LauncherStatus, MountStatus, OpenFiles } from "./probe/status.ts";
import type { Redactor } from "./secrets/redact.ts";
import { createIdentity, type Identity } from "./s3/identity/identity.ts";
import { ChangeLog } from "./supervisor/change-log.ts";
import { EmptyRoot } from "./supervisor/empty-root.ts";
import { Fleet } from "./supervisor/fleet.ts";
import { FollowedConfig } from "./supervisor/followed-config.ts";
import { hopeless } from "./supervisor/hopeless.ts";
import { openFilesOf } from "./supervisor/open-files.ts";
import { leaveRunDirectory, makeRunDirectory } from "./supervisor/run-directory.ts";
import { clearLeftovers } from "./supervisor/take-down.ts";
import { TraceFollower } from "./supervisor/trace-follower.ts";
import type { DriverFileFault } from "./vendor/load.ts";

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
	/** The last lines of the log. */
	readonly recentLog: () => string;
	readonly setLogLevel: (level: LogLevel) => void;
	readonly redactor: Redactor;
	/** Aborted to make it stop: SIGTERM. */
	readonly signal: AbortSignal;
}

/** Mounts what the config says and keeps it mounted. Resolves after a clean end, rejects with what made it give up. */
export async function launch(options: LauncherOptions): Promise<void> {
	const { log } = options;
	if (options.signal.aborted) return;
	// The kernel knows mounts by where they really are.
	const runDirectory = await realPath(options.environment.FLUID_FUSE_RUN_DIR);
	const environment = { ...options.environment, FLUID_FUSE_RUN_DIR: runDirectory };
	await makeRunDirectory(runDirectory);
	const launcher = new Launcher({ ...options, environment });
	const measuredStatus = async (): Promise<LauncherStatus> => {
		await launcher.measure();
		return launcher.status();
	};
	const metrics = createMetrics(measuredStatus);
	launcher.metrics = metrics;
	const server = await startProbeServer({
		status: () => launcher.status(),
		measuredStatus,
		openFiles: () => launcher.openFiles(),
		metrics,
		listen: parseListenAddress(environment.FLUID_FUSE_PROBE_ADDRESS),
		byDefault: (options.variables["FLUID_FUSE_PROBE_ADDRESS"] ?? "") === "",
		runDirectory,
		log,
		recentLog: options.recentLog,
		actions: {
			prestop: async (waitedMs) => launcher.stop("prestop", waitedMs),
			reload: async () => launcher.exchange(),
			setLogLevel: (level) => launcher.setLogLevel(level),
			trace: async (wish, write, signal) => launcher.trace(wish, write, signal),
		},
	});
	launcher.warnings.push(...server.warnings);
	await clearLeftovers(join(runDirectory, "mounts"), log);
	const facts = { addresses: server.addresses, version: options.version, dataset: datasetOf(environment) };
	log.info(facts, "launcher started");
	const onAbort = (): void => launcher.askToStop("signal");
	options.signal.addEventListener("abort", onAbort, { once: true });
	if (options.signal.aborted) onAbort();
	try {
		await launcher.run();
		// Who asked for the end must have the answer, and have ended, before this container does.
		if (launcher.stoppedBy === "prestop") await sleep(500);
	} finally {
		options.signal.removeEventListener("abort", onAbort);
		await server.close();
		await leaveRunDirectory(runDirectory);
	}
}

type StopReason = "signal" | "prestop" | "unmounted" | "hopeless" | "failed";

/** How late a driver that was started again is traced. */
const traceEveryMs = 500;

class Launcher {
	readonly warnings: string[] = [];
	metrics: ReturnType<typeof createMetrics> | undefined;
	stoppedBy: StopReason | undefined;
	readonly #options: LauncherOptions;
	readonly #identity: Identity;
	readonly #startedAt = new Date();
	readonly #stopping = new AbortController();
	readonly #changes: ChangeLog;
	readonly #config: FollowedConfig;
	#fleet: Fleet | undefined;
	#root: EmptyRoot | undefined;
	#hasStarted = false;
	#stopped: Promise<void> | undefined;
	#giveUp: LauncherError | undefined;
	#beatAt = performance.now();
	#unseen: string | undefined;

	constructor(options: LauncherOptions) {
		this.#options = options;
		// What it fails at is reported by the check that needed it.
		this.#identity = createIdentity(options.variables, { onRenewed: maskRotatingKeys(options.redactor) });
		this.#changes = new ChangeLog(options.log, (text) => options.redactor.redact(text), {
			changed: (kind, result) => this.metrics?.countChange(kind, result),
		});
		this.#config = new FollowedConfig({
			...options,
			driverFileFaults: options.driverFileFaults ?? [],
			signal: this.#stopping.signal,
			events: {
				error: (mount, code) => this.metrics?.countError(mount, code),
				reloaded: (result) => this.metrics?.countReload(result),
			},
		});
	}

	setLogLevel(level: LogLevel): void {
		this.#options.log.info({ level }, "log level changed");
		this.#options.setLogLevel(level);
		for (const supervisor of this.#fleet?.supervisors ?? []) supervisor.setLogLevel(level);
	}

	/** Mounts that come, and drivers that are started again, are told of as soon as they are noticed. */
	async trace(wish: TraceWish, write: (line: object) => boolean, signal: AbortSignal): Promise<void> {
		const follower = new TraceFollower(wish, write);
		try {
			while (!signal.aborted) {
				follower.follow(this.#fleet?.supervisors ?? []);
				await sleep(traceEveryMs, undefined, { signal }).catch(() => undefined);
			}
		} finally {
			follower.end();
		}
	}

	openFiles(): OpenFiles {
		return openFilesOf(this.#fleet?.supervisors ?? [], this.#options.environment.FLUID_FUSE_NODE_PROC);
	}

	async measure(): Promise<void> {
		await Promise.all(this.#fleet?.supervisors.map(async (supervisor) => supervisor.measure()) ?? []);
	}

	status(): LauncherStatus {
		const { version, environment } = this.#options;
		const dataset = datasetOf(environment);
		const { plan, status: config, refused } = this.#config;
		const isRunning = this.#fleet !== undefined && config !== undefined;
		this.#hasStarted ||= isRunning && this.#fleet?.supervisors.every(({ settled }) => settled) === true;
		return {
			version,
			pid: process.pid,
			startedAt: this.#startedAt.toISOString(),
			state: this.stoppedBy !== undefined ? "draining" : isRunning ? "running" : "starting",
			started: this.#hasStarted,
			targetPath: plan?.targetPath ?? environment.MOUNT_POINT ?? "",
			...(dataset !== undefined && { dataset }),
			configFile: plan?.configFile ?? "",
			...(config !== undefined && { config }),
			changes: this.#changes.changes,
			...(this.#unseen !== undefined && { unseen: this.#unseen }),
			warnings: this.warnings,
			alive: performance.now() - this.#beatAt < beatLimitMs,
			mounts: [...(this.#fleet?.statuses() ?? []).map((mount) => this.#withPlan(mount)), ...refused],
		};
	}

	/** A config that asks for no other mount than the one that runs is never applied, so this is looked up in the last plan. */
	#withPlan(mount: MountStatus): MountStatus {
		const planned = this.#config.plan?.mounts.find(({ target }) => target === mount.target);
		if (planned === undefined || mount.leaving) return mount;
		const { withoutEffect, tieredStore } = planned;
		return {
			...mount,
			...(withoutEffect !== undefined && { withoutEffect }),
			...(tieredStore.length > 0 && { tieredStore }),
		};
	}

	/** Until everything is unmounted again. */
	async run(): Promise<void> {
		const { environment, driverFileFaults = [], log } = this.#options;
		const beating = this.#beat();
		try {
			const examined = await this.#config.begin();
			const { plan } = examined;
			await checkHost();
			await makeDirectory(dirname(plan.targetPath));
			this.warnings.push(...(await findWarnings(plan.targetPath, environment.FLUID_FUSE_RUN_DIR)));
			this.warnings.push(...driverFileFaults.map(({ message }) => `a driver file cannot be used: ${message}`));
			for (const warning of this.warnings) log.warn(warning);
			this.#unseen = whatIsUnseen(environment.FLUID_FUSE_NODE_PROC, plan.targetPath, await readMountinfo());
			if (this.#stopping.signal.aborted) return;
			this.#root = new EmptyRoot(plan.targetPath);
			this.#fleet = this.#createFleet(plan, this.#root);
			await this.#config.follow(this.#fleet, examined);
			await this.#stopped;
			if (this.#giveUp !== undefined) throw this.#giveUp;
			log.info({ reason: this.stoppedBy }, "launcher stopped");
		} catch (error) {
			// Nothing that was begun is left behind, and what comes of that does not hide why.
			if (this.#fleet !== undefined)
				await this.stop("failed").catch((failure: unknown) => log.error({ err: failure }, "clean-up failed"));
			throw error;
		} finally {
			this.#stopping.abort();
			await this.#config.close();
			await beating;
		}
	}

	/** Has other processes serve the mounts, without an error for those who use them. */
	async exchange(): Promise<readonly ExchangeOutcome[]> {
		return (await this.#fleet?.exchange()) ?? [];
	}

	/**
	 * Drains and unmounts everything. Resolves when it is done; calling it again waits for the same end. `waitedMs`: how much of the time for
	 * it is over.
	 */
	async stop(reason: StopReason, waitedMs = 0): Promise<void> {
		this.stoppedBy ??= reason;
		this.#stopped ??= this.#drain(waitedMs);
		await this.#stopped;
	}

	/** The same for whoever does not wait: what goes wrong, `run` throws. */
	askToStop(reason: StopReason): void {
		this.stop(reason).catch(() => undefined);
	}

	async #drain(waitedMs: number): Promise<void> {
		const { environment, log } = this.#options;
		const stopTimeoutMs = environment.FLUID_FUSE_STOP_TIMEOUT - waitedMs;
		const deadline = performance.now() + stopTimeoutMs - farewellMs;
		log.info({ reason: this.stoppedBy, stopTimeoutMs }, "draining");
		this.#stopping.abort();
		// What it fails with, whoever began it throws.
		await this.#config.applying.catch(() => undefined);
		const { plan } = this.#config;
		const { stay, uses } = await this.#fate();
		if (stay)
			log.info(
				{ uses: uses?.slice(0, 20) ?? "cannot be seen" },
				"mount stays, so that applications heal by the next one",
			);
		await this.#fleet?.drain(deadline, { stay });
		if (!stay) await this.#root?.unmount();
		// The last of them may have gone meanwhile.
		else if (plan !== undefined && !(await this.#fate()).stay) await takeAwayLeftBehind(plan.targetPath);
	}

	async #fate(): Promise<Fate> {
		const { FLUID_FUSE_NODE_PROC: nodeProc, FLUID_FUSE_RUN_DIR: runDirectory } = this.#options.environment;
		const { plan } = this.#config;
		// Who has unmounted it wants it gone.
		if (plan === undefined || this.stoppedBy === "unmounted") return { stay: false, uses: [] };
		return fateOf(plan.targetPath, { nodeProc, runDirectory });
	}

	#createFleet({ targetPath }: Plan, root: EmptyRoot): Fleet {
		const { environment, variables, log, redactor } = this.#options;
		return new Fleet({
			targetPath,
			root,
			rootSource: (mounts) => rootSource(mounts, this.#options),
			environment,
			variables,
			identity: this.#identity,
			log,
			redactor,
			metrics: this.metrics,
			changes: this.#changes,
			signal: this.#stopping.signal,
			events: {
				changed: () => this.#giveUpIfHopeless(),
				unmountedFromOutside: () => this.askToStop("unmounted"),
			},
		});
	}

	/** Looks every two seconds whether somebody took the root away, and proves that this process can still do anything. */
	async #beat(): Promise<void> {
		const { signal } = this.#stopping;
		while (!signal.aborted) {
			// When it cannot, for long, only a restart helps.
			const entries = await mountsIfReadable();
			if (entries !== undefined) this.#beatAt = performance.now();
			const root = this.#root;
			if (
				entries !== undefined &&
				root?.isMounted === true &&
				this.#fleet?.servesTarget === false &&
				!root.isThere(entries)
			) {
				this.#options.log.info({ target: this.#config.plan?.targetPath }, "unmounted from outside");
				root.forget();
				this.askToStop("unmounted");
			}
			await sleep(2000, undefined, { signal }).catch(() => undefined);
		}
	}

	/** When the first start of every mount has failed for good, nobody is using anything: exit, so that Kubernetes shows why. */
	#giveUpIfHopeless(): void {
		if (!this.#config.isFirst || this.stoppedBy !== undefined) return;
		this.#giveUp = hopeless(this.#fleet?.supervisors ?? []);
		if (this.#giveUp !== undefined) this.askToStop("hopeless");
	}
}

/** The root shows the type of what is mounted in it in its source, because that is what Fluid looks for in mountinfo. */
function rootSource(mounts: readonly PlannedMount[], { environment, drivers }: LauncherOptions): string {
	const driver = mounts[0]?.driver ?? drivers.find(({ name }) => name === environment.FLUID_FUSE_DRIVER) ?? drivers[0];
	return `${rootSourcePrefix}${driver?.filesystemTypes.at(-1) ?? "fuse"}`;
}
