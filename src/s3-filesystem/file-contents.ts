import { randomUUID } from "node:crypto";
import type { ReadResult, RequestContext } from "../fuse/filesystem.ts";
import { currentTime } from "../fuse/time.ts";
import { S3Error, type ObjectVersion } from "../s3/object-store.ts";
import { createDiskCache } from "./reading/disk-cache.ts";
import { createStaging, Draft, type Staging } from "./writing/draft.ts";
import { createMemoryBudget } from "./reading/memory-budget.ts";
import type { Listed } from "./names/listed.ts";
import type { MemoryBudget } from "./reading/memory.ts";
import type { Namespace } from "./names/namespace.ts";
import {
	keepTimes,
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
import { createReading, smallFileBytes, type Reading } from "./reading/reading.ts";
import { namesFreshSince } from "./names/validity.ts";
import type { FilesystemSettings } from "./names/volume.ts";

/** What is in the files: read from the bucket's versions, and changed through drafts that become new versions. */
export class FileContents {
	readonly #namespace: Namespace;
	readonly #paths: PathLocks;
	readonly #budget: MemoryBudget;
	readonly #reading: Reading;
	readonly #staging: Staging;
	readonly #nextFiles = new NextNames({ kind: "file", steps: 4, maximum: 16, maximumBytes: 8 * 1024 ** 2 });

	constructor(settings: FilesystemSettings, namespace: Namespace, paths: PathLocks) {
		this.#namespace = namespace;
		this.#paths = paths;
		this.#budget = createMemoryBudget(settings.memoryBytes);
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
		this.#reading.prefetch(volume.store, version, volume.identity);
		const isSmall = ({ name, sizeBytes, etag }: Listed): boolean => {
			const child = parent.children.get(name);
			const isInKernel = child?.kind === "file" && child.kernelEtag === etag;
			return sizeBytes <= smallFileBytes && !isInKernel;
		};
		const since = namesFreshSince(volume, parent.listing);
		for (const { name, etag, sizeBytes } of this.#nextFiles.opened(parent, node.name, since, isSmall)) {
			this.#reading.prefetch(volume.store, { key: keyOf(parent) + name, etag, sizeBytes }, volume.identity);
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
		changedNow(node);
		return draft.write(offset, data);
	}

	async truncate(node: FileNode, sizeBytes: number): Promise<void> {
		// Its time changes all the same.
		if (sizeOf(node) === sizeBytes) node.metadataDirty = true;
		const draft = node.draft ?? this.startDraft(node, {});
		await draft.truncate(sizeBytes);
		changedNow(node);
	}

	startDraft(
		node: FileNode,
		{ sizeBytes, onlyIfAbsent = false }: { readonly sizeBytes?: number; readonly onlyIfAbsent?: boolean },
	): Draft {
		const base = this.versionOf(node);
		/** What the metadata said of the file when it was asked for last. */
		let said = { posix: node.posix, changed: node.changed };
		let askedAt = performance.now();
		const paths = this.#paths;
		const draft = new Draft({
			store: node.volume.store,
			staging: this.#staging,
			key: () => keyOf(node),
			keyLock: {
				get isTaken() {
					return paths.isTaken(node);
				},
				shared: async (work) => paths.shared(node, work),
			},
			base,
			sizeBytes: sizeBytes ?? base?.sizeBytes ?? 0,
			metadata: (isFinal) => {
				said = { posix: node.posix, changed: node.changed };
				// While it is being written, the time of the last write is not known.
				const mtime = node.posix.mtime ?? (isFinal ? node.changed : undefined);
				return formatMetadata({ ...node.posix, mode: modeOf(node), ...(mtime !== undefined && { mtime }) });
			},
			properties: async () => {
				askedAt = performance.now();
				return this.#namespace.propertiesOf(node);
			},
			...(onlyIfAbsent && { onlyIfAbsent }),
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
		return draft;
	}

	isDirty(node: FileNode): boolean {
		return node.draft !== undefined && (node.draft.isDirty || node.metadataDirty || node.version === undefined);
	}

	/** Makes the file's present state the object. */
	async commit(node: FileNode): Promise<void> {
		const { draft } = node;
		if (draft === undefined || !this.isDirty(node)) return;
		if (!draft.isDirty && node.version !== undefined) {
			await this.#namespace.ensureMetadata(node);
			await this.replaceMetadata(node);
			return;
		}
		const { changed } = node;
		await draft.commit();
		if (node.changed === changed) node.metadataDirty = false;
	}

	/**
	 * The same for a file whose path somebody has alone: nothing is stored by itself from then on. What is written meanwhile stays in the
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
			properties: await this.#namespace.propertiesOf(node),
		});
		// Otherwise it was written meanwhile.
		if (node.changed === changed) node.posix = { ...node.posix, mtime };
		node.metadataDirty = false;
		this.#becomes(node, { ...version, etag, modifiedMs: modifiedMs ?? Date.now() });
	}

	/** Has the server copy this version of a file, which is about to get another name, to that one's key. */
	async copyTo(node: FileNode, version: Version, key: string, newName: string): Promise<Version> {
		const others = await this.#namespace.propertiesAs(node, newName);
		// With headers of its own a copy has no metadata but what is said.
		if (others !== undefined) await this.#namespace.ensureMetadata(node);
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
		this.#namespace.storedAttributes(node.volume);
		const known = this.#namespace.properties.get(node);
		if (node.kernelEtag === node.version?.etag) node.kernelEtag = version.etag;
		node.version = version;
		if (known !== undefined) this.#namespace.properties.learned(node, known.properties, known.at);
		node.knownAt = performance.now();
		node.posixEtag = isPosixKnown ? version.etag : undefined;
		for (const file of node.handles) {
			file.reader?.close();
			file.reader = undefined;
			file.version = { key, etag: version.etag, sizeBytes: version.sizeBytes };
		}
		node.draft?.rebase({ key, etag: version.etag, sizeBytes: version.sizeBytes });
		// Also when staging had to be freed and nobody closed the file.
		if (node.unlinkedKey === undefined) putListed(node);
	}

	/** Gives up what is not in the bucket. */
	async discard(node: FileNode): Promise<void> {
		const { draft } = node;
		setDraft(node, undefined);
		node.metadataDirty = false;
		node.isKnownToFail = false;
		await draft?.discard();
	}

	/** The name of an open file goes; its object stays where it is, unseen, until the last handle goes or something else needs the name. */
	hide(node: FileNode, directory: DirectoryNode): void {
		node.unlinkedKey = keyOf(node);
		node.hiddenIn = directory;
		directory.hidden.set(node.name, node);
	}

	/** The object of a hidden file makes way for another of its key, for a directory, or for none. */
	async unhide(node: FileNode): Promise<void> {
		const { hiddenIn, name } = node;
		if (hiddenIn?.hidden.get(name) !== node) return;
		await this.setAside(node, async () => {
			if (node.version !== undefined) await node.volume.store.delete(keyOf(node));
		});
	}

	/**
	 * Lets an open file go on without its name, with a copy of its object, while `replace` does with the name what it wants. Where a
	 * copy would take too long, readers find the object gone.
	 */
	async setAside(node: FileNode, replace: () => Promise<void>): Promise<void> {
		// Parts that were sent can only become an object of the old key.
		if (node.draft?.uploadKey !== undefined) await node.draft.commit();
		const work = async (): Promise<void> => {
			const key = `${node.volume.prefix}${unlinkedFolder}/${randomUUID()}`;
			const copy = await this.#copyAside(node, key);
			try {
				await replace();
			} catch (error) {
				if (copy !== undefined) await node.volume.store.delete(key);
				throw error;
			}
			this.#leaveHiding(node);
			node.unlinkedKey = key;
			// Without one it keeps its size: with none, what is left to read would look like the end of the file.
			if (copy !== undefined) this.moved(node, key, copy);
		};
		await (node.draft === undefined ? work() : node.draft.hold(work));
	}

	async #copyAside(node: FileNode, key: string): Promise<Version | undefined> {
		const { version } = node;
		if (version === undefined || version.sizeBytes > largestAsideBytes) return undefined;
		const { etag: oldEtag, sizeBytes } = version;
		try {
			const { etag, modifiedMs = version.modifiedMs } = await node.volume.store.copy(keyOf(node), key, {
				etag: oldEtag,
				sizeBytes,
				// Nobody asks for it by this name.
				properties: { headers: {} },
			});
			return { etag, sizeBytes, modifiedMs };
		} catch (error) {
			// Somebody else was faster.
			if (error instanceof S3Error && (error.kind === "NOT_FOUND" || error.kind === "OBJECT_REPLACED"))
				return undefined;
			throw error;
		}
	}

	#leaveHiding(node: FileNode): void {
		const { hiddenIn, name } = node;
		node.hiddenIn = undefined;
		if (hiddenIn?.hidden.get(name) !== node) return;
		hiddenIn.hidden.delete(name);
		hiddenIn.listing.remove(name);
		this.#namespace.nodes.dropIfUnused(hiddenIn);
	}

	/** Deletes the object of a file that was removed while it was open. */
	async deleteUnlinked(node: FileNode): Promise<void> {
		const { unlinkedKey, version } = node;
		if (unlinkedKey === undefined) return;
		node.version = undefined;
		try {
			if (version !== undefined) await node.volume.store.delete(unlinkedKey);
		} finally {
			this.#leaveHiding(node);
		}
	}

	stats(): Record<string, number> {
		return {
			memory_limit_bytes: this.#budget.limitBytes,
			memory_used_bytes: this.#budget.usedBytes,
			...this.#reading.stats,
			dirty_bytes: this.#staging.usedBytes,
		};
	}
}

/** Below a volume's prefix: objects of files that are open and have no name any more. What a crash leaves there is garbage. */
const unlinkedFolder = ".fluid-fuse-unlinked";
/** A server copies so much with one request. */
const largestAsideBytes = 5 * 1024 ** 3;

function changedNow(node: FileNode): void {
	node.isKnownToFail = false;
	node.changed = node.statusChanged = currentTime();
	// A time that was set before does not hold any more.
	if (node.posix.mtime !== undefined) {
		const { mtime: _, ...rest } = node.posix;
		node.posix = rest;
	}
}
