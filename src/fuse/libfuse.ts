import type Fuse from "fuse-native";
import type { FuseHandler, FuseSignal } from "fuse-native";
import { readdir, readlink } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { LauncherError } from "../errors.ts";
import type { Filesystem } from "./filesystem.ts";
import { PathOperations } from "./path-operations.ts";
import type { FuseEnding, FuseSession } from "./session.ts";

export interface ServeLibfuseOptions {
	/** An empty folder, not a dead mount: libfuse mounts it itself, from this process. */
	readonly target: string;
	/** What the kernel shows as the mounted thing; only as much of it as libfuse's options have room for. */
	readonly source: string;
	/** The kernel shows the type `fuse.<subtype>`. */
	readonly subtype: string;
	readonly readOnly: boolean;
	readonly allowOther: boolean;
	/** How long the kernel may believe names and attributes, in milliseconds: libfuse can take nothing back. */
	readonly validMs: number;
	readonly filesystem: Filesystem;
	readonly log?: (level: "warn" | "error", fields: object, message: string) => void;
}

/** fuse-native leaves out what it is not given a function for. */
const overridden = { fgetattr: true, getxattr: true, listxattr: true, readdir: true, statfs: true };

const pollMs = 100;

/** fuse-native copies the path and the options into arrays of 1024 bytes, and drops what is beyond without a word. */
const roomBytes = 1023;

/**
 * Mounts and serves a filesystem with libfuse 2.9, by the optional package fuse-native. Slower than /dev/fuse itself, and less is
 * possible: docs/libfuse.md says what. Ends when the kernel has let go of the mount. Throws DRIVER_MISSING where the package is
 * missing or does not load, and MOUNTPOINT_UNUSABLE; why libfuse cannot mount it prints on the standard error itself.
 */
