import type { Answer } from "./http/connection.ts";

/** Whether the object of an answer to HEAD looks like the one that a request was to make. */
export type Looks = (answer: Answer) => Promise<boolean>;

/** Whoever tries for so long with ever other content is not helped by the first of it. */
const maximumSent = 16;

/**
 * A request may have been carried out although no answer came. What it made is then told from what others made by its looks. Whoever tries
 * again with other content after a call has failed gives the next call the same one.
 */
export class Doubt {
	#startedAt = performance.now();
	#exists = false;
	readonly #sent: Looks[] = [];

	/** A request is about to be sent that makes an object of such looks. */
	sends(looks: Looks): void {
		if (!this.#exists) {
			this.#startedAt = performance.now();
			this.#sent.length = 0;
		}
		if (this.#sent.push(looks) > maximumSent) this.#sent.shift();
	}

	/** `agoMs`: by a process before this one. */
	begin(agoMs = 0): void {
		this.#exists = true;
		this.#startedAt -= agoMs;
	}

	get exists(): boolean {
		return this.#exists;
	}

	/** Since the first try, in milliseconds. */
	get ageMs(): number {
		return performance.now() - this.#startedAt;
	}

	async hasSent(answer: Answer): Promise<boolean> {
		for (const looks of this.#sent) if (await looks(answer)) return true;
		return false;
	}
}
