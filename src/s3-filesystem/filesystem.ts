import {
	FuseError,
	type AttributeChanges,
	type Attributes,
	type Created,
	type DirectoryPage,
	type Entry,
	type Filesystem,
	type FilesystemStatistics,
	type KernelLink,
	type Opened,
	type ReadResult,
	type Reply,
	type RequestContext,
	type Timed,
	withoutSetId,
} from "../fuse/filesystem.ts";
import { currentTime, type Time } from "../fuse/time.ts";
import { S3Error } from "../s3/object-store.ts";
import { emptyBody } from "../s3/upload.ts";
import { DirectoriesAhead } from "./names/directories-ahead.ts";
import { DirectoryReader } from "./names/directory-reader.ts";
import { toFuseError, toOpenFileError } from "./errors.ts";
import { FileContents } from "./file-contents.ts";
import { listedDirectory } from "./names/listed.ts";
import { Locks } from "./locks.ts";
import { isKeyTooLong } from "./names/names.ts";
import { Namespace } from "./names/namespace.ts";
import { NamesMemory } from "./names/names-memory.ts";
import {
	attributesOf,
	detachNode,
	isDetached,
	isSymlink,
	keepTimes,
	keyOf,
	modeOf,
	moveNode,
	mtimeOf,
	putListed,
	type DirectoryNode,
	type FileNode,
	type Node,
	type OpenFile,
} from "./names/nodes.ts";
import { PathLocks, type Path } from "./names/path-locks.ts";
import { fileTypes, formatMetadata, type PosixMetadata } from "./names/posix-metadata.ts";
import { DirectoryMove } from "./names/rename-directory.ts";
import { areAttributesKnown, attributesValidMs, entryValidMs } from "./names/validity.ts";
import type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";

export interface S3Filesystem extends Filesystem {
	/** Shows one more bucket, at once; the folder must not be another one's. */
	add(volume: VolumeOptions): void;
	/** Takes a bucket out of sight: nothing can be opened in it any more, and what is open goes on. */
	hide(volume: VolumeOptions): void;
	/** Files of a bucket that are open. */
	openFiles(volume: VolumeOptions): number;
	/** Ends what is left of a bucket that is hidden: who has something open gets errors. Returns the files whose changes are lost. */
	forsake(volume: VolumeOptions): Promise<string[]>;
	/** Other owners or modes: what the kernel knows of them is not true any more. */
	attributesChanged(volume: VolumeOptions): void;
	/** Uploads everything that is not in its bucket yet. Rejects with the first error after having tried all. */
	drain(volume?: VolumeOptions): Promise<void>;
	/** For metrics: counts and sizes in bytes, by name. */
	stats(): Record<string, number>;
}

/** Shows buckets as a tree of files. SEMANTICS.md says what it promises. */
export function createS3Filesystem(volumes: readonly VolumeOptions[], settings: FilesystemSettings): S3Filesystem {
	return new BucketFilesystem(volumes, settings);
}

// open(2), renameat2(2), setxattr(2) of Linux.
const openFlags = { accessMode: 3, exclusive: 0o200, truncate: 0o1000 } as const;
const renameFlags = { noReplace: 1 } as const;
const xattrFlags = { create: 1, replace: 2 } as const;
const maximumNameBytes = 255;
const setGroupId = 0o2000;

class BucketFilesystem implements S3Filesystem {
	readonly #settings: FilesystemSettings;
	readonly #namespace: Namespace;
	readonly #contents: FileContents;
	readonly #directoriesAhead: DirectoriesAhead;
	readonly #paths: PathLocks;
	readonly #locks = new Locks();
	readonly #files = new Map<number, OpenFile>();
	readonly #directories = new Map<number, DirectoryReader>();
	readonly #forsaken = new WeakSet<VolumeOptions>();
	#nextHandle = 1;
	#kernel: KernelLink | undefined;

	constructor(volumes: readonly VolumeOptions[], settings: FilesystemSettings) {
		this.#settings = settings;
		this.#namespace = new Namespace(volumes, new NamesMemory(settings.memoryBytes / 4));
		this.#paths = new PathLocks(() => this.#contents.pathsFree());
		this.#contents = new FileContents(settings, this.#namespace, this.#paths);
		this.#directoriesAhead = new DirectoriesAhead(this.#namespace);
		if (volumes.some(({ readOnly }) => !readOnly)) this.#contents.prepareToWrite();
	}

	init(kernel: KernelLink): void {
		this.#kernel = kernel;
		this.#namespace.meetServers();
	}

	add(volume: VolumeOptions): void {
		const { directories, names } = this.#namespace.add(volume);
		if (!volume.readOnly) this.#contents.prepareToWrite();
		for (const { id } of directories) this.#kernel?.invalidateNode(id);
		for (const { parent, name } of names) this.#kernel?.invalidateEntry(parent.id, name);
	}

	hide(volume: VolumeOptions): void {
		const { directories, names } = this.#namespace.remove(volume);
		for (const { parent, name } of names) this.#kernel?.invalidateEntry(parent.id, name);
		for (const { id } of directories) this.#kernel?.invalidateNode(id);
	}

