import { setTimeout as sleep } from "node:timers/promises";
import { LauncherError } from "../errors.ts";
import { Prober } from "../probe/prober.ts";
import type { Timing } from "./timing.ts";

export interface AnswersOptions {
	readonly target: string;
	readonly timing: Timing;
	/** Its path leads through another mount of ours. */
	readonly isInside: boolean;
}

/** What a look at a mount tells. */
export type Look =
	| { readonly kind: "answers" }
	| { readonly kind: "ails"; readonly ailment: string }
	| { readonly kind: "dead" };

/** Whether a mount answers, as it is asked from time to time. */
export class Answers {
	readonly #options: AnswersOptions;
	readonly #prober: Prober;
	#isHung = false;
	/** In a row. */
	#deadLooks = 0;

	constructor(options: AnswersOptions) {
		this.#options = options;
		this.#prober = new Prober(options.target, options.timing.statfsTimeoutMs);
	}

	/** Milliseconds since the last answer; undefined before the first. */
	get silentMs(): number | undefined {
		return this.#prober.silentMs;
	}

	get isFresh(): boolean {
		return (this.silentMs ?? Number.POSITIVE_INFINITY) < this.#options.timing.freshMs;
	}

	/** It did not answer the last time. */
	get isHung(): boolean {
		return this.#isHung;
	}

	/** The first answer of what was bound to the target a moment ago; `deadline` is of performance.now. */
	async untilFirst(deadline: number, signal: AbortSignal): Promise<void> {
		for (;;) {
			const verdict = await this.#prober.ask();
			if (verdict.kind === "answered") return;
			if (verdict.kind !== "hung" || performance.now() > deadline) {
				throw new LauncherError("DRIVER_FAILED", `${this.#options.target} is mounted but does not answer a statfs`);
			}
			// A child that still hangs on the mount before this one is about to be freed.
			await sleep(100, undefined, { signal });
		}
	}

	/** Asks for a statfs and draws the conclusions; throws MOUNT_HUNG past the limit. */
	async look(): Promise<Look> {
		const verdict = await this.#prober.ask();
		this.#isHung = verdict.kind === "hung";
		if (verdict.kind !== "dead") this.#deadLooks = 0;
		switch (verdict.kind) {
			case "answered":
				return { kind: "answers" };
			case "failed":
				return { kind: "ails", ailment: `statfs failed: ${verdict.reason}` };
			case "dead":
				// The mount around it may be the dead one and tell so a moment later.
				if (this.#options.isInside && ++this.#deadLooks < 3)
					return { kind: "ails", ailment: "the mount around it does not answer" };
				return { kind: "dead" };
			case "hung":
				return { kind: "ails", ailment: this.#silence() };
			default:
				return verdict satisfies never;
		}
	}

	#silence(): string {
		const silentMs = this.silentMs ?? 0;
		const silence = `no answer to statfs for ${Math.round(silentMs / 1000)} s`;
		if (silentMs < this.#options.timing.hangTimeoutMs) return silence;
		throw new LauncherError("MOUNT_HUNG", `${silence}: aborted`, {
			hint: "What applications had written and not closed may be lost; look at the driver's last lines.",
		});
	}
}
