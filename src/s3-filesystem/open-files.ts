import {
	FuseError,
	type Opened,
	type ReadResult,
	type Reply,
	type RequestContext,
	withoutSetId,
} from "../fuse/filesystem.ts";
import { attempt, rethrow, toOpenFileError } from "./errors.ts";
import type { FileContents } from "./file-contents.ts";
import type { Journal } from "./journal.ts";
import {
	isOpenForWriting,
	isReplaced,
	keyOf,
	modeOf,
	type FileNode,
	type KeptFile,
	type OpenFile,
} from "./names/nodes.ts";
import type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
import type { PendingFiles } from "./pending-files.ts";
import { refuseIfReadOnly, type Tree } from "./tree.ts";
import type { UnlinkedFiles } from "./unlinked-files.ts";

// open(2) of Linux.
export const openFlags = { accessMode: 3, exclusive: 0o200, truncate: 0o1000 } as const;

/** Files from open(2) to close(2), and what becomes of their changes then. */
export class OpenFiles {
	readonly #tree: Tree;
	readonly #contents: FileContents;
	readonly #unlinked: UnlinkedFiles;
	readonly #takeHandle: () => number;
	readonly #log: FilesystemSettings["log"];
	readonly #journal: Journal | undefined;
	readonly #pending: PendingFiles | undefined;
	readonly #files = new Map<number, OpenFile>();

	constructor(options: {
		readonly tree: Tree;
		readonly contents: FileContents;
		readonly unlinked: UnlinkedFiles;
		readonly takeHandle: () => number;
		readonly log: FilesystemSettings["log"];
		readonly journal: Journal | undefined;
		readonly pending: PendingFiles | undefined;
	}) {
		this.#pending = options.pending;
		this.#journal = options.journal;
		this.#tree = options.tree;
		this.#contents = options.contents;
		this.#unlinked = options.unlinked;
		this.#takeHandle = options.takeHandle;
		this.#log = options.log;
	}

	get size(): number {
		return this.#files.size;
	}

	/** Of each that is open. */
	*nodes(): Generator<FileNode> {
		for (const { node } of this.#files.values()) yield node;
	}

	/** How many are open of this bucket. */
	of(volume: VolumeOptions): number {
		return [...this.#files.values()].filter(({ node }) => node.volume === volume).length;
	}

	all(): Iterable<OpenFile> {
		return this.#files.values();
	}

	/** For the process that goes on with them. */
	keep(): KeptFile[] {
		return Array.from(this.#files.values(), ({ handle, node, writable, version }) => {
			return { handle, node: node.id, writable, version };
		});
	}

	/** With those of the process before this one. */
	goOn(kept: readonly KeptFile[]): void {
		for (const { node: id, ...file } of kept) {
			const node = this.#tree.namespace.nodes.get(id);
			// The kernel has forgotten the file while it was being closed.
			if (node?.kind !== "file") continue;
			const open: OpenFile = { ...file, node, reader: undefined };
			// It became another version as its process died.
			const isOther = node.draft !== undefined && node.version?.etag !== file.version?.etag;
			if (isOther) open.version = this.#contents.versionOf(node);
			node.handles.add(open);
			this.#files.set(open.handle, open);
		}
	}

	open(id: number, flags: number, caller: RequestContext): Reply<Opened> {
		const node = this.#tree.node(id);
		if (node.kind === "directory") throw new FuseError("EISDIR");
		const writable = (flags & openFlags.accessMode) !== 0;
		if (writable) refuseIfReadOnly(node);
		if (!writable || (flags & openFlags.truncate) === 0) return this.openNode(node, writable, caller);
		return attempt(async () => this.#tree.paths.shared(node, async () => this.openAndTruncate(node, caller), caller));
	}

	async openAndTruncate(node: FileNode, caller: RequestContext): Promise<Opened> {
		const { signal, clearsSetId = false } = caller;
		return this.#tree.locks.with(node, async () => {
			signal.throwIfAborted();
			// It may have been given up meanwhile.
			if (isReplaced(node)) throw new FuseError("ESTALE");
			await this.#contents.truncate(node, 0);
			if (clearsSetId) this.#clearSetId(node);
			return this.openNode(node, true, caller);
		});
	}

