import { kibibyte, mebibyte, type Sizes, type Workload } from "./workload.ts";

/** What programs do to files that are there: a log that grows, and a folder that goes. */
export function changes(sizes: Sizes): Workload[] {
	return [
		{
			name: "append",
			title: `append 1 MiB to one file, ${sizes.appends} times`,
			group: "changes",
			job: { kind: "append", count: sizes.appends, sizeBytes: mebibyte },
			objects: [],
			amount: { count: sizes.appends, unit: "appends/s" },
			bytes: sizes.appends * mebibyte,
		},
		{
			name: "rm",
			title: `rm -rf of ${sizes.smallFiles} files`,
			group: "changes",
			job: { kind: "remove", count: sizes.smallFiles, sizeBytes: 4 * kibibyte },
			objects: [],
			amount: { count: sizes.smallFiles, unit: "files/s" },
			bytes: 0,
		},
	];
}
