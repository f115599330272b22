/** What a failure is about, as the termination message and the metrics name it. */
export type ErrorClass =
	| "usage"
	| "config"
	| "authentication"
	| "backend"
	| "mountpoint"
	| "host"
	| "driver"
	| "internal";

interface ErrorKind {
	readonly class: ErrorClass;
	/** Exit code of the process when this failure ends it, after sysexits(3). */
	readonly exitCode: number;
	/** A permanent failure stays until somebody changes something: it is retried slowly, a temporary one with backoff. */
	readonly permanent: boolean;
	/** One sentence for the documentation. */
	readonly meaning: string;
}

/** Every failure that the launcher expects. docs/errors.md lists the same codes; a test compares the two. */
export const errorKinds = {
	USAGE: {
		class: "usage",
		exitCode: 64,
		permanent: true,
		meaning: "The command line or an environment variable is wrong.",
	},
	CONFIG_MISSING: { class: "config", exitCode: 66, permanent: true, meaning: "No config file where Fluid puts one." },
	CONFIG_INVALID: {
		class: "config",
		exitCode: 78,
		permanent: true,
		meaning: "The config has faults; all of them are listed.",
	},
	CHANGE_REFUSED: {
		class: "config",
		exitCode: 78,
		permanent: true,
		meaning:
			"A changed config would move data to another path, or needs the pod to be started again; what runs goes on.",
	},
	SECRET_MISSING: {
		class: "config",
		exitCode: 78,
		permanent: false,
		meaning: "A secret file that the config cites is not there (yet).",
	},
	SECRET_UNREADABLE: {
		class: "config",
		exitCode: 78,
		permanent: true,
		meaning: "A secret path leads out of the secrets directory or cannot be used.",
	},
	FILE_UNREADABLE: {
		class: "config",
		exitCode: 78,
		permanent: false,
		meaning: "A file that an option names is not there, cannot be read, or does not answer.",
	},
	DRIVER_MISSING: {
		class: "driver",
		exitCode: 78,
		permanent: true,
		meaning: "The driver's program is not installed in this image.",
	},
	DRIVER_FAILED: {
		class: "driver",
		exitCode: 75,
		permanent: false,
		meaning: "The driver's program ended or did not mount.",
	},
	DRIVER_KILLED: {
		class: "driver",
		exitCode: 75,
		permanent: false,
		meaning: "Somebody ended the driver's program with a signal.",
	},
	DRIVER_HUNG: {
		class: "driver",
		exitCode: 75,
		permanent: false,
		meaning: "The driver's program did not run on and was ended: it was stopped, or busy without an end.",
	},
	EXCHANGE_REFUSED: {
		class: "driver",
		exitCode: 75,
		permanent: false,
		meaning: "The driver's process could not be exchanged for another one without errors; it goes on.",
	},
	DRIVER_REFUSED: {
		class: "driver",
		exitCode: 78,
		permanent: true,
		meaning: "The driver's program does not accept its options.",
	},
	MOUNT_HUNG: {
		class: "driver",
		exitCode: 75,
		permanent: false,
		meaning: "The mount stopped answering and was aborted.",
	},
	MOUNTPOINT_IN_USE: {
		class: "mountpoint",
		exitCode: 73,
		permanent: false,
		meaning: "Another filesystem is mounted at the target.",
	},
	MOUNTPOINT_UNUSABLE: {
		class: "mountpoint",
		exitCode: 73,
		permanent: false,
		meaning: "The target directory cannot be made or mounted on.",
	},
	FUSE_DEVICE_MISSING: { class: "host", exitCode: 71, permanent: true, meaning: "/dev/fuse is not in the container." },
	FUSE_DEVICE_DENIED: { class: "host", exitCode: 71, permanent: true, meaning: "/dev/fuse may not be opened." },
	FUSE_MODULE_MISSING: { class: "host", exitCode: 71, permanent: true, meaning: "The node's kernel has no FUSE." },
	CAPABILITY_MISSING: {
		class: "host",
		exitCode: 71,
		permanent: true,
		meaning: "The container may not mount: CAP_SYS_ADMIN is missing.",
	},
	BUCKET_MISSING: { class: "backend", exitCode: 69, permanent: true, meaning: "The bucket does not exist." },
	ACCESS_DENIED: {
		class: "authentication",
		exitCode: 77,
		permanent: true,
		meaning: "The key is valid but may not use the bucket or prefix.",
	},
	KEY_UNKNOWN: {
		class: "authentication",
		exitCode: 77,
		permanent: true,
		meaning: "The server does not know the access key.",
	},
	SIGNATURE_WRONG: {
		class: "authentication",
		exitCode: 77,
		permanent: true,
		meaning:
			"The secret key does not belong to the access key, or the server, which does not tell them apart, knows no such access key.",
	},
	TOKEN_INVALID: {
		class: "authentication",
		exitCode: 77,
		permanent: true,
		meaning: "The session token is wrong or has expired.",
	},
	IDENTITY_MISSING: {
		class: "authentication",
		exitCode: 77,
		permanent: true,
		meaning: "The mount has no keys, and the pod's own identity gives none.",
	},
	IDENTITY_UNAVAILABLE: {
		class: "authentication",
		exitCode: 77,
		permanent: false,
		meaning: "What gives the pod's own identity its keys does not answer, or fails.",
	},
	CLOCK_SKEW: {
		class: "authentication",
		exitCode: 77,
		permanent: false,
		meaning: "This node's clock differs too much from the server's.",
	},
	REGION_WRONG: {
		class: "backend",
		exitCode: 78,
		permanent: true,
		meaning: "The bucket is in another region or behind another endpoint.",
	},
	PREFIX_WRONG: {
		class: "backend",
		exitCode: 78,
		permanent: true,
		meaning: "The prefix is an object, and nothing is below it.",
	},
	ENDPOINT_WRONG: {
		class: "backend",
		exitCode: 69,
		permanent: true,
		meaning: "What answers at the endpoint is not S3, or speaks TLS where plain HTTP is configured or the reverse.",
	},
	BACKEND_DNS: { class: "backend", exitCode: 69, permanent: false, meaning: "The endpoint's name cannot be resolved." },
	BACKEND_REFUSED: {
		class: "backend",
		exitCode: 69,
		permanent: false,
		meaning: "Nothing listens at the endpoint, or the network refuses.",
	},
	BACKEND_TIMEOUT: {
		class: "backend",
		exitCode: 69,
		permanent: false,
		meaning: "The endpoint does not answer in time.",
	},
	BACKEND_TLS: {
		class: "backend",
		exitCode: 69,
		permanent: true,
		meaning: "The endpoint's certificate is not trusted, not for this name, or expired.",
	},
	BACKEND_FAILING: {
		class: "backend",
		exitCode: 69,
		permanent: false,
		meaning: "The server answers with an error of its own (5xx, throttling).",
	},
	INTERNAL: { class: "internal", exitCode: 70, permanent: false, meaning: "A bug in the launcher." },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

export interface LauncherErrorOptions {
	/** What the person paged can do about it, one sentence. */
	readonly hint?: string;
	readonly cause?: unknown;
}

/** An expected failure. The message says what and where; the hint says what to do. Never holds a secret's value. */
export class LauncherError extends Error {
	override readonly name: string = "LauncherError";
	readonly code: ErrorCode;
	readonly hint: string | undefined;

	constructor(code: ErrorCode, message: string, options: LauncherErrorOptions = {}) {
		super(message, { cause: options.cause });
		this.code = code;
		this.hint = options.hint;
	}

	get permanent(): boolean {
		return errorKinds[this.code].permanent;
	}

	get class(): ErrorClass {
		return errorKinds[this.code].class;
	}

	get exitCode(): number {
		return errorKinds[this.code].exitCode;
	}
}

/** Turns anything thrown into a LauncherError; what was not expected becomes INTERNAL and keeps its cause. */
export function toLauncherError(thrown: unknown): LauncherError {
	if (thrown instanceof LauncherError) return thrown;
	const message = thrown instanceof Error ? thrown.message : String(thrown);
	return new LauncherError("INTERNAL", message, {
		cause: thrown,
		hint: "This is a bug: please report it with the log.",
	});
}
