import { FuseError, type ReadResult } from "../fuse/filesystem.ts";
import { S3Error, type ObjectStore } from "../s3/object-store.ts";
import type { DiskCache } from "./disk-cache.ts";
import type { MemoryBudget, PooledBuffer } from "./memory.ts";

export interface FileVersion {
	readonly key: string;
	readonly etag: string;
	readonly sizeBytes: number;
}

export interface ReadingOptions {
	readonly budget: MemoryBudget;
	/** Of one request, in bytes. Default: 8 MiB. */
	readonly partSizeBytes?: number;
	/** Of one stream, in bytes. */
	readonly maximumReadAheadBytes: number;
	readonly diskCache?: DiskCache;
}

/** The reads of one handle. */
export interface Reader {
	read(offset: number, sizeBytes: number, signal?: AbortSignal): ReadResult | Promise<ReadResult>;
	close(): void;
}

export interface Reading {
	open(store: Pick<ObjectStore, "get">, version: FileVersion, identity: string): Reader;
	readonly stats: Record<string, number>;
}

export function createReading(options: ReadingOptions): Reading {
	return new Parts(options);
}

const mebibyte = 1024 ** 2;
const pageBytes = 4096;
/** What a stream reads ahead first; smaller files are read with one request. */
const firstWindowBytes = mebibyte;
/** Reads of one stream arrive out of order by as much, since the kernel has several under way. */
const toleranceBytes = 4 * mebibyte;

/** A range of one version that is in memory or on its way there. */
interface Part {
	readonly file: FileParts;
	readonly start: number;
	readonly end: number;
	memory: PooledBuffer | undefined;
	/** Bytes that are there, from the start on. */
	filled: number;
	isDone: boolean;
	/** Read to its end: the first to go when memory is short. */
	isConsumed: boolean;
	/** Replies that still refer to its bytes. */
	pins: number;
	readonly waiters: Set<{ readonly until: number; readonly wake: (error?: unknown) => void }>;
	readonly abort: AbortController;
}

interface FileParts {
	readonly name: string;
	readonly identity: string;
	readonly store: Pick<ObjectStore, "get">;
	readonly version: FileVersion;
	/** In the order of their starts; they never overlap. */
	readonly parts: Part[];
	readonly readers: Set<StreamReader>;
}

class Parts implements Reading {
	readonly options: Required<Omit<ReadingOptions, "diskCache">> & Pick<ReadingOptions, "diskCache">;
	readonly stats = { fetched_bytes: 0, served_bytes: 0, read_hits: 0, read_waits: 0 };
	readonly #files = new Map<string, FileParts>();
	/** Oldest use first. */
	readonly #parts = new Set<Part>();
	/** Readers that read ahead. */
	streams = 0;

	constructor(options: ReadingOptions) {
		this.options = { partSizeBytes: 8 * mebibyte, ...options };
		options.budget.addReclaimer((wantedBytes) => this.#reclaim(wantedBytes));
	}

	open(store: Pick<ObjectStore, "get">, version: FileVersion, identity: string): Reader {
		const name = [identity, version.key, version.etag].join("\0");
		const file = this.#files.get(name) ?? {
			name,
			identity,
			store,
			version,
			parts: [],
			readers: new Set<StreamReader>(),
		};
		this.#files.set(name, file);
		return new StreamReader(this, file);
	}

	/** A stream's share of the memory. */
	get windowLimitBytes(): number {
		const { budget, maximumReadAheadBytes } = this.options;
		return Math.min(maximumReadAheadBytes, budget.limitBytes / 2 / Math.max(1, this.streams));
	}