	openNode(node: FileNode, writable: boolean, { unique = 0 }: RequestContext): Opened {
		// The kernel then looks the name up again, and opens what it leads to now.
		if (isReplaced(node)) throw new FuseError("ESTALE");
		const { version } = node;
		const handle = this.#takeHandle();
		const open: OpenFile = { handle, node, writable, version: this.#contents.versionOf(node), reader: undefined };
		node.handles.add(open);
		this.#files.set(handle, open);
		this.#journal?.opened(open, unique);
		// Pages of this version, or what was written through this mount, are right; those of another version are dropped.
		const keepCache = node.kernelEtag === version?.etag;
		node.kernelEtag = version?.etag;
		if (!writable && !keepCache) this.#contents.prefetch(node);
		return { handle, keepCache, noFlush: !writable };
	}

	/** A process that has died has opened it, and may not have said so. */
	openedBefore(handle: number): Opened {
		const { writable } = this.#file(handle);
		return { handle, noFlush: !writable };
	}

	read(id: number, handle: number, offset: number, sizeBytes: number, caller: RequestContext): Reply<ReadResult> {
		const file = this.#file(handle);
		if (this.#tree.isForsaken(file.node)) throw new FuseError("ESTALE");
		try {
			const result = this.#contents.read(file, offset, sizeBytes, caller);
			return result instanceof Promise
				? this.#tree.paths.reading(file.node, result).catch((error: unknown) => this.#readFailed(file, id, error))
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
		const { kernel } = this.#tree;
		node.parent?.listing.doubt(node.name);
		kernel?.invalidateNode(id);
		if (node.parent !== undefined) kernel?.invalidateEntry(node.parent.id, node.name);
		if (node.draft === undefined) this.#tree.namespace.nodes.detach(node);
	}

	write(handle: number, offset: number, data: Buffer, caller: RequestContext): Reply<number> {
		const { node, writable } = this.#file(handle);
		if (!writable) throw new FuseError("EBADF");
		if (isReplaced(node) || this.#tree.isForsaken(node)) throw new FuseError("ESTALE");
		try {
			if (caller.clearsSetId === true) this.#clearSetId(node);
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
		this.#tree.namespace.nodes.changed(node);
		// It counts on it, but still believes the old one.
		this.#tree.kernel?.invalidateNode(node.id, -1);
	}

	async flush(handle: number, caller: RequestContext): Promise<void> {
		const { node, writable } = this.#file(handle);
		if (!writable || (await this.#pending?.closed(node, caller)) === true) return;
		await this.commit(node, caller);
	}

	async fsync(handle: number, caller: RequestContext): Promise<void> {
		await this.commit(this.#file(handle).node, caller);
	}

	/** Stores what was changed. With a caller, who is told whether it could be stored. */
	async commit(node: FileNode, caller?: RequestContext): Promise<void> {
		if (node.unlinkedKey !== undefined || !this.#contents.isDirty(node)) return;
		const work = async (): Promise<void> => {
			if (node.unlinkedKey !== undefined) return;
			try {
				await this.#contents.commit(node);
			} catch (error) {
				if (caller !== undefined) {
					node.isKnownToFail = true;
					this.#tree.namespace.nodes.changed(node);
				}
				throw error;
			}
		};
		try {
			await this.#tree.paths.shared(node, async () => this.#tree.locks.with(node, work), caller);
		} catch (error) {
			throw toOpenFileError(error);
		}
	}

	async release(handle: number): Promise<void> {
		const file = this.#file(handle);
		const { node } = file;
		const { paths, locks, namespace } = this.#tree;
		try {
			await paths.shared(node, async () => locks.with(node, async () => this.#released(node, file)));
		} finally {
			// Only now: who is asked once more has to do all of it.
			this.#files.delete(handle);
			this.#journal?.closed(file);
			namespace.nodes.dropIfUnused(node);
		}
	}

	async #released(node: FileNode, file: OpenFile): Promise<void> {
		file.reader?.close();
		node.handles.delete(file);
		if (isOpenForWriting(node)) return;
		if (node.unlinkedKey === undefined && this.#contents.isDirty(node)) {
			if ((await this.#pending?.released(node)) === true) return;
			await this.#commitOrGiveUp(node);
		}
		// Somebody may have opened it meanwhile.
		if (isOpenForWriting(node)) return;
		if (node.unlinkedKey === undefined || node.handles.size === 0) await this.#contents.discard(node);
		if (node.handles.size === 0) await this.#unlinked.delete(node);
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
		this.#log?.("error", { key: keyOf(node), ...(error !== undefined && { err: error }) }, message);
		await this.#contents.discard(node);
		// The kernel has pages of what is not there.
		this.#tree.kernel?.invalidateNode(node.id, 0, 0);
		if (node.version === undefined) this.#tree.forgetName(node);
	}

	#file(handle: number): OpenFile {
		const file = this.#files.get(handle);
		if (file === undefined) throw new FuseError("EBADF");
		return file;
	}
}
