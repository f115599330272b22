import { keyOf, largeFiles, type Sizes, type Workload } from "./workload.ts";

/** Large files from the first byte to the last, by dd in blocks of 1 MiB. */
export function sequential(sizes: Sizes): Workload[] {
	const read = (streams: number): Workload => {
		const objects = largeFiles(sizes, streams);
		const bytes = streams * sizes.fileBytes;
		return {
			name: `read-${streams}`,
			title: `sequential read, ${streams === 1 ? "1 stream" : `${streams} streams`}`,
			group: "sequential read",
			job: {
				kind: "stream-read",
				paths: Array.from({ length: streams }, (_, index) => keyOf(objects, index)),
				sizeBytes: sizes.fileBytes,
			},
			objects: [objects],
			amount: { count: bytes / 1e6, unit: "MB/s" },
			bytes,
		};
	};
	return [
		read(1),
		read(4),
		{
			name: "write-1",
			title: "sequential write, close included",
			group: "sequential write",
			job: { kind: "stream-write", sizeBytes: sizes.fileBytes },
			objects: [],
			amount: { count: sizes.fileBytes / 1e6, unit: "MB/s" },
			bytes: sizes.fileBytes,
		},
	];
}
