import { deserialize, serialize } from "node:v8";
import type { Time } from "../../fuse/time.ts";
import type { Decoder } from "../records/decoder.ts";
import type { Encoder } from "../records/encoder.ts";
import { placeOf, type KeptNode } from "./kept-nodes.ts";
import type { Node, Version } from "./nodes.ts";
import type { PosixMetadata } from "./posix-metadata.ts";

/** What there is of a node beside what all have. */
const has = {
	directory: 1,
	volume: 2,
	version: 4,
	isPosixKnown: 8,
	draft: 16,
	changes: 32,
	children: 64,
	overlay: 128,
	changed: 256,
	statusChanged: 512,
	unlinkedKey: 1024,
	hiddenIn: 2048,
	volumeRoot: 4096,
	marker: 8192,
	modified: 16_384,
	metadataDirty: 32_768,
	knownToFail: 65_536,
	aside: 131_072,
} as const;

const hasPosix = { mode: 1, uid: 2, gid: 4, mtime: 8, atime: 16, rest: 32 } as const;

/** More than the kernel ever counts. */
export const countlessLookups = 2 ** 40;

/** Whether a file differs from its object. */
function isChanged(node: Node): boolean {
	if (node.kind === "directory" || node.draft === undefined) return false;
	return node.draft.isDirty || node.metadataDirty || node.version === undefined;
}

/**
 * What of a node outlives a process that dies. Not how often it was counted, which changes all the time: the kernel can be asked whether it
 * has it. Not when something was learnt of it: that is asked for again. Nor which pages the kernel has: they are dropped.
 */
export function encodeNode(to: Encoder, node: Node): void {
	const { parentId, isIn } = placeOf(node);
	const { posix, volume, changed, statusChanged } = node;
	const file = node.kind === "file" ? node : undefined;
	const directory = node.kind === "directory" ? node : undefined;
	const version = file?.version;
	const modifiedMs = directory?.modifiedMs;
	const hiddenIn = file?.hiddenIn;
	let flags = directory === undefined ? 0 : has.directory;
	if (volume !== undefined) flags |= has.volume;
	if (version !== undefined) flags |= has.version;
	if (version !== undefined && file?.posixEtag === version.etag) flags |= has.isPosixKnown;
	if (file?.draft !== undefined) flags |= has.draft;
	if (isChanged(node)) flags |= has.changes;
	if (isIn === "children") flags |= has.children;
	if (isIn === "overlay") flags |= has.overlay;
	if (changed !== undefined) flags |= has.changed;
	if (statusChanged !== undefined) flags |= has.statusChanged;
	if (file?.unlinkedKey !== undefined) flags |= has.unlinkedKey;
	if (hiddenIn !== undefined) flags |= has.hiddenIn;
	if (directory?.isVolumeRoot === true) flags |= has.volumeRoot;
	if (directory?.hasMarker === true) flags |= has.marker;
	if (modifiedMs !== undefined) flags |= has.modified;
	if (file?.metadataDirty === true) flags |= has.metadataDirty;
	if (file?.isKnownToFail === true) flags |= has.knownToFail;
	const aside = file?.aside;
	if (aside !== undefined) flags |= has.aside;
	to.uint32(flags);
	to.number(node.id);
	to.number(parentId);
	to.number(node.ino);
	to.text(node.name);
	if (volume !== undefined) to.text(volume.folder);
	if (version !== undefined) encodeVersion(to, version);
	if (aside !== undefined) {
		to.text(aside.of);
		encodeVersion(to, aside.version);
	}
	if (changed !== undefined) encodeTime(to, changed);
	if (statusChanged !== undefined) encodeTime(to, statusChanged);
	if (file?.unlinkedKey !== undefined) to.text(file.unlinkedKey);
	if (hiddenIn !== undefined) to.number(hiddenIn.id);
	if (modifiedMs !== undefined) to.number(modifiedMs);
	encodePosix(to, posix);
}

