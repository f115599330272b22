import { mkdir, readdir, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { layersAt, readMountinfo, type MountEntry } from "./mountinfo.ts";
import { runBounded } from "./run.ts";
import { unmount } from "./unmount.ts";

const mountTimeoutMs = 5000;

/**
 * A bind of one layer of a target, in a folder of this container. When an application goes, its CSI plugin unmounts layer by layer what it
 * has bound for it, and the kernel unmounts the same at the target and for all other applications. What they had then comes back only from
 * a mount of the same peer group, which this is.
 */
export interface KeptLayer {
	readonly path: string;
	readonly device: string;
	/** Nothing is mounted on it, so that its path leads to it. */
	readonly isBare: boolean;
}

export function keptIn(folder: string, entries: readonly MountEntry[]): KeptLayer[] {
	const paths = new Set(entries.map(({ mountPoint }) => mountPoint).filter((path) => dirname(path) === folder));
	return [...paths].flatMap((path) => {
		const [layer, ...above] = layersAt(entries, path);
		return layer === undefined ? [] : [{ path, device: layer.device, isBare: above.length === 0 }];
	});
}

/** Keeps what is on top at the target now. Says whether it could. */
export async function keepTop(target: string, folder: string, { device }: MountEntry): Promise<boolean> {
	const path = join(folder, `layer-${device.replace(":", "-")}`);
	await mkdir(path, { recursive: true, mode: 0o700 });
	return bindKept(target, path);
}

/** Mounts one where the other is. Neither is touched, since it may be dead. Says whether it could. */
export async function bindKept(from: string, to: string): Promise<boolean> {
	const outcome = await runBounded("mount", ["-i", "-n", "-c", "--bind", "--", from, to], mountTimeoutMs);
	return outcome.kind === "done" && outcome.exitCode === 0;
}

/** Gives up what is kept, as far as nothing is mounted on it: with that the same would be unmounted everywhere else. */
export async function dropKept(folder: string, isDropped: (layer: KeptLayer) => boolean = () => true): Promise<void> {
	const entries = await readMountinfo();
	for (const layer of keptIn(folder, entries)) {
		if (!layer.isBare || !isDropped(layer)) continue;
		// What is mounted in it is mounted at the target as well, and is to stay there.
		if (entries.some(({ mountPoint }) => mountPoint.startsWith(`${layer.path}/`)))
			await runBounded("mount", ["-i", "-n", "-c", "--make-private", "--", layer.path], mountTimeoutMs);
		await unmount(layer.path, { lazy: true });
	}
	// Of folders, those in use are refused.
	for (const name of await readdir(folder).catch(() => [])) await rmdir(join(folder, name)).catch(() => undefined);
	await rmdir(folder).catch(() => undefined);
}