export async function serveLibfuse(options: ServeLibfuseOptions): Promise<FuseSession> {
	const { target, filesystem, log } = options;
	if (Buffer.byteLength(target) > roomBytes)
		throw new LauncherError("MOUNTPOINT_UNUSABLE", `libfuse takes paths of ${roomBytes} bytes at most: ${target}`, {
			hint: "Set FLUID_FUSE_RUN_DIR to a shorter path.",
		});
	const Addon = await loadAddon();
	const operations = new PathOperations(filesystem, (operation, error) =>
		log?.("error", { operation, err: error }, "a request failed unexpectedly"),
	);
	const others = new Set(await openDevices());
	const fuse = new (mounting(Addon, operations, options))(
		target,
		{ ...operations.all(), ...overridden },
		{ timeout: false },
	);
	filesystem.init?.({ invalidateNode: () => undefined, invalidateEntry: () => undefined });
	await mounted(fuse, target);
	const device = (await openDevices()).find((descriptor) => !others.has(descriptor));
	if (device === undefined) throw new Error("libfuse has mounted, and has no descriptor of /dev/fuse");
	return {
		ended: end(options, { fuse, Addon, device }),
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

async function mounted(fuse: Fuse, target: string): Promise<void> {
	try {
		await new Promise<void>((resolve, reject) => {
			fuse.mount((error) => (error === undefined || error === null ? resolve() : reject(error)));
		});
	} catch (error) {
		throw new LauncherError("MOUNTPOINT_UNUSABLE", `libfuse cannot mount at ${target}: ${(error as Error).message}`, {
			cause: error,
		});
	}
}

interface Mounted {
	readonly fuse: Fuse;
	readonly Addon: typeof Fuse;
	/** The descriptor of /dev/fuse that libfuse has. */
	readonly device: string;
}

async function end({ filesystem, log }: ServeLibfuseOptions, { fuse, Addon, device }: Mounted): Promise<FuseEnding> {
	// Nobody tells. libfuse closes it when the kernel has ended the connection: a mount that was detached is in use until then.
	while ((await openDevices()).includes(device)) await sleep(pollMs);
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

/** Descriptors of /dev/fuse that this process has. */
async function openDevices(): Promise<string[]> {
	const descriptors = await readdir("/proc/self/fd");
	const links = await Promise.all(
		// The one of the listing itself is gone by now.
		descriptors.map(async (descriptor) => readlink(`/proc/self/fd/${descriptor}`).catch(() => "")),
	);
	return descriptors.filter((_, index) => links[index] === "/dev/fuse");
}

async function loadAddon(): Promise<typeof Fuse> {
	try {
		return (await import("fuse-native")).default;
	} catch (error) {
		throw missing(error as NodeJS.ErrnoException);
	}
}

/** What keeps fuse-native from being loaded, and what to do about it. */
export function missing(cause: NodeJS.ErrnoException): LauncherError {
	const otherwise = 'leave the option "transport" out';
	const failure = (message: string, hint: string): LauncherError =>
		new LauncherError("DRIVER_MISSING", `transport=libfuse ${message}`, { hint: `${hint}, or ${otherwise}.`, cause });
	if (cause.code === "ERR_MODULE_NOT_FOUND")
		return failure("needs the npm package fuse-native, which is not in this image", "Install fuse-native 2.2.6");
	if (/libfuse\.so\.\d+: cannot open/.test(cause.message))
		return failure("needs the library libfuse.so.2, which is not in this image", "Install Debian's libfuse2");
	const reason = cause.message.split("\n")[0]?.trim();
	return failure(
		`needs the npm package fuse-native, which does not load here (${process.platform} ${process.arch}): ${reason}`,
		"Use an image for x64 with glibc, all that fuse-native is built for",
	);
}

/** fuse-native with our own options, and without its mistakes where they are in JavaScript. */
function mounting(Addon: typeof Fuse, operations: PathOperations, options: ServeLibfuseOptions): typeof Fuse {
	return class extends Addon {
		protected override _fuseOptions(): string {
			return fuseOptions(options);
		}

		protected override _makeHandlerArray(): FuseHandler[] {
			// oxlint-disable-next-line no-underscore-dangle -- the addon's names
			const handlers = super._makeHandlerArray();
			const utimens = handlers[utimensOperation];
			if (utimens !== undefined) handlers[utimensOperation] = withOwnTimeOfChange(utimens);
			return handlers;
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

		// It would convert what is as the addon wants it already.
		protected override _op_readdir(signal: FuseSignal, path: string): void {
			operations.readdir(path, (result, list) => signal(result, list?.names ?? [], list?.stats ?? []));
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

/** As one argument of libfuse's command line. */
export function fuseOptions({
	source,
	subtype,
	readOnly,
	allowOther,
	validMs,
}: Pick<ServeLibfuseOptions, "source" | "subtype" | "readOnly" | "allowOther" | "validMs">): string {
	const options = [
		"default_permissions",
		"nosuid",
		"nodev",
		"use_ino",
		"big_writes",
		`attr_timeout=${validMs / 1000}`,
		`entry_timeout=${validMs / 1000}`,
		`subtype=${subtype}`,
		...(allowOther ? ["allow_other"] : []),
		...(readOnly ? ["ro"] : []),
	];
	// Last, since nothing else may be lost for it.
	let text = `-o${options.join(",")},fsname=`;
	for (const character of source) {
		const escaped = /[\\,]/.test(character) ? `\\${character}` : character;
		if (Buffer.byteLength(text) + Buffer.byteLength(escaped) > roomBytes) break;
		text += escaped;
	}
	return text;
}

/** The number of utimens, and where its times are in the addon's structure, in milliseconds: as 2.2.6 for x64 is compiled. */
const utimensOperation = 12;
const timesAt = { access: 104, change: 112 } as const;

/** The addon hands down the time of access twice. The time of change is in its structure, unless that is not the one we know. */
function withOwnTimeOfChange(handler: FuseHandler): FuseHandler {
	return (locals, operation, path, accessLow, accessHigh, ...sameAgain) => {
		const isKnown =
			locals.length >= timesAt.change + 8 &&
			locals.readUInt32LE(timesAt.access) === accessLow &&
			locals.readUInt32LE(timesAt.access + 4) === accessHigh;
		const change = isKnown ? [locals.readUInt32LE(timesAt.change), locals.readUInt32LE(timesAt.change + 4)] : sameAgain;
		handler(locals, operation, path, accessLow, accessHigh, ...change);
	};
}
