import type Fuse from "fuse-native";
import type { FuseSignal } from "fuse-native";
import { setTimeout as sleep } from "node:timers/promises";
import { readMountinfo } from "../mounts/mountinfo.ts";
import type { Filesystem } from "./filesystem.ts";
import { PathOperations } from "./path-operations.ts";
import type { Ending, Session } from "./session.ts";

export interface ServeLibfuseOptions {
	/** An empty folder, not a dead mount: libfuse mounts it itself, from this process. */
	readonly target: string;
	/** What the kernel shows as the mounted thing. */
	readonly source: string;
	/** The kernel shows the type `fuse.<subtype>`. */
	readonly subtype: string;
	readonly readOnly: boolean;
	readonly allowOther: boolean;
	readonly filesystem: Filesystem;
	readonly log?: (level: "warn" | "error", fields: object, message: string) => void;
}

/** It leaves out what it is not given a function for. */
const overridden = { fgetattr: true, statfs: true, getxattr: true, listxattr: true };

/** How long the kernel believes names and attributes, in seconds: libfuse can take nothing back. */
const validSeconds = 1;
const pollMs = 250;

/**
 * Mounts and serves a filesystem with libfuse 2.9, by the optional package fuse-native. Slower than /dev/fuse itself, and less is
 * possible: no callers, no interrupts, no invalidation, times of milliseconds and only the time of access can be set. Ends when the
 * mount is gone.
 */
export async function serveLibfuse(options: ServeLibfuseOptions): Promise<Session> {
	const { target, filesystem, log } = options;
	const Addon = await loadAddon();
	const operations = new PathOperations(filesystem, (operation, error) =>
		log?.("error", { operation, err: error }, "a request failed unexpectedly"),
	);
	const fuse = new (mounting(Addon, operations, options))(
		target,
		{ ...operations.all(), ...overridden },
		{ timeout: false },
	);
	filesystem.init?.({ invalidateNode: () => undefined, invalidateEntry: () => undefined });
	await new Promise<void>((resolve, reject) => {
		fuse.mount((error) => (error === undefined || error === null ? resolve() : reject(error)));
	});
	return {
		ended: end(options, fuse, Addon),
		connection: undefined,
		notifications: 0,
		get requests() {
			return operations.requests;
		},
		get errors() {
			return operations.errors;
		},
		get inFlight() {
			return operations.inFlight;
		},
	};
}

async function end({ target, filesystem, log }: ServeLibfuseOptions, fuse: Fuse, Addon: typeof Fuse): Promise<Ending> {
	await untilUnmounted(target);
	// Its own way is fusermount, with the path in a line for the shell. Here it only lets go of the event loop.
	Addon.unmount = (_target, done) => done();
	fuse.unmount(() => undefined);
	try {
		await filesystem.destroy?.();
	} catch (error) {
		log?.("error", { err: error }, "the filesystem did not end cleanly");
	}
	return { kind: "unmounted" };
}

async function loadAddon(): Promise<typeof Fuse> {
	try {
		return (await import("fuse-native")).default;
	} catch (error) {
		const reason = (error as Error).message.split("\n")[0];
		throw new Error(`libfuse needs the package fuse-native, which is not installed or not made for here: ${reason}`, {
			cause: error,
		});
	}
}

/** fuse-native with our own options, and without its mistakes where they are in JavaScript. */
function mounting(Addon: typeof Fuse, operations: PathOperations, options: ServeLibfuseOptions): typeof Fuse {
	const { source, subtype, readOnly, allowOther } = options;
	return class extends Addon {
		protected override _fuseOptions(): string {
			const list = [
				"default_permissions",
				"nosuid",
				"nodev",
				"use_ino",
				"big_writes",
				`attr_timeout=${validSeconds}`,
				`entry_timeout=${validSeconds}`,
				`fsname=${source.replaceAll(/[\\,]/g, (character) => `\\${character}`)}`,
				`subtype=${subtype}`,
				...(allowOther ? ["allow_other"] : []),
				...(readOnly ? ["ro"] : []),
			];
			return `-o${list.join(",")}`;
		}

		protected override _op_getattr(signal: FuseSignal, path: string): void {
			operations.getattr(path, (result, stat) => signal(result, stat ?? new Uint32Array(18)));
		}

		// It would ask for the path.
		protected override _op_fgetattr(signal: FuseSignal, _path: string, descriptor: number): void {
			operations.fgetattr(descriptor, (result, stat) => signal(result, stat ?? new Uint32Array(18)));
		}

		protected override _op_statfs(signal: FuseSignal, path: string): void {
			operations.statfs(path, (result, statistics) => signal(result, statistics ?? new Uint32Array(11)));
		}

		// These two would answer more than there is room for.
		protected override _op_getxattr(signal: FuseSignal, path: string, name: string, value: Buffer): void {
			operations.getxattr(path, name, value, (result) => signal(result, value.buffer));
		}

		protected override _op_listxattr(signal: FuseSignal, path: string, list: Buffer): void {
			operations.listxattr(path, list, (result) => signal(result, list.buffer));
		}
	};
}

/** fuse-native does not tell. The kernel does, in a file that never hangs. */
async function untilUnmounted(target: string): Promise<void> {
	const device = (await readMountinfo()).findLast(({ mountPoint }) => mountPoint === target)?.device;
	for (;;) {
		const entries = await readMountinfo();
		if (!entries.some((entry) => entry.mountPoint === target && entry.device === device)) return;
		await sleep(pollMs);
	}
}
