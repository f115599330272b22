import type { FileNode } from "./nodes.ts";
import type { FileVersion, Reader } from "../reading/reading.ts";

/** One open(2) of a file. */
export interface OpenFile {
	readonly handle: number;
	readonly node: FileNode;
	readonly writable: boolean;
	/** What this handle reads, also when the bucket has a newer version; undefined: nothing is in the bucket yet. */
	version: FileVersion | undefined;
	reader: Reader | undefined;
}
