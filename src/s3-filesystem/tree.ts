import {
	FuseError,
	type Attributes,
	type Entry,
	type KernelLink,
	type RequestContext,
	type Timed,
} from "../fuse/filesystem.ts";
import { currentTime } from "../fuse/time.ts";
import { attempt } from "./errors.ts";
import type { Journal } from "./journal.ts";
import type { Past } from "./recall.ts";
import { Locks } from "./locks.ts";
import { isKeyTooLong } from "./names/names.ts";
import type { Namespace } from "./names/namespace.ts";
import { NodeLimit } from "./names/node-limit.ts";
import { attributesOf, keyOf, type DirectoryNode, type FileNode, type Node } from "./names/nodes.ts";
import type { Path, PathLocks } from "./names/path-locks.ts";
import { attributesValidMs, entryValidMs } from "./names/validity.ts";
import type { VolumeOptions } from "./names/volume.ts";

/** What a request has come to. */
export type Step =
	| { readonly kind: "making" }
	/** Of a file: which version. */
	| { readonly kind: "removing"; readonly etag?: string | undefined }
	| { readonly kind: "renaming" }
	/** What is left to do is to delete what was copied: an object, or all below a prefix. */
	| { readonly kind: "renamed"; readonly from: string; readonly to: string; readonly etag?: string | undefined }
	| { readonly kind: "changing" };

/** A directory in which names may be changed. */
export type WritableDirectory = DirectoryNode & { readonly volume: VolumeOptions };

export const maximumNameBytes = 255;

/** What the kernel's numbers lead to, whose turn it is to change that, and what the kernel is told of it. */
export class Tree {
	readonly namespace: Namespace;
	readonly paths: PathLocks;
	readonly locks = new Locks();
	readonly nodeLimit: NodeLimit;
	readonly #journal: Journal | undefined;
	readonly #past: Past | undefined;
	kernel: KernelLink | undefined;
	readonly #forsaken = new WeakSet<VolumeOptions>();

	/** `nodesBytes` is for files that the kernel knows; `past` is what a process before this one has written down. */
	constructor(options: {
		readonly namespace: Namespace;
		readonly paths: PathLocks;
		readonly nodesBytes: number;
		readonly journal: Journal | undefined;
		readonly past: Past | undefined;
	}) {
		const { namespace, paths, nodesBytes, journal, past } = options;
		this.#journal = journal;
		this.#past = past;
		this.namespace = namespace;
		this.paths = paths;
		this.nodeLimit = new NodeLimit(namespace.nodes, nodesBytes, (parent, name) =>
			this.kernel?.invalidateEntry(parent, name),
		);
	}

	node(id: number): Node {
		const node = this.namespace.nodes.get(id);
		if (node === undefined || this.isForsaken(node)) throw new FuseError("ESTALE");
		return node;
	}

	directory(id: number): DirectoryNode {
		const node = this.node(id);
		if (node.kind !== "directory") throw new FuseError("ENOTDIR");
		return node;
	}

	/** The directory, if names may be changed in it; with the new name, if one is to be made there. */
	writableDirectory(id: number, newName?: string): WritableDirectory {
		const directory = this.directory(id);
		refuseIfReadOnly(directory);
		if (newName !== undefined) {
			refuseIfNameTooLong(newName);
			refuseIfTooLong(keyOf(directory) + newName);
			if (directory.overlay.has(newName)) throw new FuseError("EEXIST");
			// Only what can be read back may be written.
			if (!newName.isWellFormed()) throw new FuseError("EILSEQ");
		}
		if (directory.parent === undefined && directory.id !== 1) throw new FuseError("ENOENT");
		return directory as WritableDirectory;
	}

	/** Nothing of the volume is to be had from now on. */
	forsake(volume: VolumeOptions): void {
		this.#forsaken.add(volume);
	}

	isForsaken({ volume }: Node): boolean {
		return volume !== undefined && this.#forsaken.has(volume);
	}

	/** Runs what changes a file or a directory itself: one such change at a time, and while its path stays what it is. */
	async changeNode<T>(id: number, caller: RequestContext, work: (node: Node) => Promise<T>): Promise<T> {
		const node = this.node(id);
		refuseIfReadOnly(node);
		const inTurn = async (): Promise<T> => {
			caller.signal.throwIfAborted();
			return work(node);
		};
		return attempt(async () => this.paths.shared(node, async () => this.locks.with(this.node(id), inTurn), caller));
	}

	/** Runs what makes names lead to something else, while nobody else is at work there or below. */
	async changeNames<T>(
		names: readonly { readonly parent: number; readonly name: string }[],
		caller: RequestContext,
		work: () => Promise<T>,
	): Promise<T> {
		const paths = names.map(({ parent, name }): Path => ({ parent: this.directory(parent), name }));
		return attempt(async () => this.paths.alone(paths, work, caller));
	}

	/** The name does not lead to this any more. */
	forgetName(node: FileNode): void {
		const { parent, name } = node;
		if (parent === undefined) return;
		this.namespace.nodes.detach(node);
		this.kernel?.invalidateEntry(parent.id, name);
		this.namespace.nodes.dropIfUnused(node);
	}

	/** From here on the server may be changed for this request: who is asked for the same once more goes on from this step. */
	begins(step: Step, { unique }: RequestContext): void {
		if (unique !== undefined) this.#journal?.step(unique, step);
	}

	/** What has changed so far is written down, for whoever goes on if this process dies. */
	write(): void {
		this.#journal?.flush();
	}

	/** How far a process that has died has come with this request; undefined: it has changed nothing. */
	stepOf({ unique = 0, isRepeated }: RequestContext): Step | undefined {
		return isRepeated === true ? (this.#past?.steps.get(unique) as Step | undefined) : undefined;
	}

	/** The name must be free, or have what was begun for the same request: that is returned. */
	async madeBefore(directory: DirectoryNode, name: string, caller: RequestContext): Promise<Node | undefined> {
		const present = await this.namespace.find(directory, name);
		if (present !== undefined && this.stepOf(caller)?.kind !== "making") throw new FuseError("EEXIST");
		caller.signal.throwIfAborted();
		return present;
	}

	/** Names were changed in it. */
	touch(directory: DirectoryNode): void {
		directory.changed = directory.statusChanged = currentTime();
		this.namespace.nodes.changed(directory);
	}

	attributes(node: Node): Timed<Attributes> {
		return { ...attributesOf(node), attributesValidMs: attributesValidMs(node) };
	}

	entry(node: Node): Entry {
		return {
			node: node.id,
			attributes: attributesOf(node),
			entryValidMs: entryValidMs(node),
			attributesValidMs: attributesValidMs(node),
		};
	}

	/** The same, for a reply that the kernel counts. */
	counted(node: Node): Entry {
		this.nodeLimit.makeRoom();
		node.lookups++;
		return this.entry(node);
	}
}

export function refuseIfReadOnly({ volume }: Node): void {
	if (volume === undefined || volume.readOnly) throw new FuseError("EROFS");
}

export function refuseIfNameTooLong(name: string): void {
	if (Buffer.byteLength(name) > maximumNameBytes) throw new FuseError("ENAMETOOLONG");
}

export function refuseIfTooLong(key: string): void {
	if (isKeyTooLong(key)) throw new FuseError("ENAMETOOLONG");
}
