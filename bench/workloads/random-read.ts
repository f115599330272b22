import { keyOf, kibibyte, largeFiles, type Sizes, type Workload } from "./workload.ts";

/** Short reads at places that no read-ahead can guess, the same ones in every run. */
export function randomRead(sizes: Sizes): Workload[] {
	return [4, 128].map((lengthKibibytes): Workload => {
		const objects = largeFiles(sizes, 1);
		const lengthBytes = lengthKibibytes * kibibyte;
		const random = generator(20_000 + lengthKibibytes);
		const blocks = Math.floor(sizes.fileBytes / lengthBytes);
		const offsets = Array.from({ length: sizes.randomReads }, () => Math.floor(random() * blocks) * lengthBytes);
		return {
			name: `random-${lengthKibibytes}k`,
			title: `${sizes.randomReads} random reads of ${lengthKibibytes} KiB`,
			group: "random reads",
			job: { kind: "random-read", path: keyOf(objects, 0), fileSizeBytes: sizes.fileBytes, offsets, lengthBytes },
			objects: [objects],
			amount: { count: sizes.randomReads, unit: "reads/s" },
			bytes: sizes.randomReads * lengthBytes,
		};
	});
}

/** mulberry32: numbers from 0 to 1 that are the same for the same seed. */
function generator(seed: number): () => number {
	let state = seed;
	return () => {
		state = (state + 0x6d2b79f5) | 0;
		let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
		mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	};
}
