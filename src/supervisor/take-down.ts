import { mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DriverSession } from "../drivers/driver.ts";
import type { Logger } from "../log.ts";
import { popDeadLayers, remountReadOnly } from "../mounts/mount.ts";
import { isAmong, layersAt, readMountinfo, type MountEntry } from "../mounts/mountinfo.ts";
import { viewContainer, viewNode } from "../mounts/node-view.ts";
import { unmount } from "../mounts/unmount.ts";
import { holdersOf, type Holder } from "../mounts/volume-use.ts";
import { within } from "../within.ts";

/** What is left of a mount, to be taken down. */
export interface Remains {
	readonly target: string;
	/** Binds of ours at the target, bottom first; those below the last are dead. */
	readonly layers: readonly MountEntry[];
	/** RUN_DIR/mounts/<id>. */
	readonly directory: string;
	/** The driver, if it runs. */
	readonly session: DriverSession | undefined;
	/** Applications have been able to use it: the driver may have something to write. */
	readonly wasBound: boolean;
	/** It does not answer. */
	readonly hung: boolean;
	/** Nothing can be written to it, and so nothing be lost. */
	readonly readOnly: boolean;
	/** The node's /proc, where it is to be seen. */
	readonly nodeProc: string;
	readonly log: Logger;
	readonly onForcedAbort: () => void;
}

/** Where a driver mounts, before it is bound to the target. */
export function stagingOf(directory: string): string {
	return join(directory, "staging");
}

/** RUN_DIR/layers/<id>: in it, paths are longer than that of the staging folder, for the same reason. */
export function keptFolderOf(directory: string): string {
	return join(dirname(dirname(directory)), "layers", basename(directory));
}

/**
 * Unmounts the target, all its layers. Applications that keep it busy get time until `patientUntil` (of performance.now, asked again
 * and again); then it is detached: taken out of sight, and served on until they let go. Returns
 * who those are, as far as they can be seen; undefined: nobody had to be left with it.
 */
export async function detach(remains: Remains, patientUntil: () => number): Promise<readonly Holder[] | undefined> {
	const { target, layers, session, hung, log } = remains;
	const alive = layers.at(-1);
	let lazily = session === undefined || hung;
	let told = false;
	let leftWith: readonly Holder[] | undefined;
	for (;;) {
		const top = layersAt(await readMountinfo(), target).at(-1);
		if (top === undefined || !isAmong(top, layers)) break;
		// Only the uppermost layer is alive and can be busy.
		const lazy = lazily || top.id !== alive?.id;
		const outcome = await unmount(target, { lazy, timeoutMs: 2000 });
		if (outcome.kind === "done" || outcome.kind === "not-mounted") continue;
		if (lazy) {
			log.error({ target, outcome }, "unmount failed");
			break;
		}
		if (!told && outcome.kind === "busy") {
			told = true;
			log.warn({ target, holders: await findHolders(remains) }, "mount is busy, waiting for applications");
		}
		// What hangs will not get better by waiting.
		lazily = outcome.kind !== "busy" || performance.now() > patientUntil();
		if (!lazily) {
			await sleep(250);
			continue;
		}
		leftWith = await findHolders(remains);
		log.warn({ target, holders: leftWith }, "mount is still in use and is detached");
	}
	// What an earlier launcher has left.
	await popDeadLayers(target);
	return leftWith;
}

/**
 * Lets the driver write what it has until `patientUntil`, which may come nearer meanwhile, then ends it by force. `leftWith`: what
 * `detach` has returned.
 */
export async function endDriver(
	remains: Remains,
	patientUntil: () => number,
	leftWith?: readonly Holder[],
): Promise<void> {
	const { session, directory, wasBound, hung } = remains;
	if (session === undefined) return;
	let holders = leftWith ?? [];
	if (wasBound) {
		// Files that are still open keep it mounted: what is in them is written meanwhile.
		session.drain?.();
		const staging = stagingOf(directory);
		const use = hung || leftWith !== undefined ? { isOver: false, holders } : await untilUnused(remains, patientUntil);
		({ holders } = use);
		// Wherever else it is mounted, nobody would lose anything: to the driver this is the same as the last unmount.
		await unmount(staging, use.isOver ? { lazy: true, force: true } : { timeoutMs: 2000 });
		// The driver sees that, writes what it has and ends by itself.
		for (let tries = 0; tries === 0 || performance.now() < patientUntil(); tries++) {
			if ((await within(session.ended, 500)) !== undefined) return;
		}
	}
	const ending = await within(session.stop({ graceMs: wasBound ? 1000 : 300 }), 2000);
	if (ending === undefined) await abort(remains, holders, "the driver does not end on SIGKILL");
	else if (wasBound) await abort(remains, holders, "the driver did not end in time");
}

