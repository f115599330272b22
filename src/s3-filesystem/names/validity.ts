import { isDetached, type DirectoryNode, type Node } from "./nodes.ts";
import type { VolumeOptions } from "./volume.ts";

/** Folders above the volumes never change. */
const forever = 3_600_000;

/** Half of the time at most goes into listing what was listed before. */
const listingsToBelieve = 2;

/** What was learnt before, by performance.now, is not believed any more. */
export function freshSince({ ttlMs }: VolumeOptions): number {
	return ttlMs === 0 ? Number.POSITIVE_INFINITY : performance.now() - ttlMs;
}

/**
 * What was learnt of a directory's names before is not believed any more. With the TTL alone, those of a directory that takes longer to list
 * would be asked for again faster than they come: who asks for them in any order would never be done.
 */
export function namesFreshSince(volume: VolumeOptions, { tookMs }: { readonly tookMs: number }): number {
	const since = freshSince(volume);
	return volume.ttlMs === 0 ? since : Math.min(since, performance.now() - listingsToBelieve * tookMs);
}

/** What an application has open for writing is as it left it, whatever the server lists. */
export function isOurs(node: Node): boolean {
	if (node.kind === "file") return node.draft !== undefined || node.version === undefined;
	return node.isVolumeRoot || node.drafted.size > 0;
}

/** The server would have to be asked for what its metadata says. */
export function lacksMetadata(node: Node): boolean {
	const { volume } = node;
	if (node.kind === "file") return node.version !== undefined && node.posixEtag !== node.version.etag;
	// A bucket has no object of its own.
	if (volume === undefined || (node.isVolumeRoot && volume.prefix === "")) return false;
	// There is no name to ask for.
	if (isDetached(node)) return false;
	return node.posixAt === undefined || node.posixAt < freshSince(volume);
}

/** A directory's are in no listing: until somebody has asked for them, they are the volume's. */
export function areAttributesKnown(node: Node): boolean {
	return node.kind === "file" || !lacksMetadata(node);
}

/** How long the kernel may keep that the name is this node: what was not young any more here gets no second TTL there. */
export function entryValidMs(node: Node): number {
	const { volume } = node;
	if (volume === undefined) return forever;
	const isCertain = node.kind === "directory" ? node.isVolumeRoot : isOurs(node);
	return isCertain ? volume.ttlMs : leftMs(volume, node.knownAt);
}

/** The same for its attributes. */
export function attributesValidMs(node: Node): number {
	if (node.kind === "directory") return directoryAttributesValidMs(node);
	// An open file stays the version that it is; who comes by its name looks that up.
	return node.handles.size > 0 ? node.volume.ttlMs : entryValidMs(node);
}

function directoryAttributesValidMs(node: DirectoryNode): number {
	const { volume, posixAt } = node;
	if (volume === undefined) return forever;
	// Who wants them asks for them.
	if (lacksMetadata(node)) return 0;
	return posixAt === undefined ? volume.ttlMs : leftMs(volume, posixAt);
}

function leftMs({ ttlMs }: VolumeOptions, knownAt: number): number {
	return Math.max(0, ttlMs - (performance.now() - knownAt));
}
