import type { Logger } from "../log.ts";
import { abilities, type Ability } from "../s3/abilities.ts";
import { ServerKnowledge } from "../s3/server-knowledge.ts";
import type { Concession } from "./messages.ts";

/** What is known of the servers, by their addresses: what the bucket of one folder has shown holds for those of all others. */
export class KnownServers {
	readonly #servers = new Map<string, ServerKnowledge>();
	readonly #log: Logger;
	readonly #redact: (text: string) => string;
	readonly #news: (server: ServerKnowledge) => void;

	/** `news` is called when there is one more concession. */
	constructor(options: {
		readonly log: Logger;
		readonly redact: (text: string) => string;
		readonly news: (server: ServerKnowledge) => void;
	}) {
		this.#log = options.log;
		this.#redact = options.redact;
		this.#news = options.news;
	}

	at({
		endpoint,
		region,
	}: {
		readonly endpoint?: string | undefined;
		readonly region?: string | undefined;
	}): ServerKnowledge {
		const address = endpoint === undefined ? `Amazon's, ${region ?? ""}` : new URL(endpoint).origin;
		const present = this.#servers.get(address);
		if (present !== undefined) return present;
		const made = new ServerKnowledge(({ ability, error }) => {
			const facts = {
				endpoint: address,
				concession: ability,
				difference: inWords(ability),
				serverCode: error.code,
				error: error.message,
			};
			this.#log.warn(facts, "the server differs from S3, and is used without that");
			this.#news(made);
		});
		this.#servers.set(address, made);
		return made;
	}

	/** For the launcher. */
	concessionsOf({ concessions }: ServerKnowledge): Concession[] {
		return concessions.map(({ ability, since, error }) => ({
			name: ability,
			message: inWords(ability),
			since,
			noticed: this.#redact(error.message),
		}));
	}
}

function inWords(ability: Ability): string {
	return `The server ${abilities[ability]}.`;
}
