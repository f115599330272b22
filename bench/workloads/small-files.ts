import { kibibyte, mebibyte, type FilesJob, type ObjectSet, type Sizes, type Workload } from "./workload.ts";

/** Where the files to be read are; those that are written get a folder of their own each time. */
export function filesFolder(sizeBytes: number): string {
	return `files-${sizeBytes / kibibyte}k`;
}

/** Many files, each opened, read or written whole, and closed: one after the other, and eight at a time. */
export function smallFiles(sizes: Sizes): Workload[] {
	return [
		{ count: sizes.smallFiles, sizeBytes: 4 * kibibyte, label: "4 KiB" },
		{ count: sizes.mediumFiles, sizeBytes: mebibyte, label: "1 MiB" },
	].flatMap(({ count, sizeBytes, label }) =>
		(["read", "write"] as const).flatMap((verb) =>
			[1, 8].map((lanes): Workload => {
				const kind: FilesJob["kind"] = verb === "read" ? "read-files" : "write-files";
				const objects: ObjectSet = { folder: filesFolder(sizeBytes), count, sizeBytes };
				return {
					name: `${verb}-${label === "4 KiB" ? "4k" : "1m"}-files${lanes === 1 ? "" : `-${lanes}`}`,
					title: `${verb} ${count} files of ${label}${lanes === 1 ? "" : `, ${lanes} at a time`}`,
					group: "small files",
					job: { kind, count, sizeBytes, lanes },
					objects: verb === "read" ? [objects] : [],
					amount: { count, unit: "files/s" },
					bytes: count * sizeBytes,
				};
			}),
		),
	);
}