	/** The part that covers the position, or where the next one begins. */
	find(file: FileParts, position: number): { readonly part: Part | undefined; readonly nextStart: number } {
		let low = 0;
		let high = file.parts.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if ((file.parts[middle]?.end ?? 0) <= position) low = middle + 1;
			else high = middle;
		}
		const part = file.parts[low];
		if (part !== undefined && part.start <= position) return { part, nextStart: position };
		return { part: undefined, nextStart: part?.start ?? file.version.sizeBytes };
	}

	used(part: Part): void {
		this.#parts.delete(part);
		this.#parts.add(part);
	}

	/** Begins to fetch a range that no part covers. */
	fetch(file: FileParts, start: number, end: number, memory: PooledBuffer): Part {
		const part: Part = {
			file,
			start,
			end,
			memory,
			filled: 0,
			isDone: false,
			isConsumed: false,
			pins: 0,
			waiters: new Set(),
			abort: new AbortController(),
		};
		const index = file.parts.findIndex((other) => other.start > start);
		file.parts.splice(index === -1 ? file.parts.length : index, 0, part);
		this.#parts.add(part);
		void this.#load(part, memory.buffer);
		return part;
	}

	async #load(part: Part, into: Buffer): Promise<void> {
		const { file, start, end } = part;
		const { store, version, identity } = file;
		const { diskCache } = this.options;
		try {
			const cached = await diskCache?.read(identity, version, start, into);
			if (cached !== true) {
				await store.get(version.key, {
					offset: start,
					into,
					etag: version.etag,
					objectSizeBytes: version.sizeBytes,
					signal: part.abort.signal,
					onProgress: (bytes) => this.#progress(part, bytes),
				});
				this.stats.fetched_bytes += end - start;
			}
			part.isDone = true;
			this.#progress(part, end - start);
			if (cached === false) {
				part.pins++;
				void diskCache?.write(identity, version, start, into).finally(() => this.unpin(part));
			}
		} catch (error) {
			// Not kept: who reads it next asks again.
			this.#remove(part);
			part.isDone = true;
			for (const waiter of part.waiters) waiter.wake(error);
			part.waiters.clear();
			if (part.pins === 0) this.#free(part);
		}
	}

	#progress(part: Part, bytes: number): void {
		// A request that is tried again from the start does not take back what was there.
		if (bytes > part.filled) part.filled = bytes;
		for (const waiter of part.waiters) {
			if (waiter.until > part.filled) continue;
			part.waiters.delete(waiter);
			waiter.wake();
		}
	}

	/**
	 * Gives up what every sequential reader has left behind: the kernel has those pages, and memory that is used again at once is
	 * faster than memory that was never touched.
	 */
	dropBehind(file: FileParts): void {
		let behind = Number.POSITIVE_INFINITY;
		for (const reader of file.readers) behind = Math.min(behind, reader.leftBehind);
		for (let [first] = file.parts; first !== undefined && first.end <= behind; [first] = file.parts) {
			if (!first.isDone || first.pins > 0) return;
			this.#remove(first);
			this.#free(first);
		}
	}

	unpin(part: Part): void {
		part.pins--;
		if (part.pins === 0 && part.isDone && !this.#parts.has(part)) this.#free(part);
	}

	/** Ends a fetch; whoever wants those bytes from now on begins another. */
	giveUp(part: Part): void {
		this.#remove(part);
		part.abort.abort();
	}

	#free(part: Part): void {
		part.memory?.free();
		part.memory = undefined;
	}

	#remove(part: Part): void {
		this.#parts.delete(part);
		const { parts } = part.file;
		const index = parts.indexOf(part);
		if (index !== -1) parts.splice(index, 1);
		this.forgetIfUnused(part.file);
	}

	forgetIfUnused(file: FileParts): void {
		const isUnused = file.parts.length === 0 && file.readers.size === 0;
		// Another may have taken the name meanwhile.
		if (isUnused && this.#files.get(file.name) === file) this.#files.delete(file.name);
	}

	/** What nobody refers to goes: first what was read to its end, then what was used the longest time ago. */
	#reclaim(wantedBytes: number): number {
		let freed = 0;
		for (const consumedOnly of [true, false]) {
			for (const part of this.#parts) {
				if (freed >= wantedBytes) return freed;
				if (!part.isDone || part.pins > 0 || (consumedOnly && !part.isConsumed)) continue;
				this.#remove(part);
				freed += part.end - part.start;
				this.#free(part);
			}
		}
		return freed;
	}
}

