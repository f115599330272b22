import { closeSync } from "node:fs";
import { LauncherError } from "../errors.ts";
import type { FilesystemConfig } from "../filesystem-process/messages.ts";
import { storeOptions } from "../filesystem-process/store-options.ts";
import type { PendingUpload } from "../filesystem-process/upload-pending.ts";
import { openAndMount } from "../fuse/mount.ts";
import { raiseReadAhead } from "../fuse/read-ahead.ts";
import { mountOf, readMountinfo } from "../mounts/mountinfo.ts";
import { oomKills } from "./cgroup.ts";
import { s3CsiDrivers } from "./csi/index.ts";
import { readS3Volume } from "./csi/read-volume.ts";
import type {
	BucketAccess,
	CheckContext,
	Driver,
	HostNeeds,
	Member,
	Mount,
	PreparedMount,
	DriverSession,
	SharedSession,
	SharedStartContext,
	StartContext,
	UploadContext,
} from "./driver.ts";
import { inOnePlace, nativeCache } from "./cache-places.ts";
import { parseOptions } from "./parse-options.ts";
import { s3Bucket, s3CheckWithIdentity, s3Source } from "./s3-driver.ts";
import {
	cacheBytes,
	canBecome,
	changedForAll,
	filesystemConfig,
	readAheadOf,
	volumeConfig,
	writesBack,
	type NativeMember,
	type PreparedNative,
} from "./native-config.ts";
import { nativeFaults, nativeOptions, type NativeOptions } from "./native-options.ts";
import { ServingProcess } from "./serving-process.ts";

/** The filesystem of this project: a process of its own that speaks FUSE and S3. */
export const native: Driver = {
	name: "native",
	schemes: ["s3", "minio", ""],
	csiDrivers: s3CsiDrivers,
	readVolume: (volume) => readS3Volume(volume),
	readCachePlaces: inOnePlace(nativeCache),
	filesystemTypes: ["fuse.thin-s3"],
	options: nativeOptions,
	refusedOptions: { "type-cache-ttl": "names and attributes have one time: use ttl" },
	commonOptions: { transport: "direct" },
	prepare: (mount, raw, files) =>
		new NativeMount(mount, parseOptions(nativeOptions, mount, raw, { faults: nativeFaults }), files),
	startTogether: async (members, context) =>
		start(
			members.map(({ folder, mount }) => ({ folder, mount: asNative(mount) })),
			context,
		),
};

class NativeMount implements PreparedMount, PreparedNative {
	readonly servesWithoutBackend = true;
	readonly mount: Mount;
	readonly options: NativeOptions;
	/** The certificates that were in the file when it was prepared. */
	readonly ca: string | undefined;

	constructor(mount: Mount, given: NativeOptions, files?: ReadonlyMap<string, Buffer>) {
		this.mount = mount;
		this.options = given;
		this.ca = files?.get(given["ca-bundle"] ?? "")?.toString();
	}

	get summary(): readonly string[] {
		const { endpoint, region } = this.options;
		const server = endpoint === undefined ? [] : [`endpoint=${endpoint.href.replace(/\/$/, "")}`];
		if (region !== undefined) server.push(`region=${region}`);
		return ["fluid-fuse", "filesystem", sourceOf(this.mount), ...server, this.mount.readOnly ? "ro" : "rw"];
	}

	async check(context: CheckContext): Promise<void> {
		await s3CheckWithIdentity(this.mount, this.options, context);
	}

	async bucket(context: CheckContext): Promise<BucketAccess> {
		const { variables } = context;
		const making = storeOptions(volumeConfig({ folder: "", mount: this }, variables), variables, undefined);
		return s3Bucket(this.mount, this.options, context, { signsAsPod: true, making });
	}

	get needs(): HostNeeds {
		const { memory: memoryBytes, "cache-dir": directory } = this.options;
		return {
			...(memoryBytes !== undefined && { memoryBytes }),
			...(directory !== undefined && { cache: { directory, sizeBytes: cacheBytes(this.options) } }),
		};
	}

	async uploadPending(directory: string, context: UploadContext): Promise<PendingUpload> {
		const given = { ...this.options, "cache-dir": directory, "write-back": true };
		const mount = { mount: { ...this.mount, readOnly: false }, options: given, ca: this.ca };
		// Parts of objects that are kept there are of no use to it, and how many may be is not known.
		const { cache: _, ...config } = filesystemConfig(
			[{ folder: "", mount }],
			{ ...context, directory },
			{ kind: "inherited" },
		);
		// The launcher has no use for it.
		const { isPendingFor, uploadPending } = await import("../filesystem-process/upload-pending.ts");
		if (!isPendingFor(config)) return { uploaded: 0, left: [] };
		await this.check(context);
		return uploadPending(config, context);
	}

	async start(context: StartContext): Promise<DriverSession> {
		return start([{ folder: "", mount: this }], { ...context, readOnly: this.mount.readOnly });
	}
}

function sourceOf(mount: Mount): string {
	const { bucket, prefix } = s3Source(mount);
	return `s3://${bucket}/${prefix}`;
}

function asNative(mount: PreparedMount): NativeMount {
	if (!(mount instanceof NativeMount)) throw new TypeError("the mount was prepared by another driver");
	return mount;
}

