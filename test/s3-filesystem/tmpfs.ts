import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";

/** A disk in memory, of a size such as `24m`: fast, or soon full. Returns its folder. */
export async function mountTmpfs(size: string): Promise<string> {
	const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-tmpfs-"));
	await execa("mount", ["-t", "tmpfs", "-o", `size=${size},nr_inodes=0`, "tmpfs", folder], { timeout: 10_000 });
	return folder;
}

export async function remountTmpfs(folder: string, how: "ro" | "rw"): Promise<void> {
	await execa("mount", ["-o", `remount,${how}`, folder], { timeout: 10_000 });
}

export async function unmountTmpfs(folder: string): Promise<void> {
	await execa("umount", ["-l", folder], { timeout: 20_000 });
	await rmdir(folder);
}