	openFiles(volume: VolumeOptions): number {
		return [...this.#files.values()].filter(({ node }) => node.volume === volume).length;
	}

	async forsake(volume: VolumeOptions): Promise<string[]> {
		this.#forsaken.add(volume);
		const lost: string[] = [];
		for (const node of this.#namespace.nodes.all()) {
			if (node.volume !== volume || node.kind === "directory") continue;
			if (node.unlinkedKey === undefined && this.#contents.isDirty(node)) lost.push(keyOf(node));
			await this.#locks.with(node, async () => this.#contents.discard(node));
			this.#kernel?.invalidateNode(node.id);
		}
		return lost;
	}

	attributesChanged(volume: VolumeOptions): void {
		for (const node of this.#namespace.nodes.all())
			if (node.volume === volume) this.#kernel?.invalidateNode(node.id, -1);
	}

	lookup(parent: number, name: string): Reply<Entry> {
		const directory = this.#directory(parent);
		if (Buffer.byteLength(name) > maximumNameBytes) throw new FuseError("ENAMETOOLONG");
		const found = this.#namespace.find(directory, name);
		return found instanceof Promise
			? this.#paths.reading({ parent: directory, name }, found).then((node) => this.#entryOrAbsent(node), rethrow)
			: this.#entryOrAbsent(found);
	}

	#entryOrAbsent(node: Node | undefined): Entry {
		if (node === undefined) throw new FuseError("ENOENT");
		return this.#counted(node);
	}

	forget(id: number, count: number): void {
		const node = this.#namespace.nodes.get(id);
		if (node === undefined) return;
		node.lookups = Math.max(0, node.lookups - count);
		this.#namespace.nodes.dropIfUnused(node);
	}

	getattr(id: number): Reply<Timed<Attributes>> {
		const node = this.#node(id);
		if (areAttributesKnown(node)) return this.#attributes(node);
		return attempt(async () => {
			await this.#askForMetadata(node);
			return this.#attributes(node);
		});
	}

	async #askForMetadata(node: Node): Promise<void> {
		await this.#paths.reading(node, this.#namespace.ensureMetadata(node));
	}

	async setattr(
		id: number,
		changes: AttributeChanges,
		handle: number | undefined,
		caller: RequestContext,
	): Promise<Timed<Attributes>> {
		return this.#changeNode(id, caller, async (node) => {
			if (changes.sizeBytes !== undefined) {
				if (node.kind === "directory") throw new FuseError("EISDIR");
				if (isReplaced(node)) throw new FuseError("ESTALE");
				await this.#contents.truncate(node, changes.sizeBytes);
				// Without an open file nobody would write it later.
				const isOpen = handle !== undefined || isOpenForWriting(node);
				if (!isOpen) await this.#commitClosed(node);
			}
			const now = currentTime();
			const isOnly = changes.sizeBytes === undefined;
			await this.#changePosix(node, posixChanges(node, changes, now), isOnly ? caller : undefined);
			node.statusChanged = now;
			return this.#attributes(node);
		});
	}

	/** Runs what changes a file or a directory itself: one such change at a time, and while its path stays what it is. */
	async #changeNode<T>(id: number, caller: RequestContext, work: (node: Node) => Promise<T>): Promise<T> {
		const node = this.#node(id);
		refuseIfReadOnly(node);
		const inTurn = async (): Promise<T> => {
			caller.signal.throwIfAborted();
			return work(node);
		};
		return attempt(async () => this.#paths.shared(node, async () => this.#locks.with(this.#node(id), inTurn), caller));
	}

	/** Runs what makes names lead to something else, while nobody else is at work there or below. */
	async #changeNames<T>(
		names: readonly { readonly parent: number; readonly name: string }[],
		caller: RequestContext,
		work: () => Promise<T>,
	): Promise<T> {
		const paths = names.map(({ parent, name }): Path => ({ parent: this.#directory(parent), name }));
		return attempt(async () => this.#paths.alone(paths, work, caller));
	}

	/** Stores what nobody has open, so that nobody would write it later; without success it is given up. */
	async #commitClosed(node: FileNode): Promise<void> {
		try {
			await this.#contents.commit(node);
		} finally {
			// Unless somebody has opened it meanwhile.
			if (!isOpenForWriting(node)) await this.#contents.discard(node);
		}
	}

	/** Stores other metadata, with the content when that is to be written anyway. Not for a caller who is gone, if there is one. */
	async #changePosix(node: Node, changes: PosixMetadata, caller?: RequestContext): Promise<void> {
		if (Object.keys(changes).length === 0) return;
		// What the object has must not get lost beside what changes.
		await this.#namespace.ensureMetadata(node);
		caller?.signal.throwIfAborted();
		if (node.kind === "directory") {
			await this.#putMarker(node, changes);
			return;
		}
		const posix = { ...node.posix, ...changes };
		checkSize(posix);
		const before = node.posix;
		node.posix = posix;
		if (node.draft !== undefined || node.version === undefined) {
			node.metadataDirty = true;
			return;
		}
		try {
			await this.#contents.replaceMetadata(node);
		} catch (error) {
			node.posix = before;
			throw error;
		}
	}

	async #putMarker(directory: DirectoryNode, changes: PosixMetadata): Promise<void> {
		const { volume, changed } = directory;
		if (volume === undefined) throw new FuseError("EROFS");
		const posix = { ...directory.posix, mtime: mtimeOf(directory), ...changes };
		checkSize(posix);
		const key = isDetached(directory) ? "" : keyOf(directory);
		// Neither a bucket nor a removed directory has an object that could hold its attributes: they are kept as long as the node is.
		if (key !== "") {
			const askedAt = performance.now();
			const properties = await this.#namespace.propertiesOf(directory);
			await volume.store.put(key, emptyBody, {
				metadata: formatMetadata({ ...posix, mode: posix.mode ?? modeOf(directory) }),
				properties,
			});
			this.#namespace.properties.learned(directory, properties, askedAt);
		}
		directory.hasMarker = true;
		directory.posix = posix;
		directory.posixAt = performance.now();
		directory.modifiedMs = Date.now();
		// Names may have changed meanwhile.
		if (directory.changed === changed) directory.changed = undefined;
	}

	async readlink(id: number): Promise<string> {
		const node = this.#node(id);
		if (node.kind !== "file" || !isSymlink(node)) throw new FuseError("EINVAL");
		return attempt(async () => {
			node.target ??= (await this.#paths.reading(node, this.#contents.readAll(node))).toString();
			return node.target;
		});
	}

	async symlink(parent: number, name: string, target: string, caller: RequestContext): Promise<Entry> {
		const body = Buffer.from(target);
		return this.#changeNames([{ parent, name }], caller, async () => {
			const directory = this.#writableDirectory(parent, name);
			await this.#refuseIfPresent(directory, name, caller);
			await this.#unhide(directory, name);
			const { volume } = directory;
			const mtime = currentTime();
			const posix = { ...(await this.#posixOfNew(directory, fileTypes.symlink | 0o777, caller)), mtime };
			const { etag, modifiedMs = Date.now() } = await volume.store.put(
				keyOf(directory) + name,
				{ sizeBytes: body.length, read: () => [body] },
				{ metadata: formatMetadata(posix) },
			);
			const node = this.#namespace.nodes.file(directory, volume, name);
			node.posix = posix;
			node.posixEtag = etag;
			node.version = { etag, sizeBytes: body.length, modifiedMs };
			node.target = target;
			node.statusChanged = mtime;
			this.#namespace.storedAttributes(volume);
			directory.children.set(name, node);
			putListed(node);
			this.#touch(directory);
			return this.#counted(node);
		});
	}

	async mknod(parent: number, name: string, mode: number, context: RequestContext): Promise<Entry> {
		if ((mode & fileTypes.mask) !== fileTypes.file) throw new FuseError("EPERM", "S3 keeps only regular files");
		return this.#changeNames([{ parent, name }], context, async () => {
			const directory = this.#writableDirectory(parent, name);
			await this.#refuseIfPresent(directory, name, context);
			await this.#unhide(directory, name);
			const posix = await this.#posixOfNew(directory, fileTypes.file | (mode & 0o7777), context);
			const node = this.#makeFile(directory, name, posix, false);
			await this.#locks.with(node, async () => {
				try {
					await this.#commitClosed(node);
				} catch (error) {
					if (node.draft === undefined) this.#forgetName(node);
					throw error;
				}
			});
			return this.#counted(node);
		});
	}

	async mkdir(parent: number, name: string, mode: number, caller: RequestContext): Promise<Entry> {
		return this.#changeNames([{ parent, name }], caller, async () => {
			const directory = this.#writableDirectory(parent, name);
			refuseIfTooLong(`${keyOf(directory)}${name}/`);
			await this.#refuseIfPresent(directory, name, caller);
			await this.#unhide(directory, name);
			const { volume } = directory;
			const posix = await this.#posixOfNew(directory, fileTypes.directory | (mode & 0o7777), caller);
			const node = this.#namespace.nodes.directory({ volume, parent: directory, name });
			node.statusChanged = currentTime();
			try {
				await this.#putMarker(node, { ...posix, mtime: node.statusChanged });
			} catch (error) {
				this.#namespace.nodes.dropIfUnused(node);
				throw error;
			}
			directory.children.set(name, node);
			directory.listing.put(listedDirectory(name));
			this.#touch(directory);
			// Nothing can be in it yet.
			node.listing.knowEmpty(performance.now());
			return this.#counted(node);
		});
	}

	async unlink(parent: number, name: string, caller: RequestContext): Promise<void> {
		await this.#changeNames([{ parent, name }], caller, async () => {
			const directory = this.#writableDirectory(parent);
			const node = await this.#namespace.get(directory, name);
			if (node.kind === "directory") throw new FuseError("EISDIR");
			await this.#locks.with(node, async () => {
				caller.signal.throwIfAborted();
				await this.#remove(directory, name, node);
			});
		});
	}

	async #remove(
		directory: DirectoryNode & { readonly volume: VolumeOptions },
		name: string,
		node: FileNode,
	): Promise<void> {
		if (node.version !== undefined) await this.#keepDirectory(directory);
		// What is open stays readable.
		if (node.handles.size > 0) this.#contents.hide(node, directory);
		else if (node.version !== undefined) await directory.volume.store.delete(keyOf(node));
		directory.listing.remove(name);
		detachNode(node);
		if (node.handles.size === 0) await this.#contents.discard(node);
		this.#touch(directory);
		this.#namespace.nodes.dropIfUnused(node);
	}

	async #unhideAll(directory: DirectoryNode): Promise<void> {
		for (const name of directory.hidden.keys()) await this.#unhide(directory, name);
	}

	/** A name is free when nothing is hidden behind it. */
	async #unhide({ hidden }: DirectoryNode, name: string): Promise<void> {
		const node = hidden.get(name);
		if (node !== undefined) await this.#locks.with(node, async () => this.#contents.unhide(node));
	}

	/** A directory that only what is in it implied would vanish with the last name. */
	async #keepDirectory(directory: DirectoryNode): Promise<void> {
		if (directory.hasMarker) return;
		await this.#locks.with(directory, async () => {
			// Its object may be there with attributes that nobody has asked for.
			await this.#namespace.ensureMetadata(directory);
			if (directory.hasMarker) return;
			await this.#putMarker(directory, {}).catch((error: unknown) => {
				// The server has no such objects: this one goes with its last name.
				if (!(error instanceof S3Error && error.kind === "NAME_TOO_LONG")) throw error;
			});
		});
	}

	async rmdir(parent: number, name: string, caller: RequestContext): Promise<void> {
		await this.#changeNames([{ parent, name }], caller, async () => {
			const directory = this.#writableDirectory(parent);
			const node = await this.#namespace.get(directory, name);
			if (node.kind !== "directory") throw new FuseError("ENOTDIR");
			if (node.isVolumeRoot || node.overlay.size > 0) throw new FuseError("EBUSY");
			await this.#refuseIfNotEmpty(directory.volume, keyOf(node), node);
			caller.signal.throwIfAborted();
			await this.#keepDirectory(directory);
			await directory.volume.store.delete(keyOf(node));
			directory.listing.remove(name);
			detachNode(node);
			this.#touch(directory);
			this.#namespace.nodes.dropIfUnused(node);
		});
	}

	/** `node` is what is known of the directory, if it is known here. */
	async #refuseIfNotEmpty({ store }: VolumeOptions, key: string, node?: DirectoryNode): Promise<void> {
		if (node !== undefined) {
			if (this.#namespace.unlistedNames(node).length > 0) throw new FuseError("ENOTEMPTY");
			await this.#unhideAll(node);
		}
		const page = await store.list({ prefix: key, delimiter: "/", maxKeys: 2 });
		const others = page.objects.filter((object) => object.key !== key);
		if (others.length + page.prefixes.length > 0) throw new FuseError("ENOTEMPTY");
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
		await this.#changeNames(names, caller, async () => {
			const from = this.#writableDirectory(parent);
			const to = this.#writableDirectory(newParent, newName);
			if (from.volume !== to.volume) throw new FuseError("EXDEV");
			const node = await this.#namespace.get(from, name);
			const target = await this.#namespace.find(to, newName);
			if (target === node) return;
			if (target !== undefined && (flags & renameFlags.noReplace) !== 0) throw new FuseError("EEXIST");
			caller.signal.throwIfAborted();
			await this.#unhide(to, newName);
			try {
				if (node.kind === "directory") await this.#renameDirectory(from, name, node, to, newName, target, caller);
				else await this.#renameFile(from, name, node, to, newName, target, caller);
			} catch (error) {
				// What was done of it is to be seen.
				from.listing.clear();
				to.listing.clear();
				if (node.kind === "directory") this.#namespace.forgetListings(node);
				throw error;
			}
			this.#touch(from);
			this.#touch(to);
		});
	}

	async #renameFile(
		from: WritableDirectory,
		name: string,
		node: FileNode,
		to: WritableDirectory,
		newName: string,
		target: Node | undefined,
		caller: RequestContext,
	): Promise<void> {
		if (target?.kind === "directory") throw new FuseError("EISDIR");
		const { store } = from.volume;
		await this.#locks.with(node, async () => {
			// What is written so far must be in the bucket to be copied there.
			await this.#contents.settle(node);
			const { version } = node;
			if (version === undefined) throw new FuseError("ENOENT");
			caller.signal.throwIfAborted();
			const [oldKey, newKey] = [keyOf(node), keyOf(to) + newName];
			const copied = await this.#replacing(target, async () => this.#contents.copyTo(node, version, newKey, newName));
			const readsEnd = this.#paths.readsEnd({ parent: from, name });
			// At once: who comes by the new name must not find what was set aside, and may be gone.
			if (target !== undefined) detachNode(target);
			moveNode(node, to, newName);
			this.#contents.moved(node, newKey, copied);
			from.listing.remove(name);
			if (target !== undefined) {
				if (target.handles.size === 0) await this.#contents.discard(target);
				this.#namespace.nodes.dropIfUnused(target);
			}
			await this.#keepDirectory(from);
			await readsEnd;
			await store.delete(oldKey);
			// It may have been listed meanwhile.
			from.listing.remove(name);
		});
	}

	/** Runs `replace`, which puts another object in the place of the target's; who has that open keeps it. */
	async #replacing<T>(target: FileNode | undefined, replace: () => Promise<T>): Promise<T> {
		if (target === undefined || target.handles.size === 0) return replace();
		return this.#locks.with(target, async () => {
			const replaced = Promise.withResolvers<T>();
			await this.#contents.setAside(target, async () => replaced.resolve(await replace()));
			return replaced.promise;
		});
	}

	async #renameDirectory(
		from: WritableDirectory,
		name: string,
		node: DirectoryNode,
		to: WritableDirectory,
		newName: string,
		target: Node | undefined,
		caller: RequestContext,
	): Promise<void> {
		if (node.isVolumeRoot || node.overlay.size > 0) throw new FuseError("EBUSY");
		if (target?.kind === "file") throw new FuseError("ENOTDIR");
		for (let above: DirectoryNode | undefined = to; above !== undefined; above = above.parent) {
			if (above === node) throw new FuseError("EINVAL", "a directory cannot be moved into itself");
		}
		const { volume } = from;
		const newKey = `${keyOf(to)}${newName}/`;
		refuseIfTooLong(newKey);
		await this.#refuseIfNotEmpty(volume, newKey, target);
		await this.#settleBelow(node);
		const move = new DirectoryMove(volume.store, keyOf(node), newKey);
		await move.copy({
			beforeLast: async () => this.#keepDirectory(from),
			confirm: () => {
				if (from.volume !== volume || to.volume !== volume) throw new FuseError("ESTALE", "its bucket was taken away");
			},
			signal: caller.signal,
		});
		const readsEnd = this.#paths.readsEnd({ parent: from, name });
		if (target !== undefined) {
			detachNode(target);
			this.#namespace.nodes.dropIfUnused(target);
		}
		moveNode(node, to, newName);
		from.listing.remove(name);
		to.listing.put(listedDirectory(newName));
		this.#namespace.forgetListings(node);
		for (const below of directoriesFrom(node)) {
			keepTimes(below);
			below.modifiedMs = move.moved.get(keyOf(below))?.version.modifiedMs ?? below.modifiedMs;
		}
		for (const file of filesBelow(node)) {
			const key = keyOf(file);
			const present = move.moved.get(key);
			const isThis = present !== undefined && present.fromEtag === file.version?.etag;
			if (isThis) this.#contents.moved(file, key, present.version);
			// Somebody else had replaced it: neither what is open nor the kernel's pages are of what was moved.
			else if (file.draft === undefined && file.version !== undefined) this.#forgetName(file);
		}
		// Who reads by the old keys has what he asked for before they go; from here on the new ones are used.
		await readsEnd;
		await move.deleteOld();
		// It may have been listed meanwhile.
		from.listing.remove(name);
	}

	async #settleBelow(directory: DirectoryNode): Promise<void> {
		// Copied with the others, they would come back under the new name.
		for (const below of directoriesFrom(directory)) await this.#unhideAll(below);
		for (const file of filesBelow(directory)) {
			if (file.draft !== undefined) await this.#locks.with(file, async () => this.#contents.settle(file));
		}
	}

	link(): never {
		throw new FuseError("EPERM", "S3 has no hard links");
	}

	open(id: number, flags: number, caller: RequestContext): Reply<Opened> {
		const node = this.#node(id);
		if (node.kind === "directory") throw new FuseError("EISDIR");
		const writable = (flags & openFlags.accessMode) !== 0;
		if (writable) refuseIfReadOnly(node);
		if (!writable || (flags & openFlags.truncate) === 0) return this.#open(node, writable);
		return attempt(async () => this.#paths.shared(node, async () => this.#openAndTruncate(node, caller), caller));
	}

	async #openAndTruncate(node: FileNode, { signal, clearsSetId = false }: RequestContext): Promise<Opened> {
		return this.#locks.with(node, async () => {
			signal.throwIfAborted();
			// It may have been given up meanwhile.
			if (isReplaced(node)) throw new FuseError("ESTALE");
			await this.#contents.truncate(node, 0);
			if (clearsSetId) this.#clearSetId(node);
			return this.#open(node, true);
		});
	}

	#open(node: FileNode, writable: boolean): Opened {
		// The kernel then looks the name up again, and opens what it leads to now.
		if (isReplaced(node)) throw new FuseError("ESTALE");
		const { version } = node;
		const handle = this.#nextHandle++;
		const open: OpenFile = { handle, node, writable, version: this.#contents.versionOf(node), reader: undefined };
		node.handles.add(open);
		this.#files.set(handle, open);
		// Pages of this version, or what was written through this mount, are right; those of another version are dropped.
		const keepCache = node.kernelEtag === version?.etag;
		node.kernelEtag = version?.etag;
		if (!writable && !keepCache) this.#contents.prefetch(node);
		return { handle, keepCache, noFlush: !writable };
	}

	async create(parent: number, name: string, mode: number, flags: number, context: RequestContext): Promise<Created> {
		return this.#changeNames([{ parent, name }], context, async () => {
			const directory = this.#writableDirectory(parent, name);
			const present = await this.#namespace.find(directory, name);
			const isExclusive = (flags & openFlags.exclusive) !== 0;
			if (present !== undefined) {
				if (isExclusive) throw new FuseError("EEXIST");
				if (present.kind === "directory") throw new FuseError("EISDIR");
				const writable = (flags & openFlags.accessMode) !== 0;
				const truncates = writable && (flags & openFlags.truncate) !== 0;
				const opened = truncates ? await this.#openAndTruncate(present, context) : this.#open(present, writable);
				return { ...this.#counted(present), ...opened };
			}
			context.signal.throwIfAborted();
			await this.#unhide(directory, name);
			const posix = await this.#posixOfNew(directory, fileTypes.file | (mode & 0o7777), context);
			const node = this.#makeFile(directory, name, posix, isExclusive);
			return { ...this.#counted(node), ...this.#open(node, true) };
		});
	}

	/** What is made in a set-group-ID directory belongs to its group, and a directory has the bit too. */
	async #posixOfNew(directory: WritableDirectory, mode: number, { uid, gid }: RequestContext): Promise<PosixMetadata> {
		// The kernel has asked for what it needed to permit this, though perhaps at another time.
		if (directory.posixAt === undefined) await this.#namespace.ensureMetadata(directory);
		const parent = attributesOf(directory);
		if ((parent.mode & setGroupId) === 0) return { mode, ...owner(directory.volume, uid, gid) };
		const isDirectory = (mode & fileTypes.mask) === fileTypes.directory;
		return { mode: isDirectory ? mode | setGroupId : mode, ...owner(directory.volume, uid, parent.gid) };
	}

	#makeFile(directory: WritableDirectory, name: string, posix: PosixMetadata, exclusive: boolean): FileNode {
		const node = this.#namespace.nodes.file(directory, directory.volume, name);
		node.posix = posix;
		node.changed = node.statusChanged = currentTime();
		directory.children.set(name, node);
		this.#contents.startDraft(node, { sizeBytes: 0, onlyIfAbsent: exclusive });
		this.#touch(directory);
		return node;
	}

	read(id: number, handle: number, offset: number, sizeBytes: number, context: RequestContext): Reply<ReadResult> {
		const file = this.#file(handle);
		if (this.#isForsaken(file.node)) throw new FuseError("ESTALE");
		try {
			const result = this.#contents.read(file, offset, sizeBytes, context);
			return result instanceof Promise
				? this.#paths.reading(file.node, result).catch((error: unknown) => this.#readFailed(file, id, error))
				: result;
		} catch (error) {
			return this.#readFailed(file, id, error);
		}
	}

	#readFailed({ node }: OpenFile, id: number, error: unknown): never {
		const known = toOpenFileError(error);
		// The kernel's pages and attributes are of a version that is gone.
		if (known instanceof FuseError && known.errno === "ESTALE") this.#forgetVersion(node, id);
		throw known;
	}

	#forgetVersion(node: FileNode, id: number): void {
		node.parent?.listing.clear();
		this.#kernel?.invalidateNode(id);
		if (node.parent !== undefined) this.#kernel?.invalidateEntry(node.parent.id, node.name);
		if (node.draft === undefined) detachNode(node);
	}

	write(_id: number, handle: number, offset: number, data: Buffer, context: RequestContext): Reply<number> {
		const { node, writable } = this.#file(handle);
		if (!writable) throw new FuseError("EBADF");
		if (isReplaced(node) || this.#isForsaken(node)) throw new FuseError("ESTALE");
		try {
			if (context.clearsSetId === true) this.#clearSetId(node);
			const written = this.#contents.write(node, offset, data);
			return written instanceof Promise ? written.catch(rethrow) : written;
		} catch (error) {
			return rethrow(error);
		}
	}

	/** Of a file that is about to be stored with its content. */
	#clearSetId(node: FileNode): void {
		const before = modeOf(node);
		const mode = withoutSetId(before);
		if (mode === before) return;
		node.posix = { ...node.posix, mode };
		node.metadataDirty = true;
		// It counts on it, but still believes the old one.
		this.#kernel?.invalidateNode(node.id, -1);
	}

	async flush(_id: number, handle: number, caller: RequestContext): Promise<void> {
		const { node, writable } = this.#file(handle);
		if (writable) await this.#commit(node, caller);
	}

	async fsync(_id: number, handle: number, _dataOnly: boolean, caller: RequestContext): Promise<void> {
		await this.#commit(this.#file(handle).node, caller);
	}

	/** With a caller, who is told whether it could be stored. */
	async #commit(node: FileNode, caller?: RequestContext): Promise<void> {
		if (node.unlinkedKey !== undefined || !this.#contents.isDirty(node)) return;
		const work = async (): Promise<void> => {
			if (node.unlinkedKey !== undefined) return;
			try {
				await this.#contents.commit(node);
			} catch (error) {
				if (caller !== undefined) node.isKnownToFail = true;
				throw error;
			}
		};
		try {
			await this.#paths.shared(node, async () => this.#locks.with(node, work), caller);
		} catch (error) {
			throw toOpenFileError(error);
		}
	}

	/** Names are made and removed at once; nothing is left to do. */
	fsyncdir(): void {}

	async release(_id: number, handle: number): Promise<void> {
		const file = this.#file(handle);
		const { node } = file;
		this.#files.delete(handle);
		await this.#paths.shared(node, async () => this.#locks.with(node, async () => this.#released(node, file)));
		this.#namespace.nodes.dropIfUnused(node);
	}

	async #released(node: FileNode, file: OpenFile): Promise<void> {
		file.reader?.close();
		node.handles.delete(file);
		if (isOpenForWriting(node)) return;
		if (node.unlinkedKey === undefined && this.#contents.isDirty(node)) await this.#commitOrGiveUp(node);
		// Somebody may have opened it meanwhile.
		if (isOpenForWriting(node)) return;
		if (node.unlinkedKey === undefined || node.handles.size === 0) await this.#contents.discard(node);
		if (node.unlinkedKey !== undefined && node.handles.size === 0) await this.#contents.deleteUnlinked(node);
	}

	/** Stores what no close(2) has tried to, such as what came from mapped memory. */
	async #commitOrGiveUp(node: FileNode): Promise<void> {
		// Stored after all, it could replace what was done about the failure meanwhile, here or elsewhere.
		if (node.isKnownToFail) {
			await this.#giveUp(node, "changes that close could not upload are given up");
			return;
		}
		try {
			await this.#contents.commit(node);
		} catch (error) {
			if (!isOpenForWriting(node)) await this.#giveUp(node, "changes could not be uploaded and are lost", error);
		}
	}

	/** Leaves the file as the bucket has it. */
	async #giveUp(node: FileNode, message: string, error?: unknown): Promise<void> {
		this.#settings.log?.("error", { key: keyOf(node), ...(error !== undefined && { err: error }) }, message);
		await this.#contents.discard(node);
		// The kernel has pages of what is not there.
		this.#kernel?.invalidateNode(node.id, 0, 0);
		if (node.version === undefined) this.#forgetName(node);
	}

	/** The name does not lead to this any more. */
	#forgetName(node: FileNode): void {
		const { parent, name } = node;
		if (parent === undefined) return;
		detachNode(node);
		this.#kernel?.invalidateEntry(parent.id, name);
		this.#namespace.nodes.dropIfUnused(node);
	}

	opendir(id: number): Opened {
		const handle = this.#nextHandle++;
		const directory = this.#directory(id);
		this.#directories.set(handle, new DirectoryReader(this.#namespace, directory));
		this.#directoriesAhead.opened(directory);
		return { handle };
	}

	async readdir(_id: number, handle: number, offset: number, page: DirectoryPage): Promise<void> {
		const reader = this.#directories.get(handle);
		if (reader === undefined) throw new FuseError("EBADF");
		const filled = reader.fill(offset, page, (node) => this.#entry(node));
		await attempt(async () => this.#paths.reading(reader.directory, filled));
	}

	releasedir(_id: number, handle: number): void {
		this.#directories.get(handle)?.close();
		this.#directories.delete(handle);
	}

	/** A bucket has no size: as much is free as programs can take in. */
	statfs(): FilesystemStatistics {
		const blocks = 2 ** 38;
		return {
			blockSizeBytes: 4096,
			blocks,
			freeBlocks: blocks,
			files: 2 ** 40,
			freeFiles: 2 ** 40,
			maximumNameLength: maximumNameBytes,
		};
	}

	async getxattr(id: number, name: string): Promise<Buffer> {
		const node = this.#node(id);
		if (isSystemAttribute(name)) throw new FuseError("ENOTSUP");
		await attempt(async () => this.#askForMetadata(node));
		const value = node.posix.xattrs?.get(name);
		if (value === undefined) throw new FuseError("ENODATA");
		return value;
	}

	async listxattr(id: number): Promise<readonly string[]> {
		const node = this.#node(id);
		await attempt(async () => this.#askForMetadata(node));
		return [...(node.posix.xattrs?.keys() ?? [])].filter((name) => !isSystemAttribute(name));
	}

	async setxattr(id: number, name: string, value: Buffer, flags: number, caller: RequestContext): Promise<void> {
		if (isSystemAttribute(name)) throw new FuseError("ENOTSUP");
		// The buffer is the request's own.
		const kept = Buffer.from(value);
		await this.#changeNode(id, caller, async (node) => {
			await this.#namespace.ensureMetadata(node);
			caller.signal.throwIfAborted();
			const xattrs = new Map(node.posix.xattrs);
			if ((flags & xattrFlags.create) !== 0 && xattrs.has(name)) throw new FuseError("EEXIST");
			if ((flags & xattrFlags.replace) !== 0 && !xattrs.has(name)) throw new FuseError("ENODATA");
			await this.#changePosix(node, { xattrs: xattrs.set(name, kept) });
			node.statusChanged = currentTime();
		});
	}

	async removexattr(id: number, name: string, caller: RequestContext): Promise<void> {
		if (isSystemAttribute(name)) throw new FuseError("ENOTSUP");
		await this.#changeNode(id, caller, async (node) => {
			await this.#namespace.ensureMetadata(node);
			caller.signal.throwIfAborted();
			const xattrs = new Map(node.posix.xattrs);
			if (!xattrs.delete(name)) throw new FuseError("ENODATA");
			await this.#changePosix(node, { xattrs });
			node.statusChanged = currentTime();
		});
	}

	async drain(volume?: VolumeOptions): Promise<void> {
		const dirty = [...this.#namespace.nodes.all()].filter(
			(node): node is FileNode =>
				node.kind === "file" && (volume === undefined || node.volume === volume) && this.#contents.isDirty(node),
		);
		const outcomes = await Promise.allSettled(dirty.map(async (node) => this.#commit(node)));
		for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
	}

	async destroy(): Promise<void> {
		for (const node of this.#namespace.nodes.all()) {
			if (node.kind === "file" && node.unlinkedKey !== undefined) await this.#contents.deleteUnlinked(node);
		}
	}

	stats(): Record<string, number> {
		return {
			nodes: this.#namespace.nodes.size,
			open_files: this.#files.size,
			open_directories: this.#directories.size,
			hidden_keys: this.#namespace.hiddenKeys,
			waiting_for_names: this.#paths.waiting,
			...this.#contents.stats(),
		};
	}

	#node(id: number): Node {
		const node = this.#namespace.nodes.get(id);
		if (node === undefined || this.#isForsaken(node)) throw new FuseError("ESTALE");
		return node;
	}

	#isForsaken({ volume }: Node): boolean {
		return volume !== undefined && this.#forsaken.has(volume);
	}

	#directory(id: number): DirectoryNode {
		const node = this.#node(id);
		if (node.kind !== "directory") throw new FuseError("ENOTDIR");
		return node;
	}

	/** The directory, if names may be changed in it; with the new name, if one is to be made there. */
	#writableDirectory(id: number, newName?: string): WritableDirectory {
		const directory = this.#directory(id);
		refuseIfReadOnly(directory);
		if (newName !== undefined) {
			if (Buffer.byteLength(newName) > maximumNameBytes) throw new FuseError("ENAMETOOLONG");
			refuseIfTooLong(keyOf(directory) + newName);
			if (directory.overlay.has(newName)) throw new FuseError("EEXIST");
			// Only what can be read back may be written.
			if (!newName.isWellFormed()) throw new FuseError("EILSEQ");
		}
		if (directory.parent === undefined && directory.id !== 1) throw new FuseError("ENOENT");
		return directory as WritableDirectory;
	}

	#file(handle: number): OpenFile {
		const file = this.#files.get(handle);
		if (file === undefined) throw new FuseError("EBADF");
		return file;
	}

	async #refuseIfPresent(directory: DirectoryNode, name: string, { signal }: RequestContext): Promise<void> {
		if ((await this.#namespace.find(directory, name)) !== undefined) throw new FuseError("EEXIST");
		signal.throwIfAborted();
	}

	#touch(directory: DirectoryNode): void {
		directory.changed = directory.statusChanged = currentTime();
	}

	#attributes(node: Node): Timed<Attributes> {
		return { ...attributesOf(node), attributesValidMs: attributesValidMs(node) };
	}

	#entry(node: Node): Entry {
		return {
			node: node.id,
			attributes: attributesOf(node),
			entryValidMs: entryValidMs(node),
			attributesValidMs: attributesValidMs(node),
		};
	}

	/** The same, for a reply that the kernel counts. */
	#counted(node: Node): Entry {
		node.lookups++;
		return this.#entry(node);
	}
}

