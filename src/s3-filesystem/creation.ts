import { FuseError, type Created, type Entry, type RequestContext } from "../fuse/filesystem.ts";
import { currentTime } from "../fuse/time.ts";
import type { FileContents } from "./file-contents.ts";
import type { Markers } from "./markers.ts";
import { listedDirectory } from "./names/listed.ts";
import { keyOf, putListed, type FileNode, type Node } from "./names/nodes.ts";
import { posixOfNew } from "./names/posix-changes.ts";
import { fileTypes, formatMetadata, type PosixMetadata } from "./names/posix-metadata.ts";
import { openFlags, type OpenFiles } from "./open-files.ts";
import { refuseIfTooLong, type Tree, type WritableDirectory } from "./tree.ts";
import type { UnlinkedFiles } from "./unlinked-files.ts";

/** Names come: open(2) with O_CREAT, mknod(2), symlink(2) and mkdir(2). */
export class Creation {
	readonly #tree: Tree;
	readonly #contents: FileContents;
	readonly #markers: Markers;
	readonly #unlinked: UnlinkedFiles;
	readonly #files: OpenFiles;

	constructor(tree: Tree, contents: FileContents, markers: Markers, unlinked: UnlinkedFiles, files: OpenFiles) {
		this.#tree = tree;
		this.#contents = contents;
		this.#markers = markers;
		this.#unlinked = unlinked;
		this.#files = files;
	}

	async create(parent: number, name: string, mode: number, flags: number, caller: RequestContext): Promise<Created> {
		return this.#tree.changeNames([{ parent, name }], caller, async () => {
			const directory = this.#tree.writableDirectory(parent, name);
			const present = await this.#tree.namespace.find(directory, name);
			const isExclusive = (flags & openFlags.exclusive) !== 0;
			if (present !== undefined) {
				if (isExclusive) throw new FuseError("EEXIST");
				if (present.kind === "directory") throw new FuseError("EISDIR");
				const writable = (flags & openFlags.accessMode) !== 0;
				const truncates = writable && (flags & openFlags.truncate) !== 0;
				const opened = truncates
					? await this.#files.openAndTruncate(present, caller)
					: this.#files.openNode(present, writable, caller);
				return { ...this.#tree.counted(present), ...opened };
			}
			caller.signal.throwIfAborted();
			await this.#unlinked.unhide(directory, name);
			const posix = await this.#posixOfNew(directory, fileTypes.file | (mode & 0o7777), caller);
			// What is made here is written down with its handle, or not at all.
			const node = this.#makeFile(directory, name, posix, isExclusive);
			return { ...this.#tree.counted(node), ...this.#files.openNode(node, true, caller) };
		});
	}

	async mknod(parent: number, name: string, mode: number, caller: RequestContext): Promise<Entry> {
		if ((mode & fileTypes.mask) !== fileTypes.file) throw new FuseError("EPERM", "S3 keeps only regular files");
		return this.#tree.changeNames([{ parent, name }], caller, async () => {
			const directory = this.#tree.writableDirectory(parent, name);
			const before = await this.#takeName(directory, name, caller);
			if (before !== undefined) {
				if (before.kind === "file") await this.#store(before);
				return this.#tree.counted(before);
			}
			const posix = await this.#posixOfNew(directory, fileTypes.file | (mode & 0o7777), caller);
			this.#tree.begins({ kind: "making" }, caller);
			const node = this.#makeFile(directory, name, posix, false);
			await this.#store(node);
			return this.#tree.counted(node);
		});
	}

	async #store(node: FileNode): Promise<void> {
		await this.#tree.locks.with(node, async () => {
			try {
				await this.#contents.commitClosed(node);
			} catch (error) {
				if (node.draft === undefined) this.#tree.forgetName(node);
				throw error;
			}
		});
	}

	async symlink(parent: number, name: string, target: string, caller: RequestContext): Promise<Entry> {
		const body = Buffer.from(target);
		return this.#tree.changeNames([{ parent, name }], caller, async () => {
			const { namespace } = this.#tree;
			const directory = this.#tree.writableDirectory(parent, name);
			const before = await this.#takeName(directory, name, caller);
			if (before !== undefined) return this.#tree.counted(before);
			const { volume } = directory;
			const mtime = currentTime();
			const posix = { ...(await this.#posixOfNew(directory, fileTypes.symlink | 0o777, caller)), mtime };
			this.#tree.begins({ kind: "making" }, caller);
			const { etag, modifiedMs = Date.now() } = await volume.store.put(
				keyOf(directory) + name,
				{ sizeBytes: body.length, read: () => [body] },
				{ metadata: formatMetadata(posix) },
			);
			const node = namespace.nodes.file(directory, volume, name);
			node.posix = posix;
			node.posixEtag = etag;
			node.version = { etag, sizeBytes: body.length, modifiedMs };
			node.target = target;
			node.statusChanged = mtime;
			namespace.pages.storedAttributes(volume);
			directory.children.set(name, node);
			putListed(node);
			this.#tree.touch(directory);
			return this.#tree.counted(node);
		});
	}

	async mkdir(parent: number, name: string, mode: number, caller: RequestContext): Promise<Entry> {
		return this.#tree.changeNames([{ parent, name }], caller, async () => {
			const { nodes } = this.#tree.namespace;
			const directory = this.#tree.writableDirectory(parent, name);
			refuseIfTooLong(`${keyOf(directory)}${name}/`);
			const before = await this.#takeName(directory, name, caller);
			if (before !== undefined) return this.#tree.counted(before);
			const { volume } = directory;
			const posix = await this.#posixOfNew(directory, fileTypes.directory | (mode & 0o7777), caller);
			this.#tree.begins({ kind: "making" }, caller);
			const node = nodes.directory({ volume, parent: directory, name });
			node.statusChanged = currentTime();
			try {
				await this.#markers.put(node, { ...posix, mtime: node.statusChanged });
			} catch (error) {
				nodes.dropIfUnused(node);
				throw error;
			}
			directory.children.set(name, node);
			nodes.changed(node);
			directory.listing.put(listedDirectory(name));
			this.#tree.touch(directory);
			// Nothing can be in it yet.
			node.listing.knowEmpty(performance.now());
			return this.#tree.counted(node);
		});
	}

	/** For something new: nobody has the name, not even a file that was removed and is open. Returns what was made for the same request, if there is. */
	async #takeName(directory: WritableDirectory, name: string, caller: RequestContext): Promise<Node | undefined> {
		const before = await this.#tree.madeBefore(directory, name, caller);
		if (before === undefined) await this.#unlinked.unhide(directory, name);
		return before;
	}

	async #posixOfNew(directory: WritableDirectory, mode: number, caller: RequestContext): Promise<PosixMetadata> {
		// The kernel has asked for what it needed to permit this, though perhaps at another time.
		if (directory.posixAt === undefined) await this.#tree.namespace.metadata.ensure(directory);
		return posixOfNew(directory, mode, caller);
	}

	#makeFile(directory: WritableDirectory, name: string, posix: PosixMetadata, exclusive: boolean): FileNode {
		const node = this.#tree.namespace.nodes.file(directory, directory.volume, name);
		node.posix = posix;
		node.changed = node.statusChanged = currentTime();
		directory.children.set(name, node);
		this.#contents.startDraft(node, { sizeBytes: 0, onlyIfAbsent: exclusive });
		this.#tree.touch(directory);
		return node;
	}
}
