import type { ObjectVersion } from "../../s3/object-store.ts";
import { FuseError, type Attributes } from "../../fuse/filesystem.ts";
import { currentTime, latest, timeOf, type Time } from "../../fuse/time.ts";
import type { Draft } from "../writing/draft.ts";
import { InodeNumbers } from "./inode-numbers.ts";
import { DirectoryListing } from "./listing.ts";
import type { NamesMemory } from "./names-memory.ts";
import type { Reader } from "../reading/reading.ts";
import { fileTypes, formatMetadata, type PosixMetadata } from "./posix-metadata.ts";
import type { VolumeOptions } from "./volume.ts";

export type Node = DirectoryNode | FileNode;

/** One version of an object. */
export interface Version {
	readonly etag: string;
	readonly sizeBytes: number;
	readonly modifiedMs: number;
}

export interface DirectoryNode {
	readonly kind: "directory";
	readonly id: number;
	readonly ino: number;
	/** Undefined: a folder above the volumes, which no bucket has. Changes only when a volume is added. */
	volume: VolumeOptions | undefined;
	/** Undefined: the root, or a directory that was removed. */
	parent: DirectoryNode | undefined;
	name: string;
	/** The top of its volume. */
	isVolumeRoot: boolean;
	/** Volumes, and folders on the way to them, that are seen in this directory; they win over what the bucket has. */
	readonly overlay: Map<string, DirectoryNode>;
	/** Nodes of this directory's names that somebody knows. */
	readonly children: Map<string, Node>;
	readonly listing: DirectoryListing;
	/** Those of them with a draft. */
	readonly drafted: Set<FileNode>;
	/** Names whose objects go when the last handle does. */
	readonly hidden: Map<string, FileNode>;
	/** When the server last said that the name is this, by performance.now. */
	knownAt: number;
	/** Its own object is there, so that it stays when the last name in it goes. */
	hasMarker: boolean;
	posix: PosixMetadata;
	/** When posix was asked for or stored, by performance.now; undefined: never. */
	posixAt: number | undefined;
	/** When its own object was stored, in milliseconds since 1970; undefined: nobody has said that. */
	modifiedMs: number | undefined;
	/** Since names changed here; no object says that. */
	changed: Time | undefined;
	/** Since anything of it changed here: its ctime. */
	statusChanged: Time | undefined;
	lookups: number;
}

export interface FileNode {
	readonly kind: "file";
	readonly id: number;
	readonly ino: number;
	readonly volume: VolumeOptions;
	parent: DirectoryNode | undefined;
	name: string;
	/** When the server last said that the name is this version, by performance.now. */
	knownAt: number;
	/** What the bucket has; undefined: nothing yet. */
	version: Version | undefined;
	posix: PosixMetadata;
	/** The version that posix was read of. */
	posixEtag: string | undefined;
	/** Changed content, or metadata to be written with it. Changed by `setDraft`. */
	draft: Draft | undefined;
	/** Attributes were changed since the last commit of the draft. */
	metadataDirty: boolean;
	/** Close or fsync has said that this draft could not be stored, and nothing was written since. */
	isKnownToFail: boolean;
	/** Since the content changed here. */
	changed: Time | undefined;
	/** Since anything of it changed here: its ctime. */
	statusChanged: Time | undefined;
	readonly handles: Set<OpenFile>;
	/** The version of which the kernel may have pages. */
	kernelEtag: string | undefined;
	/** Removed while it was open: where its object is, which goes with the last handle. */
	unlinkedKey: string | undefined;
	/** The directory that must not show that object meanwhile; undefined: it is not at its old key any more. */
	hiddenIn: DirectoryNode | undefined;
	/** The copy that it goes on with when it loses its object, and the version that it is of. */
	aside?: { readonly of: string; readonly version: Version } | undefined;
	/** Of a symbolic link, once read. */
	target: string | undefined;
	lookups: number;
}

