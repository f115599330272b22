/** A moment to the nanosecond. Numbers of milliseconds are too coarse for that: today's have steps of a quarter of a microsecond. */
export interface Time {
	/** Since 1970, and whole: of what was before, down to the second before it. */
	readonly seconds: number;
	/** 0 to 999,999,999. */
	readonly nanoseconds: number;
}

export function timeOf(ms: number): Time {
	const seconds = Math.floor(ms / 1000);
	return { seconds, nanoseconds: Math.floor((ms - seconds * 1000) * 1e6) };
}

export function currentTime(): Time {
	return timeOf(Date.now());
}

export function latest(a: Time, b: Time): Time {
	return a.seconds > b.seconds || (a.seconds === b.seconds && a.nanoseconds >= b.nanoseconds) ? a : b;
}
