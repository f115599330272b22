import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** What limits this process, of version 1 or 2: https://docs.kernel.org/admin-guide/cgroup-v2.html */
export interface ControlGroup {
	readonly directory: string;
	readonly isVersion2: boolean;
}

/** Those for a controller, such as "memory", with all above them. */
export function controlGroups(controller: string, root = "/"): ControlGroup[] {
	const mounted = join(root, "sys/fs/cgroup");
	const groups: ControlGroup[] = [];
	// A container sees its own group at the mount's top, whatever path its processes are listed with.
	for (const line of ["0::/", `0:${controller}:/`, ...readLines(join(root, "proc/self/cgroup"))]) {
		const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
		if (controllers === undefined || path === undefined) continue;
		const isVersion2 = controllers === "";
		if (!isVersion2 && !controllers.split(",").includes(controller)) continue;
		const top = isVersion2 ? mounted : join(mounted, controller);
		for (let group = join("/", path); ; group = dirname(group)) {
			groups.push({ directory: join(top, group), isVersion2 });
			if (group === "/") break;
		}
	}
	return groups;
}

function readLines(file: string): string[] {
	try {
		return readFileSync(file, "utf8").split("\n");
	} catch {
		// Not on Linux, or /proc is hidden.
		return [];
	}
}
