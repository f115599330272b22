import { existsSync } from "node:fs";
import type { ReadResult, RequestContext } from "../fuse/filesystem.ts";
import { currentTime } from "../fuse/time.ts";
import { S3Error, type ObjectMetadata, type ObjectVersion } from "../s3/object-store.ts";
import { createDiskCache } from "./reading/disk-cache.ts";
import { Draft } from "./writing/draft.ts";
import { isSameMetadata } from "./writing/draft-commit.ts";
import type { DraftWatcher, KeptDraft } from "./writing/draft-options.ts";
import { isSameUpTo, s3PartGrid } from "./writing/part-grid.ts";
import { createStaging, type Staging } from "./writing/staging.ts";
import { Tails } from "./writing/tails.ts";
import { createMemoryBudget } from "./reading/memory-budget.ts";
import type { Journal } from "./journal.ts";
import type { Listed } from "./names/listed.ts";
import type { MemoryBudget } from "./reading/memory.ts";
import type { Namespace } from "./names/namespace.ts";
import {
	isOpenForWriting,
	keepTimes,
	isInPlace,
	keyOf,
	modeOf,
	mtimeOf,
	putListed,
	setDraft,
	sizeOf,
	type DirectoryNode,
	type FileNode,
	type OpenFile,
	type Version,
} from "./names/nodes.ts";
import type { PathLocks } from "./names/path-locks.ts";
import { formatMetadata, parseMetadata } from "./names/posix-metadata.ts";
import { NextNames } from "./names/next-names.ts";
import { Neighbours } from "./names/neighbours.ts";
import type { PendingRecords } from "./pending-records.ts";
import { createReading, smallFileBytes, type Reading } from "./reading/reading.ts";
import { namesFreshSince } from "./names/validity.ts";
import type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";

/** What is guessed to be opened, in whatever order, is no longer than this, and so many are on their way at once. */
const guessedFiles = { maximumBytes: 64 * 1024, underWay: 16 } as const;

/** What is in the files: read from the bucket's versions, and changed through drafts that become new versions. */
export class FileContents {
	readonly #namespace: Namespace;
	readonly #paths: PathLocks;
	readonly #journal: Journal | undefined;
	readonly #budget: MemoryBudget;
	readonly #reading: Reading;
	readonly #staging: Staging;
	readonly #tails: Tails;
	readonly #neighbours = new Neighbours();
	#guessesUnderWay = 0;
	/** Files that may have changes which are not in their bucket, with when those began, by `performance.now()`. */
	readonly #records: PendingRecords | undefined;
	/** Closed under a process before this one, and not compared with the bucket yet. */
	readonly #recalled = new WeakSet<FileNode>();
	readonly #changedSince = new Map<FileNode, number>();
	/** A process that has died has stored them, and has not said how. */
	readonly #unheard = new WeakSet<FileNode>();
	readonly #keptPaths = new Set<string>();
	readonly #nextFiles = new NextNames({ kind: "file", steps: 4, maximum: 16, maximumBytes: 8 * 1024 ** 2 });

