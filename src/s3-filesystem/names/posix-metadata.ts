import type { Time } from "../../fuse/time.ts";
import type { ObjectMetadata } from "../../s3/object-store.ts";

/** What POSIX keeps of a file and S3 does not: in the object's user metadata. Undefined: not stored, the volume's default. */
export interface PosixMetadata {
	/** File type and permission bits. */
	readonly mode?: number;
	readonly uid?: number;
	readonly gid?: number;
	readonly mtime?: Time;
	readonly atime?: Time;
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
	// What s3fs writes as ctime is not kept: it would not be true any more, and when the object was stored says the same.
	const { mode, uid, gid, mtime, atime, ctime: _, xattr, ...others } = metadata;
	const whole = (text: string | undefined, maximum: number): number | undefined =>
		text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= maximum ? Number(text) : undefined;
	const values = {
		mode: whole(mode, 0o177_777),
		uid: whole(uid, 0xff_ff_ff_ff),
		gid: whole(gid, 0xff_ff_ff_ff),
		mtime: parseTime(mtime),
		atime: parseTime(atime),
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
	if (posix.mtime !== undefined) metadata["mtime"] = formatTime(posix.mtime);
	if (posix.atime !== undefined) metadata["atime"] = formatTime(posix.atime);
	if (posix.xattrs !== undefined && posix.xattrs.size > 0) {
		const values = Object.fromEntries([...posix.xattrs].map(([name, value]) => [name, value.toString("base64")]));
		metadata["xattr"] = encodeURIComponent(JSON.stringify(values));
	}
	const bytes = Object.entries(metadata).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
	if (bytes > limitBytes) throw new RangeError("more than 2 KB of metadata");
	return metadata;
}

function parseTime(text: string | undefined): Time | undefined {
	const [, sign, whole, fraction = ""] = /^(-?)(\d{1,12})(?:\.(\d+))?$/.exec(text ?? "") ?? [];
	if (whole === undefined) return undefined;
	const time = { seconds: Number(whole), nanoseconds: Number(fraction.slice(0, 9).padEnd(9, "0")) };
	return sign === "" ? time : negated(time);
}

function formatTime(time: Time): string {
	const sign = time.seconds < 0 ? "-" : "";
	const { seconds, nanoseconds } = sign === "" ? time : negated(time);
	// All digits: s3fs takes what is behind the dot for a number of nanoseconds.
	return `${sign}${seconds}${nanoseconds === 0 ? "" : `.${String(nanoseconds).padStart(9, "0")}`}`;
}

function negated({ seconds, nanoseconds }: Time): Time {
	return nanoseconds === 0
		? { seconds: 0 - seconds, nanoseconds }
		: { seconds: 0 - seconds - 1, nanoseconds: 1e9 - nanoseconds };
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
