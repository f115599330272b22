import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { controlGroups, type ControlGroup } from "../control-groups.ts";

/** How many this process may use at most: the smallest limit of its control groups, or those that the machine lets it run on. */
export function containerProcessors(root = "/"): number {
	return Math.min(availableParallelism(), ...controlGroups("cpu", root).map(limitOf));
}

function limitOf({ directory, isVersion2 }: ControlGroup): number {
	try {
		const read = (name: string): string => readFileSync(join(directory, name), "utf8");
		const text = isVersion2 ? read("cpu.max") : `${read("cpu.cfs_quota_us")} ${read("cpu.cfs_period_us")}`;
		const [quota = 0, period = 0] = text.trim().split(/\s+/).map(Number);
		return quota > 0 && period > 0 ? quota / period : Number.POSITIVE_INFINITY;
	} catch {
		// Another cgroup version, or none.
		return Number.POSITIVE_INFINITY;
	}
}
