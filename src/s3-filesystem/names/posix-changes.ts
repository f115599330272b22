import { FuseError, withoutSetId, type AttributeChanges, type RequestContext } from "../../fuse/filesystem.ts";
import type { Time } from "../../fuse/time.ts";
import { attributesOf, isSymlink, type DirectoryNode, type Node } from "./nodes.ts";
import { fileTypes, formatMetadata, type PosixMetadata } from "./posix-metadata.ts";
import type { VolumeOptions } from "./volume.ts";

const setGroupId = 0o2000;

/** What a change of attributes makes others of those that are stored. */
export function posixChanges(node: Node, changes: AttributeChanges, now: Time): PosixMetadata {
	const time = (given: Time | "now" | undefined): Time | undefined => (given === "now" ? now : given);
	const current = attributesOf(node);
	const isCleared = changes.clearsSetId === true && node.kind === "file" && !isSymlink(node);
	const given = changes.mode ?? (isCleared ? withoutSetId(current.mode) : undefined);
	const mode = given === undefined ? undefined : (current.mode & fileTypes.mask) | (given & 0o7777);
	const atime = time(changes.atime);
	const mtime = time(changes.mtime);
	return {
		...(mode !== undefined && mode !== current.mode && { mode }),
		...(changes.uid !== undefined && changes.uid !== current.uid && { uid: changes.uid }),
		...(changes.gid !== undefined && changes.gid !== current.gid && { gid: changes.gid }),
		...(atime !== undefined && { atime }),
		...(mtime !== undefined && { mtime }),
	};
}

/** What is made in a set-group-ID directory belongs to its group, and a directory has the bit too. */
export function posixOfNew(
	parent: DirectoryNode & { readonly volume: VolumeOptions },
	mode: number,
	{ uid, gid }: Pick<RequestContext, "uid" | "gid">,
): PosixMetadata {
	const around = attributesOf(parent);
	if ((around.mode & setGroupId) === 0) return { mode, ...owner(parent.volume, uid, gid) };
	const isDirectory = (mode & fileTypes.mask) === fileTypes.directory;
	return { mode: isDirectory ? mode | setGroupId : mode, ...owner(parent.volume, uid, around.gid) };
}

/** Only what differs from the volume's default is worth a place in the metadata. */
function owner(volume: VolumeOptions, uid: number, gid: number): PosixMetadata {
	return { ...(uid !== volume.uid && { uid }), ...(gid !== volume.gid && { gid }) };
}

/** An object's metadata holds only so much. */
export function refuseIfTooLarge(posix: PosixMetadata): void {
	try {
		formatMetadata(posix);
	} catch (error) {
		if (error instanceof RangeError) throw new FuseError("ENOSPC", error.message, error);
		throw error;
	}
}
