import { type ByteRange, mebibyte } from "../../bytes.ts";
import type { ObjectVersion } from "../../s3/object-store.ts";
import type { ReadResult, RequestContext } from "../../fuse/filesystem.ts";
import type { CachedFile, ReadableStore } from "./cached-file.ts";
import type { DiskCache } from "./disk-cache.ts";
import { firstFetch, pieceEnd, streamFetch, wholePages } from "./fetch-ranges.ts";
import type { MemoryBudget } from "./memory.ts";
import { backwardBytes, PartCache, type Need } from "./part-cache.ts";
import { PartSource, type DiskReadListener } from "./part-source.ts";
import type { Part } from "./part.ts";
import { ActiveStreams, ReadPattern, type ReadStream } from "./read-stream.ts";
import { smallestWindowBytes } from "./read-window.ts";
import { RecentFailures } from "./recent-failures.ts";

export interface ReadingOptions {
	readonly budget: MemoryBudget;
	/** Of one request at most, in bytes; less when the budget is small. Default: 8 MiB. */
	readonly partSizeBytes?: number;
	/** Of one stream, in bytes; less when many share the budget. May change. Default: 64 MiB. */
	readonly maximumReadAheadBytes?: number;
	readonly diskCache?: DiskCache;
	/** For logs. */
	readonly onDiskRead?: DiskReadListener;
}

/** Only asked for its signal when it has to wait, as making one costs more than a read of what is there. */
type Caller = Pick<RequestContext, "signal">;

/** The reads of one handle. */
export interface Reader {
	/**
	 * At once if the bytes are there. Fails with what the store says, or with the reason of the caller's signal: then others that wait for the same bytes do not
	 * notice. Fewer bytes than asked for mean the end of the file.
	 */
	read(offset: number, sizeBytes: number, caller?: Caller): ReadResult | Promise<ReadResult>;
	close(): void;
}

/** What is read of objects, with one memory for all of them. */
export interface Reading {
	/** `identity` tells buckets apart: endpoint and name. */
	open(store: ReadableStore, version: ObjectVersion, identity: string): Reader;
	/**
	 * Brings a small file as a whole, if nothing of it is there and there is memory, for somebody who is likely to open or to read it soon. `isAhead`: it
	 * is only a guess, for which nothing else is to wait or to go. Resolves when it is there, or is not going to be; undefined: it is not begun.
	 */
	prefetch(
		store: ReadableStore,
		version: ObjectVersion,
		identity: string,
		options?: { readonly isAhead?: boolean },
	): Promise<void> | undefined;
	/** Whether something of that version is in memory, or on its way. */
	has(version: ObjectVersion, identity: string): boolean;
	/** Drops what is in memory of a version that nobody is going to open again. */
	forget(version: ObjectVersion, identity: string): void;
	/** For metrics. */
	readonly stats: Readonly<Record<string, number>>;
}

export function createReading(options: ReadingOptions): Reading {
	return new SharedReading(options);
}

/** Files up to this size are read with one request for all of them, which is what S3 has a checksum for. */
export const smallFileBytes = mebibyte;
/**
 * What stays of what was read in order, for readers that follow and for direct I/O; others find it in the kernel's pages. More of it
 * only means more memory that has to be touched for the first time.
 */
const keptBehind = { bytes: 16 * mebibyte, shareOfBudget: 1 / 4 } as const;

/** Of what was brought ahead and nobody has opened. */
const shareOfUnopened = 1 / 4;

interface Shared {
	readonly cache: PartCache;
	readonly source: PartSource;
	readonly active: ActiveStreams;
	readonly maximumPartBytes: number;
	/** Of one stream, with what all others have. */
	windowLimitBytes(): number;
	readonly counts: { hits: number; waits: number; servedBytes: number };
}

class SharedReading implements Reading {
	readonly #shared: Shared;
	readonly #diskCache: DiskCache | undefined;

