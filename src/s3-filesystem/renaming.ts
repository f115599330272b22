import { FuseError, type RequestContext } from "../fuse/filesystem.ts";
import { deleteVersion } from "./writing/delete-version.ts";
import type { FileContents } from "./file-contents.ts";
import type { Markers } from "./markers.ts";
import { listedDirectory } from "./names/listed.ts";
import { keepTimes, keyOf, type DirectoryNode, type FileNode, type Node } from "./names/nodes.ts";
import { deleteCopied, DirectoryMove } from "./names/rename-directory.ts";
import { inParallel } from "../turns.ts";
import type { Removal } from "./removal.ts";
import { refuseIfTooLong, type Step, type Tree, type WritableDirectory } from "./tree.ts";
import type { UnlinkedFiles } from "./unlinked-files.ts";

// renameat2(2) of Linux.
const renameFlags = { noReplace: 1 } as const;

/** Files with changes, of a directory that is about to be renamed. */
const settledAtOnce = 16;

/** Where something is, and where it is to be: what may be there has to make way. */
interface Rename {
	readonly from: WritableDirectory;
	readonly name: string;
	readonly to: WritableDirectory;
	readonly newName: string;
	readonly target: Node | undefined;
	readonly caller: RequestContext;
}

/** Other names for files and directories: rename(2), which is a copy on the server, and for a directory one of each object below it. */
export class Renaming {
	readonly #tree: Tree;
	readonly #contents: FileContents;
	readonly #markers: Markers;
	readonly #unlinked: UnlinkedFiles;
	readonly #removal: Removal;

	constructor(tree: Tree, contents: FileContents, markers: Markers, unlinked: UnlinkedFiles, removal: Removal) {
		this.#tree = tree;
		this.#contents = contents;
		this.#markers = markers;
		this.#unlinked = unlinked;
		this.#removal = removal;
	}

