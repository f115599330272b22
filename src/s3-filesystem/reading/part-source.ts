import type { ByteRange } from "../../bytes.ts";
import type { CachedFile } from "./cached-file.ts";
import { blockBytes, type BlockRead, type DiskCache } from "./disk-cache.ts";
import type { Part } from "./part.ts";

/** What was brought in, in bytes. */
export interface SourceCounts {
	fetched: number;
	fromDisk: number;
	/** How often something came from there. */
	fromServerFills: number;
	fromDiskFills: number;
}

/** Told what was looked for on the disk: the rest comes from the server. */
export type DiskReadListener = (read: {
	readonly key: string;
	readonly offset: number;
	readonly lengthBytes: number;
	readonly outcome: BlockRead["kind"];
}) => void;

/** More parts would only keep their memory until a slow disk has them. */
const maximumKeeping = 4;

/** Where the bytes of parts come from: the disk cache if they are there, otherwise the store. */
export class PartSource {
	readonly counts: SourceCounts = { fetched: 0, fromDisk: 0, fromServerFills: 0, fromDiskFills: 0 };
	readonly #disk: DiskCache | undefined;
	readonly #onDiskRead: DiskReadListener | undefined;
	#keeping = 0;

	constructor(disk: DiskCache | undefined, onDiskRead?: DiskReadListener) {
		this.#disk = disk;
		this.#onDiskRead = onDiskRead;
	}

	/** Fills the part; returns what came from the store. */
	async load(file: CachedFile, part: Part): Promise<readonly ByteRange[]> {
		if (this.#disk === undefined) {
			await this.#fetch(file, part, part);
			return [];
		}
		await this.#disk.ready;
		const fetched: ByteRange[] = [];
		for (const span of this.#split(this.#disk, file, part)) {
			if (span.isOnDisk) {
				const into = part.view(span.start, span.end);
				const read = await this.#disk.read(file.identity, file.version, span.start, into);
				this.#onDiskRead?.({ key: file.version.key, offset: span.start, lengthBytes: into.length, outcome: read.kind });
				if (read.kind === "read") {
					this.counts.fromDisk += into.length;
					this.counts.fromDiskFills++;
					part.progressed(span.end - part.start);
					continue;
				}
				if (read.kind === "late") part.leaveMemory(read.ended);
			}
			await this.#fetch(file, part, span);
			fetched.push(span);
		}
		return fetched;
	}

	/** Whole blocks that came from the store go to the disk; undefined: there are none, or it is busy. */
	keep(file: CachedFile, part: Part, fetched: readonly ByteRange[]): Promise<void> | undefined {
		const disk = this.#disk;
		const blocks = fetched.flatMap((span) => wholeBlocks(span, file.version.sizeBytes));
		if (disk === undefined || blocks.length === 0 || this.#keeping >= maximumKeeping) return undefined;
		return this.#write(disk, file, part, blocks);
	}

	async #write(disk: DiskCache, file: CachedFile, part: Part, blocks: readonly ByteRange[]): Promise<void> {
		this.#keeping++;
		try {
			for (const { start, end } of blocks) {
				await disk.write(file.identity, file.version, start, part.view(start, end));
			}
		} finally {
			this.#keeping--;
		}
	}

	/** The block around a position, if it is on the disk. */
	blockOnDisk(file: CachedFile, position: number): ByteRange | undefined {
		const start = Math.floor(position / blockBytes) * blockBytes;
		if (this.#disk?.has(file.identity, file.version, start) !== true) return undefined;
		return { start, end: Math.min(start + blockBytes, file.version.sizeBytes) };
	}

	/** In order: blocks that are on the disk, and what is between them. */
	#split(disk: DiskCache, file: CachedFile, part: Part): (ByteRange & { readonly isOnDisk: boolean })[] {
		const spans: (ByteRange & { readonly isOnDisk: boolean })[] = [];
		let fetchFrom = part.start;
		for (const block of wholeBlocks(part, file.version.sizeBytes)) {
			if (!disk.has(file.identity, file.version, block.start)) continue;
			if (fetchFrom < block.start) spans.push({ start: fetchFrom, end: block.start, isOnDisk: false });
			spans.push({ ...block, isOnDisk: true });
			fetchFrom = block.end;
		}
		if (fetchFrom < part.end) spans.push({ start: fetchFrom, end: part.end, isOnDisk: false });
		return spans;
	}

	async #fetch(file: CachedFile, part: Part, { start, end }: ByteRange): Promise<void> {
		const { key, etag, sizeBytes } = file.version;
		// The bytes of a whole object are compared with its checksum, which must be done before anybody reads them.
		const isWhole = start === 0 && end === sizeBytes;
		let seenBytes = 0;
		await file.store.get(key, {
			offset: start,
			into: part.buffer.subarray(start - part.start, end - part.start),
			etag,
			objectSizeBytes: sizeBytes,
			...(part.isAhead && { isAhead: true }),
			...(part.signal !== undefined && { signal: part.signal }),
			onProgress: (filledBytes) => {
				this.counts.fetched += Math.max(0, filledBytes - seenBytes);
				seenBytes = filledBytes;
				if (!isWhole) part.progressed(start - part.start + filledBytes);
			},
		});
		this.counts.fetched += Math.max(0, end - start - seenBytes);
		this.counts.fromServerFills++;
		part.progressed(end - part.start);
	}
}

function wholeBlocks({ start, end }: ByteRange, fileBytes: number): ByteRange[] {
	const blocks: ByteRange[] = [];
	for (let at = Math.ceil(start / blockBytes) * blockBytes; at < end; at += blockBytes) {
		const blockEnd = Math.min(at + blockBytes, fileBytes);
		if (blockEnd <= end) blocks.push({ start: at, end: blockEnd });
	}
	return blocks;
}