interface LastUse {
	/** Nothing in it is open any more, as far as that can be seen. */
	readonly isOver: boolean;
	/** Who still has something open. */
	readonly holders: readonly Holder[];
}

/**
 * Waits until nobody has a file of it open, at most until `patientUntil`. Who merely has it mounted, by a CSI plugin for one, is nobody to wait
 * for. Writers are known to the kernel, wherever they are; of readers, those in containers that cannot be seen are not waited for.
 */
async function untilUnused(remains: Remains, patientUntil: () => number): Promise<LastUse> {
	const { target, directory, session, log } = remains;
	const staging = stagingOf(directory);
	const mounted = layersAt(await readMountinfo(), staging).at(-1);
	// Of a folder of the node's own disk, that disk would become read-only.
	if (mounted?.type.startsWith("fuse") !== true) return { isOver: false, holders: [] };
	let told = false;
	for (;;) {
		const holders = (await findHolders(remains)).filter(({ isOpen }) => isOpen);
		if (holders.length === 0) {
			// The rest of the time is for a driver that does not answer: asked again, it would not either.
			const limitMs = Math.max(1000, (patientUntil() - performance.now()) / 2);
			const isUnwritten = await within(remountReadOnly(staging), limitMs);
			if (isUnwritten !== false) return { isOver: isUnwritten === true, holders };
		}
		if (!told) log.warn({ target, holders }, "files are open, waiting for applications");
		told = true;
		if (performance.now() > patientUntil()) return { isOver: false, holders };
		if (session !== undefined && (await within(session.ended, 500)) !== undefined) return { isOver: false, holders };
	}
}

/** For messages: a few of those who use what the driver serves, as far as the node, or else this container, can be seen. */
async function findHolders({ directory, nodeProc }: Remains): Promise<Holder[]> {
	const device = layersAt(await readMountinfo(), stagingOf(directory)).at(-1)?.device;
	if (device === undefined) return [];
	const devices = new Set([device]);
	return holdersOf(viewNode(nodeProc, devices) ?? viewContainer(devices), devices).slice(0, 10);
}

/** Ends a driver that has failed; the dead mount stays at the target until the next one heals it. */
export async function killDriver(remains: Remains): Promise<void> {
	if (remains.session === undefined) return;
	const ended = await within(remains.session.stop({ graceMs: 0 }), 2000);
	if (ended === undefined) await abort(remains, [], "the driver does not end on SIGKILL");
}

/** The last step: cuts the connection to the kernel, which frees whoever waits for it. */
async function abort(remains: Remains, holders: readonly Holder[], why: string): Promise<void> {
	const { directory, readOnly, log, onForcedAbort } = remains;
	await unmount(stagingOf(directory), { lazy: true, force: true });
	if (readOnly) {
		log.warn({ why, holders }, "mount aborted by force");
		return;
	}
	onForcedAbort();
	log.error(
		{ why, holders, mayHaveLost: "data that applications had written and not closed" },
		"mount aborted by force",
	);
}

/** Leaves the private directory empty: no credentials, nothing mounted. */
export async function clearDirectory(directory: string): Promise<void> {
	await removeDirectory(directory);
	await mkdir(directory, { recursive: true, mode: 0o700 });
}

/** Takes the private directory away: what is in it, and what is mounted there. */
export async function removeDirectory(directory: string): Promise<void> {
	const staging = stagingOf(directory);
	// Keys go first, whatever may keep the mount.
	for (const name of await readdir(directory).catch(() => [])) {
		if (join(directory, name) !== staging) await rm(join(directory, name), { recursive: true, force: true });
	}
	for (let tries = 0; tries < 8 && layersAt(await readMountinfo(), staging).length > 0; tries++) {
		await unmount(staging, { lazy: true, force: true });
	}
	// rmdir refuses what is still mounted, so that nothing below can ever delete what is in a bucket.
	await rmdir(staging).catch((error: NodeJS.ErrnoException) => {
		if (error.code !== "ENOENT") throw error;
	});
	await rm(directory, { recursive: true, force: true });
}

/** What a launcher that was killed has left: keys, and what its drivers, which ended with it, had mounted. Never rejects. */
export async function clearLeftovers(folder: string, log: Logger): Promise<void> {
	const names = await readdir(folder).catch(() => []);
	for (const name of names) {
		try {
			await removeDirectory(join(folder, name));
		} catch (error) {
			log.error({ err: error, name }, "clean-up failed");
		}
	}
}