	constructor(options: ReadingOptions) {
		const { budget, diskCache, partSizeBytes = 8 * mebibyte } = options;
		this.#diskCache = diskCache;
		const source = new PartSource(diskCache, options.onDiskRead);
		const active = new ActiveStreams();
		this.#shared = {
			source,
			active,
			cache: new PartCache({
				budget,
				source,
				keptBehindBytes: Math.min(keptBehind.bytes, budget.limitBytes * keptBehind.shareOfBudget),
				unopenedLimitBytes: budget.limitBytes * shareOfUnopened,
			}),
			// A read holds three at most: that leaves room for others' that are on their way.
			maximumPartBytes: Math.min(partSizeBytes, budget.limitBytes / 8),
			windowLimitBytes: () =>
				Math.min(options.maximumReadAheadBytes ?? 64 * mebibyte, budget.limitBytes / 2 / Math.max(1, active.count)),
			counts: { hits: 0, waits: 0, servedBytes: 0 },
		};
	}

	open(store: ReadableStore, version: ObjectVersion, identity: string): Reader {
		return new HandleReader(this.#shared, this.#shared.cache.open(store, version, identity));
	}

	prefetch(
		store: ReadableStore,
		version: ObjectVersion,
		identity: string,
		{ isAhead = false }: { readonly isAhead?: boolean } = {},
	): Promise<void> | undefined {
		const { sizeBytes } = version;
		if (sizeBytes === 0 || sizeBytes > smallFileBytes) return undefined;
		const { cache } = this.#shared;
		if (isAhead && !cache.hasRoomForUnopened(sizeBytes)) return undefined;
		const file = cache.open(store, version, identity);
		const isBegun = file.parts.length === 0 && cache.fetchAhead(file, 0, sizeBytes, isAhead);
		const [part] = file.parts;
		if (part === undefined || part.isSettled) {
			cache.close(file);
			return undefined;
		}
		// Who reads it finds the failure, by asking again.
		const settled = part.untilSettled().finally(() => cache.close(file));
		return isBegun ? settled : undefined;
	}

	has(version: ObjectVersion, identity: string): boolean {
		return this.#shared.cache.has(version, identity);
	}

	forget(version: ObjectVersion, identity: string): void {
		this.#shared.cache.forget(version, identity);
	}

	get stats(): Readonly<Record<string, number>> {
		const { cache, counts, source } = this.#shared;
		return {
			fetched_bytes: source.counts.fetched,
			disk_cache_read_bytes: source.counts.fromDisk,
			server_fills: source.counts.fromServerFills,
			disk_cache_fills: source.counts.fromDiskFills,
			disk_cache_used_bytes: this.#diskCache?.usedBytes ?? 0,
			disk_cache_limit_bytes: this.#diskCache?.limitBytes ?? 0,
			disk_cache_evicted_blocks: this.#diskCache?.evictedBlocks ?? 0,
			disk_cache_damaged_blocks: this.#diskCache?.damagedBlocks ?? 0,
			served_bytes: counts.servedBytes,
			read_hits: counts.hits,
			read_waits: counts.waits,
			read_ahead_wasted_bytes: cache.wastedBytes,
			evicted_parts: cache.evictedParts,
		};
	}
}

const nothing: ReadResult = { views: [] };

class HandleReader implements Reader {
	readonly #shared: Shared;
	readonly #file: CachedFile;
	readonly #pattern: ReadPattern;
	readonly #failures = new RecentFailures();
	#isClosed = false;

	constructor(shared: Shared, file: CachedFile) {
		this.#shared = shared;
		this.#file = file;
		this.#pattern = new ReadPattern(file.positions, shared.active);
	}

