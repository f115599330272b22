import { filesFolder } from "./small-files.ts";
import { mebibyte, type Sizes, type Workload } from "./workload.ts";

/** What Fluid's file prefetcher does before an application starts: whole files, one after the other, in blocks of 16 MiB. */
export function prefetch(sizes: Sizes): Workload[] {
	const count = 8;
	const sizeBytes = sizes.fileBytes / count;
	return [
		{
			name: "prefetch",
			title: `read ${count} files of ${sizeBytes / mebibyte} MiB, one after the other, in blocks of 16 MiB`,
			group: "sequential read",
			job: { kind: "read-files", count, sizeBytes, lanes: 1, blockBytes: 16 * mebibyte },
			objects: [{ folder: filesFolder(sizeBytes), count, sizeBytes }],
			amount: { count: sizes.fileBytes / 1e6, unit: "MB/s" },
			bytes: sizes.fileBytes,
		},
	];
}
