/** One thing that is measured, as data: the same job runs on a mount and, for the ceiling, on the bucket. */
export interface Workload {
	readonly name: string;
	/** For the table and the chart. */
	readonly title: string;
	/** Which aims it belongs to. */
	readonly group:
		| "sequential read"
		| "sequential write"
		| "small files"
		| "random reads"
		| "listing"
		| "first byte"
		| "changes";
	readonly job: Job;
	/** Objects that must be there. */
	readonly objects: readonly ObjectSet[];
	/** What one run gets done, for a speed. */
	readonly amount: {
		readonly count: number;
		readonly unit: "MB/s" | "files/s" | "reads/s" | "entries/s" | "opens/s" | "appends/s";
	};
	/** Content that one run moves. */
	readonly bytes: number;
}

/** Paths are relative: to the mount's root, or to the bucket. */
export type Job =
	/** One dd for each path, all at once. */
	| { readonly kind: "stream-read"; readonly paths: readonly string[]; readonly sizeBytes: number }
	| { readonly kind: "stream-write"; readonly sizeBytes: number }
	| FilesJob
	| {
			readonly kind: "random-read";
			readonly path: string;
			readonly fileSizeBytes: number;
			readonly offsets: readonly number[];
			readonly lengthBytes: number;
	  }
	| { readonly kind: "first-byte"; readonly path: string; readonly fileSizeBytes: number }
	/** One file, opened, appended to and closed again and again. */
	| { readonly kind: "append"; readonly count: number; readonly sizeBytes: number }
	/** `rm -rf` of a folder of its own. */
	| { readonly kind: "remove"; readonly count: number; readonly sizeBytes: number }
	| { readonly kind: "list"; readonly tool: "ls" | "find"; readonly objects: ObjectSet };

/** Whole files, one after the other in each lane. */
export interface FilesJob {
	readonly kind: "read-files" | "write-files";
	readonly count: number;
	readonly sizeBytes: number;
	/** Files under way at a time. */
	readonly lanes: number;
	/** Of one read. Default: the whole file. */
	readonly blockBytes?: number;
	/** Not in the order of their names, but in one that is the same in every run. */
	readonly isShuffled?: boolean;
}

/** Objects of one size; their content are the bytes of the source file from `sourceOffset` on. */
export interface ObjectSet {
	readonly folder: string;
	readonly count: number;
	readonly sizeBytes: number;
	/** Spread over so many subfolders. */
	readonly subfolders?: number;
}

export interface Sizes {
	/** Of a large file. */
	readonly fileBytes: number;
	/** How many small files of 4 KiB and of 1 MiB. */
	readonly smallFiles: number;
	readonly mediumFiles: number;
	readonly randomReads: number;
	readonly listedObjects: number;
	readonly appends: number;
}

export const kibibyte = 1024;
export const mebibyte = 1024 ** 2;

export const fullSizes: Sizes = {
	fileBytes: 1024 * mebibyte,
	smallFiles: 1000,
	mediumFiles: 300,
	randomReads: 200,
	listedObjects: 20_000,
	appends: 50,
};

export const quickSizes: Sizes = {
	fileBytes: 256 * mebibyte,
	smallFiles: 200,
	mediumFiles: 60,
	randomReads: 100,
	listedObjects: 4000,
	appends: 20,
};

export function largeFiles(sizes: Sizes, count: number): ObjectSet {
	return { folder: "large", count, sizeBytes: sizes.fileBytes };
}

/** The key of an object of the set. */
export function keyOf(set: ObjectSet, index: number): string {
	const name = String(index).padStart(5, "0");
	if (set.subfolders === undefined) return `${set.folder}/${name}`;
	return `${set.folder}/${String(index % set.subfolders).padStart(2, "0")}/${name}`;
}

/** Where in the source file the content of file `index` begins. */
export function sourceOffset(index: number, sizeBytes: number, sourceBytes: number): number {
	return (index * sizeBytes) % sourceBytes;
}

/** mulberry32: numbers from 0 to 1 that are the same for the same seed. */
export function generator(seed: number): () => number {
	let state = seed;
	return () => {
		state = (state + 0x6d2b79f5) | 0;
		let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
		mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	};
}

/** The numbers of a job's files, in the order in which it takes them. */
export function orderOf({ count, isShuffled = false }: FilesJob): number[] {
	const order = Array.from({ length: count }, (_, index) => index);
	if (!isShuffled) return order;
	const random = generator(count);
	const places = new Map(order.map((index) => [index, random()]));
	return order.toSorted((a, b) => (places.get(a) ?? 0) - (places.get(b) ?? 0));
}
