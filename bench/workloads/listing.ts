import type { ObjectSet, Sizes, Workload } from "./workload.ts";

/** `ls -l` of one large folder, and `find` over twenty smaller ones. */
export function listing(sizes: Sizes): Workload[] {
	const count = sizes.listedObjects;
	const workload = (tool: "ls" | "find", title: string, objects: ObjectSet): Workload => ({
		name: tool,
		title,
		group: "listing",
		job: { kind: "list", tool, objects },
		objects: [objects],
		amount: { count, unit: "entries/s" },
		bytes: 0,
	});
	const amount = count.toLocaleString("en");
	return [
		workload("ls", `ls -l of ${amount} objects`, { folder: "flat", count, sizeBytes: 16 }),
		workload("find", `find over ${amount} objects in 20 folders`, {
			folder: "tree",
			count,
			sizeBytes: 16,
			subfolders: 20,
		}),
	];
}
