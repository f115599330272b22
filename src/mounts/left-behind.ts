import { isLeftBehind, popDeadLayers } from "./mount.ts";
import { isEmptyRoot, isVolume, layersOn, readMountinfo, type MountEntry } from "./mountinfo.ts";
import { canSeeNode, viewNode } from "./node-view.ts";
import { unmount } from "./unmount.ts";
import { devicesAt, isSidecar, isToStay, usesOf, type Use } from "./volume-use.ts";

/** What is to become of the mounts at targetPath when nobody serves them any more. */
export interface Fate {
	readonly stay: boolean;
	/** Who has them mounted elsewhere; undefined: that cannot be seen. */
	readonly uses: readonly Use[] | undefined;
}

/** Decides it by what the node, or else this container, shows now. Touches no mount. */
export async function fateOf(
	target: string,
	{ nodeProc, runDirectory }: { readonly nodeProc: string; readonly runDirectory: string },
): Promise<Fate> {
	const entries = await readMountinfo();
	const devices = devicesAt(entries, target);
	// Where the volume is mounted at the target itself, what stayed there would be what the next container is given as its volume, and
	// container runtimes make none with a dead mount.
	if (devices.size === 0 || isVolume(entries, target)) return { stay: false, uses: [] };
	const view = viewNode(nodeProc, devices);
	const uses = view && usesOf(view, devices, { target, runDirectory });
	return { stay: isToStay({ uses, isSidecar: isSidecar(entries) }), uses };
}

/** What cannot be decided well since the node's /proc is not to be seen, for people. */
export function whatIsUnseen(nodeProc: string, target: string, entries: readonly MountEntry[]): string | undefined {
	// Its application is in the same pod, and ends with it.
	if (isSidecar(entries) || canSeeNode(nodeProc)) return undefined;
	const stays = isVolume(entries, target)
		? ""
		: "the mount stays on the node at each end, also where nobody would heal by it, and ";
	return `who uses the volume: the node's /proc is not at ${nodeProc}. So ${stays}who reads is not waited for: mount it there (hostPath), read-only`;
}

/** The uppermost mount at the target, when nobody serves it any more. */
export async function leftBehindAt(target: string): Promise<MountEntry | undefined> {
	const top = await topAt(target);
	return top !== undefined && (await isLeftBehind(top)) ? top : undefined;
}

/** Takes away what nobody serves any more at the target and in it, and nothing else. Returns what is still mounted at the target. */
export async function takeAwayLeftBehind(target: string): Promise<MountEntry | undefined> {
	const inner = await innerMounts(target);
	for (const path of inner.toSorted((a, b) => b.length - a.length)) await popDeadLayers(path);
	await popDeadLayers(target);
	const top = await topAt(target);
	// The empty folder that held several mounts serves nobody once they are gone.
	if (top === undefined || !isEmptyRoot(top) || (await innerMounts(target)).length > 0) return top;
	await unmount(target, { lazy: true });
	return topAt(target);
}

async function topAt(target: string): Promise<MountEntry | undefined> {
	return layersOn(await readMountinfo(), target).at(-1);
}

async function innerMounts(target: string): Promise<string[]> {
	const paths = (await readMountinfo()).map(({ mountPoint }) => mountPoint);
	return [...new Set(paths.filter((path) => path.startsWith(`${target}/`)))];
}
