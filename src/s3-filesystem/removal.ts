import { FuseError, type RequestContext } from "../fuse/filesystem.ts";
import { pagesOf } from "../s3/pages-of.ts";
import type { FileContents } from "./file-contents.ts";
import type { Markers } from "./markers.ts";
import { keyOf, type DirectoryNode, type FileNode, type Version } from "./names/nodes.ts";
import type { VolumeOptions } from "./names/volume.ts";
import type { Tree, WritableDirectory } from "./tree.ts";
import type { UnlinkedFiles } from "./unlinked-files.ts";

/** Names go: unlink(2) and rmdir(2). */
export class Removal {
	readonly #tree: Tree;
	readonly #contents: FileContents;
	readonly #markers: Markers;
	readonly #unlinked: UnlinkedFiles;

	constructor(tree: Tree, contents: FileContents, markers: Markers, unlinked: UnlinkedFiles) {
		this.#tree = tree;
		this.#contents = contents;
		this.#markers = markers;
		this.#unlinked = unlinked;
	}

	async unlink(parent: number, name: string, caller: RequestContext): Promise<void> {
		await this.#tree.changeNames([{ parent, name }], caller, async () => {
			const directory = this.#tree.writableDirectory(parent);
			const step = this.#tree.stepOf(caller);
			const node = await this.#tree.namespace.find(directory, name);
			if (node === undefined && step?.kind === "removing") return;
			if (node === undefined) throw new FuseError("ENOENT");
			if (node.kind === "directory") throw new FuseError("EISDIR");
			// Somebody else has stored another one since.
			if (step?.kind === "removing" && step.etag !== node.version?.etag) return;
			await this.#tree.locks.with(node, async () => {
				caller.signal.throwIfAborted();
				this.#tree.begins({ kind: "removing", etag: node.version?.etag }, caller);
				await this.#remove(directory, name, node);
			});
		});
	}

	async #remove(directory: WritableDirectory, name: string, node: FileNode): Promise<void> {
		if (node.version !== undefined) await this.#markers.keep(directory);
		// What is open stays readable.
		if (node.handles.size > 0) this.#unlinked.hide(node, directory);
		else if (node.version !== undefined) await this.#delete(directory.volume, keyOf(node), node.version);
		directory.listing.remove(name);
		this.#tree.namespace.nodes.detach(node);
		if (node.handles.size === 0) await this.#contents.discard(node);
		this.#tree.touch(directory);
		this.#tree.namespace.nodes.dropIfUnused(node);
	}

	async rmdir(parent: number, name: string, caller: RequestContext): Promise<void> {
		await this.#tree.changeNames([{ parent, name }], caller, async () => {
			const directory = this.#tree.writableDirectory(parent);
			const node = await this.#tree.namespace.find(directory, name);
			if (node === undefined && this.#tree.stepOf(caller)?.kind === "removing") return;
			if (node === undefined) throw new FuseError("ENOENT");
			if (node.kind !== "directory") throw new FuseError("ENOTDIR");
			if (node.isVolumeRoot || node.overlay.size > 0) throw new FuseError("EBUSY");
			await this.refuseIfNotEmpty(directory.volume, keyOf(node), node);
			caller.signal.throwIfAborted();
			this.#tree.begins({ kind: "removing" }, caller);
			await this.#markers.keep(directory);
			await this.#delete(directory.volume, keyOf(node));
			directory.listing.remove(name);
			this.#tree.namespace.nodes.detach(node);
			this.#tree.touch(directory);
			this.#tree.namespace.nodes.dropIfUnused(node);
		});
	}

	/** Behind, where that is what is wanted. */
	async #delete({ store, removals, writeBack }: VolumeOptions, key: string, version?: Version): Promise<void> {
		const removed = { key, etag: version?.etag, modifiedMs: version?.modifiedMs };
		if (writeBack === undefined || removals?.remove(removed, writeBack.maximumAgeMs) !== true) await store.delete(key);
	}

	/** `node` is what is known of the directory, if it is known here. */
	async refuseIfNotEmpty({ store }: VolumeOptions, key: string, node?: DirectoryNode): Promise<void> {
		if (node !== undefined) {
			if (node.drafted.size > 0) throw new FuseError("ENOTEMPTY");
			await this.#unlinked.unhideAll(node);
		}
		// Without a delimiter: MinIO goes on listing as a folder what has no object any more. It may show less than it was asked for, and have more.
		for await (const { objects, undecodableKeys = 0 } of pagesOf(store, { prefix: key, maxKeys: 2, metadata: false }))
			if (objects.some((object) => object.key !== key) || undecodableKeys > 0) throw new FuseError("ENOTEMPTY");
	}
}
