import { kibibyte, mebibyte, type FilesJob, type ObjectSet, type Sizes, type Workload } from "./workload.ts";

/** Where the files to be read are; those that are written get a folder of their own each time. */
export function filesFolder(sizeBytes: number): string {
	return `files-${sizeBytes / kibibyte}k`;
}

/** Many files, each opened, read or written whole, and closed: one after the other, and eight at a time. */
export function smallFiles(sizes: Sizes): Workload[] {
	const ways = [
		{ lanes: 1, name: "", title: "" },
		{ lanes: 8, name: "-8", title: ", 8 at a time" },
		{ lanes: 1, isShuffled: true, name: "-shuffled", title: " in no order" },
	];
	return [
		{ count: sizes.smallFiles, sizeBytes: 4 * kibibyte, label: "4 KiB" },
		{ count: sizes.mediumFiles, sizeBytes: mebibyte, label: "1 MiB" },
	].flatMap(({ count, sizeBytes, label }) =>
		(["read", "write"] as const).flatMap((verb) =>
			ways.flatMap(({ lanes, isShuffled = false, name, title }): Workload[] => {
				if (isShuffled && (verb === "write" || sizeBytes > 4 * kibibyte)) return [];
				const kind: FilesJob["kind"] = verb === "read" ? "read-files" : "write-files";
				const objects: ObjectSet = { folder: filesFolder(sizeBytes), count, sizeBytes };
				return [
					{
						name: `${verb}-${label === "4 KiB" ? "4k" : "1m"}-files${name}`,
						title: `${verb} ${count} files of ${label}${title}`,
						group: "small files",
						job: { kind, count, sizeBytes, lanes, ...(isShuffled && { isShuffled }) },
						objects: verb === "read" ? [objects] : [],
						amount: { count, unit: "files/s" },
						bytes: count * sizeBytes,
					},
				];
			}),
		),
	);
}
