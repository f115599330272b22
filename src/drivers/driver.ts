import type { Logger } from "pino";
import type { Measured } from "../filesystem-process/measures.ts";
import type { TracedEvent } from "../filesystem-process/traced-event.ts";
import type { PendingUpload, UploadSurroundings } from "../filesystem-process/upload-pending.ts";
import type { LogLevel } from "../log.ts";
import type * as z from "zod";
import type { Secret } from "../secrets/secret.ts";
import type { BucketLocation } from "../s3/location.ts";
import type { Signer } from "../s3/check/steps.ts";
import type { ObjectStoreOptions } from "../s3/object-store.ts";
import type { Identity } from "../s3/identity/identity.ts";
import type { ReadVolume, Volume } from "./csi/volume.ts";

/** One mount of the config, as a driver sees it. */
export interface Mount {
	/** `mountPoint` of the config: what to mount. */
	readonly source: string;
	/** To be enforced by the mount itself. */
	readonly readOnly: boolean;
	/** The mount's name in the config. */
	readonly name?: string;
	/** What a `pvc://` source stands for. */
	readonly volume?: Volume;
}

/** A folder that the runtime gives for a cache. */
export interface CachePlace {
	readonly folder: string;
	/** A tmpfs, whose content the container's memory limit counts. */
	readonly inMemory: boolean;
	/** What may be in it; who exceeds that may be evicted. 0: nobody has said. */
	readonly bytes: number;
}

/** What a driver makes of the places, each by its index. */
export interface ReadCachePlaces {
	readonly options: readonly {
		readonly name: string;
		readonly value: string;
		readonly place: number;
		/** It comes from what may be in the place, not from where that is. */
		readonly isSize: boolean;
	}[];
	/** For each place why it is not used; undefined for one that is. */
	readonly unused: readonly (string | undefined)[];
}

/** Options by their canonical names, before the driver has parsed them. What came from a secret is one, whatever the option's type is. */
export type RawOptions = Readonly<Record<string, string | Secret>>;

/** A fault that a driver finds: in the source, or in one of the options. */
export interface DriverFault {
	readonly at: { readonly kind: "source" } | { readonly kind: "option"; readonly name: string };
	readonly message: string;
}

/** Thrown by `prepare` with all faults at once. */
export class DriverFaults extends Error {
	override readonly name = "DriverFaults";
	readonly faults: readonly DriverFault[];

	constructor(faults: readonly DriverFault[]) {
		super(faults.map(({ message }) => message).join("; "));
		this.faults = faults;
	}
}

/** Knows how to serve one kind of source. */
export interface Driver {
	readonly name: string;
	/** Schemes that it serves, such as `s3`; `""` is a bare bucket name. */
	readonly schemes: readonly string[];
	/** CSI drivers whose volumes it serves as `pvc://` sources; `*`: any. Default: none. */
	readonly csiDrivers?: readonly string[];
	/** Makes a source and options of such a volume. Absent: it is prepared with the `pvc://` source, and finds the volume in the mount. */
	readVolume?(volume: Volume): ReadVolume;
	/** Makes options of the places for a cache; those that are `given` come before them. Absent: it has no use for any. */
	readCachePlaces?(places: readonly CachePlace[], given: ReadonlySet<string>): ReadCachePlaces;
	/** All its options: strict, each with OptionMeta. */
	readonly options: z.ZodObject;
	/** Options of its program that may not be set, with the reason. */
	readonly refusedOptions: Readonly<Record<string, string>>;
	/** The filesystem types under which the kernel may list its mounts, the newest last; `*`: any. */
	readonly filesystemTypes: readonly string[];
	/** It takes options of any name besides, and of those that cite secrets the paths. Default: false. */
	readonly takesAnyOption?: boolean;
	/** It makes a read-only mount read-only itself. Default: true; else the launcher does. */
	readonly isTrustedWithReadOnly?: boolean;
	/** How long it must live on after its first answer to count as mounted, in milliseconds. Default: 0. */
	readonly settleMs?: number;
	/**
	 * Checks source and options, so that a bad config fails before anything is mounted. `files` has the content of those that the
	 * options name, by path. Throws DriverFaults.
	 */
	prepare(mount: Mount, options: RawOptions, files?: ReadonlyMap<string, Buffer>): PreparedMount;
	/** Options, with their defaults, of the one mount that several are folders of: those mounts must agree about them. */
	readonly commonOptions?: Readonly<Record<string, string>>;
	/**
	 * Serves several mounts as folders of one; each was prepared by this driver. Absent: it cannot, and each is a mount of its own.
	 */
	startTogether?(members: readonly Member[], context: SharedStartContext): Promise<SharedSession>;
}

