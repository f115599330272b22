import { keyOf, largeFiles, type Sizes, type Workload } from "./workload.ts";

/** How long an application waits for one byte of a large file that nobody has touched. */
export function firstByte(sizes: Sizes): Workload[] {
	const objects = largeFiles(sizes, 1);
	return [
		{
			name: "first-byte",
			title: "open a large file and read its first byte",
			group: "first byte",
			job: { kind: "first-byte", path: keyOf(objects, 0), fileSizeBytes: sizes.fileBytes },
			objects: [objects],
			amount: { count: 1, unit: "opens/s" },
			bytes: 1,
		},
	];
}
