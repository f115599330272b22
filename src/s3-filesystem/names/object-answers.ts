import { S3Error, type ObjectMetadata } from "../../s3/object-store.ts";
import type { DirectoryPageContent } from "./listing.ts";
import type { DirectoryNode, FileNode } from "./nodes.ts";
import { parseMetadata } from "./posix-metadata.ts";

/** What the server said, when asked at that time, of a directory's own object. */
export function takeMarker(directory: DirectoryNode, askedAt: number, marker: DirectoryPageContent["marker"]): void {
	// A bucket has none, and keeps what it was given here.
	if (directory.isVolumeRoot && directory.volume?.prefix === "") return;
	// It was stored here meanwhile.
	if (directory.posixAt !== undefined && askedAt < directory.posixAt) return;
	directory.hasMarker = marker !== undefined || directory.isVolumeRoot;
	if (marker !== undefined) {
		const { modifiedMs = marker.modifiedMs } = directory;
		if (isYounger(marker, { modifiedMs })) directory.statusChanged = undefined;
		directory.modifiedMs = Math.max(modifiedMs, marker.modifiedMs);
	}
	if (marker !== undefined && marker.metadata === undefined) return;
	directory.posix = parseMetadata(marker?.metadata ?? {});
	directory.posixAt = askedAt;
}

/** What the server said of a file's object, of the version that is known. */
export function takeMetadata(node: FileNode, metadata: ObjectMetadata): void {
	node.posixEtag = node.version?.etag;
	const { mtime, ...others } = parseMetadata(metadata);
	// The time is that of the content before it was changed here.
	const isOutdated = mtime === undefined || (node.draft !== undefined && node.changed !== undefined);
	node.posix = isOutdated ? others : { ...others, mtime };
}

/** Whether somebody else has stored the object since then; answers may leave out what is less than a second. */
export function isYounger(object: { readonly modifiedMs: number }, known: { readonly modifiedMs: number }): boolean {
	return object.modifiedMs >= known.modifiedMs + 1000;
}

/** What the server could not keep is not there: MinIO takes shorter names for directories than for what is below them. */
function isAbsent({ kind }: S3Error): boolean {
	return kind === "NOT_FOUND" || kind === "NAME_TOO_LONG";
}

/** The key may not read this object; other refusals are of the key itself, and hold for everything. */
export function isOnlyHidden({ kind, code = "AccessDenied" }: S3Error): boolean {
	return kind === "DENIED" && code === "AccessDenied";
}

/** That says something of the object, and not of the server or the key as a whole. */
export function isAnswered(error: unknown): boolean {
	return error instanceof S3Error && (isAbsent(error) || isOnlyHidden(error));
}
