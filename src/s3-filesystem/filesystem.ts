import { randomUUID } from "node:crypto";
import {
	FuseError,
	type AttributeChanges,
	type Attributes,
	type Created,
	type DirectoryPage,
	type Entry,
	type Filesystem,
	type FilesystemStatistics,
	type KernelConnection,
	type KernelLink,
	type Opened,
	type ReadResult,
	type Reply,
	type RequestContext,
	type Timed,
} from "../fuse/filesystem.ts";
import { canResend } from "../fuse/init.ts";
import { version } from "../version.ts";
import { NodeAttributes } from "./attributes.ts";
import { Creation } from "./creation.ts";
import { attempt, rethrow } from "./errors.ts";
import { FileContents } from "./file-contents.ts";
import { Journal, type JournalSource } from "./journal.ts";
import type { Past } from "./recall.ts";
import { identitiesOf, type KeptFilesystem } from "./kept-filesystem.ts";
import { Markers } from "./markers.ts";
import { DirectoriesAhead } from "./names/directories-ahead.ts";
import { DirectoryReader } from "./names/directory-reader.ts";
import { keepNodes } from "./names/kept-nodes.ts";
import { Namespace } from "./names/namespace.ts";
import { NamesMemory } from "./names/names-memory.ts";
import { isSymlink, keyOf, type FileNode, type Node } from "./names/nodes.ts";
import { PathLocks } from "./names/path-locks.ts";
import type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
import { OpenFiles } from "./open-files.ts";
import { PendingFiles } from "./pending-files.ts";
import { PendingRecall } from "./pending-recall.ts";
import { PendingRecords } from "./pending-records.ts";
import { Removal } from "./removal.ts";
import { together, type PendingLeft } from "./writing/pending-left.ts";
import { RepeatedRequests } from "./repeated-requests.ts";
import { Renaming } from "./renaming.ts";
import { maximumNameBytes, refuseIfNameTooLong, Tree } from "./tree.ts";
import { UnknownLookups } from "./unknown-lookups.ts";
import { UnlinkedFiles } from "./unlinked-files.ts";

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
	/**
	 * Stores everything in its bucket, and says what the kernel knows, for the process that serves it next. Rejects when that cannot be left
	 * to another; then it goes on. Nothing may be asked of it meanwhile.
	 */
	keep(): Promise<KeptFilesystem>;
	/** Closed files that are in no bucket yet, of one or of all; undefined: there are none. */
	pendingLeft(volume?: VolumeOptions): PendingLeft | undefined;
	/** For metrics: counts and sizes in bytes, by name. */
	stats(): Record<string, number>;
	/** The folder of the bucket that a node is in; `""` also where it is in none. */
	folderOf(node: number): string;
	/** Where a node is in the mount; `""` is the root, undefined what has no name any more. */
	pathOf(node: number): string | undefined;
	/** What there is of each bucket at the moment, by folder. */
	volumeStates(): Map<string, VolumeState>;
}

export interface VolumeState {
	openFiles: number;
	/** Files with changes that are not in the bucket. */
	pendingFiles: number;
	pendingBytes: number;
	/** Since the oldest of those changes. */
	pendingSeconds: number;
	/** Of those files, closed ones that the server does not take. */
	failedFiles: number;
}

/** Shows buckets as a tree of files. SEMANTICS.md says what it promises. `kept`: goes on where another process has left it. */
export function createS3Filesystem(
	volumes: readonly VolumeOptions[],
	settings: FilesystemSettings,
	kept?: KeptFilesystem,
): S3Filesystem {
	return new BucketFilesystem(volumes, settings, kept);
}

/** Each operation of the kernel, and who carries it out. */
class BucketFilesystem implements S3Filesystem {
	readonly #names: NamesMemory;
	readonly #namespace: Namespace;
	readonly #paths: PathLocks;
	readonly #contents: FileContents;
	readonly #tree: Tree;
	readonly #unlinked: UnlinkedFiles;
	readonly #attributes: NodeAttributes;
	readonly #files: OpenFiles;
	readonly #creation: Creation;
	readonly #removal: Removal;
	readonly #renaming: Renaming;
	readonly #directoriesAhead: DirectoriesAhead;
	readonly #directories = new Map<number, DirectoryReader>();
	readonly #journal: Journal | undefined;
	readonly #requests: RepeatedRequests;
	readonly #past: Past | undefined;
	readonly #pending: PendingFiles | undefined;
	readonly #volumes: Set<VolumeOptions>;
	#unknownLookups: UnknownLookups | undefined;
	/** Of buckets that are not shown any more something is open still. */
	#hasRemains = false;
	#nextHandle = 1;

