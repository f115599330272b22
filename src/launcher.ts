import { chmod, readdir, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { datasetOf, type Environment } from "./config/environment.ts";
import {
	examine,
	hashOf,
	hasTargetPath,
	refuseMoves,
	withFaultsOfMounts,
	type Fixed,
	type WantedMount,
} from "./config/examine.ts";
import { loadFluidFile, type LoadedFile } from "./config/load.ts";
import { planMounts, type Plan, type PlannedMount } from "./config/plan.ts";
import { FileWatch, signatureOf } from "./config/watch.ts";
import type { Driver } from "./drivers/driver.ts";
import { LauncherError, toLauncherError } from "./errors.ts";
import type { Logger, LogLevel } from "./log.ts";
import { maskRotatingKeys } from "./secrets/mask-keys.ts";
import { fateOf, takeAwayLeftBehind, type Fate } from "./mounts/left-behind.ts";
import { makeDirectory } from "./mounts/mount.ts";
import { isVolume, mountsIfReadable, readMountinfo, rootSourcePrefix, type MountEntry } from "./mounts/mountinfo.ts";
import { canSeeNode } from "./mounts/node-view.ts";
import { realPath } from "./mounts/real-path.ts";
import { checkHost, findWarnings } from "./mounts/preflight.ts";
import { isSidecar } from "./mounts/volume-use.ts";
import { parseListenAddress } from "./probe/listen-address.ts";
import { createMetrics } from "./probe/metrics.ts";
import type { TraceWish } from "./probe/routes.ts";
import { startProbeServer } from "./probe/server.ts";
import type { ConfigStatus, ExchangeOutcome, LauncherStatus, MountStatus } from "./probe/status.ts";
import type { Redactor } from "./secrets/redact.ts";
import { createIdentity, type Identity } from "./s3/identity/identity.ts";
import { ChangeLog } from "./supervisor/change-log.ts";
import { EmptyRoot } from "./supervisor/empty-root.ts";
import { Fleet } from "./supervisor/fleet.ts";
import { keepWhatIsRefused, refuseIfAllFaulty, RefusedMounts } from "./supervisor/refused-mounts.ts";
import { reportError } from "./supervisor/report.ts";
import { SharedMount } from "./supervisor/shared-mount.ts";
import type { Supervised } from "./supervisor/supervise.ts";
import { clearLeftovers } from "./supervisor/take-down.ts";
import { TraceFollower } from "./supervisor/trace-follower.ts";
import type { DriverFileFault } from "./vendor/load.ts";

/** What the launcher needs at the end for itself: the last log lines, closing the sockets. */
const farewellMs = 1000;

/** Without a beat for so long the launcher's own threads are stuck, and only a restart of the container helps. */
const beatLimitMs = 60_000;

/** A rotated secret is to be in use five seconds after it is there, also where the kernel tells nothing of files. */
const pollEveryMs = 2000;
/** A file that was rejected is read again though it looks the same. */
const readAgainMs = 10_000;

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
	await makePrivateDirectory(runDirectory);
	const launcher = new Launcher({ ...options, environment });
	const metrics = createMetrics(async () => {
		await launcher.measure();
		return launcher.status();
	});
	launcher.metrics = metrics;
	const server = await startProbeServer({
		status: () => launcher.status(),
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
		// Not empty when something could not be taken away; then it stays for whoever looks into it.
		for (const name of ["mounts", "layers"]) await rmdir(join(runDirectory, name)).catch(() => undefined);
	}
}

async function makePrivateDirectory(path: string): Promise<void> {
	await makeDirectory(path);
	const foreign = (await readdir(path)).filter((name) => !["launcher.sock", "mounts", "layers"].includes(name));
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
	readonly #refused: RefusedMounts;
	#plan: Plan | undefined;
	#fleet: Fleet | undefined;
	#root: EmptyRoot | undefined;
	#fixed: Fixed | undefined;
	#config: ConfigStatus | undefined;
	#hasStarted = false;
	/** Nothing but the first config was applied yet. */
	#isFirst = true;
	#applying: Promise<void> = Promise.resolve();
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
		this.#refused = new RefusedMounts(options.log, (name, code) => this.metrics?.countError(name, code));
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

	async measure(): Promise<void> {
		await Promise.all(this.#fleet?.supervisors.map(async (supervisor) => supervisor.measure()) ?? []);
	}

	status(): LauncherStatus {
		const { version, environment } = this.#options;
		const dataset = datasetOf(environment);
		const isRunning = this.#fleet !== undefined && this.#config !== undefined;
		this.#hasStarted ||= isRunning && this.#fleet?.supervisors.every(({ settled }) => settled) === true;
		return {
			version,
			pid: process.pid,
			startedAt: this.#startedAt.toISOString(),
			state: this.stoppedBy !== undefined ? "draining" : isRunning ? "running" : "starting",
			started: this.#hasStarted,
			targetPath: this.#plan?.targetPath ?? environment.MOUNT_POINT ?? "",
			...(dataset !== undefined && { dataset }),
			configFile: this.#plan?.configFile ?? "",
			...(this.#config !== undefined && { config: this.#config }),
			changes: this.#changes.changes,
			...(this.#unseen !== undefined && { unseen: this.#unseen }),
			warnings: this.warnings,
			alive: performance.now() - this.#beatAt < beatLimitMs,
			mounts: [...(this.#fleet?.statuses() ?? []).map((mount) => this.#withPlan(mount)), ...this.#refused.statuses],
		};
	}

	/** A config that asks for no other mount than the one that runs is never applied, so this is looked up in the last plan. */
	#withPlan(mount: MountStatus): MountStatus {
		const planned = this.#plan?.mounts.find(({ target }) => target === mount.target);
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
		const { signal } = this.#stopping;
		const watch = new FileWatch({
			pollEveryMs,
			onDeaf: (error) => log.warn({ err: error }, "changes of files are found by looking every two seconds only"),
		});
		try {
			const loaded = await this.#load();
			const plan = this.#planFor(loaded, environment.FLUID_FUSE_LAYOUT);
			this.#plan = plan;
			const configSeen = await signatureOf(plan.configFile);
			const wanted = await Promise.all(plan.mounts.map(examine));
			refuseIfAllFaulty(plan, wanted);
			await checkHost();
			await makeDirectory(dirname(plan.targetPath));
			this.warnings.push(...(await findWarnings(plan.targetPath, environment.FLUID_FUSE_RUN_DIR)));
			this.warnings.push(...driverFileFaults.map(({ message }) => `a driver file cannot be used: ${message}`));
			for (const warning of this.warnings) log.warn(warning);
			this.#unseen = whatIsUnseen(environment.FLUID_FUSE_NODE_PROC, plan.targetPath, await readMountinfo());
			this.#refused.begin(plan.refused);
			if (signal.aborted) return;
			this.#root = new EmptyRoot(plan.targetPath);
			this.#fleet = this.#createFleet(plan, this.#root);
			this.#fixed = { targetPath: plan.targetPath, hasTargetPath: hasTargetPath(loaded.file), layout: undefined };
			// Who stops it waits for this, so that nothing begins after the end.
			const applying = this.#apply(plan, wanted);
			this.#applying = applying.then(() => undefined);
			await applying;
			// What has changed meanwhile is found at once.
			watch.follow(filesOf(plan));
			await this.#follow(watch, configSeen);
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
			await watch.close();
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
		await this.#applying.catch(() => undefined);
		const { stay, uses } = await this.#fate();
		if (stay)
			log.info(
				{ uses: uses?.slice(0, 20) ?? "cannot be seen" },
				"mount stays, so that applications heal by the next one",
			);
		await this.#fleet?.drain(deadline, { stay });
		if (!stay) await this.#root?.unmount();
		// The last of them may have gone meanwhile.
		else if (this.#plan !== undefined && !(await this.#fate()).stay) await takeAwayLeftBehind(this.#plan.targetPath);
	}

	async #fate(): Promise<Fate> {
		const { FLUID_FUSE_NODE_PROC: nodeProc, FLUID_FUSE_RUN_DIR: runDirectory } = this.#options.environment;
		// Who has unmounted it wants it gone.
		if (this.#plan === undefined || this.stoppedBy === "unmounted") return { stay: false, uses: [] };
		return fateOf(this.#plan.targetPath, { nodeProc, runDirectory });
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

	#planFor(loaded: LoadedFile, layout: Environment["FLUID_FUSE_LAYOUT"]): Plan {
		const { environment, drivers, driverFileFaults = [], redactor } = this.#options;
		return planMounts(loaded, {
			environment: { ...environment, FLUID_FUSE_LAYOUT: layout },
			drivers,
			driverFileFaults,
			onSecret: (secret) => redactor.add(secret),
		});
	}

	/** Applies what changes until the end: the config file, and every secret that it cites. */
	async #follow(watch: FileWatch, configBefore: string): Promise<void> {
		const { signal } = this.#stopping;
		let configSeen = configBefore;
		while (!signal.aborted) {
			try {
				const isRejected = this.#config?.state === "rejected";
				await watch.changed(signal, isRejected ? readAgainMs : undefined);
			} catch {
				// It is not wanted any more.
				return;
			}
			const configNow = await signatureOf(this.#plan?.configFile ?? "");
			const applying = this.#reload(watch, configNow !== configSeen);
			configSeen = configNow;
			this.#applying = applying;
			await applying;
		}
	}

	/** Throws all faults at once, those of the mounts too. */
	async #load(): Promise<LoadedFile> {
		const { environment } = this.#options;
		try {
			return await loadFluidFile(environment);
		} catch (error) {
			throw await withFaultsOfMounts(error, (rest) => this.#planFor(rest, environment.FLUID_FUSE_LAYOUT));
		}
	}

	/** Reads everything again and goes over to what it says; what is not usable leaves everything as it is. Never rejects. */
	async #reload(watch: FileWatch, isConfigNew: boolean): Promise<void> {
		const { environment, log } = this.#options;
		const [fixed, fleet] = [this.#fixed, this.#fleet];
		if (fixed === undefined || fleet === undefined) return;
		try {
			const before = await watch.signature();
			const loaded = await this.#load();
			const layout = fleet.isEmpty ? undefined : this.#plan?.layout;
			refuseMoves(loaded, { ...fixed, layout });
			const plan = this.#planFor(loaded, layout ?? environment.FLUID_FUSE_LAYOUT);
			const wanted = await Promise.all(plan.mounts.map(examine));
			// Half of what was read may be of before a swap: then the next round, which has heard of it, reads all of it.
			if ((await watch.signature()) !== before) return;
			watch.follow(filesOf(plan));
			const isApplied = await this.#apply(plan, wanted);
			if (isConfigNew) this.metrics?.countReload(isApplied ? "applied" : "unchanged");
		} catch (thrown) {
			if (this.#stopping.signal.aborted) return;
			const error = toLauncherError(thrown);
			if (this.#config?.error?.message === this.#options.redactor.redact(error.message)) return;
			this.metrics?.countReload("rejected");
			this.metrics?.countError("", error.code);
			const reported = reportError(error, "config rejected, what runs goes on", {
				log,
				redact: (text) => this.#options.redactor.redact(text),
			});
			if (this.#config !== undefined) this.#config = { ...this.#config, state: "rejected", error: reported };
		}
	}

	/** Says whether anything is different from before. */
	async #apply(plan: Plan, examined: readonly WantedMount[]): Promise<boolean> {
		const { log } = this.#options;
		const fleet = this.#fleet;
		if (fleet === undefined || this.#stopping.signal.aborted) return false;
		const { wanted, refused } = keepWhatIsRefused(fleet, plan, examined);
		const hash = hashOf(plan.targetPath, wanted);
		const actions = await fleet.apply(wanted, plan.together);
		const isNew = this.#config?.hash !== hash;
		const isBack = this.#config?.state === "rejected";
		const appliedAt = isNew ? new Date().toISOString() : (this.#config?.appliedAt ?? "");
		if (this.#config !== undefined) this.#refused.change(refused);
		this.#isFirst &&= this.#config === undefined || !isNew;
		this.#config = { state: "applied", hash, appliedAt };
		this.#plan = plan;
		if (isNew || isBack) {
			const { layout, configFile } = plan;
			const steps = actions.map(({ kind, name }) => `${kind} ${name}`);
			log.info({ mounts: wanted.length, refused: refused.length, layout, configFile, hash, steps }, "config applied");
			for (const { name, volume } of plan.mounts)
				if (volume !== undefined) log.info({ mount: name, ...volume }, "serving a PersistentVolume");
		}
		return isNew || isBack || actions.length > 0;
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
				this.#options.log.info({ target: this.#plan?.targetPath }, "unmounted from outside");
				root.forget();
				this.askToStop("unmounted");
			}
			await sleep(2000, undefined, { signal }).catch(() => undefined);
		}
	}

	/** When the first start of every mount has failed for good, nobody is using anything: exit, so that Kubernetes shows why. */
	#giveUpIfHopeless(): void {
		const supervisors = this.#fleet?.supervisors ?? [];
		if (this.#config === undefined || !this.#isFirst || this.stoppedBy !== undefined || supervisors.length === 0)
			return;
		const errors = supervisors.map(({ hopeless }) => hopeless);
		const [first] = errors;
		if (first === undefined || errors.includes(undefined)) return;
		const hint = first.hint === undefined ? {} : { hint: first.hint };
		const message = supervisors.map(({ mount }, index) => explained(mount, errors[index]?.message)).join("\n");
		this.#giveUp = new LauncherError(first.code, message, hint);
		this.askToStop("hopeless");
	}
}

/** What of `LauncherStatus.unseen` is to be said. */
function whatIsUnseen(nodeProc: string, targetPath: string, entries: readonly MountEntry[]): string | undefined {
	// Its application is in the same pod, and ends with it.
	if (isSidecar(entries) || canSeeNode(nodeProc)) return undefined;
	const stays = isVolume(entries, targetPath)
		? ""
		: "the mount stays on the node at each end, also where nobody would heal by it, and ";
	return `who uses the volume: the node's /proc is not at ${nodeProc}. So ${stays}who reads is not waited for: mount it there (hostPath), read-only`;
}

/** What decides about the mounts, the config file first. */
function filesOf({ configFile, mounts }: Plan): string[] {
	return [...new Set([configFile, ...mounts.flatMap(({ secretFiles }) => secretFiles)])];
}

/** Several mounts that share one say each by its name what is wrong. */
function explained(mount: Supervised, message = ""): string {
	return mount instanceof SharedMount ? message : `${mount.name}: ${message}`;
}

/** The root shows the type of what is mounted in it in its source, because that is what Fluid looks for in mountinfo. */
function rootSource(mounts: readonly PlannedMount[], { environment, drivers }: LauncherOptions): string {
	const driver = mounts[0]?.driver ?? drivers.find(({ name }) => name === environment.FLUID_FUSE_DRIVER) ?? drivers[0];
	return `${rootSourcePrefix}${driver?.filesystemTypes.at(-1) ?? "fuse"}`;
}
