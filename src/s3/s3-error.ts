export type S3ErrorKind =
	/** No such object. */
	| "NOT_FOUND"
	/** It is gone, or elsewhere. */
	| "NO_BUCKET"
	/** The object has another version than asked for (412). */
	| "OBJECT_REPLACED"
	| "EXISTS"
	/** 403, expired or unknown keys too, and an object that has to be restored from an archive first. */
	| "DENIED"
	/** The server has no room, or a quota is used up. */
	| "NO_SPACE"
	/** Throttled (429, 503) for longer than `retryForMs`. */
	| "THROTTLED"
	/** Out of reach or failing for longer than `retryForMs`. */
	| "UNAVAILABLE"
	| "CHECKSUM_WRONG"
	/** The server cannot do what was asked (501, 405). */
	| "UNSUPPORTED"
	/** The server does not keep keys, or parts of keys, of this length. */
	| "NAME_TOO_LONG"
	/** Refused for good: the key is not legal, the object too large. */
	| "REFUSED"
	| "ABORTED";

export class S3Error extends Error {
	override readonly name = "S3Error";
	readonly kind: S3ErrorKind;
	/** HTTP status, or 0 without an answer. */
	readonly status: number;
	/** The server's own code, such as NoSuchKey. */
	readonly code: string | undefined;

	constructor(
		kind: S3ErrorKind,
		message: string,
		options: { readonly status?: number; readonly code?: string | undefined; readonly cause?: unknown } = {},
	) {
		super(message, { cause: options.cause });
		this.kind = kind;
		this.status = options.status ?? 0;
		this.code = options.code;
	}
}

/** Somebody else was faster: the object has another version than the one that was meant, or is gone. */
export function isReplacedOrGone(error: unknown): error is S3Error {
	return error instanceof S3Error && (error.kind === "OBJECT_REPLACED" || error.kind === "NOT_FOUND");
}
