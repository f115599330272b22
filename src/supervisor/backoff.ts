import type { LauncherError } from "../errors.ts";

export interface BackoffOptions {
	readonly minimumMs: number;
	readonly maximumMs: number;
	/** After so long without a failure the next one waits the minimum again. */
	readonly forgetAfterMs: number;
	/** In [0, 1). */
	readonly random: () => number;
	/** Milliseconds on any clock that only goes forward. */
	readonly now: () => number;
}

export interface Backoff {
	/** Milliseconds to wait after a failure. Doubles from failure to failure, with a fifth of jitter either way. */
	readonly next: () => number;
	/** Milliseconds to wait after something that was nobody's failure, such as a kill from outside: does not grow. */
	readonly once: () => number;
	/** To be told when things start to go well. */
	readonly succeeded: () => void;
}

export function createBackoff({ minimumMs, maximumMs, forgetAfterMs, random, now }: BackoffOptions): Backoff {
	let failures = 0;
	let wellSince: number | undefined;
	const jittered = (delayMs: number): number => Math.min(maximumMs, Math.round(delayMs * (0.8 + 0.4 * random())));
	return {
		next() {
			if (wellSince !== undefined && now() - wellSince >= forgetAfterMs) failures = 0;
			wellSince = undefined;
			// The exponent is bounded, or it would overflow after a month of failures.
			return jittered(minimumMs * 2 ** Math.min(failures++, 20));
		},
		once: () => jittered(minimumMs),
		succeeded() {
			wellSince = now();
		},
	};
}

const slowMs = 60_000;

/** For mounts: from a second to a minute. */
export function createMountBackoff(): Backoff {
	return createBackoff({
		minimumMs: 1000,
		maximumMs: 60_000,
		forgetAfterMs: 60_000,
		random: Math.random,
		now: () => performance.now(),
	});
}

/** How long a mount that has failed waits. A kill from outside says nothing about its driver, and what will not pass by itself is not tried often. */
export function retryDelayMs(backoff: Backoff, error: LauncherError, wasServing: boolean): number {
	if (wasServing && error.code === "DRIVER_KILLED") return backoff.once();
	return Math.max(backoff.next(), error.permanent ? slowMs : 0);
}