/** One open(2) of a file. */
export interface OpenFile {
	readonly handle: number;
	readonly node: FileNode;
	readonly writable: boolean;
	/** What this handle reads, also when the bucket has a newer version; undefined: nothing is in the bucket yet. */
	version: ObjectVersion | undefined;
	reader: Reader | undefined;
}

/** What of an open file outlives its process, by the number of its node: plain data. */
export interface KeptFile extends Pick<OpenFile, "handle" | "writable" | "version"> {
	readonly node: number;
}

/** Throws ESTALE or ENOENT when it has none any more. */
export function keyOf(node: Node): string {
	if (node.kind === "file" && node.unlinkedKey !== undefined) return node.unlinkedKey;
	if (node.kind === "directory" && node.isVolumeRoot) return node.volume?.prefix ?? "";
	// The name leads to something else now, or to nothing.
	if (node.parent === undefined) throw new FuseError(node.kind === "file" ? "ESTALE" : "ENOENT");
	const parent = keyOf(node.parent);
	return node.kind === "directory" ? `${parent}${node.name}/` : parent + node.name;
}

export function isSymlink(node: Node): boolean {
	return node.kind === "file" && ((node.posix.mode ?? 0) & fileTypes.mask) === fileTypes.symlink;
}

export function modeOf(node: Node): number {
	const { posix, volume } = node;
	if (node.kind === "directory") {
		return fileTypes.directory | (posix.mode === undefined ? (volume?.directoryMode ?? 0o755) : posix.mode & 0o7777);
	}
	const type = isSymlink(node) ? fileTypes.symlink : fileTypes.file;
	const permissions = posix.mode === undefined ? (volume?.fileMode ?? 0o644) : posix.mode & 0o7777;
	return type | permissions;
}

export function attributesOf(node: Node): Attributes {
	const { posix, volume } = node;
	const shared = {
		ino: node.ino,
		mode: modeOf(node),
		uid: posix.uid ?? volume?.uid ?? 0,
		gid: posix.gid ?? volume?.gid ?? 0,
	};
	const mtime = mtimeOf(node);
	const times = { atime: posix.atime ?? mtime, mtime, ctime: ctimeOf(node) };
	// 1 tells find(1) that it cannot count on subdirectories being counted.
	const nlink = isDetached(node) ? 0 : 1;
	if (node.kind === "directory") return { ...shared, ...times, nlink, sizeBytes: 4096 };
	return { ...shared, ...times, nlink, sizeBytes: sizeOf(node), blockSizeBytes: 4096 };
}

/** No name leads to it any more. */
export function isDetached({ parent, id }: Node): boolean {
	return parent === undefined && id !== 1;
}

/** Names lead to it from the root of its volume on. */
export function isInPlace(directory: DirectoryNode): boolean {
	let at: DirectoryNode | undefined = directory;
	while (at !== undefined && !at.isVolumeRoot) at = at.parent;
	return at !== undefined;
}

/**
 * The name leads to another version or to nothing, and no handle keeps what there was: there is nothing to read, and no key for what
 * would be written.
 */
export function isReplaced({ parent, unlinkedKey, handles }: FileNode): boolean {
	return unlinkedKey === undefined ? parent === undefined : handles.size === 0;
}

/** Nobody has it open any more, and its object is there still. */
export function isUndeleted({ unlinkedKey, version, handles }: FileNode): boolean {
	return unlinkedKey !== undefined && version !== undefined && handles.size === 0;
}

export function isOpenForWriting({ handles }: FileNode): boolean {
	return handles.values().some(({ writable }) => writable);
}

export function mtimeOf(node: Node): Time {
	const { posix, changed } = node;
	if (node.kind === "file") return posix.mtime ?? changed ?? storedAt(node);
	if (changed === undefined) return posix.mtime ?? storedAt(node);
	return latest(changed, posix.mtime ?? changed);
}

