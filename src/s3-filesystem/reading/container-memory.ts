import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import { controlGroups } from "../../control-groups.ts";

/** What this process may use at most: the smallest limit of its control groups, or the machine's memory. */
export function containerMemoryBytes(root = "/"): number {
	const limits = controlGroups("memory", root).flatMap(({ directory, isVersion2 }) =>
		(isVersion2 ? ["memory.max", "memory.high"] : ["memory.limit_in_bytes"]).map((name) =>
			readBytes(join(directory, name)),
		),
	);
	return Math.min(totalmem(), ...limits);
}

function readBytes(file: string): number {
	try {
		const bytes = Number(readFileSync(file, "utf8"));
		return bytes > 0 ? bytes : Number.POSITIVE_INFINITY;
	} catch {
		// The other version of control groups, or none.
		return Number.POSITIVE_INFINITY;
	}
}
