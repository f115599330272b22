import { mkdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type {
	CheckContext,
	Driver,
	Ending,
	PreparedMount,
	DriverSession,
	StartContext,
	Tracer,
} from "../drivers/driver.ts";
import { LauncherError, toLauncherError } from "../errors.ts";
import type { Logger, LogLevel } from "../log.ts";
import { dropKept } from "../mounts/kept-layers.ts";
import { bindOver, remountReadOnly } from "../mounts/mount.ts";
import {
	isAmong,
	isEmptyRoot,
	layersAt,
	mountsIfReadable,
	readMountinfo,
	type MountEntry,
} from "../mounts/mountinfo.ts";
import { statfs } from "../mounts/statfs.ts";
import { isSidecar, type Holder } from "../mounts/volume-use.ts";
import { firstOf, withEither, within } from "../within.ts";
import { Prober } from "../probe/prober.ts";
import type { MountStatus, ReportedError } from "../probe/status.ts";
import { createMountBackoff } from "./backoff.ts";
import {
	failedCheck,
	reportedConcessions,
	reportedRefusals,
	reportError,
	untilNextCheckMs,
	type BackendHealth,
} from "./report.ts";
import { nextState, type MountEvent } from "./state.ts";
import { RetiredDriver } from "./retired-driver.ts";
import {
	clearDirectory,
	detach,
	endDriver,
	keptFolderOf,
	killDriver,
	removeDirectory,
	stagingOf,
	type Remains,
} from "./take-down.ts";

export interface Timing {
	/** Between two looks at a mount. */
	readonly watchEveryMs: number;
	/** A statfs that takes longer is late. */
	readonly statfsTimeoutMs: number;
	/** Ready means that the last answer is not older. */
	readonly freshMs: number;
	/** A mount that is silent for longer is aborted and started again. */
	readonly hangTimeoutMs: number;
	/** From the start of a driver until it must have mounted. */
	readonly startTimeoutMs: number;
	/** Between two checks of the backend while mounted; of one that fails six times as often. */
	readonly backendEveryMs: number;
	/** How long those who read go on with a driver that was replaced. */
	readonly readersMs: number;
}

export const defaultTiming: Timing = {
	watchEveryMs: 2000,
	statfsTimeoutMs: 2000,
	freshMs: 4000,
	hangTimeoutMs: 60_000,
	startTimeoutMs: 30_000,
	backendEveryMs: 30_000,
	readersMs: 600_000,
};

/** For taking down a mount that ends by itself, when nobody has set a deadline. */
const defaultStopMs = 25_000;

/** From a driver's end until it is known, with its last words. */
const endKnownMs = 1000;

export interface SupervisorEvents {
	changed(): void;
	error(code: ReportedError["code"]): void;
	forcedAbort(): void;
	started(seconds: number): void;
	/** Applications waited so long for a process in place of one that had died. */
	continued(seconds: number): void;
	/** Somebody unmounted the target: wanted from outside, not a failure. */
	unmountedFromOutside(): void;
}

/** What one supervisor keeps: a mount of the config, or one that several of them share. */
export interface Supervised {
	readonly name: string;
	readonly driver: Driver;
	readonly source: string;
	readonly target: string;
	readonly readOnly: boolean;
	/** Of several that are its folders, that one's name. */
	nameOf?(folder: string): string | undefined;
	/** Looks at everything that a start needs, now. */
	prepare(): Promise<{ readonly mount: PreparedMount }>;
}

export interface SupervisorOptions {
	readonly mount: Supervised;
	/** The mount that the target lies in, when it is one of ours too. */
	readonly parent?: MountSupervisor;
	/** Makes the target's folder, where nothing is mounted; the parent mount, when there is one, is ready then. */
	readonly makeTarget: (target: string) => Promise<void>;
	/** RUN_DIR/mounts/<id>. */
	readonly directory: string;
	/** Remains.nodeProc. */
	readonly nodeProc: string;
	readonly log: Logger;
	readonly variables: NodeJS.ProcessEnv;
	readonly identity: CheckContext["identity"];
	/** A driver's process that dies is replaced under the mount, where that can be. */
	readonly continuesAfterCrash: boolean;
	readonly timing: Timing;
	readonly redact: (text: string) => string;
	readonly events: SupervisorEvents;
}

/** How a mount became another one of the same place. */
export type Changed =
	/** It goes on as that; these options count from its next start on. */
	| { readonly kind: "updated"; readonly later: readonly string[] }
	/** Another process serves what is opened from now on. */
	| { readonly kind: "replaced" }
	/** It is not served, and will be that when it is. */
	| { readonly kind: "noted" };

export interface ChangeOptions {
	/** To wait so long before another process is started, so that not all of a cluster do at once. */
	readonly delayMs: number;
	readonly signal: AbortSignal;
}

/** Drivers of before changes that go on at a time; of more, the oldest one's readers have to go. */
const maximumRetired = 3;

/** Keeps one mount: starts its driver, watches it, starts it again, and takes it down. */
export class MountSupervisor {
	readonly #options: SupervisorOptions;
	readonly #log: Logger;
	readonly #prober: Prober;
	readonly #backoff = createMountBackoff();
	/** Aborted when the mount is not wanted any more. */
	readonly #unwanted = new AbortController();
	readonly #detached = Promise.withResolvers<void>();
	readonly #waiters = new Set<() => void>();
	readonly #retired = new Set<RetiredDriver>();

	#mount: Supervised;
	/** Where its driver mounts and has its files: RUN_DIR/mounts/<id>, and after a replacement another one beside that. */
	#directory: string;
	#directories = 0;
	#prepared: PreparedMount | undefined;
	#wake = new AbortController();
	/** Under way: the driver is being replaced by another one. */
	#replacing: Promise<void> | undefined;
	#state: MountStatus["state"] = "pending";
	#since = new Date();
	#session: DriverSession | undefined;
	/** Binds of ours at the target, bottom first; those below the last are dead. */
	#layers: MountEntry[] = [];
	/** Counts the binds, so that mounts inside this one notice that they were hidden by a new one. */
	#generation = 0;
	#parentGeneration = 0;
	/** The driver that runs has been bound to the target. */
	#bound = false;
	#everReady = false;
	#settled = false;
	#restarts = 0;
	#droppedLines = 0;
	#visible = false;
	#hung = false;
	/** In a row. */
	#deadLooks = 0;
	#ailment: string | undefined;
	#backend: BackendHealth | undefined;
	#lastError: ReportedError | undefined;
	#retryAt: Date | undefined;
	/** At the end it is left at its target. */
	#stays = false;
	/** Of performance.now: until when applications, and then the driver, have time at the end. */
	#limits: { readonly detachUntil: number; readonly endUntil: number } | undefined;

	constructor(options: SupervisorOptions) {
		this.#options = options;
		this.#mount = options.mount;
		this.#directory = options.directory;
		this.#log = options.log;
		this.#prober = new Prober(options.mount.target, options.timing.statfsTimeoutMs);
	}

	get mount(): Supervised {
		return this.#mount;
	}

	/** Ready or failed at least once: the first start is over. */
	get settled(): boolean {
		return this.#settled;
	}

	/** The error of a mount that has failed for good and was never ready. */
	get hopeless(): ReportedError | undefined {
		return this.#state === "failed" && !this.#everReady ? this.#lastError : undefined;
	}

	get everReady(): boolean {
		return this.#everReady;
	}

	get generation(): number {
		return this.#generation;
	}

	setLogLevel(level: LogLevel): void {
		this.#session?.setLogLevel?.(level);
	}

	/** False: what serves it cannot, or nothing does. */
	trace(tracer: Tracer): boolean {
		this.#session?.trace?.(tracer);
		return this.#session?.trace !== undefined;
	}

	untrace(tracer: Tracer): void {
		this.#session?.untrace?.(tracer);
	}

	/** Brings what the driver measures up to date. */
	async measure(): Promise<void> {
		await this.#session?.measure?.();
	}

	status(): MountStatus {
		const { name, source, target, readOnly, driver } = this.mount;
		const silentMs = this.#prober.silentMs;
		const reason = this.#reason();
		const driverStats = this.#session?.stats?.();
		const measured = this.#session?.measured && {
			...this.#session.measured(""),
			...this.#session.measuredTogether?.(),
		};
		const troubles = this.#session?.troubles?.() ?? [];
		return {
			name,
			driver: driver.name,
			source,
			target,
			readOnly,
			state: this.#state,
			since: this.#since.toISOString(),
			ready: this.#isReady(),
			...(reason !== undefined && { reason }),
			...(this.#session !== undefined && { pid: this.#session.pid }),
			restarts: this.#restarts,
			layers: this.#layers.length,
			...(this.#retired.size > 0 && { retiring: this.#retired.size }),
			...(silentMs !== undefined && { answeredSecondsAgo: Math.round(silentMs) / 1000 }),
			...(this.#backend !== undefined && {
				backend: { ok: this.#backend.ok, checkedAt: this.#backend.checkedAt.toISOString() },
			}),
			...(this.#retryAt !== undefined && { retryAt: this.#retryAt.toISOString() }),
			...(this.#lastError !== undefined && { lastError: this.#lastError }),
			...reportedRefusals(this.#session?.refusals?.(""), this.#options.redact),
			...reportedConcessions(this.#session?.concessions?.(""), this.#options.redact),
			droppedLines: this.#droppedLines,
			...(troubles.length > 0 && {
				troubles: troubles.map((trouble) => ({ ...trouble, message: this.#options.redact(trouble.message) })),
			}),
			...(driverStats !== undefined && { driverStats }),
			...(measured !== undefined && { measured }),
		};
	}

	#isReady(): boolean {
		const serving = this.#state === "ready" || this.#state === "degraded";
		// A mount inside another one is reached only through that one.
		const { parent } = this.#options;
		if (parent !== undefined && (!parent.#isReady() || parent.generation !== this.#parentGeneration)) return false;
		return (
			serving && this.#visible && (this.#prober.silentMs ?? Number.POSITIVE_INFINITY) < this.#options.timing.freshMs
		);
	}

	#reason(): string | undefined {
		switch (this.#state) {
			case "ready":
			case "degraded":
				return this.#ailment ?? (this.#backend?.ok === false ? this.#backend.problem : undefined);
			case "pending":
			case "recovering":
			case "failed":
				return this.#lastError?.message;
			case "checking":
			case "starting":
			case "draining":
			case "stopped":
				return undefined;
			default:
				return this.#state satisfies never;
		}
	}

	/** When nothing of it is mounted at its target any more; the driver may still be writing. */
	get detached(): Promise<void> {
		return this.#detached.promise;
	}

	/** Serves until `stop` is called or somebody unmounts the target, then leaves nothing behind. Never rejects. */
	async run(): Promise<void> {
		const wanted = this.#unwanted.signal;
		while (!wanted.aborted) {
			let delayMs: number;
			try {
				await this.#serve();
				break;
			} catch (thrown) {
				if (wanted.aborted) break;
				delayMs = this.#broken(toLauncherError(thrown));
			}
			await this.#cleanUp(async () => this.#endSession());
			if (await this.#wasUnmountedWithin(delayMs)) break;
		}
		this.#retryAt = undefined;
		this.#dispatch({ kind: "unwanted" });
		await this.#release();
		this.#dispatch({ kind: "released" });
		this.#detached.resolve();
	}

	/**
	 * Asks for the end; `run` resolves when it is reached, at `deadline` (of performance.now) at the latest. `stay`: what is at the target is
	 * left there, dead, for the next launcher to mount over.
	 */
	stop(deadline: number, { stay }: { readonly stay: boolean }): void {
		// One that was removed before goes.
		if (!this.#unwanted.signal.aborted) this.#stays = stay;
		this.#end(limitsUntil(deadline));
	}

	/** The same without haste: applications have so long to let go, and those that have not so long to close their files. */
	remove({ visibleMs, hiddenMs }: { readonly visibleMs: number; readonly hiddenMs: number }): void {
		const detachUntil = performance.now() + visibleMs;
		this.#end({ detachUntil, endUntil: detachUntil + hiddenMs });
	}

	#end(limits: { readonly detachUntil: number; readonly endUntil: number }): void {
		const { detachUntil, endUntil } = this.#limits ?? limits;
		this.#limits = {
			detachUntil: Math.min(detachUntil, limits.detachUntil),
			endUntil: Math.min(endUntil, limits.endUntil),
		};
		this.#dispatch({ kind: "unwanted" });
		this.#unwanted.abort();
	}

	/**
	 * Goes on as another mount of the same place, prepared by its driver or with what keeps it from that: in the process that runs where
	 * that can be, else by binding a second one over it. Rejects with what is in the way, and then has changed nothing.
	 */
	async change(
		next: Supervised,
		prepared: PreparedMount | LauncherError,
		{ delayMs, signal }: ChangeOptions,
	): Promise<Changed> {
		for (;;) {
			while (this.#state === "checking" || this.#state === "starting" || this.#replacing !== undefined)
				await this.#untilNews(signal);
			signal.throwIfAborted();
			const session = this.#session;
			if (session === undefined || !this.#isServing()) {
				this.#mount = next;
				this.#wake.abort();
				return { kind: "noted" };
			}
			if (prepared instanceof LauncherError) throw prepared;
			const { variables, identity } = this.#options;
			await prepared.check?.({ signal, variables, identity });
			if (this.#session !== session || !this.#isServing()) continue;
			const update = next.driver === this.#mount.driver ? await session.update?.(prepared) : undefined;
			if (update?.kind === "updated") {
				this.#adopt(next, prepared);
				return update;
			}
			await sleep(delayMs, undefined, { signal });
			if (this.#session !== session || !this.#isServing()) continue;
			const replacing = this.#replace(session, next, prepared, signal);
			this.#replacing = replacing.catch(() => undefined);
			try {
				await replacing;
			} finally {
				this.#replacing = undefined;
				this.#wakeWaiters();
			}
			return { kind: "replaced" };
		}
	}

	/**
	 * Has another process of its driver serve it, without an error for anybody. Resolves with how long applications had to wait, in
	 * milliseconds. Rejects with what was in the way, and then has changed nothing.
	 */
	async exchange(): Promise<number> {
		const session = this.#session;
		if (session === undefined || !this.#isServing() || this.#replacing !== undefined) {
			throw new LauncherError("EXCHANGE_REFUSED", "it is not served at this moment, or by another process soon", {
				hint: "Look at `fluid-fuse status`, and try again when it is ready.",
			});
		}
		if (session.exchange === undefined) {
			const { name } = this.mount.driver;
			throw new LauncherError("EXCHANGE_REFUSED", `${name} cannot leave its mount to another process`, {
				hint: "Only the native driver can, with transport=direct.",
			});
		}
		return session.exchange(this.#unwanted.signal);
	}

	/** Goes by another name. */
	rename(mount: Supervised): void {
		this.#mount = mount;
	}

	#adopt(next: Supervised, prepared: PreparedMount): void {
		this.#mount = next;
		this.#prepared = prepared;
		if (prepared.check !== undefined) this.#backend = { ok: true, checkedAt: new Date() };
	}

	async #replace(old: DriverSession, next: Supervised, prepared: PreparedMount, signal: AbortSignal): Promise<void> {
		const startedAt = performance.now();
		const directory = `${this.#options.directory}.r${++this.#directories}`;
		await mkdir(stagingOf(directory), { recursive: true, mode: 0o700 });
		let session: DriverSession | undefined;
		try {
			session = await withEither([signal, this.#unwanted.signal], async (either) =>
				prepared.start(this.#startContext(directory, either)),
			);
			await this.#untilStaged(session, next, directory, startedAt + this.#options.timing.startTimeoutMs);
			await this.#bind(directory);
		} catch (error) {
			await this.#cleanUp(async () => {
				await session?.stop({ graceMs: 300 });
				await removeDirectory(directory);
			});
			throw error;
		}
		const retired = new RetiredDriver({
			session: old,
			directory: this.#directory,
			target: next.target,
			readOnly: this.mount.readOnly,
			nodeProc: this.#options.nodeProc,
			log: this.#log,
			readersMs: this.#options.timing.readersMs,
			onForcedAbort: () => this.#options.events.forcedAbort(),
		});
		this.#retired.add(retired);
		void retired.ended.then(() => this.#retired.delete(retired));
		if (this.#retired.size > maximumRetired) this.#retired.values().next().value?.endReaders();
		this.#session = session;
		this.#directory = directory;
		this.#adopt(next, prepared);
		this.#log.info({ pid: session.pid, before: old.pid, target: next.target }, "driver replaced");
		this.#options.events.started((performance.now() - startedAt) / 1000);
	}

	#isServing(): boolean {
		return this.#state === "ready" || this.#state === "degraded";
	}

	/** Resolves when something about its state may be different. */
	async #untilNews(signal: AbortSignal): Promise<void> {
		signal.throwIfAborted();
		await new Promise<void>((resolve) => {
			const done = (): void => {
				this.#waiters.delete(done);
				signal.removeEventListener("abort", done);
				resolve();
			};
			this.#waiters.add(done);
			signal.addEventListener("abort", done);
		});
	}

	/** Resolves when the mount is ready; rejects when the signal is aborted first. */
	async untilReady(signal: AbortSignal): Promise<void> {
		while (!this.#isReady()) await this.#untilNews(signal);
	}

	async #endSession(): Promise<void> {
		if (this.#session === undefined) return;
		await killDriver(this.#remains());
		this.#session = undefined;
		await clearDirectory(this.#directory);
	}

	/** Waits for the next try, or until it is to be another mount; says whether somebody unmounted the dead mount meanwhile, which means stop as well. */
	async #wasUnmountedWithin(delayMs: number): Promise<boolean> {
		const until = performance.now() + delayMs;
		this.#wake = new AbortController();
		return withEither([this.#unwanted.signal, this.#wake.signal], async (signal) => {
			while (!signal.aborted && performance.now() < until) {
				const sliceMs = Math.min(this.#options.timing.watchEveryMs, Math.max(0, until - performance.now()));
				await sleep(sliceMs, undefined, { signal }).catch(() => undefined);
				if (this.#layers.length === 0 || this.#options.parent !== undefined) continue;
				const entries = await mountsIfReadable();
				// Who cannot look has not seen it go.
				if (entries === undefined || isAmong(this.#layers.at(-1), layersAt(entries, this.mount.target))) continue;
				if (this.#isLostToOthers(entries)) continue;
				this.#unmountedFromOutside();
				return true;
			}
			return false;
		});
	}

	/**
	 * Only what was mounted over another one of ours is gone. That happens when an application goes whose volume began with that one, and
	 * in a sidecar only when the mount is to go.
	 */
	#isLostToOthers(entries: readonly MountEntry[]): boolean {
		return isAmong(layersAt(entries, this.mount.target).at(-1), this.#layers) && !isSidecar(entries);
	}

	#unmountedFromOutside(): void {
		this.#log.info({ target: this.mount.target }, "unmounted from outside");
		this.#options.events.unmountedFromOutside();
	}

	/** One attempt: returns when the target was unmounted from outside or the mount is not wanted, throws otherwise. */
	async #serve(): Promise<void> {
		const signal = this.#unwanted.signal;
		const { parent, timing, variables, identity } = this.#options;
		const startedAt = performance.now();
		this.#retryAt = undefined;
		this.#dispatch({ kind: "try" });
		const { mount } = this;
		const { mount: prepared } = await mount.prepare();
		// Once it was there, what serves without its backend is back at once, and the next check tells how things are.
		const isChecked = !(this.#everReady && prepared.servesWithoutBackend === true);
		if (prepared.check !== undefined && isChecked)
			await this.#checkFirst(prepared, prepared.check({ signal, variables, identity }));
		this.#dispatch({ kind: "checked" });
		await parent?.untilReady(signal);
		await clearDirectory(this.#directory);
		await mkdir(stagingOf(this.#directory), { mode: 0o700 });
		const session = await prepared.start(this.#startContext(this.#directory, signal));
		this.#session = session;
		this.#prepared = prepared;
		this.#bound = false;
		if (this.#everReady) this.#restarts++;
		this.#log.info({ pid: session.pid }, "driver started");
		await this.#untilStaged(session, mount, this.#directory, startedAt + timing.startTimeoutMs);
		await this.#bind(this.#directory);
		await this.#untilAnswered(startedAt + timing.startTimeoutMs);
		this.#visible = true;
		this.#everReady = true;
		this.#ailment = undefined;
		this.#backoff.succeeded();
		this.#dispatch({ kind: "mounted" });
		if (this.#backend?.ok === false) this.#dispatch({ kind: "ailing" });
		this.#options.events.started((performance.now() - startedAt) / 1000);
		await this.#watch(isChecked);
	}

	#startContext(directory: string, signal: AbortSignal): StartContext {
		return {
			signal,
			variables: this.#options.variables,
			identity: this.#options.identity,
			log: this.#log,
			mountpoint: stagingOf(directory),
			directory,
			hangTimeoutMs: this.#options.timing.hangTimeoutMs,
			continuesAfterCrash: this.#options.continuesAfterCrash,
			onContinued: (seconds) => {
				this.#restarts++;
				this.#options.events.continued(seconds);
				this.#options.events.changed();
			},
			onDroppedLines: (count) => {
				this.#droppedLines += count;
			},
		};
	}

	/** Throws what keeps the driver from being started. */
	async #checkFirst({ servesWithoutBackend = false }: PreparedMount, check: Promise<void>): Promise<void> {
		try {
			await check;
			this.#backend = { ok: true, checkedAt: new Date() };
		} catch (thrown) {
			const error = toLauncherError(thrown);
			if (!servesWithoutBackend || error.permanent || this.#unwanted.signal.aborted) throw error;
			// Applications get errors rather than no mount at all, and data as soon as the backend is back.
			this.#backend = failedCheck(error, this.#options.redact);
			this.#report(error, "mounting without the backend");
		}
	}

	/** Waits until the driver's own mount is there and answers. */
	async #untilStaged(session: DriverSession, mount: Supervised, directory: string, deadline: number): Promise<void> {
		const signal = this.#unwanted.signal;
		const { filesystemTypes, name, settleMs = 0, isTrustedWithReadOnly = true } = mount.driver;
		const staging = stagingOf(directory);
		let ending: Ending | undefined;
		void session.ended.then((value) => {
			ending = value;
		});
		const failIfEnded = (): void => {
			if (ending === undefined) return;
			throw ending.kind === "failed"
				? ending.cause
				: new LauncherError("DRIVER_FAILED", `${name} ended before it had mounted`);
		};
		for (;;) {
			signal.throwIfAborted();
			failIfEnded();
			if (performance.now() > deadline) {
				throw new LauncherError(
					"DRIVER_FAILED",
					`${name} has not mounted within ${this.#options.timing.startTimeoutMs / 1000} s`,
				);
			}
			const top = layersAt(await readMountinfo(), staging).at(-1);
			if (top !== undefined && (filesystemTypes.includes(top.type) || filesystemTypes.includes("*"))) {
				const answer = await statfs(staging, this.#options.timing.statfsTimeoutMs);
				if (answer.kind === "answered") break;
				// A hung child ends when the driver is ended; a next one would only hang beside it.
				if (answer.kind === "hung")
					await within(firstOf([answer.gone, session.ended]), Math.max(0, deadline - performance.now()));
			}
			await sleep(5);
		}
		await within(session.ended, settleMs);
		failIfEnded();
		if (mount.readOnly && !isTrustedWithReadOnly && !(await remountReadOnly(staging)))
			throw new LauncherError("DRIVER_FAILED", `what ${name} has mounted cannot be made read-only`);
	}

	/** The first answer at the target itself. */
	async #untilAnswered(deadline: number): Promise<void> {
		for (;;) {
			const verdict = await this.#prober.ask();
			if (verdict.kind === "answered") return;
			if (verdict.kind !== "hung" || performance.now() > deadline) {
				throw new LauncherError("DRIVER_FAILED", `${this.mount.target} is mounted but does not answer a statfs`);
			}
			// A child that still hangs on the mount before this one is about to be freed.
			await sleep(100, undefined, { signal: this.#unwanted.signal });
		}
	}

	async #bind(directory: string, replaced = this.#visible ? this.#layers.at(-1) : undefined): Promise<void> {
		const { target } = this.mount;
		const { parent, makeTarget } = this.#options;
		const parentGeneration = parent?.generation ?? 0;
		const entry = await bindOver(stagingOf(directory), target, {
			makeTarget,
			isOurs: (candidate) => isAmong(candidate, this.#layers),
			nodeProc: this.#options.nodeProc,
			keptFolder: keptFolderOf(this.#options.directory),
			...(replaced !== undefined && { replaces: replaced }),
		});
		const left = layersAt(await readMountinfo(), target);
		// What lies below from before this launcher is dead and ours to pop at the end.
		this.#layers = left.filter(
			(layer) => layer.id === entry.id || layer.type.startsWith("fuse") || (parent === undefined && isEmptyRoot(layer)),
		);
		this.#parentGeneration = parentGeneration;
		this.#bound = true;
		this.#generation++;
		this.#log.info({ target, layers: this.#layers.length, type: entry.type }, "mounted");
	}

	/** Looks at the mount until it breaks (throws), is unmounted from outside, or is not wanted any more. */
	async #watch(isChecked: boolean): Promise<void> {
		const signal = this.#unwanted.signal;
		const { timing, parent } = this.#options;
		let backendCheckedAt = isChecked ? performance.now() : Number.NEGATIVE_INFINITY;
		let backendCheck: Promise<void> | undefined;
		for (;;) {
			const session = this.#session;
			const ending = session && (await within(session.ended, timing.watchEveryMs, signal));
			if (signal.aborted) return;
			const ours = this.#layers.at(-1);
			const entries = await mountsIfReadable();
			if (entries === undefined) {
				if (ending !== undefined) throw this.#causeOf(ending);
				// That says nothing about the mount, which applications use.
				this.#ailment = "the list of mounts cannot be read";
				this.#dispatch({ kind: "ailing" });
				continue;
			}
			const here = layersAt(entries, this.mount.target);
			// What was seen may be of before or after another driver was bound over this one.
			await this.#replacing;
			if (this.#session !== session || this.#layers.at(-1) !== ours) continue;
			const stillThere = isAmong(ours, here);
			if (
				!stillThere &&
				parent !== undefined &&
				(parent.generation !== this.#parentGeneration || !parent.status().ready)
			) {
				// The mount around it was started again and hides this one: show it once more.
				this.#visible = false;
				this.#layers = [];
				await parent.untilReady(signal);
				await this.#bind(this.#directory);
				this.#visible = true;
				continue;
			}
			const isLostToOthers = !stillThere && this.#isLostToOthers(entries);
			if (!stillThere && !isLostToOthers) {
				this.#unmountedFromOutside();
				return;
			}
			if (ending !== undefined) throw this.#causeOf(ending);
			if (isLostToOthers) {
				this.#log.warn({ target: this.mount.target }, "unmounted with the volume of an application, mounting again");
				await this.#bind(this.#directory, here.at(-1));
				continue;
			}
			this.#visible = here.at(-1)?.id === ours?.id;
			await this.#look();
			if (
				this.#prepared?.check !== undefined &&
				backendCheck === undefined &&
				performance.now() - backendCheckedAt >= untilNextCheckMs(this.#backend, timing.backendEveryMs)
			) {
				backendCheck = this.#checkBackend(this.#prepared).finally(() => {
					backendCheckedAt = performance.now();
					backendCheck = undefined;
				});
			}
			this.#dispatch({ kind: this.#ailment === undefined && this.#backend?.ok !== false ? "well" : "ailing" });
			if (this.#isReady()) this.#wakeWaiters();
		}
	}

	/** Why it has to be started again. */
	#causeOf(ending: Ending): LauncherError {
		return ending.kind === "failed"
			? toLauncherError(ending.cause)
			: new LauncherError("DRIVER_FAILED", `${this.mount.driver.name} ended by itself`);
	}

	/** A mount is dead a moment before its driver's end is known, and that tells more. */
	async #causeOfDeath(): Promise<LauncherError> {
		const ending = this.#session && (await within(this.#session.ended, endKnownMs));
		if (ending !== undefined) return this.#causeOf(ending);
		return new LauncherError("DRIVER_FAILED", "the mount is dead (ENOTCONN) though its driver runs");
	}

	/** Asks for a statfs and draws the conclusions; throws MOUNT_HUNG past the limit. */
	async #look(): Promise<void> {
		const { hangTimeoutMs } = this.#options.timing;
		const verdict = await this.#prober.ask();
		const silentMs = this.#prober.silentMs ?? 0;
		this.#hung = verdict.kind === "hung";
		if (verdict.kind !== "dead") this.#deadLooks = 0;
		switch (verdict.kind) {
			case "answered":
				this.#ailment = this.#visible ? undefined : `another filesystem is mounted over ${this.mount.target}`;
				return;
			case "failed":
				this.#ailment = `statfs failed: ${verdict.reason}`;
				return;
			case "dead":
				// Its path leads through the mount around it, which may be the dead one and tell so a moment later.
				if (this.#options.parent !== undefined && ++this.#deadLooks < 3) {
					this.#ailment = "the mount around it does not answer";
					return;
				}
				throw await this.#causeOfDeath();
			case "hung":
				this.#ailment = `no answer to statfs for ${Math.round(silentMs / 1000)} s`;
				if (silentMs < hangTimeoutMs) return;
				throw new LauncherError("MOUNT_HUNG", `no answer to statfs for ${Math.round(silentMs / 1000)} s: aborted`, {
					hint: "What applications had written and not closed may be lost; look at the driver's last lines.",
				});
			default:
				verdict satisfies never;
		}
	}

	async #checkBackend(prepared: PreparedMount): Promise<void> {
		const before = this.#backend?.ok;
		try {
			const { variables, identity } = this.#options;
			await prepared.check?.({ signal: this.#unwanted.signal, variables, identity });
			if (this.#prepared !== prepared) return;
			this.#backend = { ok: true, checkedAt: new Date() };
			if (before === false) this.#log.info("backend answers again");
		} catch (thrown) {
			// It may have been asked with keys that are not in use any more.
			if (this.#unwanted.signal.aborted || this.#prepared !== prepared) return;
			const error = toLauncherError(thrown);
			this.#backend = failedCheck(error, this.#options.redact);
			if (before !== false) this.#report(error, "backend check failed");
		}
	}

	/** Records why it broke and says how long to wait before the next try. */
	#broken(error: LauncherError): number {
		this.#visible = false;
		this.#settled = true;
		const slowMs = 60_000;
		const killed = error.code === "DRIVER_KILLED" && (this.#state === "ready" || this.#state === "degraded");
		const delayMs = killed
			? this.#backoff.once()
			: error.permanent
				? Math.max(slowMs, this.#backoff.next())
				: this.#backoff.next();
		this.#retryAt = new Date(Date.now() + delayMs);
		this.#dispatch({ kind: "broken", permanent: error.permanent, everReady: this.#everReady });
		this.#report(error, "mount broken", { retryInMs: delayMs });
		return delayMs;
	}

	#report(error: LauncherError, message: string, facts: object = {}): void {
		const { events } = this.#options;
		this.#lastError = reportError(error, message, this.#options, facts);
		events.error(error.code);
		events.changed();
	}

	#dispatch(event: MountEvent): void {
		const state = nextState(this.#state, event);
		if (state === this.#state) return;
		this.#log.info({ from: this.#state, to: state, reason: this.#ailment }, "mount state");
		this.#state = state;
		this.#since = new Date();
		if (state === "ready") this.#settled = true;
		this.#options.events.changed();
		this.#wakeWaiters();
	}

	#wakeWaiters(): void {
		for (const wake of this.#waiters) wake();
	}

	/** Takes everything down in order; each step has its share of the time that is left. Never rejects. */
	async #release(): Promise<void> {
		await this.#replacing;
		const remains = this.#remains();
		const byDefault = limitsUntil(Number.POSITIVE_INFINITY);
		let leftWith: readonly Holder[] | undefined;
		if (!this.#stays)
			await this.#cleanUp(async () => {
				leftWith = await detach(remains, () => (this.#limits ?? byDefault).detachUntil);
			});
		this.#layers = [];
		this.#visible = false;
		this.#detached.resolve();
		// As long as it is mounted anywhere, its driver goes on.
		await this.#cleanUp(async () => dropKept(keptFolderOf(this.#options.directory)));
		const endUntil = (): number => (this.#limits ?? byDefault).endUntil;
		await Promise.all([
			this.#cleanUp(async () => endDriver(remains, endUntil, leftWith)),
			...[...this.#retired].map(async (retired) => retired.finish(endUntil)),
		]);
		this.#session = undefined;
		await this.#cleanUp(async () => removeDirectory(this.#directory));
	}

	/** What fails in it is told, and is no reason to leave the rest undone or to hide why it was needed. */
	async #cleanUp(work: () => Promise<void>): Promise<void> {
		await work().catch((error: unknown) => this.#log.error({ err: error }, "clean-up failed"));
	}

	#remains(): Remains {
		return {
			target: this.mount.target,
			layers: this.#layers,
			directory: this.#directory,
			session: this.#session,
			wasBound: this.#bound,
			hung: this.#hung,
			readOnly: this.mount.readOnly,
			nodeProc: this.#options.nodeProc,
			log: this.#log,
			onForcedAbort: () => this.#options.events.forcedAbort(),
		};
	}
}

/** Applications get half of the time to let go, the driver most of the rest to write what it still has. */
function limitsUntil(deadline: number): { readonly detachUntil: number; readonly endUntil: number } {
	const now = performance.now();
	const total = Math.max(0, Math.min(defaultStopMs, deadline - now));
	return { detachUntil: now + total / 2, endUntil: now + total - Math.min(3000, total / 4) };
}
