import type { StaticCredentials } from "../object-store.ts";

export interface ProvidedKeys extends StaticCredentials {
	/** Undefined: nobody knows. */
	readonly expiresAt?: Date;
}

export interface ExpiringKeysOptions<Keys extends ProvidedKeys> {
	/** Asks for keys; one question at a time. */
	readonly provide: () => Promise<Keys>;
	/** What to say of keys that have expired when they come. */
	readonly expired: (keys: Keys) => Error;
	/** New keys are in use. */
	readonly onRenewed?: (keys: Keys) => void;
	/** It did not work, and is tried again after so many milliseconds at the earliest. */
	readonly onFailed?: (error: unknown, retryInMs: number) => void;
	/** In milliseconds, since 1970. */
	readonly now?: () => number;
}

/** How long before they expire keys are renewed, and the share of their life that this is at most. */
const renewalLeadMs = 5 * 60_000;
const renewalShare = 0.25;
/** Keys in a file may be exchanged without a word. */
const uncertainLifeMs = 5 * 60_000;
/** A request that is signed now may arrive a little later. */
const reserveMs = 2000;
const shortestPauseMs = 1000;
const longestPauseMs = 60_000;

/**
 * Keeps keys that expire: they are renewed before that while requests go on with the old ones. Many who ask at once are one question,
 * and who gave no keys is left alone for a while, longer after each failure.
 */
export class ExpiringKeys<Keys extends ProvidedKeys> {
	readonly #options: ExpiringKeysOptions<Keys>;
	readonly #now: () => number;
	#keys: Keys | undefined;
	/** Of the keys; the same ones may be prolonged. */
	#expiresAt: number | undefined;
	#renewing: Promise<Keys> | undefined;
	#renewAt = 0;
	/** Not asked again before. */
	#pausedUntil = 0;
	#failures = 0;
	#failure: { readonly error: unknown } | undefined;

	constructor(options: ExpiringKeysOptions<Keys>) {
		this.#options = options;
		this.#now = options.now ?? Date.now;
	}

	/** `refused`: the server does not take these any more. Rejects with what `provide` said last, if there are no keys that still hold. */
	async get({ refused }: { readonly refused?: StaticCredentials | undefined } = {}): Promise<Keys> {
		const keys = this.#keys;
		if (keys === undefined || this.#isOver(this.#expiresAt)) return this.#renew();
		if (refused === keys) return this.#renew().catch(() => keys);
		// Whoever needs new ones later is told what went wrong.
		if (this.#now() >= this.#renewAt) void this.#renew().catch(() => undefined);
		return keys;
	}

	#isOver(expiresAt: number | undefined): boolean {
		return expiresAt !== undefined && expiresAt - reserveMs <= this.#now();
	}

	async #renew(): Promise<Keys> {
		this.#renewing ??= this.#ask().finally(() => {
			this.#renewing = undefined;
		});
		return this.#renewing;
	}

	async #ask(): Promise<Keys> {
		if (this.#now() < this.#pausedUntil) {
			if (this.#failure !== undefined) throw this.#failure.error;
			if (this.#keys !== undefined) return this.#keys;
		}
		try {
			const found = await this.#options.provide();
			if (this.#isOver(found.expiresAt?.getTime())) throw this.#options.expired(found);
			return this.#take(found);
		} catch (error) {
			const retryInMs = Math.min(longestPauseMs, shortestPauseMs * 2 ** Math.min(this.#failures, 10));
			this.#failures++;
			this.#failure = { error };
			this.#pausedUntil = this.#now() + retryInMs;
			this.#options.onFailed?.(error, retryInMs);
			throw error;
		}
	}

	#take(found: Keys): Keys {
		const now = this.#now();
		this.#failures = 0;
		this.#failure = undefined;
		this.#pausedUntil = now + shortestPauseMs;
		this.#expiresAt = found.expiresAt?.getTime();
		this.#renewAt = now + Math.max(shortestPauseMs, usableMs(this.#expiresAt, now));
		const before = this.#keys;
		// The same object for the same keys: it is how a request tells that there are others.
		const isSame =
			before?.accessKeyId === found.accessKeyId &&
			before.secretAccessKey === found.secretAccessKey &&
			before.sessionToken === found.sessionToken;
		if (before !== undefined && isSame) return before;
		this.#keys = found;
		this.#options.onRenewed?.(found);
		return found;
	}
}

/** How long keys are used before others are asked for. */
function usableMs(expiresAt: number | undefined, now: number): number {
	if (expiresAt === undefined) return uncertainLifeMs;
	const lifeMs = expiresAt - now;
	return lifeMs - Math.min(renewalLeadMs, Math.max(reserveMs, lifeMs * renewalShare));
}
