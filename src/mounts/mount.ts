import { mkdir, rmdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { LauncherError } from "../errors.ts";
import { bindKept, dropKept, keepTop, keptIn } from "./kept-layers.ts";
import { isAmong, isEmptyRoot, layersAt, layersOn, readMountinfo, type MountEntry } from "./mountinfo.ts";
import { viewNode } from "./node-view.ts";
import { runBounded } from "./run.ts";
import { statfs } from "./statfs.ts";
import { unmount } from "./unmount.ts";
import { beginnings, isSidecar } from "./volume-use.ts";

const mountTimeoutMs = 5000;
const statfsTimeoutMs = 2000;

/** Mounts replaced at one target before they are taken away. */
const maximumReplaced = 16;

/** Layers at a target where the node cannot be seen: not without end, since whatever watches a node's mounts reads each of them. */
const maximumUnseen = 128;

/**
 * Shows what is mounted at `staging` at `target` too, over whatever dead mount is left there. A pod that has the dead
 * mount from the host sees the new one through it; had it been unmounted first, the pod would keep the dead one.
 * Never touches a live filesystem, except one of ours that is to be replaced: throws MOUNTPOINT_IN_USE. Returns the new mount, topmost
 * at the target.
 */
export async function bindOver(staging: string, target: string, options: BindOptions): Promise<MountEntry> {
	const { makeTarget, isOurs, replaces, keptFolder } = options;
	const before = await readMountinfo();
	const layers = layersOn(before, target);
	// Only now: on a dead mount even mkdir fails.
	if (layersAt(before, target).length === 0) await makeTarget(target);
	const top = layers.at(-1);
	const isReplaced = replaces !== undefined && isAmong(top, [replaces]);
	if (top !== undefined && !isReplaced && !(await isLeftBehind(top, isOurs))) {
		throw targetInUse(top);
	}
	await leaveNeeded(staging, target, { ...options, isReplaced });
	const served = layersAt(before, staging).at(-1)?.device;
	const kept = keptIn(keptFolder, await readMountinfo()).find(({ device, isBare }) => isBare && device === served);
	await runMount(["--bind", "--", kept?.path ?? staging, target], target);
	const after = await readMountinfo();
	const [stagingTop, targetTop] = [staging, target].map((path) => layersAt(after, path).at(-1));
	if (targetTop !== undefined && targetTop.device === stagingTop?.device) {
		// Without it the mount is as good, until an application goes.
		if (kept === undefined && targetTop.shared && !isSidecar(after)) await keepTop(target, keptFolder, targetTop);
		return targetTop;
	}
	// A link inside the mount around it has led elsewhere.
	const strayed = after.filter((entry) => entry.device === stagingTop?.device && !isAmong(entry, before));
	for (const { mountPoint } of strayed) await unmount(mountPoint, { lazy: true });
	throw new LauncherError("MOUNTPOINT_UNUSABLE", `${target} was mounted on, but does not show it`);
}

interface BindOptions {
	readonly makeTarget: (target: string) => Promise<void>;
	readonly isOurs: (entry: MountEntry) => boolean;
	/** The live mount of ours that is expected there. */
	readonly replaces?: MountEntry;
	/** The node's /proc, where it is to be seen. */
	readonly nodeProc: string;
	/** For layers that are kept apart. */
	readonly keptFolder: string;
}

/**
 * Leaves at the target the lowest layer and those that somebody else's mount begins with, also such as were lost there. For a moment only the
 * lowest is seen, which matters to nobody when the uppermost is dead. Where the node cannot be seen, all are left.
 */
async function leaveNeeded(
	staging: string,
	target: string,
	{ nodeProc, keptFolder, isReplaced }: BindOptions & { readonly isReplaced: boolean },
): Promise<void> {
	const entries = await readMountinfo();
	const layers = layersOn(entries, target);
	const served = layersAt(entries, staging).at(-1)?.device;
	const kept = keptIn(keptFolder, entries);
	const [lowest] = layers;
	const devices = new Set([...layers, ...kept].map(({ device }) => device));
	if (lowest !== undefined) devices.delete(lowest.device);
	if (devices.size === 0) return dropKept(keptFolder);
	const view = viewNode(nodeProc, devices);
	const needed = view && beginnings(view, devices, entries);
	const isFull = layers.length >= (needed === undefined ? maximumUnseen : maximumReplaced);
	if (isFull || (needed !== undefined && !isReplaced)) {
		for (const layer of layers.slice(1).toReversed()) {
			// What is open in one that is replaced goes on.
			if (!isReplaced && !(await isDead(layer, () => false))) break;
			const isToKeep = needed?.has(layer.device) === true && kept.every(({ device }) => device !== layer.device);
			if (isToKeep && !(await keepTop(target, keptFolder, layer))) break;
			if ((await unmount(target, { lazy: true })).kind !== "done") break;
		}
	}
	await dropKept(keptFolder, ({ device }) => device !== served && needed?.has(device) !== true);
	const now = await readMountinfo();
	const there = layersOn(now, target);
	for (const { path, device, isBare } of keptIn(keptFolder, now)) {
		const isMissing = isBare && device !== served && there.every((layer) => layer.device !== device);
		if (isMissing) await bindKept(path, target);
	}
}

function targetInUse({ type, source, mountPoint }: MountEntry): LauncherError {
	return new LauncherError("MOUNTPOINT_IN_USE", `a live ${type} filesystem (${source}) is mounted at ${mountPoint}`, {
		hint: "Another pod may still be stopping; else unmount it on the node, or give the Dataset another name.",
	});
}

/** Nobody serves it any more, though it is mounted. */
export async function isLeftBehind(
	entry: MountEntry,
	isOurs: (entry: MountEntry) => boolean = () => false,
): Promise<boolean> {
	return (await isDead(entry, isOurs)) || (await isAbandonedRoot(entry));
}

async function isDead(entry: MountEntry, isOurs: (entry: MountEntry) => boolean): Promise<boolean> {
	if (!entry.type.startsWith("fuse")) return false;
	const answer = await statfs(entry.mountPoint, statfsTimeoutMs);
	// What hangs may be somebody's who will answer again; only our own, whose server has been ended, is surely dead.
	return answer.kind === "dead" || (answer.kind === "hung" && isOurs(entry));
}

/** Such a root whose launcher was killed: nothing that is mounted in it is alive. */
async function isAbandonedRoot(entry: MountEntry): Promise<boolean> {
	if (!isEmptyRoot(entry)) return false;
	const inside = (await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(`${entry.mountPoint}/`));
	const verdicts = await Promise.all(inside.map(async (each) => isDead(each, () => false)));
	return !verdicts.includes(false);
}

/** Unmounts dead mounts from the top until `keep` layers are left or a live one appears. Returns how many are left. */
export async function popDeadLayers(target: string, keep = 0): Promise<number> {
	for (;;) {
		const layers = layersOn(await readMountinfo(), target);
		const top = layers.at(-1);
		if (top === undefined || layers.length <= keep) return layers.length;
		if (!(await isDead(top, () => false))) return layers.length;
		const outcome = await unmount(target, { lazy: true });
		if (outcome.kind !== "done") return layers.length;
	}
}

/** Mounts an empty folder at `target`: the root of several mounts, or of none. Keeps the one that a launcher left there. */
export async function mountEmptyRoot(target: string, source: string): Promise<MountEntry> {
	const entries = await readMountinfo();
	const top = layersOn(entries, target).at(-1);
	if (top !== undefined && isEmptyRoot(top)) return top;
	if (top !== undefined && !(await isDead(top, () => false))) {
		throw targetInUse(top);
	}
	if (layersAt(entries, target).length === 0) await makeDirectory(target);
	// Read-only, because what an application wrote here would be lost without a word.
	await runMount(["-i", "-n", "-t", "tmpfs", "-o", "ro,size=1m,mode=0755,nosuid,nodev", "--", source, target], target);
	const mounted = layersAt(await readMountinfo(), target).at(-1);
	if (mounted?.source !== source)
		throw new LauncherError("MOUNTPOINT_UNUSABLE", `${target} was mounted on, but does not show it`);
	return mounted;
}

/** Makes a folder in the empty root, which is read-only otherwise. Not to be called twice at a time. */
export async function makeFolderInRoot(root: string, folder: string): Promise<void> {
	// A folder that a dead mount covers is there, though it cannot be looked at.
	const exists = layersAt(await readMountinfo(), folder).length > 0 || (await isDirectory(folder));
	if (exists) return;
	await whileWritable(root, async () => makeDirectory(folder));
}

/** Takes away what `makeFolderInRoot` made, as far as it is empty. Not to be called twice at a time. */
export async function removeFolderInRoot(root: string, folder: string): Promise<void> {
	await whileWritable(root, async () => {
		try {
			for (let path = folder; path.startsWith(`${root}/`); path = dirname(path)) await rmdir(path);
		} catch {
			// Another mount is in it, or it is gone.
		}
	});
}

async function whileWritable(root: string, work: () => Promise<void>): Promise<void> {
	const remount = async (mode: "rw" | "ro"): Promise<void> =>
		runMount(["-i", "-n", "-o", `remount,${mode}`, "--", root], root);
	await remount("rw");
	try {
		await work();
	} catch (error) {
		// What comes of this does not hide what has failed.
		await remount("ro").catch(() => undefined);
		throw error;
	}
	await remount("ro");
}

/**
 * Whether the filesystem is read-only from now on: not as long as anything in it is open for writing, by whomever. On a mount that
 * hangs it waits until that is over.
 */
export async function remountReadOnly(path: string): Promise<boolean> {
	const outcome = await runBounded("mount", ["-i", "-n", "-o", "remount,ro", "--", path], mountTimeoutMs);
	if (outcome.kind === "done") return outcome.exitCode === 0;
	await outcome.gone;
	return false;
}

async function isDirectory(path: string): Promise<boolean> {
	try {
		return (await stat(path)).isDirectory();
	} catch {
		// Whatever the reason is, making it will tell.
		return false;
	}
}

/** Makes a folder inside another mount, which may hang: in a child. */
export async function makeFolderInMount(folder: string): Promise<void> {
	const path = await runBounded("realpath", ["-zm", "--", folder], mountTimeoutMs);
	// Whoever writes the outer bucket must not choose where the inner one is mounted.
	if (path.kind === "done" && path.exitCode === 0 && path.stdout !== `${folder}\0`) {
		throw new LauncherError("MOUNTPOINT_UNUSABLE", `cannot mount at ${folder}: a symbolic link leads elsewhere`, {
			hint: "Remove the link from the outer bucket, or give both mounts paths beside each other.",
		});
	}
	const test = await runBounded("test", ["-d", folder], mountTimeoutMs);
	if (test.kind === "done" && test.exitCode === 0) return;
	const outcome = await runBounded("mkdir", ["-p", "--", folder], mountTimeoutMs);
	if (outcome.kind === "done" && outcome.exitCode === 0) return;
	const why = outcome.kind === "stuck" ? "the mount around it does not answer" : outcome.stderr.trim();
	throw new LauncherError("MOUNTPOINT_UNUSABLE", `cannot make ${folder} inside the mount around it: ${why}`, {
		hint: "Make that folder in the outer bucket, or give both mounts paths beside each other.",
	});
}

/** Makes a folder and those above it. */
export async function makeDirectory(path: string): Promise<void> {
	try {
		await mkdir(path, { recursive: true });
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		throw new LauncherError("MOUNTPOINT_UNUSABLE", `cannot make the folder ${path}: ${code}`, {
			cause: error,
			hint: `Check that ${dirname(path)} is a writable folder and that no file is at ${path}.`,
		});
	}
}

async function runMount(args: readonly string[], target: string): Promise<void> {
	const outcome = await runBounded("mount", args, mountTimeoutMs);
	if (outcome.kind === "stuck") throw new LauncherError("MOUNTPOINT_UNUSABLE", `mount did not return for ${target}`);
	if (outcome.exitCode === 0) return;
	const why = outcome.stderr.trim().slice(0, 300);
	const denied = /permission denied|operation not permitted|must be superuser/i.test(why);
	throw new LauncherError(denied ? "CAPABILITY_MISSING" : "MOUNTPOINT_UNUSABLE", `cannot mount at ${target}: ${why}`, {
		...(denied && { hint: "The container needs securityContext.privileged: true." }),
	});
}
