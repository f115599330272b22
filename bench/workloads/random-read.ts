import { generator, keyOf, kibibyte, largeFiles, type Sizes, type Workload } from "./workload.ts";

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
