import { rmSync } from "node:fs";
import { execa } from "execa";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";

/** What is mounted at a path or below it, in the order of mounting. */
export async function mountsBelow(path: string): Promise<string[]> {
	const points = (await readMountinfo()).map(({ mountPoint }) => mountPoint);
	return points.filter((point) => point === path || point.startsWith(`${path}/`));
}

/** Unmounts everything there, the last mount first. By force ends the filesystem, wherever else it is mounted. */
export async function unmountBelow(path: string, { force }: { force: boolean }): Promise<void> {
	for (let tries = 0; tries < 50; tries++) {
		const last = (await mountsBelow(path)).at(-1);
		if (last === undefined) return;
		await execa("umount", [...(force ? ["-f"] : []), "-l", last], { reject: false, timeout: 5000 });
	}
}

/** Removes a temporary folder, but never while anything is mounted below: that would delete what is in the bucket. */
export async function removeFolder(folder: string): Promise<void> {
	await unmountBelow(folder, { force: true });
	const mounted = await mountsBelow(folder);
	if (mounted.length > 0)
		throw new Error(`still mounted: ${mounted.join(", ")}; try \`umount -l\` as root, then remove ${folder}`);
	rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