	async rename(
		parent: number,
		name: string,
		newParent: number,
		newName: string,
		flags: number,
		caller: RequestContext,
	): Promise<void> {
		if ((flags & ~renameFlags.noReplace) !== 0) throw new FuseError("EINVAL", "S3 cannot exchange two objects");
		const names = [
			{ parent, name },
			{ parent: newParent, name: newName },
		];
		await this.#tree.changeNames(names, caller, async () => {
			const { namespace } = this.#tree;
			const from = this.#tree.writableDirectory(parent);
			const to = this.#tree.writableDirectory(newParent, newName);
			if (from.volume !== to.volume) throw new FuseError("EXDEV");
			const step = this.#tree.stepOf(caller);
			if (step?.kind === "renamed") {
				await this.#finish(step, from);
				this.#tree.touch(from);
				this.#tree.touch(to);
				return;
			}
			const node = await namespace.get(from, name);
			const target = await namespace.find(to, newName);
			if (target === node) return;
			const isBegun = step?.kind === "renaming";
			if (target !== undefined && (flags & renameFlags.noReplace) !== 0 && !isBegun) throw new FuseError("EEXIST");
			caller.signal.throwIfAborted();
			await this.#unlinked.unhide(to, newName);
			try {
				if (node.kind === "directory")
					await this.#renameDirectory(node, { from, name, to, newName, target, caller }, isBegun);
				else await this.#renameFile(node, { from, name, to, newName, target, caller });
			} catch (error) {
				// What was done of it is to be seen.
				from.listing.clear();
				to.listing.clear();
				if (node.kind === "directory") namespace.forgetListings(node);
				throw error;
			}
			this.#tree.touch(from);
			this.#tree.touch(to);
		});
	}

	async #renameFile(node: FileNode, { from, name, to, newName, target, caller }: Rename): Promise<void> {
		if (target?.kind === "directory") throw new FuseError("EISDIR");
		const { store } = from.volume;
		await this.#tree.locks.with(node, async () => {
			// What is written so far must be in the bucket to be copied there.
			await this.#contents.settle(node);
			const { version } = node;
			if (version === undefined) throw new FuseError("ENOENT");
			caller.signal.throwIfAborted();
			this.#tree.begins({ kind: "renaming" }, caller);
			const [oldKey, newKey] = [keyOf(node), keyOf(to) + newName];
			const copied = await this.#replacing(target, async () => this.#contents.copyTo(node, version, newKey, newName));
			const readsEnd = this.#tree.paths.readsEnd({ parent: from, name });
			// At once: who comes by the new name must not find what was set aside, and may be gone.
			if (target !== undefined) this.#tree.namespace.nodes.detach(target);
			this.#tree.namespace.nodes.move(node, to, newName);
			this.#contents.moved(node, newKey, copied);
			this.#tree.begins({ kind: "renamed", from: oldKey, to: newKey, etag: version.etag }, caller);
			from.listing.remove(name);
			if (target !== undefined) {
				if (target.handles.size === 0) await this.#contents.discard(target);
				this.#tree.namespace.nodes.dropIfUnused(target);
			}
			await this.#markers.keep(from);
			await readsEnd;
			await deleteVersion(store, oldKey, version.etag);
			// It may have been listed meanwhile.
			from.listing.remove(name);
		});
	}

	/** Runs `replace`, which puts another object in the place of the target's; who has that open keeps it. */
	async #replacing<T>(target: FileNode | undefined, replace: () => Promise<T>): Promise<T> {
		if (target === undefined || target.handles.size === 0) return replace();
		return this.#tree.locks.with(target, async () => {
			const replaced = Promise.withResolvers<T>();
			await this.#unlinked.setAside(target, async () => replaced.resolve(await replace()));
			return replaced.promise;
		});
	}

	async #renameDirectory(
		node: DirectoryNode,
		{ from, name, to, newName, target, caller }: Rename,
		isBegun: boolean,
	): Promise<void> {
		if (node.isVolumeRoot || node.overlay.size > 0) throw new FuseError("EBUSY");
		if (target?.kind === "file") throw new FuseError("ENOTDIR");
		for (let above: DirectoryNode | undefined = to; above !== undefined; above = above.parent) {
			if (above === node) throw new FuseError("EINVAL", "a directory cannot be moved into itself");
		}
		const { volume } = from;
		const newKey = `${keyOf(to)}${newName}/`;
		refuseIfTooLong(newKey);
		// What is there are copies of before.
		if (!isBegun) await this.#removal.refuseIfNotEmpty(volume, newKey, target);
		await this.#settleBelow(node);
		this.#tree.begins({ kind: "renaming" }, caller);
		const oldKey = keyOf(node);
		const move = new DirectoryMove(volume.store, oldKey, newKey);
		await move.copy({
			beforeLast: async () => this.#markers.keep(from),
			confirm: () => {
				if (from.volume !== volume || to.volume !== volume) throw new FuseError("ESTALE", "its bucket was taken away");
			},
			signal: caller.signal,
		});
		const readsEnd = this.#tree.paths.readsEnd({ parent: from, name });
		if (target !== undefined) {
			this.#tree.namespace.nodes.detach(target);
			this.#tree.namespace.nodes.dropIfUnused(target);
		}
		this.#tree.namespace.nodes.move(node, to, newName);
		from.listing.remove(name);
		to.listing.put(listedDirectory(newName));
		this.#movedBelow(node, move);
		this.#tree.begins({ kind: "renamed", from: oldKey, to: newKey }, caller);
		// Who reads by the old keys has what he asked for before they go; from here on the new ones are used.
		await readsEnd;
		await move.deleteOld();
		// It may have been listed meanwhile.
		from.listing.remove(name);
	}

	/** All is at its new place, and a process that has died may not have deleted all that was at the old one. */
	async #finish({ from, to, etag }: Extract<Step, { kind: "renamed" }>, old: WritableDirectory): Promise<void> {
		const { store } = old.volume;
		await this.#markers.keep(old);
		if (etag === undefined) await deleteCopied(store, from, to);
		else await deleteVersion(store, from, etag);
		old.listing.clear();
	}

	async #settleBelow(directory: DirectoryNode): Promise<void> {
		// Copied with the others, they would come back under the new name.
		for (const below of directoriesFrom(directory)) await this.#unlinked.unhideAll(below);
		const drafted = Array.from(filesBelow(directory)).filter(({ draft }) => draft !== undefined);
		await inParallel(drafted, settledAtOnce, async (file) =>
			this.#tree.locks.with(file, async () => this.#contents.settle(file)),
		);
	}

	/** What is known below the directory has the keys and versions of the copies from now on. */
	#movedBelow(directory: DirectoryNode, { moved }: DirectoryMove): void {
		this.#tree.namespace.forgetListings(directory);
		for (const below of directoriesFrom(directory)) {
			keepTimes(below);
			below.modifiedMs = moved.get(keyOf(below))?.version.modifiedMs ?? below.modifiedMs;
			this.#tree.namespace.nodes.changed(below);
		}
		for (const file of filesBelow(directory)) {
			const key = keyOf(file);
			const present = moved.get(key);
			const isThis = present !== undefined && present.fromEtag === file.version?.etag;
			if (isThis) this.#contents.moved(file, key, present.version);
			// Somebody else had replaced it: neither what is open nor the kernel's pages are of what was moved.
			else if (file.draft === undefined && file.version !== undefined) this.#tree.forgetName(file);
		}
	}
}

function* filesBelow(directory: DirectoryNode): Generator<FileNode> {
	for (const child of directory.children.values()) {
		if (child.kind === "file") yield child;
		else yield* filesBelow(child);
	}
}

function* directoriesFrom(directory: DirectoryNode): Generator<DirectoryNode> {
	yield directory;
	for (const child of directory.children.values()) if (child.kind === "directory") yield* directoriesFrom(child);
}
