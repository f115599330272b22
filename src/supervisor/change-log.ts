import type { Logger } from "../log.ts";
import type { ChangeStatus, ReportedError } from "../probe/status.ts";

/** So many changes are remembered. */
const maximumRemembered = 50;

export type ChangeKind = ChangeStatus["change"];

/** What is known of a change when it begins. */
export interface NewChange {
	readonly change: ChangeKind;
	readonly mount: string;
	readonly target: string;
	/** For a person, such as `the secrets have changed`. */
	readonly reason: string;
}

export interface ChangeEvents {
	changed(kind: ChangeKind, result: "done" | "refused" | "superseded"): void;
}

/** The changes made while applications run, in the order in which they began, each with how it ended. */
export class ChangeLog {
	readonly #log: Logger;
	readonly #redact: (text: string) => string;
	readonly #events: ChangeEvents;
	readonly #changes: ChangeStatus[] = [];
	#count = 0;

	constructor(log: Logger, redact: (text: string) => string, events: ChangeEvents) {
		this.#log = log;
		this.#redact = redact;
		this.#events = events;
	}

	/** The latest last. */
	get changes(): readonly ChangeStatus[] {
		return this.#changes;
	}

	begin(change: NewChange): Change {
		const number = ++this.#count;
		const since = new Date().toISOString();
		this.#put({ number, ...change, since, state: "under way" });
		this.#log.info({ number, ...change }, "change begun");
		return {
			done: (outcome) => {
				this.#end(number, { state: "done", outcome });
				this.#log.info({ number, ...change, outcome }, "change done");
				this.#events.changed(change.change, "done");
			},
			waits: (error, retryInMs) => {
				const { code, message, hint } = error;
				const told = this.#redact(message);
				const isNew = this.#find(number)?.outcome !== told;
				const retryAt = new Date(Date.now() + retryInMs).toISOString();
				this.#put({ number, ...change, since, state: "waiting", outcome: told, code, retryAt });
				if (!isNew) return;
				this.#log.error({ number, ...change, code, error: message, hint, retryInMs }, "change waits");
				this.#events.changed(change.change, "refused");
			},
			superseded: () => {
				this.#end(number, { state: "superseded" });
				this.#log.info({ number, ...change }, "change superseded");
				this.#events.changed(change.change, "superseded");
			},
		};
	}

	#find(number: number): ChangeStatus | undefined {
		return this.#changes.find((change) => change.number === number);
	}

	#end(number: number, ending: Pick<ChangeStatus, "state"> & Partial<ChangeStatus>): void {
		const change = this.#find(number);
		if (change === undefined) return;
		const { outcome: _, code: __, retryAt: ___, ...rest } = change;
		this.#put({ ...rest, ...ending, endedAt: new Date().toISOString() });
	}

	#put(change: ChangeStatus): void {
		const index = this.#changes.findIndex(({ number }) => number === change.number);
		if (index === -1) this.#changes.push(change);
		else this.#changes[index] = change;
		// What has not ended is not forgotten.
		const old = this.#changes.findIndex(({ endedAt }) => endedAt !== undefined);
		if (this.#changes.length > maximumRemembered && old !== -1) this.#changes.splice(old, 1);
	}
}

type Obstacle = Pick<ReportedError, "code" | "message"> & { readonly hint?: string | undefined };

/** One that is under way. Each ends once. */
export interface Change {
	done(outcome: string): void;
	/** It cannot be made for now; the next try comes by itself. */
	waits(error: Obstacle, retryInMs: number): void;
	/** Something else is wanted by now. */
	superseded(): void;
}
