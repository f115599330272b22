import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PlannedMount } from "../config/plan.ts";
import type { CheckContext, Departure, PreparedMount, SharedSession, StartContext } from "../drivers/driver.ts";
import { LauncherError, toLauncherError } from "../errors.ts";
import { addMeasured } from "../filesystem-process/measures.ts";
import type { Logger } from "../log.ts";
import type { MountStatus, ReportedError } from "../probe/status.ts";
import { withEither } from "../within.ts";
import { BackendHealth } from "./backend-health.ts";
import { createMountBackoff, retryDelayMs } from "./backoff.ts";
import { reportedConcessions, reportedRefusals, reportError } from "./report.ts";
import type { Changed, ChangeOptions, Supervised } from "./supervised.ts";
import type { Timing } from "./timing.ts";

export interface SharedMountOptions {
	/** All with the same driver, which can serve them together. */
	readonly mounts: readonly PlannedMount[];
	readonly targetPath: string;
	readonly variables: NodeJS.ProcessEnv;
	readonly identity: CheckContext["identity"];
	readonly timing: Pick<Timing, "backendEveryMs">;
	readonly logOf: (mount: PlannedMount) => Logger;
	readonly redact: (text: string) => string;
	readonly events: { error(mount: string, code: ReportedError["code"]): void };
}

/**
 * Several mounts of the config that one driver serves as folders of one mount at targetPath. What ails one of them never touches
 * another: one that cannot be served is left out, and comes in while the others are in use as soon as it can.
 */
export class SharedMount implements Supervised {
	// No name of a mount is encoded to this one: a comma would be %2C.
	readonly id = "all,";
	readonly source = "";
	readonly target: string;
	// Whatever its mounts are now, one that is written may come later: each of them is enforced by the driver.
	readonly readOnly = false;
	readonly driver: PlannedMount["driver"];
	readonly #options: SharedMountOptions;
	readonly #members: Set<SharedMember>;
	readonly #stop = new AbortController();
	#session: SharedSession | undefined;

	constructor(options: SharedMountOptions) {
		this.#options = options;
		const { mounts, targetPath } = options;
		const [first] = mounts;
		if (first === undefined) throw new RangeError("no mounts to be shared");
		this.target = targetPath;
		this.driver = first.driver;
		this.#members = new Set(mounts.map((mount) => this.#member(mount)));
	}

	#member(mount: PlannedMount): SharedMember {
		return new SharedMember(mount, this.#options, (member) => this.#show(member));
	}

	get name(): string {
		return this.names.join(", ");
	}

