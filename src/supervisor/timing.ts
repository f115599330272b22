export interface Timing {
	/** Between two looks at a mount. */
	readonly watchEveryMs: number;
	/** A statfs that takes longer is late. */
	readonly statfsTimeoutMs: number;
	/** Ready means that the last answer is not older. */
	readonly freshMs: number;
	/** A mount that is silent for longer is aborted and started again. */
	readonly hangTimeoutMs: number;
	/** From the start of a driver until it must have mounted. */
	readonly startTimeoutMs: number;
	/** Between two checks of the backend while mounted; of one that fails six times as often. */
	readonly backendEveryMs: number;
	/** How long those who read go on with a driver that was replaced. */
	readonly readersMs: number;
}

export const defaultTiming: Timing = {
	watchEveryMs: 2000,
	statfsTimeoutMs: 2000,
	freshMs: 4000,
	hangTimeoutMs: 60_000,
	startTimeoutMs: 30_000,
	backendEveryMs: 30_000,
	readersMs: 600_000,
};