class StreamReader implements Reader {
	readonly #all: Parts;
	readonly #file: FileParts;
	/** Where a sequential reader goes on. */
	#next = 0;
	#windowBytes = 0;
	#isClosed = false;

	constructor(all: Parts, file: FileParts) {
		this.#all = all;
		this.#file = file;
		file.readers.add(this);
	}

	close(): void {
		if (this.#isClosed) return;
		this.#isClosed = true;
		this.#setWindow(0);
		const { readers, parts } = this.#file;
		readers.delete(this);
		// Nobody wants what is still on its way.
		if (readers.size === 0) {
			const unwanted = parts.filter(({ isDone, waiters }) => !isDone && waiters.size === 0);
			for (const part of unwanted) this.#all.giveUp(part);
		}
		this.#all.forgetIfUnused(this.#file);
	}

	/** Everything before this position was read, and small steps back do not reach it. */
	get leftBehind(): number {
		return this.#windowBytes === 0 ? 0 : this.#next - toleranceBytes;
	}

	read(offset: number, sizeBytes: number, signal?: AbortSignal): ReadResult | Promise<ReadResult> {
		const end = Math.min(offset + sizeBytes, this.#file.version.sizeBytes);
		if (offset >= end) return { views: [] };
		this.#follow(offset, end);
		const there = this.#collect(offset, end);
		if (there !== undefined) {
			this.#all.stats.read_hits++;
			this.#all.dropBehind(this.#file);
			this.#readAhead();
			return there;
		}
		return this.#wait(offset, end, signal);
	}

	/** Notices whether the reads go on where the last ones ended. */
	#follow(offset: number, end: number): void {
		const isNear = Math.abs(offset - this.#next) <= toleranceBytes;
		const isStart = this.#next === 0 && offset === 0;
		if (isStart || (isNear && this.#next > 0)) {
			this.#next = Math.max(this.#next, end);
			if (this.#windowBytes === 0) this.#setWindow(firstWindowBytes);
		} else {
			this.#next = end;
			this.#setWindow(0);
		}
	}

	#setWindow(bytes: number): void {
		if (this.#windowBytes === 0 && bytes > 0) this.#all.streams++;
		if (this.#windowBytes > 0 && bytes === 0) this.#all.streams--;
		this.#windowBytes = bytes;
	}

	/** The bytes, if all are there. */
	#collect(offset: number, end: number): ReadResult | undefined {
		const views: Uint8Array[] = [];
		const parts: Part[] = [];
		for (let position = offset; position < end;) {
			const { part } = this.#all.find(this.#file, position);
			if (part?.memory === undefined) return undefined;
			const until = Math.min(end, part.end);
			if (part.start + part.filled < until) return undefined;
			views.push(part.memory.buffer.subarray(position - part.start, until - part.start));
			parts.push(part);
			position = until;
		}
		for (const part of parts) {
			part.pins++;
			if (part.end <= end) part.isConsumed = true;
			this.#all.used(part);
		}
		this.#all.stats.served_bytes += end - offset;
		return {
			views,
			release: () => {
				for (const part of parts) this.#all.unpin(part);
			},
		};
	}

	async #wait(offset: number, end: number, signal: AbortSignal | undefined): Promise<ReadResult> {
		this.#all.stats.read_waits++;
		// Who has to wait wants more of it sooner.
		if (this.#windowBytes > 0) this.#setWindow(Math.min(this.#windowBytes * 2, this.#all.windowLimitBytes));
		for (;;) {
			for (let position = offset; position < end;) {
				const { part, nextStart } = this.#all.find(this.#file, position);
				if (part === undefined) await this.#fetchNeeded(position, Math.min(end, nextStart), nextStart, signal);
				position = part === undefined ? Math.min(end, nextStart) : part.end;
			}
			this.#readAhead();
			for (let position = offset; position < end;) {
				const { part } = this.#all.find(this.#file, position);
				if (part === undefined) break;
				const isThere = await this.#until(part, Math.min(end, part.end) - part.start, signal).then(
					() => true,
					(error: unknown) => {
						// Somebody else gave that fetch up; this reader still wants the bytes.
						if (error instanceof S3Error && error.kind === "ABORTED" && signal?.aborted !== true) return false;
						throw error;
					},
				);
				if (!isThere) break;
				position = part.end;
			}
			const there = this.#collect(offset, end);
			// What was there first may have been given up for what came last.
			if (there !== undefined) return there;
			signal?.throwIfAborted();
		}
	}

	async #fetchNeeded(start: number, end: number, limit: number, signal: AbortSignal | undefined): Promise<void> {
		const { options } = this.#all;
		const { sizeBytes } = this.#file.version;
		const isSmall = sizeBytes <= firstWindowBytes && start === 0;
		const wanted = isSmall
			? sizeBytes
			: this.#windowBytes > 0
				? Math.max(end - start, Math.min(this.#windowBytes, options.partSizeBytes))
				: end - start;
		const until = Math.min(limit, Math.ceil((start + wanted) / pageBytes) * pageBytes, sizeBytes);
		const large = options.budget.tryAllocate(until - start);
		if (large !== undefined) {
			this.#all.fetch(this.#file, start, until, large);
			return;
		}
		if (this.#windowBytes > 0) this.#setWindow(Math.max(firstWindowBytes, this.#windowBytes / 2));
		const memory = await options.budget.allocate(end - start, signal);
		// Somebody else may have begun to fetch it meanwhile.
		const { part, nextStart } = this.#all.find(this.#file, start);
		if (part === undefined && nextStart >= end) this.#all.fetch(this.#file, start, end, memory);
		else memory.free();
	}

	/** Keeps as many bytes as the window says on their way behind the last read. */
	#readAhead(): void {
		if (this.#windowBytes === 0 || this.#isClosed) return;
		const { options } = this.#all;
		const { sizeBytes } = this.#file.version;
		const target = Math.min(sizeBytes, this.#next + this.#windowBytes);
		for (let position = this.#next; position < target;) {
			const { part, nextStart } = this.#all.find(this.#file, position);
			if (part !== undefined) {
				position = part.end;
				continue;
			}
			const wanted = Math.min(options.partSizeBytes, Math.max(firstWindowBytes, this.#windowBytes / 4));
			const end = Math.min(nextStart, sizeBytes, position + wanted);
			// Requests for a few bytes at the window's edge would only cost.
			if (end - position < wanted && end < Math.min(nextStart, sizeBytes)) return;
			const memory = options.budget.tryAllocate(end - position);
			if (memory === undefined) {
				this.#setWindow(Math.max(firstWindowBytes, this.#windowBytes / 2));
				return;
			}
			this.#all.fetch(this.#file, position, end, memory);
			position = end;
		}
	}

	async #until(part: Part, bytes: number, signal: AbortSignal | undefined): Promise<void> {
		if (part.filled >= bytes) return;
		const done = Promise.withResolvers<void>();
		const waiter = {
			until: bytes,
			wake: (error?: unknown) => (error === undefined ? done.resolve() : done.reject(error)),
		};
		part.waiters.add(waiter);
		// Must not be given up before it was read.
		part.pins++;
		const abort = (): void => done.reject(new FuseError("EINTR"));
		signal?.addEventListener("abort", abort, { once: true });
		if (signal?.aborted === true) abort();
		try {
			await done.promise;
		} finally {
			part.waiters.delete(waiter);
			signal?.removeEventListener("abort", abort);
			// One turn later: whoever was woken reads it now.
			queueMicrotask(() => queueMicrotask(() => this.#all.unpin(part)));
		}
	}
}