export function decodeNode(from: Decoder): KeptNode & { readonly isChanged: boolean } {
	const flags = from.uint32();
	const is = (flag: number): boolean => (flags & flag) !== 0;
	const [id, parentId, ino] = [from.number(), from.number(), from.number()];
	const name = from.text();
	const folder = is(has.volume) ? from.text() : undefined;
	const version = is(has.version) ? decodeVersion(from) : undefined;
	const aside = is(has.aside) ? { of: from.text(), version: decodeVersion(from) } : undefined;
	const changed = is(has.changed) ? decodeTime(from) : undefined;
	const statusChanged = is(has.statusChanged) ? decodeTime(from) : undefined;
	const unlinkedKey = is(has.unlinkedKey) ? from.text() : undefined;
	const hiddenIn = is(has.hiddenIn) ? from.number() : undefined;
	const modifiedMs = is(has.modified) ? from.number() : undefined;
	const posix = decodePosix(from);
	const shared = {
		id,
		ino,
		name,
		folder,
		parent: parentId === 0 ? undefined : parentId,
		isIn: is(has.children) ? ("children" as const) : is(has.overlay) ? ("overlay" as const) : undefined,
		knownAt: 0,
		posix,
		changed,
		statusChanged,
		lookups: countlessLookups,
		isChanged: is(has.changes),
	};
	if (is(has.directory))
		return {
			...shared,
			kind: "directory",
			isVolumeRoot: is(has.volumeRoot),
			hasMarker: is(has.marker),
			posixAt: undefined,
			modifiedMs,
		};
	return {
		...shared,
		kind: "file",
		version,
		posixEtag: is(has.isPosixKnown) ? version?.etag : undefined,
		metadataDirty: is(has.metadataDirty),
		isKnownToFail: is(has.knownToFail),
		kernelEtag: undefined,
		unlinkedKey,
		target: undefined,
		hiddenIn,
		...(aside !== undefined && { aside }),
		isDrafted: is(has.draft),
	};
}

function encodeVersion(to: Encoder, { etag, sizeBytes, modifiedMs }: Version): void {
	to.text(etag);
	to.number(sizeBytes);
	to.number(modifiedMs);
}

function decodeVersion(from: Decoder): Version {
	return { etag: from.text(), sizeBytes: from.number(), modifiedMs: from.number() };
}

function encodePosix(to: Encoder, { mode, uid, gid, mtime, atime, xattrs, others }: PosixMetadata): void {
	let flags = 0;
	if (mode !== undefined) flags |= hasPosix.mode;
	if (uid !== undefined) flags |= hasPosix.uid;
	if (gid !== undefined) flags |= hasPosix.gid;
	if (mtime !== undefined) flags |= hasPosix.mtime;
	if (atime !== undefined) flags |= hasPosix.atime;
	if (xattrs !== undefined || others !== undefined) flags |= hasPosix.rest;
	to.byte(flags);
	if (mode !== undefined) to.uint32(mode);
	if (uid !== undefined) to.uint32(uid);
	if (gid !== undefined) to.uint32(gid);
	if (mtime !== undefined) encodeTime(to, mtime);
	if (atime !== undefined) encodeTime(to, atime);
	if ((flags & hasPosix.rest) !== 0) to.bytes(serialize({ xattrs, others }));
}

function decodePosix(from: Decoder): PosixMetadata {
	const flags = from.byte();
	const is = (flag: number): boolean => (flags & flag) !== 0;
	return {
		...(is(hasPosix.mode) && { mode: from.uint32() }),
		...(is(hasPosix.uid) && { uid: from.uint32() }),
		...(is(hasPosix.gid) && { gid: from.uint32() }),
		...(is(hasPosix.mtime) && { mtime: decodeTime(from) }),
		...(is(hasPosix.atime) && { atime: decodeTime(from) }),
		...(is(hasPosix.rest) && decodeRest(from.bytes())),
	};
}

function decodeRest(bytes: Buffer): Pick<PosixMetadata, "xattrs" | "others"> {
	const { xattrs, others } = deserialize(bytes) as Pick<PosixMetadata, "xattrs" | "others">;
	return { ...(xattrs !== undefined && { xattrs }), ...(others !== undefined && { others }) };
}

export function encodeTime(to: Encoder, { seconds, nanoseconds }: Time): void {
	to.number(seconds);
	to.uint32(nanoseconds);
}

export function decodeTime(from: Decoder): Time {
	return { seconds: from.number(), nanoseconds: from.uint32() };
}