	constructor(
		settings: FilesystemSettings,
		namespace: Namespace,
		paths: PathLocks,
		watchers: { readonly journal: Journal | undefined; readonly records: PendingRecords | undefined },
	) {
		this.#journal = watchers.journal;
		this.#records = watchers.records;
		this.#namespace = namespace;
		this.#paths = paths;
		this.#budget = createMemoryBudget(settings.memoryBytes, { isShared: settings.sharesMemory === true });
		if (settings.sharesMemory === true && !this.#budget.isShared)
			settings.log?.("warn", { memoryBytes: settings.memoryBytes }, "no memory for all threads: one of them does all");
		const diskCache =
			settings.cache &&
			createDiskCache({
				...settings.cache,
				onTrouble: (problem) => settings.onDiskTrouble?.("cache", problem),
			});
		this.#reading = createReading({
			budget: this.#budget,
			get maximumReadAheadBytes() {
				return settings.readAheadBytes;
			},
			...(diskCache !== undefined && {
				diskCache,
				onDiskRead: (read) => settings.log?.("debug", read, "looked for on the disk of the cache"),
			}),
		});
		this.#staging = createStaging({
			directory: settings.stagingDirectory,
			limitBytes: settings.stagingLimitBytes,
			...(settings.makeStagingDirectory !== undefined && { makeDirectory: settings.makeStagingDirectory }),
			// They are on one disk.
			giveWay: (bytes) => diskCache?.giveWay(bytes) ?? false,
			onDiskTrouble: (problem) => settings.onDiskTrouble?.("writes", problem),
			onTrouble: (error, message) => settings.log?.("warn", { err: error }, message),
		});
		this.#tails = new Tails(this.#staging);
	}

	/** Something may be written from now on. */
	prepareToWrite(): void {
		void this.#staging.prepare();
	}

	versionOf(node: FileNode): ObjectVersion | undefined {
		const { version } = node;
		return version && { key: keyOf(node), etag: version.etag, sizeBytes: version.sizeBytes };
	}

	/** A file was opened for reading, of which the kernel has no page: brings what is small, and what is likely to come next. */
	prefetch(node: FileNode): void {
		const { parent, volume, draft } = node;
		const version = this.versionOf(node);
		if (draft !== undefined || version === undefined || parent === undefined) return;
		const isThere = this.#reading.has(version, volume.identity);
		void this.#reading.prefetch(volume.store, version, volume.identity);
		const isSmall = (listed: Listed): boolean => listed.sizeBytes <= smallFileBytes && !isInKernel(parent, listed);
		const since = namesFreshSince(volume, parent.listing);
		for (const { name, etag, sizeBytes } of this.#nextFiles.opened(parent, node.name, since, isSmall)) {
			void this.#reading.prefetch(volume.store, { key: keyOf(parent) + name, etag, sizeBytes }, volume.identity);
		}
		if (version.sizeBytes > guessedFiles.maximumBytes) return;
		this.#neighbours.opened(parent, node.name, isThere);
		this.#guess(parent, volume);
	}

	/** Brings others of the directory, for whoever opens its files in no order. */
	#guess(directory: DirectoryNode, volume: VolumeOptions): void {
		const { store, identity } = volume;
		const versionOf = ({ name, etag, sizeBytes }: Listed): ObjectVersion => {
			return { key: keyOf(directory) + name, etag, sizeBytes };
		};
		const isWanted = (listed: Listed): boolean => {
			const { sizeBytes } = listed;
			if (sizeBytes === 0 || sizeBytes > guessedFiles.maximumBytes || isInKernel(directory, listed)) return false;
			return !this.#reading.has(versionOf(listed), identity);
		};
		while (this.#guessesUnderWay < guessedFiles.underWay && isInPlace(directory)) {
			const listed = this.#neighbours.next(directory, namesFreshSince(volume, directory.listing), isWanted);
			if (listed === undefined) return;
			const version = versionOf(listed);
			const brought = this.#reading.prefetch(store, version, identity, { isAhead: true });
			if (brought === undefined) {
				this.#neighbours.refused(directory, listed.name);
				return;
			}
			this.#guessesUnderWay++;
			void brought.then(() => {
				this.#guessesUnderWay--;
				if (this.#reading.has(version, identity)) this.#guess(directory, volume);
				else this.#neighbours.refused(directory, listed.name);
			});
		}
	}

	read(file: OpenFile, offset: number, sizeBytes: number, context: RequestContext): ReadResult | Promise<ReadResult> {
		const { node } = file;
		// What was changed here is seen by every handle at once.
		if (node.draft?.isDirty === true) return node.draft.read(offset, sizeBytes);
		if (file.version === undefined || offset >= file.version.sizeBytes) return { views: [] };
		file.reader ??= this.#reading.open(node.volume.store, file.version, node.volume.identity);
		return file.reader.read(offset, sizeBytes, context);
	}

	/** The content of a small object. */
	async readAll(node: FileNode): Promise<Buffer> {
		const version = this.versionOf(node);
		const into = Buffer.alloc(version?.sizeBytes ?? 0);
		if (version !== undefined) {
			const { key, etag, sizeBytes } = version;
			await node.volume.store.get(key, { offset: 0, into, etag, objectSizeBytes: sizeBytes });
		}
		return into;
	}

	write(node: FileNode, offset: number, data: Buffer): number | Promise<number> {
		const draft = node.draft ?? this.startDraft(node, {});
		this.#changed(node);
		return draft.write(offset, data);
	}

	async truncate(node: FileNode, sizeBytes: number): Promise<void> {
		// Its time changes all the same.
		if (sizeOf(node) === sizeBytes) node.metadataDirty = true;
		const draft = node.draft ?? this.startDraft(node, {});
		await draft.truncate(sizeBytes);
		this.#changed(node);
		this.#records?.refresh(node);
	}

	/** Mode, owner or times of a file with a draft are others. */
	attributesChanged(node: FileNode): void {
		node.metadataDirty = true;
		this.#namespace.nodes.changed(node);
		this.#records?.refresh(node);
	}

	startDraft(
		node: FileNode,
		{
			sizeBytes,
			onlyIfAbsent = false,
			kept,
		}: { readonly sizeBytes?: number; readonly onlyIfAbsent?: boolean; readonly kept?: KeptDraft },
	): Draft {
		const base = kept === undefined ? this.versionOf(node) : kept.base;
		const watcher = bothOf(this.#journal?.watcherOf(node), this.#records?.watcherOf(node));
		/** What the metadata said of the file when it was asked for last. */
		let said = { posix: node.posix, changed: node.changed };
		let askedAt = performance.now();
		const [paths, recalled] = [this.#paths, this.#recalled];
		const draft = new Draft({
			store: node.volume.store,
			staging: this.#staging,
			tails: this.#tails,
			key: () => keyOf(node),
			keyLock: {
				get isTaken() {
					return paths.isTaken(node) || recalled.has(node);
				},
				shared: async (work) => paths.shared(node, work),
			},
			base,
			sizeBytes: sizeBytes ?? base?.sizeBytes ?? 0,
			metadata: (isFinal) => {
				said = { posix: node.posix, changed: node.changed };
				return metadataOf(node, isFinal);
			},
			properties: async () => {
				askedAt = performance.now();
				return this.#namespace.properties.of(node);
			},
			isPatient: () => node.volume.writeBack !== undefined,
			...(onlyIfAbsent && { onlyIfAbsent }),
			...(watcher !== undefined && { watcher }),
			...(kept !== undefined && { kept }),
			onCommit: ({ etag, sizeBytes: committedBytes, modifiedMs, metadata, properties }) => {
				// Otherwise attributes were changed while the server was told of those before.
				if (metadata !== undefined && node.posix === said.posix) {
					const { mtime, ...others } = parseMetadata(metadata);
					const isWrittenSince = mtime === undefined || node.changed !== said.changed;
					node.posix = isWrittenSince ? others : { ...others, mtime };
				}
				this.#becomes(node, { etag, sizeBytes: committedBytes, modifiedMs: modifiedMs ?? Date.now() });
				const isKnown = this.#namespace.properties.get(node) !== undefined;
				if (properties !== undefined && !isKnown) this.#namespace.properties.learned(node, properties, askedAt);
			},
		});
		setDraft(node, draft);
		watcher?.changed();
		this.#namespace.nodes.changed(node);
		this.#changedSince.set(node, performance.now());
		return draft;
	}

	#changed(node: FileNode): void {
		changedNow(node);
		this.#namespace.nodes.changed(node);
		if (!this.#changedSince.has(node)) this.#changedSince.set(node, performance.now());
	}

	/** Files with changes that are not in their bucket: what of those is staged, and for how long. */
	*pending(): Generator<{ readonly node: FileNode; readonly stagedBytes: number; readonly seconds: number }> {
		const now = performance.now();
		for (const [node, since] of this.#changedSince) {
			if (this.isDirty(node)) yield { node, stagedBytes: node.draft?.stagedBytes ?? 0, seconds: (now - since) / 1000 };
			else this.#changedSince.delete(node);
		}
	}

	/** With the draft of a process that has died. Throws when it cannot be read as that one has written it. */
	goOn(node: FileNode, kept: KeptDraft, { wasClosed = false }: { readonly wasClosed?: boolean } = {}): void {
		const { grid, limitBytes } = this.#staging;
		const isOther = kept.limitBytes !== limitBytes;
		if (isOther && !(wasClosed && isSameUpTo(kept.sizeBytes, grid, s3PartGrid(kept.limitBytes))))
			throw new Error("its staging had another limit");
		const { base, baseModifiedMs: modifiedMs = Date.now() } = kept;
		if (base !== undefined && node.version?.etag !== base.etag) {
			const { etag, sizeBytes } = base;
			const isPosixKnown = node.version === undefined || node.posixEtag === node.version.etag;
			node.version = { etag, sizeBytes, modifiedMs };
			if (!wasClosed && isPosixKnown) {
				// It had not come to say whether the object has what the file was given meanwhile.
				node.posixEtag = etag;
				node.metadataDirty = true;
				this.#unheard.add(node);
			}
		}
		// What was written last is told by the parts alone.
		const ends = kept.parts.map(
			({ index, edges, uploaded }) => grid.startOf(index) + Math.max(edges.at(-1) ?? 0, uploaded?.sizeBytes ?? 0),
		);
		const sizeBytes = Math.max(kept.sizeBytes, ...ends);
		this.startDraft(node, { sizeBytes, onlyIfAbsent: kept.onlyIfAbsent, kept });
		for (const { path, edges } of kept.parts) {
			if (edges.length === 0) continue;
			if (!existsSync(path)) throw new Error("what it had staged is gone");
			this.#keptPaths.add(path);
		}
	}

	/** The same, of a file that was closed: it is stored unless somebody else has stored another since. `since`: by performance.now. */
	recall(node: FileNode, kept: KeptDraft, since: number): void {
		this.goOn(node, kept, { wasClosed: true });
		this.#recalled.add(node);
		this.#changedSince.set(node, since);
	}

	/** Somebody may make an object of it who is not here. */
	spare(paths: readonly string[]): void {
		for (const path of paths) this.#keptPaths.add(path);
	}

	/** What a process that has died has left in staging, and nobody goes on with. */
	removeOthers(): void {
		this.#staging.removeOthers(this.#keptPaths);
		this.#keptPaths.clear();
	}

	isDirty(node: FileNode): boolean {
		return node.draft !== undefined && (node.draft.isDirty || node.metadataDirty || node.version === undefined);
	}

	/** Makes the file's present state the object. */
	async commit(node: FileNode): Promise<void> {
		const { draft } = node;
		if (draft === undefined || !this.isDirty(node)) return;
		if (!draft.isDirty && node.version !== undefined) {
			await this.#namespace.metadata.ensure(node);
			if (!(await this.#isDescribed(node, node.version))) await this.replaceMetadata(node);
			return;
		}
		if (this.#recalled.has(node)) await this.#compareWithBucket(node, draft);
		const { changed } = node;
		await draft.commit();
		if (node.changed === changed) node.metadataDirty = false;
		this.#namespace.nodes.changed(node);
	}

	/** Whether there is nothing left to do to the object that a process has stored which has died of it. */
	async #isDescribed(node: FileNode, version: Version): Promise<boolean> {
		if (!this.#unheard.has(node)) return false;
		const { changed } = node;
		const found = await unlessAbsent(node.volume.store.head(keyOf(node)));
		const isDescribed =
			found?.sizeBytes === version.sizeBytes && isSameMetadata(found.metadata, metadataOf(node, true));
		this.#unheard.delete(node);
		if (!isDescribed && found?.etag === version.etag) return false;
		if (node.changed === changed) node.metadataDirty = false;
		// It has copied the object onto itself. Otherwise somebody else has replaced or removed it since.
		if (isDescribed) this.#becomes(node, { ...version, etag: found.etag, modifiedMs: found.modifiedMs });
		this.#namespace.nodes.changed(node);
		return true;
	}

	/** Throws when somebody else has changed the object since the file was closed, unless it was written here again. */
	async #compareWithBucket(node: FileNode, draft: Draft): Promise<void> {
		const { base } = draft;
		const key = keyOf(node);
		const found = await unlessAbsent(node.volume.store.head(key, base && { as: base.etag }));
		const isAsItWas = found?.etag === base?.etag || draft.keep().committing !== undefined;
		if (!isAsItWas && this.#records?.isCurrent(node) === true) {
			const metadata = metadataOf(node, true);
			const isThis =
				found !== undefined && found.sizeBytes === draft.sizeBytes && isSameMetadata(found.metadata, metadata);
			if (!isThis) throw new S3Error("OBJECT_REPLACED", `${key} was changed by somebody else since it was closed here`);
			await draft.stored({ ...found, key });
		}
		this.#recalled.delete(node);
	}

	/** Stores what nobody has open, so that nobody would write it later; without success it is given up. */
	async commitClosed(node: FileNode): Promise<void> {
		try {
			await this.commit(node);
		} finally {
			// Unless somebody has opened it meanwhile, or was told before that it is safe.
			if (!isOpenForWriting(node) && this.#records?.has(node) !== true) await this.discard(node);
		}
	}

	/**
	 * As `commit`, for a file whose path somebody has alone: nothing is stored by itself from then on. What is written meanwhile stays in the
	 * draft.
	 */
	async settle(node: FileNode): Promise<void> {
		await this.commit(node);
		// A commit on somebody else's behalf may be at its end.
		await node.draft?.hold(async () => undefined);
	}

	/** Who waited for a path may go on now. */
	pathsFree(): void {
		this.#staging.changed();
	}

	/** Gives the object other metadata: the server copies it onto itself. */
	async replaceMetadata(node: FileNode): Promise<void> {
		const { version } = node;
		if (version === undefined) return;
		const key = keyOf(node);
		const { changed } = node;
		const mtime = mtimeOf(node);
		const { etag, modifiedMs } = await node.volume.store.copy(key, key, {
			etag: version.etag,
			sizeBytes: version.sizeBytes,
			metadata: formatMetadata({ ...node.posix, mode: modeOf(node), mtime }),
			properties: await this.#namespace.properties.of(node),
		});
		// Otherwise it was written meanwhile.
		if (node.changed === changed) node.posix = { ...node.posix, mtime };
		node.metadataDirty = false;
		this.#becomes(node, { ...version, etag, modifiedMs: modifiedMs ?? Date.now() });
	}

	/** Has the server copy this version of a file, which is about to get another name, to that one's key. */
	async copyTo(node: FileNode, version: Version, key: string, newName: string): Promise<Version> {
		const others = await this.#namespace.properties.as(node, newName);
		// With headers of its own a copy has no metadata but what is said.
		if (others !== undefined) await this.#namespace.metadata.ensure(node);
		const properties = others ?? this.#namespace.properties.get(node)?.properties;
		const storedAt = performance.now();
		const { etag, modifiedMs = version.modifiedMs } = await node.volume.store.copy(keyOf(node), key, {
			etag: version.etag,
			sizeBytes: version.sizeBytes,
			...(properties !== undefined && { properties }),
			...(others !== undefined && { metadata: formatMetadata(node.posix) }),
		});
		if (others !== undefined) this.#namespace.properties.learned(node, others, storedAt);
		return { ...version, etag, modifiedMs };
	}

	/** The same content has another key or version now. */
	moved(node: FileNode, key: string, version: Version): void {
		// What was not known of it is not known of the copy either.
		const isPosixKnown = node.posixEtag === node.version?.etag;
		keepTimes(node);
		this.#becomes(node, version, key, isPosixKnown);
	}

	/** What was written here is in the kernel's pages already, if they were right before, and in every handle's view. */
	#becomes(node: FileNode, version: Version, key = keyOf(node), isPosixKnown = true): void {
		this.#namespace.pages.storedAttributes(node.volume);
		const known = this.#namespace.properties.get(node);
		if (node.kernelEtag === node.version?.etag) node.kernelEtag = version.etag;
		// What is written meanwhile is new.
		if (this.#changedSince.has(node)) this.#changedSince.set(node, performance.now());
		node.version = version;
		if (known !== undefined) this.#namespace.properties.learned(node, known.properties, known.at);
		node.knownAt = performance.now();
		node.posixEtag = isPosixKnown ? version.etag : undefined;
		this.#namespace.nodes.changed(node);
		for (const file of node.handles) {
			file.reader?.close();
			file.reader = undefined;
			file.version = { key, etag: version.etag, sizeBytes: version.sizeBytes };
			this.#journal?.opened(file, 0);
		}
		node.draft?.rebase({ key, etag: version.etag, sizeBytes: version.sizeBytes });
		// Also when staging had to be freed and nobody closed the file.
		if (node.unlinkedKey === undefined) putListed(node);
	}

	/** Its name is gone: nobody is to make an object of it. */
	unlinked(node: FileNode): void {
		this.#records?.drop(node);
	}

	/** Forgets what is not in the bucket, and leaves it where whoever comes next finds it. */
	leave(node: FileNode): void {
		this.#records?.leave(node);
		setDraft(node, undefined);
		this.#changedSince.delete(node);
		this.#namespace.nodes.changed(node);
	}

	/** Gives up what is not in the bucket. */
	async discard(node: FileNode): Promise<void> {
		const { draft } = node;
		this.#records?.drop(node);
		setDraft(node, undefined);
		this.#changedSince.delete(node);
		node.metadataDirty = false;
		node.isKnownToFail = false;
		this.#namespace.nodes.changed(node);
		await draft?.discard();
	}

	/** Nothing is left on a disk that only this process knows of. */
	close(): void {
		this.#tails.clear();
	}

	stats(): Record<string, number> {
		const { brought, used, lost, stopped } = this.#neighbours.counts;
		return {
			memory_limit_bytes: this.#budget.limitBytes,
			memory_used_bytes: this.#budget.usedBytes,
			...this.#reading.stats,
			guessed_files: brought,
			guessed_files_used: used,
			guessed_files_lost: lost,
			guesses_stopped: stopped,
			dirty_bytes: this.#staging.usedBytes - this.#tails.usedBytes,
			dirty_limit_bytes: this.#staging.limitBytes,
		};
	}
}

async function unlessAbsent<T>(found: Promise<T>): Promise<T | undefined> {
	try {
		return await found;
	} catch (error) {
		if (error instanceof S3Error && error.kind === "NOT_FOUND") return undefined;
		throw error;
	}
}

/** What its object gets. */
function metadataOf(node: FileNode, isFinal: boolean): ObjectMetadata {
	// While it is being written, the time of the last write is not known.
	const mtime = node.posix.mtime ?? (isFinal ? node.changed : undefined);
	return formatMetadata({ ...node.posix, mode: modeOf(node), ...(mtime !== undefined && { mtime }) });
}

function bothOf(one: DraftWatcher | undefined, other: DraftWatcher | undefined): DraftWatcher | undefined {
	if (one === undefined || other === undefined) return one ?? other;
	return {
		changed: () => {
			one.changed();
			other.changed();
		},
		partChanged: (index) => {
			one.partChanged(index);
			other.partChanged(index);
		},
		written: (index, start, end) => {
			one.written(index, start, end);
			other.written(index, start, end);
		},
		flush: () => {
			one.flush();
			other.flush();
		},
	};
}

/** The kernel has its pages, or what was written here. */
function isInKernel({ children }: DirectoryNode, { name, etag }: Listed): boolean {
	const child = children.get(name);
	return child?.kind === "file" && (child.kernelEtag === etag || child.draft !== undefined);
}

function changedNow(node: FileNode): void {
	node.isKnownToFail = false;
	node.changed = node.statusChanged = currentTime();
	// A time that was set before does not hold any more.
	if (node.posix.mtime !== undefined) {
		const { mtime: _, ...rest } = node.posix;
		node.posix = rest;
	}
}
