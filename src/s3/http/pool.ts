import type { Exchanger } from "./connection.ts";

/** Amazon closes what is idle for longer; a request that meets that has to be sent twice. */
const idleLimitMs = 15_000;

/** Makes connections; rejects with an ExchangeError. */
export interface Dials {
	dial(signal?: AbortSignal): Promise<Exchanger>;
	/** Nothing more is asked for there: what it keeps for that can go. */
	close?(): void;
}

interface Idle {
	readonly connection: Exchanger;
	readonly sinceMs: number;
}

/** Connections to one server that wait for their next request. */
export class Pool {
	readonly #dialer: Dials;
	/** The one used last is last. */
	readonly #idle: Idle[] = [];
	readonly #open = new Set<Exchanger>();
	#timer: NodeJS.Timeout | undefined;
	#isClosed = false;

	constructor(dialer: Dials) {
		this.#dialer = dialer;
	}

	/** A connection for one request, to be given back: one that waits for less than so many milliseconds, or a new one. */
	async take(options: {
		readonly maximumIdleMs: number;
		readonly signal?: AbortSignal | undefined;
	}): Promise<Exchanger> {
		const latest = this.#idle.at(-1);
		if (latest !== undefined && performance.now() - latest.sinceMs < options.maximumIdleMs) {
			this.#idle.pop();
			return latest.connection;
		}
		const connection = await this.#dialer.dial(options.signal);
		connection.onEnd = () => this.#forget(connection);
		this.#open.add(connection);
		if (this.#isClosed || !connection.isUsable) connection.close();
		return connection;
	}

	give(connection: Exchanger): void {
		if (!connection.isUsable) return;
		this.#idle.push({ connection, sinceMs: performance.now() });
		this.#timer ??= setTimeout(() => this.#closeOld(), idleLimitMs).unref();
	}

	/** Requests under way fail. */
	close(): void {
		this.#isClosed = true;
		clearTimeout(this.#timer);
		for (const connection of this.#open) connection.close();
		this.#dialer.close?.();
	}

	/** For a pool that nothing more is taken from. */
	closeIdle(): void {
		for (const { connection } of this.#idle.splice(0)) connection.close();
		this.#dialer.close?.();
	}

	#closeOld(): void {
		this.#timer = undefined;
		const before = performance.now() - idleLimitMs;
		const old = this.#idle.filter(({ sinceMs }) => sinceMs <= before);
		for (const { connection } of old) connection.close();
		if (this.#idle.length > 0) this.#timer = setTimeout(() => this.#closeOld(), idleLimitMs).unref();
	}

	#forget(connection: Exchanger): void {
		this.#open.delete(connection);
		const position = this.#idle.findIndex((idle) => idle.connection === connection);
		if (position !== -1) this.#idle.splice(position, 1);
	}
}