function ctimeOf(node: Node): Time {
	if (node.statusChanged !== undefined) return node.statusChanged;
	const stored = storedAt(node);
	const mtime = mtimeOf(node);
	// Servers say whole seconds: in the same one it was stored after it changed.
	return mtime.seconds === stored.seconds ? latest(stored, mtime) : stored;
}

/** A younger object is to be the node's that is the same otherwise: what its times were, they stay. */
export function keepTimes(node: Node): void {
	node.changed ??= mtimeOf(node);
	node.statusChanged ??= ctimeOf(node);
}

function storedAt(node: Node): Time {
	const modifiedMs = node.kind === "file" ? node.version?.modifiedMs : node.modifiedMs;
	return timeOf(modifiedMs ?? startedMs);
}

export function sizeOf(node: FileNode): number {
	return node.draft?.sizeBytes ?? node.version?.sizeBytes ?? 0;
}

/** What has no time of its own has that of the mount. */
const startedMs = Date.now();

/** Is told of nodes that came or have changed, and of those that nobody refers to any more. */
export interface NodeWatcher {
	changed(node: Node): void;
	/** `kept`: the number that its name shows from now on, where that is not the hash of its path. */
	gone(id: number, kept: { readonly path: string; readonly ino: number } | undefined): void;
}

/** Every node that the kernel or an open file refers to. */
export class NodeTable {
	watcher: NodeWatcher | undefined;
	readonly #nodes = new Map<number, Node>();
	readonly #numbers: InodeNumbers;
	readonly #memory: NamesMemory | undefined;
	#nextId = 2;

	/** `memory` is for what is known of the directories' names. */
	constructor(numbers = new InodeNumbers(), memory?: NamesMemory) {
		this.#numbers = numbers;
		this.#memory = memory;
	}

	get size(): number {
		return this.#nodes.size;
	}

	/** Of the next node. */
	get nextId(): number {
		return this.#nextId;
	}

	/** Of files without a node. */
	get numbersOfNames(): InodeNumbers["kept"] {
		return this.#numbers.kept;
	}

