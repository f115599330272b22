import { chmod, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { LauncherError } from "../errors.ts";
import { makeDirectory } from "../mounts/mount.ts";

/** Makes RUN_DIR, for root alone. */
export async function makeRunDirectory(path: string): Promise<void> {
	await makeDirectory(path);
	const foreign = (await readdir(path)).filter((name) => !["launcher.sock", "mounts", "layers"].includes(name));
	if (foreign.length > 0) {
		throw new LauncherError(
			"USAGE",
			`FLUID_FUSE_RUN_DIR ${path} holds other files, such as ${JSON.stringify(foreign[0])}`,
			{
				hint: "Give it a folder of its own: its permissions are narrowed to root.",
			},
		);
	}
	await chmod(path, 0o700);
}

/** Leaves it as empty as it can be: what could not be taken away stays for whoever looks into it. */
export async function leaveRunDirectory(path: string): Promise<void> {
	for (const name of ["mounts", "layers"]) await rmdir(join(path, name)).catch(() => undefined);
}