type WritableDirectory = DirectoryNode & { readonly volume: VolumeOptions };

async function attempt<T>(work: () => Promise<T>): Promise<T> {
	try {
		return await work();
	} catch (error) {
		return rethrow(error);
	}
}

function rethrow(error: unknown): never {
	throw toFuseError(error);
}

function refuseIfReadOnly({ volume }: Node): void {
	if (volume === undefined || volume.readOnly) throw new FuseError("EROFS");
}

function refuseIfTooLong(key: string): void {
	if (isKeyTooLong(key)) throw new FuseError("ENAMETOOLONG");
}

/**
 * The name leads to another version or to nothing, and no handle keeps what there was: there is nothing to read, and no key for what
 * would be written.
 */
function isReplaced({ parent, unlinkedKey, handles }: FileNode): boolean {
	return unlinkedKey === undefined ? parent === undefined : handles.size === 0;
}

function isOpenForWriting({ handles }: FileNode): boolean {
	return handles.values().some(({ writable }) => writable);
}

/** Only what differs from the volume's default is worth a place in the metadata. */
function owner(volume: VolumeOptions, uid: number, gid: number): PosixMetadata {
	return { ...(uid !== volume.uid && { uid }), ...(gid !== volume.gid && { gid }) };
}

function posixChanges(node: Node, changes: AttributeChanges, now: Time): PosixMetadata {
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

/** With a meaning to the system, such as an access control list, that nothing here would give it. s3fs keeps some in the metadata. */
function isSystemAttribute(name: string): boolean {
	return /^(system|security|trusted)\./.test(name);
}

function checkSize(posix: PosixMetadata): void {
	try {
		formatMetadata(posix);
	} catch (error) {
		if (error instanceof RangeError) throw new FuseError("ENOSPC", error.message, error);
		throw error;
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
