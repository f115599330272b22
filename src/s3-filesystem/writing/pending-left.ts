/** What of files, or of removals, is pending still. */
export interface PendingLeft {
	readonly files: number;
	/** Absent: none. */
	readonly bytes?: number;
	readonly seconds: number;
	/** Of the oldest. */
	readonly keys: readonly string[];
	/** Why those are not stored or removed that were tried, by key. */
	readonly failures: ReadonlyMap<string, string>;
	/** Each was tried, or its server takes none: that may change, but not by waiting for it. */
	readonly isStuck: boolean;
}

/** Of several kinds or buckets: one at least. */
export function together(parts: readonly PendingLeft[]): PendingLeft {
	return {
		files: parts.reduce((sum, { files }) => sum + files, 0),
		bytes: parts.reduce((sum, { bytes = 0 }) => sum + bytes, 0),
		seconds: Math.max(...parts.map(({ seconds }) => seconds)),
		keys: parts.flatMap(({ keys }) => keys),
		failures: new Map(parts.flatMap(({ failures }) => [...failures])),
		isStuck: parts.every(({ isStuck }) => isStuck),
	};
}
