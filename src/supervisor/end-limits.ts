/** Of performance.now: until when applications, and then the driver, have time at the end. */
export interface EndLimits {
	readonly detachUntil: number;
	readonly endUntil: number;
}

/** For taking down a mount that ends by itself, when nobody has set a deadline. */
const defaultStopMs = 25_000;

/** Applications get half of the time to let go, the driver most of the rest to write what it still has. */
export function limitsUntil(deadline: number): EndLimits {
	const now = performance.now();
	const total = Math.max(0, Math.min(defaultStopMs, deadline - now));
	return { detachUntil: now + total / 2, endUntil: now + total - Math.min(3000, total / 4) };
}

/** Who asks for the end once more can only make it come sooner. */
export function soonerOf(limits: EndLimits, others: EndLimits): EndLimits {
	return {
		detachUntil: Math.min(limits.detachUntil, others.detachUntil),
		endUntil: Math.min(limits.endUntil, others.endUntil),
	};
}
