export type DraftErrorKind =
	/** The staging directory is full, or its limit is reached and nothing can be uploaded to make room. */
	| "NO_SPACE"
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

/** A full disk and a used-up quota are expected; anything else is passed on. */
export function fromFileError(thrown: unknown): unknown {
	const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
	return code === "ENOSPC" || code === "EDQUOT"
		? new DraftError("NO_SPACE", "the staging directory is full", thrown)
		: thrown;
}