	close(): void {
		if (this.#isClosed) return;
		this.#isClosed = true;
		this.#pattern.close();
		this.#shared.cache.close(this.#file);
	}

	read(offset: number, sizeBytes: number, caller?: Caller): ReadResult | Promise<ReadResult> {
		const end = Math.min(offset + sizeBytes, this.#file.version.sizeBytes);
		if (offset >= end) return nothing;
		const stream = this.#pattern.follow(offset, end);
		if (stream.isInOrder && stream.isAdvancing && stream.window.bytes === 0) stream.start(end - offset);
		if (stream.window.bytes > 0) this.#shared.active.use(stream);
		const there = this.#collect(offset, end);
		if (there === undefined) return this.#wait(stream, { start: offset, end }, caller?.signal);
		this.#shared.counts.hits++;
		this.#goOn(stream);
		return there;
	}

	/** The bytes, if all are there. */
	#collect(start: number, end: number): ReadResult | undefined {
		const { parts } = this.#file;
		const first = this.#file.indexAt(start);
		let last = first;
		for (let position = start; ; last++) {
			const part = parts[last];
			if (part === undefined || part.start > position) return undefined;
			if (end <= part.end) {
				if (part.filledEnd < end) return undefined;
				break;
			}
			if (!part.isSettled) return undefined;
			position = part.end;
		}
		const found = parts.slice(first, last + 1);
		for (const part of found) part.pins++;
		return this.#result(found, start, end);
	}

	/** `parts` are pinned until the result is released. */
	#result(parts: readonly Part[], start: number, end: number): ReadResult {
		const { cache, counts } = this.#shared;
		const views = parts.map((part) => part.view(Math.max(start, part.start), Math.min(end, part.end)));
		for (const part of parts) cache.touch(this.#file, part);
		counts.servedBytes += end - start;
		return new PinnedResult(views, parts, cache);
	}

	async #wait(stream: ReadStream, span: ByteRange, signal: AbortSignal | undefined): Promise<ReadResult> {
		const { cache, counts } = this.#shared;
		this.#failures.throwFor(span.start);
		const startedAt = performance.now();
		counts.waits++;
		this.#grow(stream, span);
		const acquired = cache.acquire(this.#need(stream, span), signal);
		const parts = acquired instanceof Promise ? await acquired : acquired;
		let isRead = false;
		try {
			// What is needed was asked for first.
			stream.requestedEnd = Math.max(stream.requestedEnd, parts.at(-1)?.end ?? 0);
			this.#goOn(stream);
			for (const part of parts) await part.untilFilled(Math.min(span.end, part.end) - part.start, signal);
			isRead = true;
			return this.#result(parts, span.start, span.end);
		} catch (error) {
			if (signal?.aborted !== true) this.#failures.add(span, startedAt, error);
			throw error;
		} finally {
			if (!isRead) for (const part of parts) cache.unpin(part);
		}
	}

	/** Who has to wait may want more of it sooner. */
	#grow(stream: ReadStream, { start, end }: ByteRange): void {
		if (stream.window.bytes === 0 || !stream.isAdvancing) return;
		stream.window.waited(start, Math.max(stream.requestedEnd, end), this.#shared.windowLimitBytes(), performance.now());
	}

	#need(stream: ReadStream, { start, end }: ByteRange): Need {
		const { maximumPartBytes, source } = this.#shared;
		const file = this.#file;
		const { sizeBytes } = file.version;
		const isFirst = start === 0 && !stream.isInOrder;
		const isAhead = stream.isAdvancing && stream.window.bytes > 0;
		const least = (gap: ByteRange, room: ByteRange): ByteRange => {
			const isWholeFree = room.start === 0 && room.end === sizeBytes;
			return isWholeFree && sizeBytes <= smallFileBytes ? room : wholePages(gap, room);
		};
		const wish = (gap: ByteRange, room: ByteRange): ByteRange => {
			if (sizeBytes <= smallFileBytes) return least(gap, room);
			if (isFirst) return firstFetch(gap, room, maximumPartBytes);
			if (isAhead) {
				const windowBytes = Math.min(stream.window.bytes, this.#shared.windowLimitBytes());
				return streamFetch(gap, room, windowBytes, maximumPartBytes);
			}
			const pages = wholePages(gap, room);
			// The disk has whole blocks only.
			const block = source.blockOnDisk(file, gap.start);
			const isUsable =
				block !== undefined && block.start >= room.start && block.end <= room.end && block.end >= pages.end;
			return isUsable ? block : pages;
		};
		return { file, start, end, least, wish };
	}

	/** Asks for what comes next, and gives up what was left behind. */
	#goOn(stream: ReadStream): void {
		if (stream.window.bytes === 0) return;
		if (stream.next - stream.tidiedEnd >= mebibyte) {
			stream.tidiedEnd = stream.next;
			let behind = stream.next;
			for (const { next } of this.#file.positions) behind = Math.min(behind, next);
			this.#shared.cache.leaveBehind(this.#file, behind - backwardBytes);
		}
		if (!this.#isClosed) this.#readAhead(stream);
	}

	#readAhead(stream: ReadStream): void {
		const { cache, maximumPartBytes } = this.#shared;
		const { sizeBytes } = this.#file.version;
		if (stream.requestedEnd >= sizeBytes) return;
		const windowBytes = Math.min(stream.window.bytes, this.#shared.windowLimitBytes());
		if (windowBytes < smallestWindowBytes) return;
		const target = stream.next + windowBytes;
		let position = Math.max(stream.next, stream.requestedEnd);
		while (position < target && position < sizeBytes) {
			const part = this.#file.partAt(position);
			if (part !== undefined) {
				position = part.end;
				continue;
			}
			const wanted = pieceEnd(position, windowBytes, maximumPartBytes);
			const end = Math.min(wanted, this.#file.nextStart(position), sizeBytes);
			// At the window's edge it waits until there is room for most of a request.
			if ((position + wanted) / 2 > target && end === wanted) break;
			if (!cache.fetchAhead(this.#file, position, end)) {
				stream.window.shrink();
				break;
			}
			position = end;
		}
		stream.requestedEnd = position;
	}
}

class PinnedResult implements ReadResult {
	readonly views: readonly Uint8Array[];
	readonly #parts: readonly Part[];
	readonly #cache: PartCache;
	#isReleased = false;

	constructor(views: readonly Uint8Array[], parts: readonly Part[], cache: PartCache) {
		this.views = views;
		this.#parts = parts;
		this.#cache = cache;
	}

	release(): void {
		if (this.#isReleased) return;
		this.#isReleased = true;
		for (const part of this.#parts) this.#cache.unpin(part);
	}
}