	constructor(volumes: readonly VolumeOptions[], settings: FilesystemSettings, kept?: KeptFilesystem) {
		const { memoryBytes, log, journalDirectory: directory } = settings;
		this.#volumes = new Set(volumes);
		this.#past = kept?.past;
		const onTrouble = (error: unknown): void =>
			log?.("warn", { err: error }, "what a process after this one would need cannot be written down");
		const mountId = kept?.past?.mountId ?? randomUUID();
		if (directory !== undefined)
			this.#journal = new Journal({
				directory,
				version,
				mountId,
				onTrouble,
				...(kept?.past !== undefined && { past: kept.past }),
			});
		this.#names = NamesMemory.besides(memoryBytes, (limitBytes) =>
			log?.("info", { limitBytes }, "not all names fit into memory: some are listed again when they are wanted"),
		);
		// What another mount has left there is not this one's.
		if (kept === undefined) this.#journal?.end();
		this.#namespace = new Namespace(volumes, this.#names, kept?.nodes);
		this.#paths = new PathLocks(() => this.#contents.pathsFree());
		const records =
			settings.keepsPending === true ? new PendingRecords(settings.stagingDirectory, settings.log) : undefined;
		const watchers = { journal: this.#journal, records };
		this.#contents = new FileContents(settings, this.#namespace, this.#paths, watchers);
		this.#directoriesAhead = new DirectoriesAhead(this.#namespace);
		const journal = this.#journal;
		const tree = (this.#tree = new Tree({
			namespace: this.#namespace,
			paths: this.#paths,
			nodesBytes: memoryBytes / 8,
			journal,
			past: this.#past,
		}));
		this.#requests = new RepeatedRequests({ tree, journal, past: this.#past, log });
		const contents = this.#contents;
		const markers = new Markers(tree);
		const unlinked = (this.#unlinked = new UnlinkedFiles(tree, contents, mountId));
		this.#namespace.onReplaced = (node) => unlinked.replaced(node);
		const takeHandle = (): number => this.#nextHandle++;
		const pending = (this.#pending = records && new PendingFiles(tree, contents, records, settings));
		const files = (this.#files = new OpenFiles({ tree, contents, unlinked, takeHandle, log, journal, pending }));
		this.#attributes = new NodeAttributes(tree, contents, markers);
		this.#creation = new Creation(tree, contents, markers, unlinked, files);
		this.#removal = new Removal(tree, contents, markers, unlinked);
		this.#renaming = new Renaming(tree, contents, markers, unlinked, this.#removal);
		if (volumes.some(({ readOnly }) => !readOnly)) contents.prepareToWrite();
		if (kept !== undefined) this.#goOn(kept);
		if (records !== undefined && pending !== undefined) {
			const recall = new PendingRecall({ namespace: this.#namespace, contents, records, files: pending, log });
			recall.recall(settings.stagingDirectory, volumes);
		}
		if (this.#past !== undefined) contents.removeOthers();
	}

	async keep(): Promise<KeptFilesystem> {
		if (!this.#namespace.volumes.areWhole) throw new Error("files of a folder that was removed are still open");
		const files = Array.from(this.#namespace.nodes.all()).filter((node) => node.kind === "file");
		// There is no key of theirs that could not be somebody else's by now.
		if (files.some((node) => node.unlinkedKey !== undefined && this.#contents.isDirty(node)))
			throw new Error("files that were removed while they were open are being written");
		for (const node of files) await this.#store(node);
		for (const { removals } of this.#volumes) await removals?.drain();
		this.#contents.close();
		this.#unlinked.close();
		return {
			nodes: keepNodes(this.#namespace.nodes),
			nextHandle: this.#nextHandle,
			files: this.#files.keep(),
			directories: Array.from(this.#directories, ([handle, reader]) => ({
				handle,
				node: reader.directory.id,
				reader: reader.keep(),
			})),
		};
	}

	#goOn({ nodes, nextHandle, files, directories, drafts = new Map() }: KeptFilesystem): void {
		for (const kept of nodes.nodes) {
			const node = this.#namespace.nodes.get(kept.id);
			if (kept.kind === "directory" || !kept.isDrafted || node?.kind !== "file") continue;
			const draft = drafts.get(kept.id);
			if (draft === undefined) this.#contents.startDraft(node, {});
			else this.#contents.goOn(node, draft);
		}
		this.#files.goOn(files);
		this.#unlinked.goOn();
		for (const { handle, node, reader } of directories) {
			const directory = this.#namespace.nodes.get(node);
			if (directory?.kind !== "directory") continue;
			this.#directories.set(handle, new DirectoryReader(this.#namespace, directory, this.#tree.nodeLimit, reader));
		}
		this.#nextHandle = nextHandle;
	}

	init(kernel: KernelLink, connection?: KernelConnection): void {
		this.#tree.kernel = kernel;
		this.#namespace.volumes.meetServers();
		this.#unknownLookups = new UnknownLookups(this.#namespace.nodes, kernel);
		if (connection === undefined || !canResend(connection)) return;
		const source: JournalSource = {
			nodes: this.#namespace.nodes,
			files: () => this.#files.all(),
			directories: () => this.#directories,
			nextHandle: () => this.#nextHandle,
			volumes: () => identitiesOf(this.#volumes),
			obstacle: () => (this.#hasRemains ? "files of a folder that was removed are still open" : undefined),
		};
		this.#journal?.begin(source, connection);
	}

	beforeAnswer(): void {
		this.#journal?.flush();
	}

	repeated(caller: RequestContext): void {
		this.#requests.begun(caller);
	}

	add(volume: VolumeOptions): void {
		this.#volumes.add(volume);
		const { directories, names } = this.#namespace.volumes.add(volume);
		this.#journal?.volumesChanged();
		if (!volume.readOnly) this.#contents.prepareToWrite();
		for (const { id } of directories) this.#tree.kernel?.invalidateNode(id);
		for (const { parent, name } of names) this.#tree.kernel?.invalidateEntry(parent.id, name);
	}

	hide(volume: VolumeOptions): void {
		this.#volumes.delete(volume);
		const { directories, names } = this.#namespace.volumes.remove(volume);
		this.#journal?.volumesChanged();
		this.#lookForRemains();
		for (const { parent, name } of names) this.#tree.kernel?.invalidateEntry(parent.id, name);
		for (const { id } of directories) this.#tree.kernel?.invalidateNode(id);
	}

	#lookForRemains(): void {
		this.#hasRemains = !this.#namespace.volumes.areWhole;
		this.#journal?.obstacleChanged();
	}

	openFiles(volume: VolumeOptions): number {
		return this.#files.of(volume);
	}

	async forsake(volume: VolumeOptions): Promise<string[]> {
		this.#tree.forsake(volume);
		volume.removals?.leave();
		const lost: string[] = [];
		for (const node of this.#namespace.nodes.all()) {
			if (node.volume !== volume || node.kind === "directory") continue;
			await this.#tree.locks.with(node, async () => {
				if (this.#pending?.has(node) === true) {
					this.#pending.leave(node);
					return;
				}
				if (node.unlinkedKey === undefined && this.#contents.isDirty(node)) lost.push(keyOf(node));
				await this.#contents.discard(node);
			});
			this.#tree.kernel?.invalidateNode(node.id);
		}
		this.#lookForRemains();
		return lost;
	}

	attributesChanged(volume: VolumeOptions): void {
		for (const node of this.#namespace.nodes.all())
			if (node.volume === volume) this.#tree.kernel?.invalidateNode(node.id, -1);
	}

	lookup(parent: number, name: string): Reply<Entry> {
		const directory = this.#tree.directory(parent);
		refuseIfNameTooLong(name);
		const found = this.#namespace.find(directory, name);
		return found instanceof Promise
			? this.#paths.reading({ parent: directory, name }, found).then((node) => this.#entryOrAbsent(node), rethrow)
			: this.#entryOrAbsent(found);
	}

	#entryOrAbsent(node: Node | undefined): Entry {
		if (node === undefined) throw new FuseError("ENOENT");
		return this.#tree.counted(node);
	}

	forget(id: number, count: number): void {
		const node = this.#namespace.nodes.get(id);
		if (node === undefined) return;
		node.lookups = Math.max(0, node.lookups - count);
		this.#unknownLookups?.forgotten(id);
		this.#namespace.nodes.dropIfUnused(node);
	}

	getattr(id: number): Reply<Timed<Attributes>> {
		return this.#attributes.get(id);
	}

	setattr(
		id: number,
		changes: AttributeChanges,
		handle: number | undefined,
		caller: RequestContext,
	): Promise<Timed<Attributes>> {
		return this.#attributes.set(id, changes, handle, caller);
	}

	async readlink(id: number): Promise<string> {
		const node = this.#tree.node(id);
		if (node.kind !== "file" || !isSymlink(node)) throw new FuseError("EINVAL");
		return attempt(async () => {
			node.target ??= (await this.#paths.reading(node, this.#contents.readAll(node))).toString();
			return node.target;
		});
	}

	symlink(parent: number, name: string, target: string, caller: RequestContext): Promise<Entry> {
		return this.#requests.onceEntry(caller, async () => this.#creation.symlink(parent, name, target, caller));
	}

	mknod(parent: number, name: string, mode: number, caller: RequestContext): Promise<Entry> {
		return this.#requests.onceEntry(caller, async () => this.#creation.mknod(parent, name, mode, caller));
	}

	mkdir(parent: number, name: string, mode: number, caller: RequestContext): Promise<Entry> {
		return this.#requests.onceEntry(caller, async () => this.#creation.mkdir(parent, name, mode, caller));
	}

	unlink(parent: number, name: string, caller: RequestContext): Promise<void> {
		return this.#requests.onceVoid(caller, async () => this.#removal.unlink(parent, name, caller));
	}

	rmdir(parent: number, name: string, caller: RequestContext): Promise<void> {
		return this.#requests.onceVoid(caller, async () => this.#removal.rmdir(parent, name, caller));
	}

	rename(
		parent: number,
		name: string,
		newParent: number,
		newName: string,
		flags: number,
		caller: RequestContext,
	): Promise<void> {
		return this.#requests.onceVoid(caller, async () =>
			this.#renaming.rename(parent, name, newParent, newName, flags, caller),
		);
	}

	link(): never {
		throw new FuseError("EPERM", "S3 has no hard links");
	}

	open(id: number, flags: number, caller: RequestContext): Reply<Opened> {
		const known = this.#requests.outcome(caller);
		return known === undefined ? this.#files.open(id, flags, caller) : this.#files.openedBefore(known.handle);
	}

	create(parent: number, name: string, mode: number, flags: number, caller: RequestContext): Promise<Created> {
		return this.#requests.once(
			caller,
			async () => this.#creation.create(parent, name, mode, flags, caller),
			({ node, handle }) => ({ node, handle }),
			({ node, handle }) => ({
				...this.#tree.counted(this.#tree.node(node)),
				...this.#files.openedBefore(handle),
			}),
		);
	}

	read(id: number, handle: number, offset: number, sizeBytes: number, caller: RequestContext): Reply<ReadResult> {
		return this.#files.read(id, handle, offset, sizeBytes, caller);
	}

	write(_id: number, handle: number, offset: number, data: Buffer, caller: RequestContext): Reply<number> {
		return this.#files.write(handle, offset, data, caller);
	}

	flush(_id: number, handle: number, caller: RequestContext): Promise<void> {
		return this.#files.flush(handle, caller);
	}

	fsync(_id: number, handle: number, _dataOnly: boolean, caller: RequestContext): Promise<void> {
		return this.#files.fsync(handle, caller);
	}

	/** Names are made at once, and where they are removed behind, that is waited for. */
	async fsyncdir(id: number): Promise<void> {
		await attempt(async () => this.#tree.node(id).volume?.removals?.drain());
	}

	release(_id: number, handle: number): Promise<void> {
		return this.#files.release(handle);
	}

	opendir(id: number, _flags: number, caller: RequestContext): Opened {
		const known = this.#requests.outcome(caller);
		if (known !== undefined && this.#directories.has(known.handle)) return { handle: known.handle };
		const handle = this.#nextHandle++;
		const directory = this.#tree.directory(id);
		const reader = new DirectoryReader(this.#namespace, directory, this.#tree.nodeLimit);
		this.#directories.set(handle, reader);
		this.#journal?.directoryOpened(handle, reader, caller.unique ?? 0);
		this.#namespace.metadata.entered(directory);
		this.#directoriesAhead.opened(directory);
		return { handle };
	}

	async readdir(_id: number, handle: number, offset: number, page: DirectoryPage): Promise<void> {
		const reader = this.#directories.get(handle);
		if (reader === undefined) throw new FuseError("EBADF");
		const filled = reader.fill(offset, page, (node) => this.#tree.entry(node));
		await attempt(async () => this.#paths.reading(reader.directory, filled));
		this.#journal?.directoryRead(handle, reader, offset === 0);
	}

	releasedir(_id: number, handle: number): void {
		this.#directories.get(handle)?.close();
		this.#directories.delete(handle);
		this.#journal?.directoryClosed(handle);
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

	getxattr(id: number, name: string): Promise<Buffer> {
		return this.#attributes.getExtended(id, name);
	}

	listxattr(id: number): Promise<readonly string[]> {
		return this.#attributes.listExtended(id);
	}

	setxattr(id: number, name: string, value: Buffer, flags: number, caller: RequestContext): Promise<void> {
		return this.#requests.onceVoid(caller, async () => this.#attributes.setExtended(id, name, value, flags, caller));
	}

	removexattr(id: number, name: string, caller: RequestContext): Promise<void> {
		return this.#requests.onceVoid(caller, async () => this.#attributes.removeExtended(id, name, caller));
	}

	async drain(volume?: VolumeOptions): Promise<void> {
		const dirty = [...this.#namespace.nodes.all()].filter(
			(node): node is FileNode =>
				node.kind === "file" && (volume === undefined || node.volume === volume) && this.#contents.isDirty(node),
		);
		const removals = (volume === undefined ? [...this.#volumes] : [volume]).map(async (each) => each.removals?.drain());
		const outcomes = await Promise.allSettled([...dirty.map(async (node) => this.#store(node)), ...removals]);
		for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
	}

	/** A pending file is told of as one. */
	async #store(node: FileNode): Promise<void> {
		await (this.#pending?.has(node) === true ? this.#pending.store(node) : this.#files.commit(node));
	}

	pendingLeft(volume?: VolumeOptions): PendingLeft | undefined {
		const volumes = volume === undefined ? [...this.#volumes] : [volume];
		const parts = [this.#pending?.left(volume), ...volumes.map(({ removals }) => removals?.left())];
		const left = parts.filter((part) => part !== undefined).filter(({ files }) => files > 0);
		return left.length === 0 ? undefined : together(left);
	}

	async destroy(): Promise<void> {
		this.#contents.close();
		this.#unlinked.close();
		for (const node of this.#namespace.nodes.all()) {
			if (node.kind === "file" && node.unlinkedKey !== undefined) await this.#unlinked.delete(node);
		}
		this.#journal?.end();
	}

	folderOf(node: number): string {
		return this.#namespace.nodes.get(node)?.volume?.folder ?? "";
	}

	pathOf(id: number): string | undefined {
		const names: string[] = [];
		let node: Node | undefined = this.#namespace.nodes.get(id);
		for (; node?.parent !== undefined; node = node.parent) names.unshift(node.name);
		return node === this.#namespace.root ? names.join("/") : undefined;
	}

	volumeStates(): Map<string, VolumeState> {
		const states = new Map<string, VolumeState>();
		const stateOf = ({ volume: { folder } }: Pick<FileNode, "volume">): VolumeState => {
			const known = states.get(folder) ?? {
				openFiles: 0,
				pendingFiles: 0,
				pendingBytes: 0,
				pendingSeconds: 0,
				failedFiles: 0,
			};
			states.set(folder, known);
			return known;
		};
		for (const node of this.#files.nodes()) stateOf(node).openFiles++;
		for (const node of this.#pending?.failed() ?? []) stateOf(node).failedFiles++;
		for (const volume of this.#volumes) {
			const left = volume.removals?.left();
			if (left === undefined || left.files === 0) continue;
			const state = stateOf({ volume });
			state.pendingFiles += left.files;
			state.pendingSeconds = Math.max(state.pendingSeconds, left.seconds);
			state.failedFiles += left.failures.size;
		}
		for (const { node, stagedBytes, seconds } of this.#contents.pending()) {
			const state = stateOf(node);
			state.pendingFiles++;
			state.pendingBytes += stagedBytes;
			state.pendingSeconds = Math.max(state.pendingSeconds, seconds);
		}
		return states;
	}

	stats(): Record<string, number> {
		return {
			nodes: this.#namespace.nodes.size,
			nodes_limit: this.#tree.nodeLimit.maximum,
			names_bytes: this.#names.usedBytes,
			names_limit_bytes: this.#names.limitBytes,
			names_forgotten_pages: this.#names.forgotten,
			open_files: this.#files.size,
			open_directories: this.#directories.size,
			hidden_keys: this.#namespace.pages.hiddenKeys,
			waiting_for_names: this.#paths.waiting,
			...this.#contents.stats(),
		};
	}
}