	/** Goes on with the nodes of a process before this one, which the kernel knows. */
	takeOver(nodes: readonly Node[], nextId: number, numbersOfNames: InodeNumbers["kept"]): void {
		for (const node of nodes) this.#nodes.set(node.id, node);
		this.#nextId = nextId;
		this.#numbers.restore(
			nodes.map(({ ino }) => ino),
			numbersOfNames,
		);
	}

	get(id: number): Node | undefined {
		return this.#nodes.get(id);
	}

	all(): Iterable<Node> {
		return this.#nodes.values();
	}

	directory(options: {
		volume: VolumeOptions | undefined;
		parent: DirectoryNode | undefined;
		name: string;
		isVolumeRoot?: boolean;
	}): DirectoryNode {
		const { volume, parent, name, isVolumeRoot = false } = options;
		const id = parent === undefined && this.#nodes.size === 0 ? 1 : this.#nextId++;
		const node: DirectoryNode = {
			kind: "directory",
			id,
			ino: id === 1 ? 1 : this.#numbers.take(parent === undefined ? nameless(id) : pathIn(parent, name)),
			volume,
			parent,
			name,
			isVolumeRoot,
			overlay: new Map(),
			children: new Map(),
			drafted: new Set(),
			listing: new DirectoryListing(this.#memory),
			hidden: new Map(),
			knownAt: performance.now(),
			hasMarker: isVolumeRoot,
			posix: {},
			posixAt: undefined,
			modifiedMs: undefined,
			changed: undefined,
			statusChanged: undefined,
			lookups: 0,
		};
		this.#nodes.set(node.id, node);
		this.changed(node);
		return node;
	}

	/** The name leads to this node no longer; the node lives on while it is open or the kernel knows it. */
	detach(node: Node): void {
		detachNode(node);
		this.changed(node);
	}

	/** Another name leads to this node from now on. */
	move(node: Node, to: DirectoryNode, name: string): void {
		moveNode(node, to, name);
		this.changed(node);
	}

	/** What outlives the process of it has changed: its place, its object, its attributes. */
	changed(node: Node): void {
		this.watcher?.changed(node);
	}

	file(parent: DirectoryNode, volume: VolumeOptions, name: string): FileNode {
		const node: FileNode = {
			kind: "file",
			id: this.#nextId++,
			ino: this.#numbers.take(pathIn(parent, name)),
			volume,
			parent,
			name,
			knownAt: performance.now(),
			version: undefined,
			posix: {},
			posixEtag: undefined,
			draft: undefined,
			metadataDirty: false,
			isKnownToFail: false,
			changed: undefined,
			statusChanged: undefined,
			handles: new Set(),
			kernelEtag: undefined,
			unlinkedKey: undefined,
			hiddenIn: undefined,
			target: undefined,
			lookups: 0,
		};
		this.#nodes.set(node.id, node);
		this.changed(node);
		return node;
	}

	/** What stat(2) shows as the number of a name that has no node yet. */
	inodeOfName(parent: DirectoryNode, name: string): number {
		return this.#numbers.at(pathIn(parent, name));
	}

	/** Removes the node, and the directories above it that only it kept, when nobody refers to it any more. */
	dropIfUnused(node: Node): void {
		let current: Node | undefined = node;
		while (current !== undefined && this.#isUnused(current)) {
			this.#nodes.delete(current.id);
			if (current.kind === "directory") current.listing.clear();
			const path = pathOf(current);
			const isKept = this.#numbers.giveBack(current.ino, isSeen(path) ? path : undefined);
			this.watcher?.gone(current.id, isKept ? { path, ino: current.ino } : undefined);
			const parent: DirectoryNode | undefined = current.parent;
			if (parent?.children.get(current.name) === current) parent.children.delete(current.name);
			current = parent;
		}
	}

	#isUnused(node: Node): boolean {
		if (node.lookups > 0 || node.id === 1) return false;
		if (node.kind === "file") return node.handles.size === 0 && node.draft === undefined && !isUndeleted(node);
		return !node.isVolumeRoot && node.children.size === 0 && node.overlay.size === 0 && node.hidden.size === 0;
	}
}

/** Where the node is seen in the mount. What no name leads to has a path of its own. */
function pathOf(node: Node): string {
	if (node.id === 1) return "";
	return node.parent === undefined ? nameless(node.id) : pathIn(node.parent, node.name);
}

function pathIn(parent: DirectoryNode, name: string): string {
	return `${pathOf(parent)}/${name}`;
}

function nameless(id: number): string {
	return `\0${id}`;
}

function isSeen(path: string): boolean {
	return !path.startsWith("\0");
}

function detachNode(node: Node): void {
	node.statusChanged = currentTime();
	if (node.parent?.children.get(node.name) === node) node.parent.children.delete(node.name);
	if (node.kind === "file") node.parent?.drafted.delete(node);
	node.parent = undefined;
}

export function setDraft(node: FileNode, draft: Draft | undefined): void {
	node.draft = draft;
	if (draft === undefined) node.parent?.drafted.delete(node);
	else node.parent?.drafted.add(node);
}

function moveNode(node: Node, to: DirectoryNode, name: string): void {
	detachNode(node);
	node.name = name;
	node.parent = to;
	node.knownAt = performance.now();
	to.children.set(name, node);
	if (node.kind === "file" && node.draft !== undefined) to.drafted.add(node);
}

/** Tells the directory's listing of what is in the bucket now: with its metadata, which outlives the node there. */
export function putListed({ parent, name, version, posix, posixEtag }: FileNode): void {
	if (parent === undefined || version === undefined) return;
	const metadata = posixEtag === version.etag ? formatMetadata(posix) : undefined;
	parent.listing.put({ name, kind: "file", ...version, ...(metadata !== undefined && { metadata }) });
}
