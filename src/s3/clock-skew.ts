/** Servers refuse signatures that are older or newer than 15 minutes; what is near that is about to fail. */
const noticeableSkewMs = 5 * 60 * 1000;

/** How far our clock is ahead of the server's; negative if behind. Undefined if it is close, or the header useless. */
export function clockSkewMs(dateHeader: string | undefined, now: Date): number | undefined {
	const skewMs = now.getTime() - Date.parse(dateHeader ?? "");
	return Math.abs(skewMs) > noticeableSkewMs ? skewMs : undefined;
}

/** Such as `this node's clock is 17 min behind the server's`. */
export function describeSkew(skewMs: number): string {
	const minutes = Math.round(Math.abs(skewMs) / 60_000);
	const amount =
		minutes < 120
			? `${minutes} min`
			: minutes < 48 * 60
				? `${Math.round(minutes / 60)} h`
				: `${Math.round(minutes / 1440)} days`;
	return `this node's clock is ${amount} ${skewMs < 0 ? "behind" : "ahead of"} the server's`;
}
