import { FuseError, type ErrnoName } from "../fuse/filesystem.ts";
import { S3Error, type S3ErrorKind } from "../s3/object-store.ts";
import { DraftError, type DraftErrorKind } from "./writing/draft-error.ts";

/** What applications see of what goes wrong; SEMANTICS.md has the same table. */
export const errnoOf = {
	NOT_FOUND: "ENOENT",
	NO_BUCKET: "EIO",
	OBJECT_REPLACED: "ESTALE",
	EXISTS: "EEXIST",
	DENIED: "EACCES",
	NO_SPACE: "ENOSPC",
	THROTTLED: "EAGAIN",
	UNAVAILABLE: "EIO",
	CHECKSUM_WRONG: "EIO",
	UNSUPPORTED: "ENOTSUP",
	NAME_TOO_LONG: "ENAMETOOLONG",
	REFUSED: "EINVAL",
	ABORTED: "EINTR",
	TOO_LARGE: "EFBIG",
	DISCARDED: "EIO",
	LOST: "EIO",
	DISK_FAILED: "EIO",
} as const satisfies Record<S3ErrorKind | DraftErrorKind, ErrnoName>;

/** Turns what the object client throws into the kernel's error; anything else is passed on. */
export function toFuseError(thrown: unknown): unknown {
	const isKnown = thrown instanceof S3Error || thrown instanceof DraftError;
	return isKnown ? new FuseError(errnoOf[thrown.kind], thrown.message, thrown) : thrown;
}

/** The same for an open file: an object that is gone was replaced by nothing. */
export function toOpenFileError(thrown: unknown): unknown {
	if (thrown instanceof S3Error && thrown.kind === "NOT_FOUND") return new FuseError("ESTALE", thrown.message, thrown);
	return toFuseError(thrown);
}

/** Runs the work, and throws what the kernel is to be answered. */
export async function attempt<T>(work: () => Promise<T>): Promise<T> {
	try {
		return await work();
	} catch (error) {
		return rethrow(error);
	}
}

export function rethrow(error: unknown): never {
	throw toFuseError(error);
}
