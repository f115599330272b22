import type { Ability } from "./abilities.ts";
import { S3Error } from "./s3-error.ts";

/** What one server lacks or does wrong. */
export interface Concession {
	readonly ability: Ability;
	/** RFC 3339, UTC. */
	readonly since: string;
	/** The answer that showed it, and to which request. */
	readonly error: S3Error;
}

/**
 * How one server differs from S3, learnt from its answers alone: a name says nothing, as there are versions and gateways. It is kept as long
 * as anybody uses the server, and shared by all who do.
 */
export class ServerKnowledge {
	readonly #concessions = new Map<Ability, Concession>();
	readonly #proven = new Set<Ability>();
	readonly #onConcession: ((concession: Concession) => void) | undefined;

	/** `onConcession` is told of each once. */
	constructor(onConcession?: (concession: Concession) => void) {
		this.#onConcession = onConcession;
	}

	get concessions(): readonly Concession[] {
		return [...this.#concessions.values()];
	}

	/** It need not be tried any more. */
	lacks(ability: Ability): boolean {
		return this.#concessions.has(ability) && !ofOneObject.has(ability);
	}

	concede(ability: Ability, error: S3Error): void {
		if (this.#concessions.has(ability)) return;
		const concession = { ability, since: new Date().toISOString(), error };
		this.#concessions.set(ability, concession);
		this.#onConcession?.(concession);
	}

	/** Seen to be right, and not looked at again. */
	proves(ability: Ability): void {
		this.#proven.add(ability);
	}

	isProven(ability: Ability): boolean {
		return this.#proven.has(ability);
	}

	/** Runs it with everything that the server may know, then with less, and remembers what it did not know. */
	async conceding<T>(used: readonly Ability[], attempt: (lacking: ReadonlySet<Ability>) => Promise<T>): Promise<T> {
		const lacking = new Set(used.filter((ability) => this.lacks(ability)));
		let first: S3Error | undefined;
		let last: { readonly ability: Ability; readonly error: S3Error } | undefined;
		for (;;) {
			try {
				const result = await attempt(lacking);
				// What was given up before that may not have been it: it is used again, and told apart by the next answer.
				if (last !== undefined) this.concede(last.ability, last.error);
				return result;
			} catch (error) {
				const ability = refusedOf(
					error,
					used.filter((each) => !lacking.has(each)),
				);
				// Without all that, it failed as well: it was not that.
				if (ability === undefined || !(error instanceof S3Error))
					throw first !== undefined && error instanceof S3Error && error.kind === "UNSUPPORTED" ? first : error;
				first ??= error;
				last = { ability, error };
				lacking.add(ability);
			}
		}
	}
}

/** Which of what was used the server seems to refuse; undefined: the error is about something else. */
function refusedOf(error: unknown, used: readonly Ability[]): Ability | undefined {
	if (!(error instanceof S3Error)) return undefined;
	const { kind, status, code, message } = error;
	// It takes permissions of their own, and no answer says which one was missing.
	if (kind === "DENIED" && code === "AccessDenied" && used.includes("tags")) return "tags";
	// Not what we have found to be wrong with an answer.
	const isRefusal = (kind === "UNSUPPORTED" && status >= 400) || (kind === "REFUSED" && status === 400);
	if (!isRefusal) return undefined;
	const named = used.find((ability) => words[ability]?.test(message) === true);
	if (named !== undefined) return named;
	// It says that something is not implemented, but not what.
	return kind === "UNSUPPORTED" ? used[0] : undefined;
}

/** What may be different with the next one. */
const ofOneObject: ReadonlySet<Ability> = new Set(["storage-class", "tags", "part-copies"]);

/** By which a refusal names what it refuses. */
const words: Readonly<Partial<Record<Ability, RegExp>>> = {
	checksums: /checksum|crc32/i,
	conditions: /if-none-match|precondition|conditional/i,
	"conditional-reads": /if-match|precondition|conditional/i,
	"read-checksums": /checksum/i,
	"conditional-deletes": /if-match|etag|precondition|conditional|malformed/i,
	"storage-class": /storage.?class/i,
	tags: /tag/i,
};