/** One of several mounts that are served as one. */
export interface Member {
	/** Where it is in the mount, such as `a` or `a/b`; `""` is the mount's root. */
	readonly folder: string;
	readonly mount: PreparedMount;
}

export interface PreparedMount {
	/** What the driver will do, for `fluid-fuse validate`: the command line without its paths, never a secret. */
	readonly summary: readonly string[];
	/** Asks the backend whether the mount can work; throws the LauncherError that says why not. Absent: cannot ask. */
	check?(context: CheckContext): Promise<void>;
	/** The bucket that it serves, to be looked at step by step; may throw what keeps it from having keys. Absent: it is no bucket, or not known as one. */
	bucket?(context: CheckContext): Promise<BucketAccess>;
	/** What it wants of its container. Absent: nothing in particular. */
	readonly needs?: HostNeeds;
	/** It can be mounted while the backend cannot be reached, and answers with errors meanwhile. Default: false. */
	readonly servesWithoutBackend?: boolean;
	/**
	 * Uploads what processes of such a mount, which are gone, have left in that folder, their `cache-dir`. Throws the LauncherError that says why
	 * nothing can be uploaded. Absent: it leaves nothing there.
	 */
	uploadPending?(directory: string, context: UploadContext): Promise<PendingUpload>;
	/** Starts serving at `mountpoint`. Ready is decided by who calls: the driver only starts. */
	start(context: StartContext): Promise<DriverSession>;
}

/** A bucket as a driver asks for it. */
export interface BucketAccess {
	readonly location: BucketLocation;
	/** Nobody has given the region: the one that the server names is used. */
	readonly isRegionGuessed: boolean;
	readonly signer: Signer;
	/** With what new objects are made. */
	readonly making: Pick<ObjectStoreOptions, "encryption" | "storageClass" | "acl">;
}

export interface HostNeeds {
	/** For parts of objects; undefined: a share of what the container may have. */
	readonly memoryBytes?: number;
	/** A disk, and how much of it. */
	readonly cache?: { readonly directory: string; readonly sizeBytes: number };
}

export interface CheckContext {
	readonly signal: AbortSignal;
	/** The pod's environment: its proxies, and for a mount without keys its identity. */
	readonly variables: NodeJS.ProcessEnv;
	/** What those variables make of a mount without keys. */
	readonly identity: Identity;
}

export type UploadContext = CheckContext & UploadSurroundings;

export interface StartContext extends CheckContext {
	readonly log: Logger;
	/** An empty directory, there for the driver's mount. */
	readonly mountpoint: string;
	/** Private (0700) to this mount, on a tmpfs in the image; whoever calls removes it after the end. */
	readonly directory: string;
	/** A mount that does not answer for so long is aborted by whoever calls. */
	readonly hangTimeoutMs: number;
	/** A process that dies is replaced under the mount, where that can be. Default: false. */
	readonly continuesAfterCrash?: boolean;
	/** Applications that waited for a process in place of one that had died go on, after so long. */
	readonly onContinued?: (seconds: number) => void;
	/** Called for every line that had to be dropped. */
	readonly onDroppedLines: (count: number) => void;
}

export interface SharedStartContext extends StartContext {
	/** Nothing in the mount will ever be written, by those that come later either. */
	readonly readOnly: boolean;
}

