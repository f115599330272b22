import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PlannedMount } from "../config/plan.ts";
import type { CheckContext, PreparedMount, SharedSession, StartContext } from "../drivers/driver.ts";
import { LauncherError, toLauncherError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { MountStatus, ReportedError } from "../probe/status.ts";
import { createMountBackoff } from "./backoff.ts";
import { failedCheck, reportError, untilNextCheckMs, type BackendHealth } from "./report.ts";
import type { Supervised, Timing } from "./supervise.ts";

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
	readonly name: string;
	// No name of a mount is encoded to this one: a comma would be %2C.
	readonly id = "all,";
	readonly source = "";
	readonly target: string;
	readonly readOnly: boolean;
	readonly driver: PlannedMount["driver"];
	readonly #members: readonly SharedMember[];
	readonly #stop = new AbortController();
	#session: SharedSession | undefined;

	constructor(options: SharedMountOptions) {
		const { mounts, targetPath } = options;
		const [first] = mounts;
		if (first === undefined) throw new RangeError("no mounts to be shared");
		this.name = mounts.map(({ name }) => name).join(", ");
		this.target = targetPath;
		this.readOnly = mounts.every(({ readOnly }) => readOnly);
		this.driver = first.driver;
		this.#members = mounts.map((mount) => new SharedMember(mount, options, (member) => this.#show(member)));
	}

	get names(): string[] {
		return this.#members.map(({ mount }) => mount.name);
	}

	/** Throws when none of the mounts can be served: what may pass first, with the reasons of all. */
	async prepare(): Promise<{ readonly mount: PreparedMount }> {
		await Promise.all(this.#members.map(async (member) => member.begin(this.#stop.signal)));
		const errors = this.#members.map(({ refusal }) => refusal);
		if (!errors.includes(undefined)) {
			const first = errors.find((error) => error?.permanent === false) ?? errors[0];
			const message = this.#members.map(({ mount, refusal }) => `${mount.name}: ${refusal?.message}`).join("\n");
			const hint = first?.hint === undefined ? {} : { hint: first.hint };
			throw new LauncherError(first?.code ?? "INTERNAL", message, { ...hint, cause: first });
		}
		return { mount: { summary: [], start: async (context) => this.#start(context) } };
	}

	async #start(context: StartContext): Promise<SharedSession> {
		const members = this.#members.flatMap((member) => member.served ?? []);
		const session = await this.driver.startTogether?.(members, { ...context, readOnly: this.readOnly });
		if (session === undefined) throw new Error(`${this.driver.name} does not serve several mounts`);
		this.#session = session;
		void session.ended.then(() => {
			if (this.#session === session) this.#session = undefined;
		});
		// Those that were admitted meanwhile.
		for (const member of this.#members) this.#show(member);
		return session;
	}

	#show({ served }: SharedMember): void {
		if (served !== undefined) this.#session?.put(served);
	}

	/** Nobody is asked any more how they are. */
	stop(): void {
		this.#stop.abort();
	}

	/** Each mount of the config by itself, from what is true of the mount that they share. */
	statuses(shared: MountStatus): MountStatus[] {
		const { driverStats, ...rest } = shared;
		const first = this.#members.find(({ served }) => served !== undefined);
		return this.#members.map((member) =>
			member.status(member === first && driverStats !== undefined ? { ...rest, driverStats } : rest),
		);
	}
}

class SharedMember {
	readonly mount: PlannedMount;
	readonly #folder: string;
	readonly #options: SharedMountOptions;
	readonly #onAdmitted: (member: SharedMember) => void;
	readonly #log: Logger;
	readonly #backoff = createMountBackoff();
	#prepared: PreparedMount | undefined;
	#state: "pending" | "checking" | "failed" = "pending";
	#since = new Date();
	#refusal: LauncherError | undefined;
	#backend: BackendHealth | undefined;
	#lastError: ReportedError | undefined;
	#retryAt: Date | undefined;
	#first: Promise<void> | undefined;

	constructor(mount: PlannedMount, options: SharedMountOptions, onAdmitted: (member: SharedMember) => void) {
		this.mount = mount;
		this.#folder = posix.relative(options.targetPath, mount.target);
		this.#options = options;
		this.#onAdmitted = onAdmitted;
		this.#log = options.logOf(mount);
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

	async #keepLooking(signal: AbortSignal, afterFirst: () => void): Promise<void> {
		while (!signal.aborted) {
			const againInMs = await this.#look(signal);
			afterFirst();
			await sleep(againInMs, undefined, { signal }).catch(() => undefined);
		}
		afterFirst();
	}

	/** Reads its secrets, asks its backend and draws the conclusions. Returns how long they hold. */
	async #look(signal: AbortSignal): Promise<number> {
		const { timing, variables, identity } = this.#options;
		const isNew = this.#prepared === undefined;
		if (isNew) this.#enter("checking");
		this.#retryAt = undefined;
		try {
			const { mount: prepared } = await this.mount.prepare();
			try {
				await prepared.check?.({ signal, variables, identity });
				this.#isWell();
			} catch (thrown) {
				const error = toLauncherError(thrown);
				if (signal.aborted || !isNew) throw error;
				// What may pass does so while it is mounted; what will not is no reason to show a folder that holds nothing.
				if (error.permanent || prepared.servesWithoutBackend !== true) {
					this.#backend = { ok: false, checkedAt: new Date() };
					throw error;
				}
				this.#ails(error);
			}
			this.#prepared = prepared;
			this.#refusal = undefined;
			if (isNew) this.#since = new Date();
			this.#onAdmitted(this);
		} catch (thrown) {
			if (signal.aborted) return 0;
			const error = toLauncherError(thrown);
			if (isNew) return this.#isRefused(error);
			// It goes on with the secrets that it has.
			this.#ails(error);
		}
		return untilNextCheckMs(this.#backend, timing.backendEveryMs);
	}

	#isWell(): void {
		if (this.#backend?.ok === false) {
			this.#log.info("backend answers again");
			this.#since = new Date();
		}
		this.#backend = { ok: true, checkedAt: new Date() };
	}

	#ails(error: LauncherError): void {
		const wasWell = this.#backend?.ok !== false;
		this.#backend = failedCheck(error, this.#options.redact);
		if (!wasWell) return;
		this.#since = new Date();
		this.#report(error, "backend check failed");
	}

	#isRefused(error: LauncherError): number {
		const delayMs = Math.max(this.#backoff.next(), error.permanent ? 60_000 : 0);
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

	#backendStatus(): Pick<MountStatus, "backend"> {
		if (this.#backend === undefined) return {};
		return { backend: { ok: this.#backend.ok, checkedAt: this.#backend.checkedAt.toISOString() } };
	}

	status(shared: MountStatus): MountStatus {
		const { name, source, target, readOnly } = this.mount;
		const own = { name, driver: shared.driver, source, target, readOnly };
		const isEnding = shared.state === "draining" || shared.state === "stopped";
		if (this.#prepared === undefined && !isEnding) {
			return {
				...own,
				state: this.#state,
				since: this.#since.toISOString(),
				ready: false,
				...(this.#refusal !== undefined && this.#lastError !== undefined && { reason: this.#lastError.message }),
				restarts: 0,
				layers: 0,
				...this.#backendStatus(),
				...(this.#retryAt !== undefined && { retryAt: this.#retryAt.toISOString() }),
				...(this.#lastError !== undefined && { lastError: this.#lastError }),
				droppedLines: 0,
			};
		}
		const ails = this.#backend?.ok === false && shared.state === "ready";
		const reason = shared.reason ?? (ails ? this.#backend?.problem : undefined);
		const lastError = later(shared.lastError, this.#lastError);
		const { reason: _, lastError: __, ...facts } = shared;
		return {
			...facts,
			...own,
			...(ails && { state: "degraded" as const }),
			...(shared.state === "ready" && { since: latest(shared.since, this.#since.toISOString()) }),
			...(reason !== undefined && { reason }),
			...this.#backendStatus(),
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
