import type { ObjectStore } from "../../s3/object-store.ts";
import type { DiskProblem, DiskUse } from "../disks/disk-trouble.ts";
import type { PendingRemovals } from "../writing/pending-removals.ts";

/**
 * A bucket, or what is below a prefix of it, as a folder of the mount. Who gave it may change its store, mode, owners and times while it is
 * shown; the store must remain one of the same bucket.
 */
export interface VolumeOptions {
	/** Where it is seen: `""` is the root of the mount, otherwise a path such as `a` or `a/b`. */
	readonly folder: string;
	readonly store: ObjectStore;
	/** Tells buckets apart in the disk cache: endpoint and bucket. */
	readonly identity: string;
	/** `""`, or a prefix that ends in `/`. */
	readonly prefix: string;
	readonly readOnly: boolean;
	/** Owner, group and permission bits of what has none in its metadata. */
	readonly uid: number;
	readonly gid: number;
	readonly directoryMode: number;
	readonly fileMode: number;
	/** Where modes, owners, times and links come from: listings as far as the server lists them, or a HEAD for each name. */
	readonly attributes: "listed" | "all";
	/** New files get a Content-Type by their name. */
	readonly contentTypes: boolean;
	/** How long what is known of names and attributes is believed, in milliseconds. 0: never. */
	readonly ttlMs: number;
	/**
	 * Who closes a file waits for the node's disk only, until what was closed first has waited for the bucket for so long. Undefined: for the
	 * bucket. Only where the staging directory is one of `keepsPending`.
	 */
	readonly writeBack?: { readonly maximumAgeMs: number } | undefined;
	/** With that: what is removed here and not yet in the bucket, which the store does not show. */
	readonly removals?: PendingRemovals | undefined;
}

export interface FilesystemSettings {
	/** For parts that are read, in bytes. */
	readonly memoryBytes: number;
	/** Other threads are to see them. Default: false. */
	readonly sharesMemory?: boolean;
	/** Of one stream at most, in bytes. What reads next goes by what it is then. */
	readonly readAheadBytes: number;
	/** Private to this process; holds what is not uploaded yet. Made when something is to be written. */
	readonly stagingDirectory: string;
	/** Makes it. Default: as a folder of its owner only. */
	readonly makeStagingDirectory?: () => void;
	readonly stagingLimitBytes: number;
	/** The staging directory outlives the process, and what is pending there is gone on with. Default: false. */
	readonly keepsPending?: boolean;
	/** Told which files cannot be made objects, in words; undefined: none any more. */
	readonly onPendingTrouble?: (message: string | undefined) => void;
	/** Where it is written down what outlives a process that dies. Undefined: nothing does. */
	readonly journalDirectory?: string;
	readonly cache?: { readonly directory: string; readonly limitBytes: number };
	/** Told when a disk begins to cost something, and when that is over. */
	readonly onDiskTrouble?: (use: DiskUse, problem: DiskProblem | undefined) => void;
	readonly log?: (
		level: "debug" | "info" | "warn" | "error",
		fields: Readonly<Record<string, unknown>>,
		message: string,
	) => void;
}