export interface DriverSession {
	/** The driver's process. */
	readonly pid: number;
	/** How serving ended. Never rejects. */
	readonly ended: Promise<Ending>;
	/** SIGTERM, and SIGKILL after `graceMs`. Resolves with `ended`. Calling it twice is fine; the shortest grace wins. */
	stop(options: { readonly graceMs: number }): Promise<Ending>;
	/** Goes on as this mount, which was prepared for the same place, where it can without being started again. Absent: it never can. */
	update?(mount: PreparedMount): Promise<Update>;
	/**
	 * Goes on in another process without an error for anybody, with options that count from a process's start on. Resolves with how long
	 * applications had to wait, in milliseconds. Rejects with what was in the way, or soon after the signal is aborted; then the process that is there goes on.
	 * Absent: it cannot.
	 */
	exchange?(signal: AbortSignal): Promise<number>;
	/** Writes what applications have not closed yet, because the end is near; goes on serving. Absent: it cannot. */
	drain?(): void;
	/** Counts and sizes of the driver's own, for metrics. */
	stats?(): Readonly<Record<string, number>>;
	/** For metrics: what is measured of one folder of several, or of the mount: `""`. Absent: it cannot tell. */
	measured?(folder: string): Measured;
	/** The same, of what all folders share. */
	measuredTogether?(): Measured;
	/** How much its process logs from now on. Absent: it cannot be told. */
	setLogLevel?(level: LogLevel): void;
	/** Tells of each operation, until `untrace`. Called again and again, since another process may serve. Absent: it cannot. */
	trace?(tracer: Tracer): void;
	untrace?(tracer: Tracer): void;
	/** Brings both up to date, unless the driver takes too long to say. Never rejects. */
	measure?(): Promise<void>;
	/** What is wrong and does not keep it from serving. Absent: it cannot tell. */
	troubles?(): readonly DriverTrouble[];
	/** What the backend has refused, of one folder of several, or of the mount: `""`. Undefined: nothing. Absent: it cannot tell. */
	refusals?(folder: string): Refusals | undefined;
	/** What its backend lacks or does wrong, of one folder of several, or of the mount: `""`. Absent: it cannot tell. */
	concessions?(folder: string): readonly DriverConcession[];
}

/** Somebody who looks on. */
export interface Tracer {
	readonly id: number;
	/** Of several mounts that it serves as folders, only that one. */
	readonly folder?: string | undefined;
	readonly path?: string | undefined;
	readonly slowMs?: number | undefined;
	readonly take: (events: readonly TracedEvent[], lost: number) => void;
}

export interface Refusals {
	/** How often, since the driver's start, by the backend's own code. */
	readonly counts: Readonly<Record<string, number>>;
	readonly last: Refusal;
}

/** A request that was refused for good, or failed for too long. */
export interface Refusal {
	/** RFC 3339, UTC. */
	readonly at: string;
	readonly operation: string;
	readonly code: string;
	/** For a person: what was asked for, and the backend's own words. */
	readonly message: string;
	readonly hint?: string | undefined;
}

/** What a backend lacks or does wrong, and what is done instead. */
export interface DriverConcession {
	/** One of a closed set, for labels. */
	readonly name: string;
	/** For a person. */
	readonly message: string;
	/** RFC 3339, UTC. */
	readonly since: string;
	/** What showed it. */
	readonly noticed: string;
}

export interface DriverTrouble {
	/** A few words, such as `disk of cache`. */
	readonly about: string;
	/** For a person. */
	readonly message: string;
	/** RFC 3339, UTC. */
	readonly since: string;
}

export interface SharedSession extends DriverSession {
	/** Shows one more folder, or what that is from now on. Returns the options that count only from the next start on. */
	put(member: Member): readonly string[];
	/** Takes a folder away: it is in sight for `visibleMs` as long as files are open in it, and those go on for `hiddenMs` more. */
	remove(folder: string, limits: { readonly visibleMs: number; readonly hiddenMs: number }): Departure;
}

export type Update =
	| { readonly kind: "updated"; readonly later: readonly string[] }
	/** Nothing has changed: it can become that only by being started again. */
	| { readonly kind: "needs-start" };

/** Neither rejects; both resolve when the driver ends, too. */
export interface Departure {
	/** Nothing can be opened in it any more. */
	readonly hidden: Promise<void>;
	/** Nothing of it is left; so many files were given up with changes that are in no bucket. */
	readonly removed: Promise<number>;
}

export type Ending =
	| { readonly kind: "stopped" }
	/** `exitCode` is undefined where a signal ended it. */
	| { readonly kind: "failed"; readonly cause: unknown; readonly exitCode?: number | undefined };
