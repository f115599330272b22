import type { Ability } from "./abilities.ts";
import { isKind } from "./answers.ts";
import { concessionFor, isLasting } from "./concession.ts";
import { S3Error, type ObjectStoreOptions } from "./object-store.ts";

/** What one server has turned out not to know. */
export class ServerKnowledge {
	readonly #lacking = new Set<Ability>();
	readonly #onEvent: ObjectStoreOptions["onEvent"];

	constructor(onEvent: ObjectStoreOptions["onEvent"]) {
		this.#onEvent = onEvent;
	}

	lacks(ability: Ability): boolean {
		return this.#lacking.has(ability);
	}

	/** Runs it with everything that the server may know, then with less, and remembers what it did not know. */
	async conceding<T>(used: readonly Ability[], attempt: (lacking: ReadonlySet<Ability>) => Promise<T>): Promise<T> {
		const lacking = new Set(this.#lacking);
		const conceded = new Map<Ability, S3Error>();
		for (;;) {
			try {
				const result = await attempt(lacking);
				for (const [ability, error] of conceded) this.concede(ability, error);
				return result;
			} catch (error) {
				const concession = concessionFor(
					error,
					used.filter((ability) => !lacking.has(ability)),
				);
				if (concession === undefined || !(error instanceof S3Error)) {
					const [first] = conceded.values();
					// Without it, it failed as well: it was not that.
					throw first !== undefined && isKind(error, "UNSUPPORTED") ? first : error;
				}
				conceded.set(concession, error);
				lacking.add(concession);
			}
		}
	}

	concede(ability: Ability, error: S3Error): void {
		if (this.#lacking.has(ability)) return;
		if (isLasting(ability)) this.#lacking.add(ability);
		this.#onEvent?.({ kind: "concession", ability, error });
	}
}
