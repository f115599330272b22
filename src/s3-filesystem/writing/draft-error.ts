export type DraftErrorKind =
	/** The staging directory is full, or its limit is reached and nothing can be uploaded to make room. */
	| "NO_SPACE"
	/** The disk of the staging directory refuses to be written to or read, or is gone. */
	| "DISK_FAILED"
	/** Longer than an object can be, or than staging has room for the parts of: see `s3PartGrid`. */
	| "TOO_LARGE"
	/** The draft was discarded. */
	| "DISCARDED"
	/** Bytes that were accepted are nowhere any more: somebody else ended the multipart upload that held them. */
	| "LOST";

/** Why changed content cannot be kept or stored; what the server says about it is an S3Error. */
export class DraftError extends Error {
	override readonly name = "DraftError";
	readonly kind: DraftErrorKind;

	constructor(kind: DraftErrorKind, message: string, cause?: unknown) {
		super(message, { cause });
		this.kind = kind;
	}
}
