import { mkdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { CheckContext, DriverSession, Ending, PreparedMount, StartContext, Tracer } from "../drivers/driver.ts";
import { LauncherError, toLauncherError } from "../errors.ts";
import type { Logger, LogLevel } from "../log.ts";
import { dropKept } from "../mounts/kept-layers.ts";
import { layersAt, mountsIfReadable, type MountEntry } from "../mounts/mountinfo.ts";
import type { Holder } from "../mounts/volume-use.ts";
import type { MountStatus, Recovery, ReportedError } from "../probe/status.ts";
import { withEither, within } from "../within.ts";
import { Answers } from "./answers.ts";
import { BackendHealth } from "./backend-health.ts";
import { createMountBackoff, retryDelayMs } from "./backoff.ts";
import { limitsUntil, soonerOf, type EndLimits } from "./end-limits.ts";
import { Layers } from "./layers.ts";
import { reportedSession } from "./report.ts";
import { RetiredDrivers } from "./retired-driver.ts";
import { Standing } from "./standing.ts";
import type { Changed, ChangeOptions, Supervised } from "./supervised.ts";
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
import type { Timing } from "./timing.ts";
import { untilStaged } from "./until-staged.ts";

/** From a driver's end until it is known, with its last words. */
const endKnownMs = 1000;

export interface SupervisorEvents {
	changed(): void;
	error(code: ReportedError["code"]): void;
	forcedAbort(): void;
	started(seconds: number): void;
	/** Applications can go on after a driver's end. */
	recovered(recovery: Recovery): void;
	/** Somebody unmounted the target: wanted from outside, not a failure. */
	unmountedFromOutside(): void;
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

/** Keeps one mount: starts its driver, watches it, starts it again, and takes it down. */
export class MountSupervisor {
	readonly #options: SupervisorOptions;
	readonly #log: Logger;
	readonly #standing: Standing;
	readonly #layers: Layers;
	readonly #answers: Answers;
	readonly #backend = new BackendHealth();
	readonly #retired = new RetiredDrivers();
	readonly #backoff = createMountBackoff();
	/** Aborted when the mount is not wanted any more. */
	readonly #unwanted = new AbortController();
	readonly #detached = Promise.withResolvers<void>();

	#mount: Supervised;
	#prepared: PreparedMount | undefined;
	#session: DriverSession | undefined;
	/** Where its driver mounts and has its files: RUN_DIR/mounts/<id>, and after a replacement another one beside that. */
	#directory: string;
	#directories = 0;
	/** The driver that runs has been bound to the target. */
	#bound = false;
	/** Under way: the driver is being replaced by another one. */
	#replacing: Promise<void> | undefined;
	/** Aborted to have the wait before the next try end now. */
	#wake = new AbortController();
	#restarts = 0;
	#droppedLines = 0;
	#ailment: string | undefined;
	/** At the end it is left at its target. */
	#stays = false;
	#limits: EndLimits | undefined;

	constructor(options: SupervisorOptions) {
		const { mount, log, redact, events, timing, parent } = options;
		const { target } = mount;
		this.#options = options;
		this.#mount = mount;
		this.#directory = options.directory;
		this.#log = log;
		this.#standing = new Standing({ log, redact, events });
		this.#layers = new Layers({ ...options, target, parent });
		this.#answers = new Answers({ target, timing, isInside: parent !== undefined });
	}

	get mount(): Supervised {
		return this.#mount;
	}

	get settled(): boolean {
		return this.#standing.settled;
	}

	get hopeless(): ReportedError | undefined {
		return this.#standing.hopeless;
	}

	get everReady(): boolean {
		return this.#standing.everReady;
	}

	/** Of what applications see; undefined: nothing of it is mounted. */
	get device(): string | undefined {
		return this.#layers.top?.device;
	}

	/** Layers.generation. */
	get generation(): number {
		return this.#layers.generation;
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
		const { silentMs } = this.#answers;
		const reason = this.#reason();
		return {
			name,
			driver: driver.name,
			source,
			target,
			readOnly,
			...this.#standing.status(),
			ready: this.isReady,
			...(reason !== undefined && { reason }),
			restarts: this.#restarts,
			layers: this.#layers.entries.length,
			...(this.#retired.count > 0 && { retiring: this.#retired.count }),
			...(silentMs !== undefined && { answeredSecondsAgo: Math.round(silentMs) / 1000 }),
			...this.#backend.status(),
			droppedLines: this.#droppedLines,
			...reportedSession(this.#session, this.#options.redact),
		};
	}

	get isReady(): boolean {
		// A mount inside another one is reached only through that one.
		const { parent } = this.#options;
		if (parent !== undefined && (!parent.isReady || !this.#layers.isInParent)) return false;
		return this.#standing.isServing && this.#layers.isVisible && this.#answers.isFresh;
	}

	#reason(): string | undefined {
		switch (this.#standing.state) {
			case "ready":
			case "degraded":
				return this.#ailment ?? this.#backend.problem;
			case "pending":
			case "recovering":
			case "failed":
				return this.#standing.lastError?.message;
			case "checking":
			case "starting":
			case "draining":
			case "stopped":
				return undefined;
			default:
				return this.#standing.state satisfies never;
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
		this.#standing.forgetRetry();
		this.#standing.enter({ kind: "unwanted" });
		await this.#release();
		this.#standing.enter({ kind: "released" });
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

	#end(limits: EndLimits): void {
		this.#limits = this.#limits === undefined ? limits : soonerOf(this.#limits, limits);
		this.#standing.enter({ kind: "unwanted" });
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
			while (this.#standing.isStarting || this.#replacing !== undefined) await this.#standing.untilNews(signal);
			signal.throwIfAborted();
			const session = this.#session;
			if (session === undefined || !this.#standing.isServing) {
				this.#mount = next;
				this.#wake.abort();
				return { kind: "noted" };
			}
			if (prepared instanceof LauncherError) throw prepared;
			const { variables, identity } = this.#options;
			await prepared.check?.({ signal, variables, identity });
			if (this.#session !== session || !this.#standing.isServing) continue;
			const update = next.driver === this.#mount.driver ? await session.update?.(prepared) : undefined;
			if (update?.kind === "updated") {
				this.#adopt(next, prepared);
				return update;
			}
			await sleep(delayMs, undefined, { signal });
			if (this.#session !== session || !this.#standing.isServing) continue;
			const replacing = this.#replace(session, next, prepared, signal);
			this.#replacing = replacing.catch(() => undefined);
			try {
				await replacing;
			} finally {
				this.#replacing = undefined;
				this.#standing.tellNews();
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
		if (session === undefined || !this.#standing.isServing || this.#replacing !== undefined) {
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
		if (prepared.check !== undefined) this.#backend.passed();
	}

	async #replace(old: DriverSession, next: Supervised, prepared: PreparedMount, signal: AbortSignal): Promise<void> {
		const { timing } = this.#options;
		const startedAt = performance.now();
		const deadline = startedAt + timing.startTimeoutMs;
		const directory = `${this.#options.directory}.r${++this.#directories}`;
		await mkdir(stagingOf(directory), { recursive: true, mode: 0o700 });
		let session: DriverSession | undefined;
		try {
			session = await withEither([signal, this.#unwanted.signal], async (either) =>
				prepared.start(this.#startContext(directory, either)),
			);
			await untilStaged({ session, mount: next, directory, deadline, timing }, this.#unwanted.signal);
			await this.#bind(directory);
		} catch (error) {
			await this.#cleanUp(async () => {
				await session?.stop({ graceMs: 300 });
				await removeDirectory(directory);
			});
			throw error;
		}
		this.#retired.add({
			session: old,
			directory: this.#directory,
			target: next.target,
			readOnly: this.mount.readOnly,
			nodeProc: this.#options.nodeProc,
			log: this.#log,
			readersMs: timing.readersMs,
			onForcedAbort: () => this.#options.events.forcedAbort(),
		});
		this.#session = session;
		this.#directory = directory;
		this.#adopt(next, prepared);
		this.#log.info({ pid: session.pid, before: old.pid, target: next.target }, "driver replaced");
		this.#options.events.started((performance.now() - startedAt) / 1000);
	}

	/** Resolves when the mount is ready; rejects when the signal is aborted first. */
	async untilReady(signal: AbortSignal): Promise<void> {
		while (!this.isReady) await this.#standing.untilNews(signal);
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
				if (this.#layers.top === undefined || this.#options.parent !== undefined) continue;
				const entries = await mountsIfReadable();
				// Who cannot look has not seen it go.
				if (entries === undefined || this.#layers.fateIn(entries) !== "unmounted") continue;
				this.#unmountedFromOutside();
				return true;
			}
			return false;
		});
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
		const deadline = startedAt + timing.startTimeoutMs;
		this.#standing.forgetRetry();
		this.#standing.enter({ kind: "try" });
		const { mount } = this;
		const { mount: prepared } = await mount.prepare();
		// Once it was there, what serves without its backend is back at once, and the next check tells how things are.
		const isChecked = !(this.everReady && prepared.servesWithoutBackend === true);
		if (prepared.check !== undefined && isChecked)
			await this.#checkFirst(prepared, prepared.check({ signal, variables, identity }));
		this.#standing.enter({ kind: "checked" });
		await parent?.untilReady(signal);
		await clearDirectory(this.#directory);
		await mkdir(stagingOf(this.#directory), { mode: 0o700 });
		const session = await prepared.start(this.#startContext(this.#directory, signal));
		this.#session = session;
		this.#prepared = prepared;
		this.#bound = false;
		if (this.everReady) this.#restarts++;
		this.#log.info({ pid: session.pid }, "driver started");
		await untilStaged({ session, mount, directory: this.#directory, deadline, timing }, signal);
		await this.#bind(this.#directory);
		this.#bound = true;
		await this.#answers.untilFirst(deadline, signal);
		this.#layers.isVisible = true;
		this.#ailment = undefined;
		this.#backoff.succeeded();
		this.#standing.enter({ kind: "mounted" });
		if (this.#backend.ails) this.#standing.enter({ kind: "ailing" });
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
				this.#standing.recovered("continued", seconds);
				this.#options.events.changed();
			},
			onDroppedLines: (count) => {
				this.#droppedLines += count;
			},
		};
	}

	/** Throws what keeps the driver from being started. */
	async #checkFirst({ servesWithoutBackend = false }: PreparedMount, check: Promise<void>): Promise<void> {
		this.#backend.begins();
		try {
			await check;
			this.#backend.passed();
		} catch (thrown) {
			const error = toLauncherError(thrown);
			if (!servesWithoutBackend || error.permanent || this.#unwanted.signal.aborted) throw error;
			// Applications get errors rather than no mount at all, and data as soon as the backend is back.
			this.#backend.failed(this.#options.redact(error.message));
			this.#standing.report(error, "mounting without the backend");
		}
	}

	async #bind(directory: string, replaced?: MountEntry): Promise<void> {
		const { type } = await this.#layers.bind(directory, replaced);
		this.#log.info({ target: this.mount.target, layers: this.#layers.entries.length, type }, "mounted");
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
			const ours = this.#layers.top;
			const entries = await mountsIfReadable();
			if (entries === undefined) {
				if (ending !== undefined) throw this.#causeOf(ending);
				// That says nothing about the mount, which applications use.
				this.#ailment = "the list of mounts cannot be read";
				this.#standing.enter({ kind: "ailing" }, this.#ailment);
				continue;
			}
			// What was seen may be of before or after another driver was bound over this one.
			await this.#replacing;
			if (this.#session !== session || this.#layers.top !== ours) continue;
			const fate = this.#layers.fateIn(entries);
			if (fate === "hidden") {
				this.#layers.forget();
				await parent?.untilReady(signal);
				await this.#bind(this.#directory);
				this.#layers.isVisible = true;
				continue;
			}
			if (fate === "unmounted") {
				this.#unmountedFromOutside();
				return;
			}
			if (ending !== undefined) throw this.#causeOf(ending);
			const top = layersAt(entries, this.mount.target).at(-1);
			if (fate === "lost") {
				this.#log.warn({ target: this.mount.target }, "unmounted with the volume of an application, mounting again");
				await this.#bind(this.#directory, top);
				continue;
			}
			this.#layers.isVisible = top?.id === ours?.id;
			this.#ailment = await this.#look();
			if (
				this.#prepared?.check !== undefined &&
				backendCheck === undefined &&
				performance.now() - backendCheckedAt >= this.#backend.untilNextCheckMs(timing.backendEveryMs)
			) {
				backendCheck = this.#checkBackend(this.#prepared).finally(() => {
					backendCheckedAt = performance.now();
					backendCheck = undefined;
				});
			}
			const isWell = this.#ailment === undefined && !this.#backend.ails;
			this.#standing.enter({ kind: isWell ? "well" : "ailing" }, this.#ailment);
			if (this.isReady) this.#standing.tellNews();
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

	/** What ails it, if anything; throws why it has to be started again. */
	async #look(): Promise<string | undefined> {
		const look = await this.#answers.look();
		switch (look.kind) {
			case "answers":
				return this.#layers.isVisible ? undefined : `another filesystem is mounted over ${this.mount.target}`;
			case "ails":
				return look.ailment;
			case "dead":
				throw await this.#causeOfDeath();
			default:
				return look satisfies never;
		}
	}

	async #checkBackend(prepared: PreparedMount): Promise<void> {
		try {
			const { variables, identity } = this.#options;
			this.#backend.begins();
			await prepared.check?.({ signal: this.#unwanted.signal, variables, identity });
			if (this.#prepared !== prepared) return;
			if (this.#backend.passed()) this.#log.info("backend answers again");
		} catch (thrown) {
			// It may have been asked with keys that are not in use any more.
			if (this.#unwanted.signal.aborted || this.#prepared !== prepared) return;
			const error = toLauncherError(thrown);
			if (this.#backend.failed(this.#options.redact(error.message)))
				this.#standing.report(error, "backend check failed");
		}
	}

	/** Records why it broke and says how long to wait before the next try. */
	#broken(error: LauncherError): number {
		this.#layers.isVisible = false;
		const delayMs = retryDelayMs(this.#backoff, error, this.#standing.isServing);
		this.#standing.broke(error, delayMs);
		return delayMs;
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
		this.#layers.forget();
		this.#detached.resolve();
		// As long as it is mounted anywhere, its driver goes on.
		await this.#cleanUp(async () => dropKept(keptFolderOf(this.#options.directory)));
		const endUntil = (): number => (this.#limits ?? byDefault).endUntil;
		await Promise.all([
			this.#cleanUp(async () => endDriver(remains, endUntil, leftWith)),
			this.#retired.finish(endUntil),
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
			layers: this.#layers.entries,
			directory: this.#directory,
			session: this.#session,
			wasBound: this.#bound,
			hung: this.#answers.isHung,
			readOnly: this.mount.readOnly,
			nodeProc: this.#options.nodeProc,
			log: this.#log,
			onForcedAbort: () => this.#options.events.forcedAbort(),
		};
	}
}
