import type { ObjectMetadata } from "../../s3/object-store.ts";

/** What POSIX keeps of a file and S3 does not: in the object's user metadata. Undefined: not stored, the volume's default. */
export interface PosixMetadata {
	/** File type and permission bits. */
	readonly mode?: number;
	readonly uid?: number;
	readonly gid?: number;
	readonly mtimeMs?: number;
	readonly atimeMs?: number;
	readonly xattrs?: ReadonlyMap<string, Buffer>;
	/** What others keep there, kept as it is. */
	readonly others?: ObjectMetadata;
}

export const fileTypes = { mask: 0o170_000, file: 0o100_000, directory: 0o040_000, symlink: 0o120_000 } as const;

/** S3 allows 2 KB of names and values together. */
const limitBytes = 2048;

/**
 * Reads the metadata as s3fs writes it: `mode` in decimal with the file type, `uid`, `gid`, `mtime` and `atime` in seconds with a
 * fraction, `xattr` as URL-encoded JSON of base64. `mtime` is also what rclone writes.
 * https://github.com/s3fs-fuse/s3fs-fuse/blob/master/src/metaheader.cpp
 */
export function parseMetadata(metadata: ObjectMetadata): PosixMetadata {
	const { mode, uid, gid, mtime, atime, xattr, ...others } = metadata;
	const whole = (text: string | undefined, maximum: number): number | undefined =>
		text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= maximum ? Number(text) : undefined;
	const values = {
		mode: whole(mode, 0o177_777),
		uid: whole(uid, 0xff_ff_ff_ff),
		gid: whole(gid, 0xff_ff_ff_ff),
		mtimeMs: parseTime(mtime),
		atimeMs: parseTime(atime),
		xattrs: xattr === undefined ? undefined : parseXattrs(xattr),
		others: Object.keys(others).length === 0 ? undefined : others,
	};
	return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** The reverse. Throws RangeError when it is more than S3 can keep. */
export function formatMetadata(posix: PosixMetadata): ObjectMetadata {
	const metadata: Record<string, string> = { ...posix.others };
	if (posix.mode !== undefined) metadata["mode"] = String(posix.mode);
	if (posix.uid !== undefined) metadata["uid"] = String(posix.uid);
	if (posix.gid !== undefined) metadata["gid"] = String(posix.gid);
	if (posix.mtimeMs !== undefined) metadata["mtime"] = formatTime(posix.mtimeMs);
	if (posix.atimeMs !== undefined) metadata["atime"] = formatTime(posix.atimeMs);
	if (posix.xattrs !== undefined && posix.xattrs.size > 0) {
		const values = Object.fromEntries([...posix.xattrs].map(([name, value]) => [name, value.toString("base64")]));
		metadata["xattr"] = encodeURIComponent(JSON.stringify(values));
	}
	const bytes = Object.entries(metadata).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
	if (bytes > limitBytes) throw new RangeError("more than 2 KB of metadata");
	return metadata;
}

function parseTime(text: string | undefined): number | undefined {
	if (text === undefined || !/^-?\d{1,12}(\.\d+)?$/.test(text)) return undefined;
	return Number(text) * 1000;
}

/** Microseconds are as much as a double holds of today's times. */
function formatTime(ms: number): string {
	return (Math.round(ms * 1000) / 1_000_000).toFixed(6).replace(/\.?0+$/, "");
}

function parseXattrs(text: string): ReadonlyMap<string, Buffer> | undefined {
	try {
		const parsed: unknown = JSON.parse(decodeURIComponent(text));
		if (typeof parsed !== "object" || parsed === null) return undefined;
		const entries = Object.entries(parsed).filter(([, value]) => typeof value === "string");
		return new Map(entries.map(([name, value]) => [name, Buffer.from(String(value), "base64")]));
	} catch {
		// Somebody else's "xattr": not ours to read.
		return undefined;
	}
}
