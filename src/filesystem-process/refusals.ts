import type { S3Error, StoreEvent } from "../s3/object-store.ts";
import type { Logger } from "../log.ts";
import type { Refusals } from "./messages.ts";

/** Of one kind of refusal. */
const lineEveryMs = 60_000;
/** A server may have any number of codes; the rest of them is one. */
const maximumCodes = 32;
const maximumKinds = 256;
/** Whoever looks at the status is no faster. */
const tellEveryMs = 1000;

const archivedHint = "The object is in an archive class: restore it before it is read or copied (RestoreObject).";
const hints: ReadonlyMap<string, string> = new Map([
	["InvalidObjectState", archivedHint],
	["ObjectNotInActiveTierError", archivedHint],
	[
		"AccessDenied",
		"The key lacks a permission for this object or this operation: docs/install.md lists what it needs.",
	],
	["NotImplemented", "The server cannot do this: docs/troubleshooting.md says what depends on it."],
]);

/** What one bucket's server has refused or failed to do: in the log at a limited rate, and for the launcher. */
export class RefusalLog {
	readonly #folder: string;
	readonly #log: Logger;
	readonly #redact: (text: string) => string;
	readonly #tell: (refusals: Refusals) => void;
	readonly #counts = new Map<string, number>();
	readonly #lines = new Map<string, { readonly at: number; since: number }>();
	#last: Refusals["last"] | undefined;
	#timer: NodeJS.Timeout | undefined;
	#isTold = true;

	/** `tell` gets all that there is by then, at most once a second. */
	constructor(options: {
		readonly folder: string;
		readonly log: Logger;
		readonly redact: (text: string) => string;
		readonly tell: (refusals: Refusals) => void;
	}) {
		this.#folder = options.folder;
		this.#log = options.log;
		this.#redact = options.redact;
		this.#tell = options.tell;
	}

	take(event: StoreEvent): void {
		switch (event.kind) {
			case "failure":
				this.#failed(event.operation, event.key, event.error);
				return;
			case "request":
			case "retry":
				return;
			default:
				event satisfies never;
		}
	}

	#failed(operation: string, key: string, error: S3Error): void {
		const { kind, status, message } = error;
		// A stranger's word, of which a label is made.
		const code = error.code !== undefined && /^[A-Za-z0-9][\w.-]{0,63}$/.test(error.code) ? error.code : kind;
		const counted = this.#counts.has(code) || this.#counts.size < maximumCodes ? code : "other";
		this.#counts.set(counted, (this.#counts.get(counted) ?? 0) + 1);
		const hint = hints.get(code);
		this.#last = {
			at: new Date().toISOString(),
			operation,
			code,
			message: this.#redact(message),
			...(hint !== undefined && { hint }),
		};
		this.#say(`${operation} ${code}`, (others) => {
			const facts = {
				folder: this.#folder,
				operation,
				key,
				kind,
				status,
				serverCode: code,
				error: message,
				hint,
				others,
			};
			const isRefused = kind !== "UNAVAILABLE" && kind !== "THROTTLED";
			this.#log.warn(facts, isRefused ? "the server has refused a request" : "a request failed for too long");
		});
		this.#news();
	}

	/** `others`: those of its kind that were not said since the last line. */
	#say(kind: string, line: (others: number | undefined) => void): void {
		const now = performance.now();
		const before = this.#lines.get(kind);
		if (before !== undefined && now - before.at < lineEveryMs) {
			before.since++;
			return;
		}
		const [oldest] = this.#lines.keys();
		if (this.#lines.size >= maximumKinds && oldest !== undefined) this.#lines.delete(oldest);
		this.#lines.delete(kind);
		this.#lines.set(kind, { at: now, since: 0 });
		line(before === undefined || before.since === 0 ? undefined : before.since);
	}

	#news(): void {
		this.#isTold = false;
		if (this.#timer !== undefined) return;
		this.#tellNow();
		this.#timer = setTimeout(() => {
			this.#timer = undefined;
			if (!this.#isTold) this.#news();
		}, tellEveryMs).unref();
	}

	#tellNow(): void {
		this.#isTold = true;
		if (this.#last !== undefined) this.#tell({ counts: Object.fromEntries(this.#counts), last: this.#last });
	}
}