async function start(members: readonly NativeMember[], context: SharedStartContext): Promise<SharedSession> {
	const { signal, mountpoint } = context;
	signal.throwIfAborted();
	const oomKillsBefore = await oomKills();
	const [first] = members;
	await refuseVolatileDisk(members);
	const kernelMount = kernelMountOf(members, context);
	const byLibfuse = first?.mount.options.transport === "libfuse";
	const fd = byLibfuse ? undefined : await mountDirectly(kernelMount, signal);
	let serving: ServingProcess | undefined;
	try {
		if (fd !== undefined) await raiseReadAhead(mountpoint);
		signal.throwIfAborted();
		const known = new Map(members.map((member) => [member.folder, member]));
		const configOf = (mount: FilesystemConfig["mount"]): FilesystemConfig =>
			filesystemConfig([...known.values()], context, mount);
		const diagnose = (line: string): LauncherError | undefined => libfuseProblem(line, mountpoint);
		const own = (serving = new ServingProcess(
			{ context, fd, oomKillsBefore, ...(byLibfuse && { diagnose }) },
			configOf,
			byLibfuse ? { kind: "libfuse", ...kernelMount } : { kind: "inherited" },
		));
		const put = (given: Member): readonly string[] => {
			const member = { folder: given.folder, mount: asNative(given.mount) };
			const before = known.get(member.folder);
			known.set(member.folder, member);
			const volume = volumeConfig(member, context.variables);
			if (before === undefined || JSON.stringify(volumeConfig(before, context.variables)) !== JSON.stringify(volume))
				own.send({ kind: "put", volume });
			own.send({ kind: "tune", readAheadBytes: readAheadOf([...known.values()]) });
			return before === undefined ? [] : changedForAll(before.mount, member.mount);
		};
		return {
			get pid() {
				return own.current.process.pid;
			},
			ended: own.ended,
			stop: async (options) => own.stop(options),
			put,
			remove: (folder, limits) => {
				known.delete(folder);
				own.current.refusals.delete(folder);
				own.current.concessions.delete(folder);
				return own.departures.begin(folder, limits);
			},
			update: async (given) => {
				const [folder = "", before] = [...known].at(0) ?? [];
				const member = { folder, mount: asNative(given) };
				if (before === undefined || !canBecome(before, member, context.variables)) return { kind: "needs-start" };
				return { kind: "updated", later: put(member) };
			},
			...(fd !== undefined && { exchange: async (giveUp: AbortSignal) => own.exchange(giveUp) }),
			drain: () => own.send({ kind: "drain" }),
			stats: () => own.current.stats,
			measured: (folder) => own.current.measured[folder] ?? {},
			measuredTogether: () => own.current.measuredTogether,
			measure: async () => own.current.measure(),
			setLogLevel: (level) => own.send({ kind: "log-level", level }),
			trace: (tracer) => own.current.trace(tracer),
			untrace: (tracer) => own.current.untrace(tracer),
			troubles: () => own.current.troubles,
			refusals: (folder) => own.current.refusals.get(folder),
			concessions: (folder) => own.current.concessions.get(folder) ?? [],
		};
	} catch (error) {
		// Otherwise it is the process's.
		if (fd !== undefined && serving === undefined) closeSync(fd);
		throw error;
	}
}

const volatileTypes = new Set(["tmpfs", "ramfs", "overlay"]);

/** With write-back, who closes a file counts on the disk: one that goes with the container would lose what the bucket has not. */
async function refuseVolatileDisk(members: readonly NativeMember[]): Promise<void> {
	const writing = members.find(({ mount }) => writesBack(mount));
	const directory = members.findLast(({ mount }) => mount.options["cache-dir"] !== undefined)?.mount.options[
		"cache-dir"
	];
	if (writing === undefined || directory === undefined) return;
	const type = mountOf(await readMountinfo(), directory)?.type;
	if (type === undefined || !volatileTypes.has(type)) return;
	throw new LauncherError(
		"CONFIG_INVALID",
		`write-back: cache-dir ${directory} is on ${type}, which goes with the container`,
		{
			hint: "Closed files are kept there until they are in the bucket: mount a disk of the node, or a volume, at cache-dir.",
		},
	);
}

interface KernelMount {
	readonly target: string;
	readonly source: string;
	readonly subtype: string;
	readonly readOnly: boolean;
	readonly allowOther: boolean;
}

function kernelMountOf(members: readonly NativeMember[], { mountpoint, readOnly }: SharedStartContext): KernelMount {
	const [first] = members;
	return {
		target: mountpoint,
		// Programs split lines of mountinfo and df at spaces.
		source: members.length === 1 && first?.folder === "" ? encodeURI(sourceOf(first.mount.mount)) : "thin-s3",
		subtype: "thin-s3",
		readOnly,
		allowOther: members.every(({ mount }) => mount.options["allow-other"] !== false),
	};
}

async function mountDirectly(mount: KernelMount, signal: AbortSignal): Promise<number> {
	return openAndMount({ ...mount, signal }).catch((error: unknown) => {
		if (signal.aborted) throw error;
		throw new LauncherError("MOUNTPOINT_UNUSABLE", `cannot mount at ${mount.target}: ${(error as Error).message}`, {
			cause: error,
		});
	});
}

/** What libfuse, or its helper fusermount, prints when it cannot mount. */
function libfuseProblem(line: string, mountpoint: string): LauncherError | undefined {
	const isWhy =
		/^fusermount: |^fuse: (device not found|failed to|mount failed|mountpoint is not|bad mount|unknown option)/;
	if (!isWhy.test(line)) return undefined;
	return new LauncherError("MOUNTPOINT_UNUSABLE", `libfuse cannot mount at ${mountpoint}: ${line.slice(0, 300)}`);
}
