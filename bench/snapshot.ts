import { copyFile, mkdir, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { program, projectRoot } from "../test/support/pod.ts";

/**
 * The program as it is now, built, in a folder of its own: a run takes long, and sources that change meanwhile must not change what
 * is measured. Returns the program's path.
 */
export async function snapshotProgram(folder: string): Promise<string> {
	await execa(program, ["--version"]);
	for (const path of [
		"bin/fluid-fuse",
		"dist/fluid-fuse.js",
		"dist/thread.js",
		"dist/aws-providers.js",
		"package.json",
	]) {
		await mkdir(dirname(join(folder, path)), { recursive: true });
		await copyFile(join(projectRoot, path), join(folder, path));
	}
	await symlink(join(projectRoot, "node_modules"), join(folder, "node_modules"));
	return join(folder, "bin/fluid-fuse");
}
