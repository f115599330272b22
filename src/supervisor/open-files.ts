import { viewContainer, viewNode } from "../mounts/node-view.ts";
import { openersOf } from "../mounts/volume-use.ts";
import type { MountOpener, OpenFiles } from "../probe/status.ts";
import type { MountSupervisor } from "./supervise.ts";
import type { Supervised } from "./supervised.ts";

const maximumOpeners = 20;

/** Who has files of these mounts open, as far as the node, or else this container, can be seen. It touches no mount. */
export function openFilesOf(supervisors: readonly MountSupervisor[], nodeProc: string): OpenFiles {
	const served = new Map<string, Supervised>();
	for (const { device, mount } of supervisors) if (device !== undefined) served.set(device, mount);
	const devices = new Set(served.keys());
	const node = viewNode(nodeProc, devices);
	const byMount = new Map<string, MountOpener[]>();
	for (const { files, ...process } of openersOf(node ?? viewContainer(devices), devices)) {
		for (const [mount, its] of Map.groupBy(files, ({ device, path }) => nameOf(served.get(device), path))) {
			const openers = byMount.get(mount) ?? [];
			byMount.set(mount, openers);
			openers.push({ ...process, files: its.length, ...(its[0] !== undefined && { path: its[0].path }) });
		}
	}
	const mounts = Array.from(byMount, ([mount, openers]) => ({
		mount,
		openers: openers.toSorted((a, b) => b.files - a.files).slice(0, maximumOpeners),
		others: Math.max(0, openers.length - maximumOpeners),
	}));
	return { seesNode: node !== undefined, mounts };
}

/** Of several that are folders of one, that one's. */
function nameOf(mount: Supervised | undefined, path: string): string {
	const parts = path.split("/").filter((part) => part !== "");
	for (let length = 1; length <= parts.length; length++) {
		const name = mount?.nameOf?.(parts.slice(0, length).join("/"));
		if (name !== undefined) return name;
	}
	return mount?.name ?? "";
}
