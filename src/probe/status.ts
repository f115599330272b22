import type { DatasetName } from "../config/environment.ts";
import type { PlannedPlace } from "../config/tiered-store.ts";
import type { DriverConcession, DriverTrouble, Refusals } from "../drivers/driver.ts";
import type { Measured } from "../filesystem-process/measures.ts";
import type { ErrorClass, ErrorCode } from "../errors.ts";

export const mountStates = [
	"pending",
	"checking",
	"starting",
	"ready",
	"degraded",
	"recovering",
	"draining",
	"stopped",
	"failed",
] as const;

/** Where one mount is in its life; ARCHITECTURE.md draws the transitions. */
export type MountState = (typeof mountStates)[number];

/** What came of having another process serve a mount. */
export type ExchangeOutcome =
	| {
			readonly kind: "done";
			readonly mount: string;
			/** So long applications had to wait. */
			readonly waitedMs: number;
	  }
	/** The process that is there serves on. */
	| { readonly kind: "refused"; readonly mount: string; readonly error: ReportedError };

export interface ReportedError {
	readonly code: ErrorCode;
	readonly class: ErrorClass;
	readonly message: string;
	readonly hint?: string;
	/** RFC 3339, UTC. */
	readonly at: string;
}

export interface Recovery {
	/** Another process under the same mount, where nobody sees an error; or another mount over the dead one. */
	readonly kind: "continued" | "remounted";
	/** From the driver's end on. */
	readonly seconds: number;
	/** RFC 3339, UTC. */
	readonly at: string;
}

/** One mount as `/status`, `fluid-fuse status` and the status page show it. Holds no secret. */
export interface MountStatus {
	readonly name: string;
	readonly driver: string;
	/** What the config mounts, such as `s3://bucket/prefix`. */
	readonly source: string;
	/** The absolute path where applications see it. */
	readonly target: string;
	readonly readOnly: boolean;
	readonly state: MountState;
	/** When it entered this state: RFC 3339, UTC. */
	readonly since: string;
	/** The topmost mount at the target is ours, and a statfs was answered within the last few seconds. */
	readonly ready: boolean;
	/** Why it is not ready or not healthy, for a person; absent when all is well. */
	readonly reason?: string;
	/** The driver's process, while one runs. */
	readonly pid?: number;
	/** How often the driver was started again after it had ended or hung. */
	readonly restarts: number;
	/** How applications could go on after the driver's last end; absent when it has not ended. */
	readonly lastRecovery?: Recovery;
	/** Mounts stacked at the target that are ours; more than one after recoveries. */
	readonly layers: number;
	/** Drivers of before a change that still serve what was open then; absent when there are none. */
	readonly retiring?: number;
	/** It was added while the launcher ran and has not been ready yet: it does not count for readyz. */
	readonly joining?: true;
	/** The config does not have it any more, and something of it is still in use: it does not count for readyz either. */
	readonly leaving?: true;
	/** The config or its secrets want it to be something else, and it cannot be that yet: why not. */
	readonly pendingChange?: string;
	/** What the config asks for and Fluid has not brought to this pod, with what to do; absent when there is nothing. */
	readonly withoutEffect?: string;
	/** The places for a cache that the runtime gives, and what is used of each; absent when there are none. */
	readonly tieredStore?: readonly PlannedPlace[];
	/** The prober's last word: how long ago the mount last answered a statfs, in seconds. Absent before the first answer. */
	readonly answeredSecondsAgo?: number;
	/** The last signed check of the bucket, where the driver has one. */
	readonly backend?: {
		readonly ok: boolean;
		readonly checkedAt: string;
		/** How long it took. */
		readonly seconds?: number;
	};
	/** When the next start is tried, while waiting for it: RFC 3339, UTC. */
	readonly retryAt?: string;
	readonly lastError?: ReportedError;
	/** What is wrong with what it uses, such as a disk, and does not keep it from serving. Several mounts of one process: at the first. */
	readonly troubles?: readonly DriverTrouble[];
	/** What its server has refused for good, or failed to do for too long, since the driver's start; absent when there was nothing. */
	readonly refusals?: Refusals;
	/** What its server lacks or does wrong, and is done without; absent when there is nothing. */
	readonly concessions?: readonly DriverConcession[];
	/** Lines that the driver wrote too fast or too long to keep. */
	readonly droppedLines: number;
	/** Counts and sizes of the driver's process by their names, at most some seconds old. Several mounts of one process: at the first. */
	readonly driverStats?: Readonly<Record<string, number>>;
	/** What the driver measures, as little old: for metrics only, and left out elsewhere. */
	readonly measured?: Measured;
}

/** A process that has files of a mount open. */
export interface MountOpener {
	readonly pid: number;
	/** Its program. */
	readonly command: string;
	/** Uids, as far as Kubernetes has named where it is. */
	readonly pod?: string;
	readonly container?: string;
	readonly files: number;
	/** One of them, in the mount. For who may see everything. */
	readonly path?: string;
}

/** What `/open-files` answers. */
export interface OpenFiles {
	/** Otherwise only processes of this container are known. */
	readonly seesNode: boolean;
	/** Mounts that have some, and those with most of them. */
	readonly mounts: readonly {
		readonly mount: string;
		readonly openers: readonly MountOpener[];
		readonly others: number;
	}[];
}

/** One change made while applications run. */
export interface ChangeStatus {
	/** Counts up from 1, in the order in which they began. */
	readonly number: number;
	readonly change: "mount" | "unmount" | "change" | "rename";
	readonly mount: string;
	readonly target: string;
	/** For a person. */
	readonly reason: string;
	/** RFC 3339, UTC. */
	readonly since: string;
	readonly state: "under way" | "waiting" | "done" | "superseded";
	/** How it was done, or why it waits. */
	readonly outcome?: string;
	/** Why it waits. */
	readonly code?: ErrorCode;
	readonly retryAt?: string;
	readonly endedAt?: string;
}

/** What became of the config file. */
export interface ConfigStatus {
	/** `rejected`: the file is not usable as it is, and what runs goes on. */
	readonly state: "applied" | "rejected";
	/** Of what was applied last: equal in two pods whose mounts are the same, whatever the values of their secrets. */
	readonly hash: string;
	/** RFC 3339, UTC. */
	readonly appliedAt: string;
	/** Why the file was rejected, with all faults. */
	readonly error?: ReportedError;
}

/** The launcher and all its mounts: the body of `/status`. */
export interface LauncherStatus {
	readonly version: string;
	readonly pid: number;
	/** RFC 3339, UTC. */
	readonly startedAt: string;
	readonly state: "starting" | "running" | "draining";
	/** Every mount has been ready or has failed at least once: what `/startupz` answers. */
	readonly started: boolean;
	readonly targetPath: string;
	/** What Fluid's variables say; absent where there are none. */
	readonly dataset?: DatasetName;
	readonly configFile: string;
	/** Absent before the first config was applied. */
	readonly config?: ConfigStatus;
	/** The last ones, the latest last. */
	readonly changes: readonly ChangeStatus[];
	/** What cannot be seen of the node, what comes of that, and how to mend it; absent when everything can that is needed. */
	readonly unseen?: string;
	/** Problems of the pod itself, such as wrong mount propagation, each with its fix. */
	readonly warnings: readonly string[];
	/** False only when the launcher itself is beyond repair; then `livez` fails. */
	readonly alive: boolean;
	readonly mounts: readonly MountStatus[];
}
