import type { DriverConcession, Refusal } from "../../src/drivers/driver.ts";
import type { LauncherStatus, MountStatus, ReportedError } from "../../src/probe/status.ts";

/** A healthy mount; `changes` make it another. */
export function sampleMount(changes: Partial<MountStatus> = {}): MountStatus {
	const { name = "data" } = changes;
	return {
		name,
		driver: "goofys",
		source: `s3://training/${name}`,
		target: `/runtime-mnt/thin/default/training/thin-fuse/${name}`,
		readOnly: true,
		state: "ready",
		since: "2026-07-31T03:00:00.000Z",
		ready: true,
		pid: 42,
		restarts: 0,
		layers: 1,
		answeredSecondsAgo: 0.4,
		droppedLines: 0,
		...changes,
	};
}

/** A running launcher with one healthy mount; `changes` make it another. */
export function sampleStatus(changes: Partial<LauncherStatus> = {}): LauncherStatus {
	return {
		version: "1.2.3",
		pid: 7,
		startedAt: "2026-07-31T02:59:00.000Z",
		state: "running",
		started: true,
		targetPath: "/runtime-mnt/thin/default/training/thin-fuse",
		configFile: "/etc/fluid/config/config.json",
		changes: [],
		warnings: [],
		alive: true,
		mounts: [sampleMount()],
		...changes,
	};
}

export const accessDenied: ReportedError = {
	code: "ACCESS_DENIED",
	class: "authentication",
	message: "the key may not list training",
	hint: "Allow it s3:ListBucket.",
	at: "2026-07-31T03:00:00.000Z",
};

export const refusal: Refusal = {
	at: "2026-07-31T03:01:00.000Z",
	operation: "GetObject",
	code: "InvalidObjectState",
	message: "GetObject old.bin: InvalidObjectState (The operation is not valid.)",
	hint: "Restore it.",
};

export const concession: DriverConcession = {
	name: "conditional-reads",
	message: "The server does not know If-Match for reads.",
	since: "2026-07-31T03:01:00.000Z",
	noticed: "GetObject old.bin: NotImplemented",
};
