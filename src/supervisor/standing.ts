import type { LauncherError } from "../errors.ts";
import type { MountState, MountStatus, Recovery, ReportedError } from "../probe/status.ts";
import { reportError, type Reporting } from "./report.ts";
import { nextState, type MountEvent } from "./state.ts";

export interface StandingOptions extends Reporting {
	readonly events: {
		changed(): void;
		error(code: ReportedError["code"]): void;
		/** Applications can go on after a driver's end. */
		recovered(recovery: Recovery): void;
	};
}

/** How a mount stands, since when, what has gone wrong, and who waits for news of it. */
export class Standing {
	readonly #options: StandingOptions;
	readonly #waiters = new Set<() => void>();
	#state: MountState = "pending";
	#since = new Date();
	#everReady = false;
	#settled = false;
	#lastError: ReportedError | undefined;
	#retryAt: Date | undefined;
	/** Since when applications wait, by performance.now. */
	#brokenAt: number | undefined;
	#lastRecovery: Recovery | undefined;

	constructor(options: StandingOptions) {
		this.#options = options;
	}

	get state(): MountState {
		return this.#state;
	}

	get isStarting(): boolean {
		return this.#state === "checking" || this.#state === "starting";
	}

	get isServing(): boolean {
		return this.#state === "ready" || this.#state === "degraded";
	}

	get everReady(): boolean {
		return this.#everReady;
	}

	/** Ready or failed at least once: the first start is over. */
	get settled(): boolean {
		return this.#settled;
	}

	/** The error of a mount that has failed for good and was never ready. */
	get hopeless(): ReportedError | undefined {
		return this.#state === "failed" && !this.#everReady ? this.#lastError : undefined;
	}

	get lastError(): ReportedError | undefined {
		return this.#lastError;
	}

	/** `reason`: why, for people. */
	enter(event: MountEvent, reason?: string): void {
		if (event.kind === "mounted") this.#everReady = true;
		if (event.kind === "mounted" && this.#brokenAt !== undefined) {
			this.recovered("remounted", (performance.now() - this.#brokenAt) / 1000);
			this.#brokenAt = undefined;
		}
		const state = nextState(this.#state, event);
		if (state === this.#state) return;
		this.#options.log.info({ from: this.#state, to: state, reason }, "mount state");
		this.#state = state;
		this.#since = new Date();
		if (state === "ready") this.#settled = true;
		this.#options.events.changed();
		this.tellNews();
	}

	/** It broke, and is tried again after so long. */
	broke(error: LauncherError, retryInMs: number): void {
		this.#settled = true;
		if (this.#everReady) this.#brokenAt ??= performance.now();
		this.#retryAt = new Date(Date.now() + retryInMs);
		this.enter({ kind: "broken", permanent: error.permanent, everReady: this.#everReady });
		this.report(error, "mount broken", { retryInMs });
	}

	recovered(kind: Recovery["kind"], seconds: number): void {
		const { log, events } = this.#options;
		this.#lastRecovery = { kind, seconds, at: new Date().toISOString() };
		log.info({ kind, seconds }, "applications can go on");
		events.recovered(this.#lastRecovery);
	}

	/** It is being tried, or never will be again. */
	forgetRetry(): void {
		this.#retryAt = undefined;
	}

	report(error: LauncherError, message: string, facts: object = {}): void {
		const { events } = this.#options;
		this.#lastError = reportError(error, message, this.#options, facts);
		events.error(error.code);
		events.changed();
	}

	/** Resolves when something may be different. */
	async untilNews(signal: AbortSignal): Promise<void> {
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

	tellNews(): void {
		for (const wake of this.#waiters) wake();
	}

	status(): Pick<MountStatus, "state" | "since" | "retryAt" | "lastError" | "lastRecovery"> {
		return {
			state: this.#state,
			since: this.#since.toISOString(),
			...(this.#retryAt !== undefined && { retryAt: this.#retryAt.toISOString() }),
			...(this.#lastError !== undefined && { lastError: this.#lastError }),
			...(this.#lastRecovery !== undefined && { lastRecovery: this.#lastRecovery }),
		};
	}
}
