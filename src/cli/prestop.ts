import type { Environment } from "../config/environment.ts";
import { LauncherError } from "../errors.ts";
import { fateOf, leftBehindAt, takeAwayLeftBehind } from "../mounts/left-behind.ts";
import { realPath } from "../mounts/real-path.ts";

/**
 * The rest of `fluid-fuse prestop`, when bin/fluid-fuse has found no launcher, or one that ended before it had answered: only what is
 * mounted tells. Takes away what a dead launcher left, unless applications are to heal by it, and nothing else; throws MOUNTPOINT_IN_USE
 * when that is alive. Returns 0 when nobody is left who serves anything, as often as it is called.
 */
export async function clearWithoutLauncher(environment: Environment): Promise<number> {
	if (environment.MOUNT_POINT === undefined) return 0;
	const target = await realPath(environment.MOUNT_POINT);
	const nodeProc = environment.FLUID_FUSE_NODE_PROC;
	const runDirectory = await realPath(environment.FLUID_FUSE_RUN_DIR);
	const { stay } = await fateOf(target, { nodeProc, runDirectory });
	if (stay && (await leftBehindAt(target)) !== undefined) return 0;
	const left = await takeAwayLeftBehind(target);
	if (left === undefined) return 0;
	throw new LauncherError(
		"MOUNTPOINT_IN_USE",
		`a ${left.type} filesystem (${left.source}) is still mounted at ${target}`,
		{
			hint: "It is not dead, so it is left alone: another container may serve it, or its launcher is still stopping.",
		},
	);
}
