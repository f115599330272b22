import { setTimeout as sleep } from "node:timers/promises";
import type { WantedMount } from "../config/examine.ts";
import type { PlannedMount } from "../config/plan.ts";
import type { PreparedMount } from "../drivers/driver.ts";
import { toLauncherError, type LauncherError } from "../errors.ts";
import type { MountSpec } from "../mounts/reconcile.ts";
import type { MountStatus } from "../probe/status.ts";
import { createBackoff } from "./backoff.ts";
import type { Change, NewChange } from "./change-log.ts";
import type { Changed, ChangeOptions } from "./supervised.ts";

/** How long a removed mount stays in sight while it is in use, and how long what is open goes on after that. */
export interface RemovalLimits {
	readonly visibleMs: number;
	readonly hiddenMs: number;
}

/** Whoever serves it: a supervisor of its own, or the one that several share. */
export interface Control {
	change(next: PlannedMount, prepared: PreparedMount | LauncherError, options: ChangeOptions): Promise<Changed>;
	rename(next: PlannedMount): void;
	/** Neither rejects. */
	remove(limits: RemovalLimits): { readonly detached: Promise<void>; readonly ended: Promise<void> };
	status(): MountStatus;
	readonly everReady: boolean;
}

/** So that the pods of a Dataset do not all start drivers in the same moment; with it a rotation still takes less than five seconds. */
const jitterMs = 2000;
const lookEveryMs = 200;

/** One mount, and what is to become of it: a change that cannot be made now is tried again until it can, or another one is wanted. */
export class FleetMount {
	readonly target: string;
	readonly #control: Control;
	readonly #begin: (change: NewChange) => Change;
	/** What it is, and what it is or is to be. */
	#applied: WantedMount;
	#wanted: WantedMount;
	#isJoining: boolean;
	/** What keeps it from becoming what is wanted. */
	#obstacle: string | undefined;
	/** What is wrong with what the config says of it now. */
	#refusal: string | undefined;
	#superseded = new AbortController();
	#converging: Promise<void> = Promise.resolve();

	constructor(
		wanted: WantedMount,
		control: Control,
		begin: (change: NewChange) => Change,
		{ isJoining }: { readonly isJoining: boolean },
	) {
		this.target = wanted.planned.target;
		this.#control = control;
		this.#begin = begin;
		this.#applied = wanted;
		this.#wanted = wanted;
		this.#isJoining = isJoining;
	}

	get name(): string {
		return this.#wanted.planned.name;
	}

	/** What it is or is to be. */
	get spec(): MountSpec {
		const { planned, content } = this.#wanted;
		return { name: planned.name, target: this.target, content };
	}

	/** What the last config that said something usable about it wants of it. */
	get wanted(): WantedMount {
		return this.#wanted;
	}

	status(): MountStatus {
		const status = this.#control.status();
		const pendingChange = this.#refusal ?? this.#obstacle;
		if (this.#isJoining && this.#control.everReady) this.#isJoining = false;
		return {
			...status,
			...(this.#isJoining && { joining: true }),
			...(pendingChange !== undefined && { pendingChange }),
		};
	}

	/** Follows how a mount that was added gets ready, for who wants to know. */
	async follow(change: Change): Promise<void> {
		const signal = this.#superseded.signal;
		while (!this.#control.everReady) {
			const { lastError, retryAt } = this.#control.status();
			if (lastError !== undefined)
				change.waits(lastError, retryAt === undefined ? 0 : Date.parse(retryAt) - Date.now());
			await sleep(lookEveryMs, undefined, { signal }).catch(() => undefined);
			if (signal.aborted) {
				change.superseded();
				return;
			}
		}
		change.done("mounted");
	}

	rename(next: WantedMount): void {
		this.#control.rename(next.planned);
		this.#wanted = { ...this.#wanted, planned: next.planned };
		this.#applied = { ...this.#applied, planned: next.planned };
	}

	/** The config wants something of it that cannot be: it goes on as it is. Undefined: nothing is wrong with it any more. */
	refuse(error: LauncherError | undefined): void {
		this.#refusal = error && `refused: ${error.message}`;
	}

	/** Makes it another mount of the same place, as soon as that can be. */
	change(next: WantedMount): void {
		this.#superseded.abort();
		this.#superseded = new AbortController();
		this.#wanted = next;
		const { signal } = this.#superseded;
		this.#converging = this.#convergeAfter(this.#converging, next, signal);
	}

	/** Nothing more is tried. */
	stop(): void {
		this.#superseded.abort();
	}

	remove(limits: RemovalLimits): { readonly detached: Promise<void>; readonly ended: Promise<void> } {
		this.stop();
		return this.#control.remove(limits);
	}

	async #convergeAfter(before: Promise<void>, next: WantedMount, signal: AbortSignal): Promise<void> {
		await before;
		if (!signal.aborted) await this.#converge(next, signal);
	}

	/** Never rejects. */
	async #converge(next: WantedMount, signal: AbortSignal): Promise<void> {
		this.#obstacle = undefined;
		if (next.content === this.#applied.content) {
			this.#applied = next;
			return;
		}
		const { name } = next.planned;
		const isRotation = next.settings === this.#applied.settings;
		const reason = isRotation ? "other secrets" : "other options";
		const change = this.#begin({ change: "change", mount: name, target: this.target, reason });
		const backoff = createBackoff({
			minimumMs: 2000,
			maximumMs: 60_000,
			forgetAfterMs: Number.POSITIVE_INFINITY,
			random: Math.random,
			now: () => performance.now(),
		});
		for (;;) {
			try {
				const delayMs = isRotation ? Math.random() * jitterMs : 0;
				const changed = await this.#control.change(next.planned, next.prepared, { delayMs, signal });
				this.#applied = next;
				this.#obstacle = undefined;
				change.done(outcomeOf(changed));
				return;
			} catch (thrown) {
				if (signal.aborted) break;
				const error = toLauncherError(thrown);
				const retryInMs = backoff.next();
				this.#obstacle = `${reason}, not in use yet: ${error.code}: ${error.message}`;
				change.waits(error, retryInMs);
				await sleep(retryInMs, undefined, { signal }).catch(() => undefined);
			}
			if (signal.aborted) break;
		}
		change.superseded();
	}
}

function outcomeOf(changed: Changed): string {
	switch (changed.kind) {
		case "updated":
			return changed.later.length === 0
				? "in the process that runs"
				: `in the process that runs; ${changed.later.join(", ")} from its next start on`;
		case "replaced":
			return "by another process, whose mount was bound over the one before";
		case "noted":
			return "it was not served and starts as that";
		default:
			return changed satisfies never;
	}
}