	/** One more mount; it is shown as soon as it can be served. */
	add(mount: PlannedMount): SharedMember {
		const member = this.#member(mount);
		this.#members.add(member);
		void member.begin(this.#stop.signal);
		return member;
	}

	member(target: string): SharedMember | undefined {
		return this.#members.values().find(({ mount, isLeaving }) => mount.target === target && !isLeaving);
	}

	/** One mount less. Its folder is in sight for `visibleMs` as long as files are open in it; those go on for `hiddenMs` more. */
	remove(member: SharedMember, limits: { readonly visibleMs: number; readonly hiddenMs: number }): Departure {
		member.leave();
		const departure =
			member.served === undefined || this.#session === undefined
				? { hidden: Promise.resolve(), removed: Promise.resolve(0) }
				: this.#session.remove(member.served.folder, limits);
		void departure.removed.then(() => this.#members.delete(member));
		return departure;
	}

	nameOf(folder: string): string | undefined {
		return [...this.#members].find(({ served }) => served?.folder === folder)?.mount.name;
	}

	folderOf(name: string): string | undefined {
		return [...this.#members].find(({ mount, isLeaving }) => mount.name === name && !isLeaving)?.served?.folder;
	}

	get names(): string[] {
		return [...this.#members].map(({ mount }) => mount.name);
	}

	/** Throws when none of the mounts can be served: what may pass first, with the reasons of all. */
	async prepare(): Promise<{ readonly mount: PreparedMount }> {
		await Promise.all([...this.#members].map(async (member) => member.begin(this.#stop.signal)));
		const errors = [...this.#members].map(({ refusal }) => refusal);
		if (errors.length > 0 && !errors.includes(undefined)) {
			const first = errors.find((error) => error?.permanent === false) ?? errors[0];
			const message = [...this.#members].map(({ mount, refusal }) => `${mount.name}: ${refusal?.message}`).join("\n");
			const hint = first?.hint === undefined ? {} : { hint: first.hint };
			throw new LauncherError(first?.code ?? "INTERNAL", message, { ...hint, cause: first });
		}
		return { mount: { summary: [], start: async (context) => this.#start(context) } };
	}

	async #start(context: StartContext): Promise<SharedSession> {
		const members = [...this.#members].flatMap((member) => (member.isLeaving ? [] : (member.served ?? [])));
		const session = await this.driver.startTogether?.(members, { ...context, readOnly: this.readOnly });
		if (session === undefined) throw new Error(`${this.driver.name} does not serve several mounts`);
		this.#session = session;
		void session.ended.then(() => {
			if (this.#session === session) this.#session = undefined;
		});
		// Those that were admitted meanwhile, and those that were removed.
		for (const member of this.#members) this.#show(member);
		const shown = new Set(
			[...this.#members].flatMap(({ served, isLeaving }) => (isLeaving ? [] : (served?.folder ?? []))),
		);
		for (const { folder } of members) if (!shown.has(folder)) session.remove(folder, { visibleMs: 0, hiddenMs: 0 });
		return session;
	}

	#show({ served, isLeaving }: SharedMember): readonly string[] {
		if (served === undefined || isLeaving) return [];
		return this.#session?.put(served) ?? [];
	}

	/** Nobody is asked any more how they are. */
	stop(): void {
		this.#stop.abort();
	}

	/** One mount of the config by itself, from what is true of the mount that they share. */
	status(member: SharedMember, shared: MountStatus): MountStatus {
		const { driverStats, troubles, refusals: _, concessions: __, measured: together, ...others } = shared;
		const { served } = member;
		const refusals = served === undefined ? undefined : this.#session?.refusals?.(served.folder);
		const concessions = served === undefined ? undefined : this.#session?.concessions?.(served.folder);
		const measured = served && this.#session?.measured?.(served.folder);
		const { redact } = this.#options;
		const rest = {
			...others,
			...reportedRefusals(refusals, redact),
			...reportedConcessions(concessions, redact),
			...(measured !== undefined && { measured }),
		};
		const first = this.#members.values().find(({ served }) => served !== undefined);
		if (member !== first) return member.status(rest);
		return member.status({
			...rest,
			...(troubles !== undefined && { troubles }),
			...(driverStats !== undefined && { driverStats }),
			// What is of no folder, or of all, comes first.
			...(together !== undefined && { measured: addMeasured(together, measured ?? {}) }),
		});
	}
}

/** One of the mounts. */
export class SharedMember {
	readonly #folder: string;
	readonly #options: SharedMountOptions;
	/** Returns the options that count only from the driver's next start on. */
	readonly #show: (member: SharedMember) => readonly string[];
	readonly #left = new AbortController();
	#mount: PlannedMount;
	#wake = new AbortController();
	#log: Logger;
	readonly #backoff = createMountBackoff();
	readonly #backend = new BackendHealth();
	#prepared: PreparedMount | undefined;
	#state: "pending" | "checking" | "failed" = "pending";
	#since = new Date();
	#refusal: LauncherError | undefined;
	#lastError: ReportedError | undefined;
	#retryAt: Date | undefined;
	#first: Promise<void> | undefined;

	constructor(mount: PlannedMount, options: SharedMountOptions, show: (member: SharedMember) => readonly string[]) {
		this.#mount = mount;
		this.#folder = posix.relative(options.targetPath, mount.target);
		this.#options = options;
		this.#show = show;
		this.#log = options.logOf(mount);
	}

	get mount(): PlannedMount {
		return this.#mount;
	}

	get isLeaving(): boolean {
		return this.#left.signal.aborted;
	}

	/** The time of its first look is over. */
	get settled(): boolean {
		return this.#prepared !== undefined || this.#refusal !== undefined;
	}

	/** Nobody is asked any more how it is. */
	leave(): void {
		this.#left.abort();
	}

	rename(mount: PlannedMount): void {
		this.#mount = mount;
		this.#log = this.#options.logOf(mount);
	}

	/** Goes on as another mount of the same place. Rejects with what keeps it from that, and then has changed nothing. */
	async change(
		next: PlannedMount,
		prepared: PreparedMount | LauncherError,
		{ signal }: ChangeOptions,
	): Promise<Changed> {
		if (this.#prepared === undefined) {
			this.#mount = next;
			this.#wake.abort();
			return { kind: "noted" };
		}
		if (prepared instanceof LauncherError) throw prepared;
		const { variables, identity } = this.#options;
		await prepared.check?.({ signal, variables, identity });
		this.#mount = next;
		this.#prepared = prepared;
		this.#isWell();
		return { kind: "updated", later: this.#show(this) };
	}

	/** Why it is not served; undefined: it is. */
	get refusal(): LauncherError | undefined {
		return this.#refusal;
	}

	/** What the driver is to serve; undefined: it cannot, for now. */
	get served(): { readonly folder: string; readonly mount: PreparedMount } | undefined {
		return this.#prepared && { folder: this.#folder, mount: this.#prepared };
	}

	/** Looks at it now, the first time, and from then on again and again. Resolves after the first look. */
	async begin(signal: AbortSignal): Promise<void> {
		if (this.#first === undefined) {
			const first = Promise.withResolvers<void>();
			this.#first = first.promise;
			void this.#keepLooking(signal, first.resolve);
		}
		await this.#first;
	}

	async #keepLooking(stop: AbortSignal, afterFirst: () => void): Promise<void> {
		await withEither([stop, this.#left.signal], async (signal) => {
			while (!signal.aborted) {
				this.#wake = new AbortController();
				const againInMs = await this.#look(signal);
				afterFirst();
				await withEither([signal, this.#wake.signal], async (either) =>
					sleep(againInMs, undefined, { signal: either }).catch(() => undefined),
				);
			}
		});
		afterFirst();
	}

	/** Reads its secrets if it is not served, asks its backend and draws the conclusions. Returns how long they hold. */
	async #look(signal: AbortSignal): Promise<number> {
		const { timing, variables, identity } = this.#options;
		const { backendEveryMs } = timing;
		const isNew = this.#prepared === undefined;
		const { mount } = this;
		if (isNew) this.#enter("checking");
		this.#retryAt = undefined;
		try {
			const prepared = this.#prepared ?? (await mount.prepare()).mount;
			try {
				this.#backend.begins();
				await prepared.check?.({ signal, variables, identity });
				this.#isWell();
			} catch (thrown) {
				const error = toLauncherError(thrown);
				// It may have been asked with keys that are not in use any more.
				if (!isNew && this.#prepared !== prepared) return 0;
				if (signal.aborted || !isNew) throw error;
				// What may pass does so while it is mounted; what will not is no reason to show a folder that holds nothing.
				if (error.permanent || prepared.servesWithoutBackend !== true) {
					this.#backend.failed(this.#options.redact(error.message));
					throw error;
				}
				this.#ails(error);
			}
			if (!isNew) return this.#backend.untilNextCheckMs(backendEveryMs);
			if (this.mount !== mount) return 0;
			this.#prepared = prepared;
			this.#refusal = undefined;
			this.#since = new Date();
			this.#show(this);
		} catch (thrown) {
			if (signal.aborted) return 0;
			const error = toLauncherError(thrown);
			if (isNew) return this.#isRefused(error);
			// It goes on with the secrets that it has.
			this.#ails(error);
		}
		return this.#backend.untilNextCheckMs(backendEveryMs);
	}

	#isWell(): void {
		if (!this.#backend.passed()) return;
		this.#log.info("backend answers again");
		this.#since = new Date();
	}

	#ails(error: LauncherError): void {
		if (!this.#backend.failed(this.#options.redact(error.message))) return;
		this.#since = new Date();
		this.#report(error, "backend check failed");
	}

	#isRefused(error: LauncherError): number {
		const delayMs = retryDelayMs(this.#backoff, error, false);
		this.#refusal = error;
		this.#retryAt = new Date(Date.now() + delayMs);
		this.#enter(error.permanent ? "failed" : "pending");
		this.#report(error, "mount left out", { retryInMs: delayMs });
		return delayMs;
	}

	#report(error: LauncherError, message: string, facts: object = {}): void {
		const { redact, events } = this.#options;
		this.#lastError = reportError(error, message, { redact, log: this.#log }, facts);
		events.error(this.mount.name, error.code);
	}

	#enter(state: "pending" | "checking" | "failed"): void {
		if (state === this.#state) return;
		this.#state = state;
		this.#since = new Date();
	}

	status(shared: MountStatus): MountStatus {
		const { name, source, target, readOnly } = this.mount;
		const own = { name, driver: shared.driver, source, target, readOnly };
		const isEnding = shared.state === "draining" || shared.state === "stopped";
		if (this.isLeaving && !isEnding) return { ...this.status({ ...shared, state: "draining" }), ready: false };
		if (this.#prepared === undefined && !isEnding) {
			return {
				...own,
				state: this.#state,
				since: this.#since.toISOString(),
				ready: false,
				...(this.#refusal !== undefined && this.#lastError !== undefined && { reason: this.#lastError.message }),
				restarts: 0,
				layers: 0,
				...this.#backend.status(),
				...(this.#retryAt !== undefined && { retryAt: this.#retryAt.toISOString() }),
				...(this.#lastError !== undefined && { lastError: this.#lastError }),
				droppedLines: 0,
			};
		}
		const ails = this.#backend.ails && shared.state === "ready";
		const reason = shared.reason ?? (ails ? this.#backend.problem : undefined);
		const lastError = later(shared.lastError, this.#lastError);
		const { reason: _, lastError: __, ...facts } = shared;
		return {
			...facts,
			...own,
			...(ails && { state: "degraded" as const }),
			...(shared.state === "ready" && { since: latest(shared.since, this.#since.toISOString()) }),
			...(reason !== undefined && { reason }),
			...this.#backend.status(),
			...(lastError !== undefined && { lastError }),
		};
	}
}

function later(a: ReportedError | undefined, b: ReportedError | undefined): ReportedError | undefined {
	if (a === undefined || b === undefined) return a ?? b;
	return a.at > b.at ? a : b;
}

/** Times in RFC 3339 and UTC are in the order of their texts. */
function latest(a: string, b: string): string {
	return a > b ? a : b;
}
