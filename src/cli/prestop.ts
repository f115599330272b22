import type { Environment } from "../config/environment.ts";
import { LauncherError } from "../errors.ts";
import { popDeadLayers } from "../mounts/mount.ts";
import { isEmptyRoot, layersOn, readMountinfo, type MountEntry } from "../mounts/mountinfo.ts";
import { realPath } from "../mounts/real-path.ts";
import { unmount } from "../mounts/unmount.ts";

/**
 * The rest of `fluid-fuse prestop`, when bin/fluid-fuse has found no launcher, or one that ended before it had answered: only what is
 * mounted tells. Takes away what a dead launcher left and nothing else, and throws MOUNTPOINT_IN_USE when that is alive. Returns 0 when
 * nothing is mounted any more, as often as it is called.
 */
export async function clearWithoutLauncher(environment: Environment): Promise<number> {
	if (environment.MOUNT_POINT === undefined) return 0;
	const target = await realPath(environment.MOUNT_POINT);
	const left = await takeAwayWhatIsDead(target);
	if (left === undefined) return 0;
	throw new LauncherError(
		"MOUNTPOINT_IN_USE",
		`a ${left.type} filesystem (${left.source}) is still mounted at ${target}`,
		{
			hint: "It is not dead, so it is left alone: another container may serve it, or its launcher is still stopping.",
		},
	);
}

/** Returns what is still mounted at the target. */
async function takeAwayWhatIsDead(target: string): Promise<MountEntry | undefined> {
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
