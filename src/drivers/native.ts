import { randomUUID } from "node:crypto";
import { closeSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { mebibyte } from "../bytes.ts";
import { choice, duration, flag, integer, path, secret, size, text } from "../options/option.ts";
import { LauncherError } from "../errors.ts";
import { showSameObjects, type FilesystemConfig, type VolumeConfig } from "../filesystem-process/messages.ts";
import { storeOptions } from "../filesystem-process/store-options.ts";
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
	DriverFault,
	HostNeeds,
	Member,
	Mount,
	PreparedMount,
	DriverSession,
	SharedSession,
	SharedStartContext,
	StartContext,
} from "./driver.ts";
import { inOnePlace, nativeCache } from "./cache-places.ts";
import { parseOptions } from "./parse-options.ts";
import { s3Bucket, s3CheckWithIdentity, s3Faults, s3Source } from "./s3-driver.ts";
import { pathStyle, s3Options } from "./s3-options.ts";
import { ServingProcess } from "./serving-process.ts";

const options = z.strictObject({
	...s3Options,
	memory: size(
		{
			description:
				"Memory for parts of objects that are read; names and what the kernel knows of them take up to three eighths of it besides, and at least 36Mi (SEMANTICS.md), and answers of the server that are being read 32Mi at most. Default: a quarter of the container's limit, 512Mi at most.",
		},
		{ min: 16 * mebibyte },
	),
	threads: integer(
		{
			description:
				"Threads beside the main one that receive and send large parts of objects, and answer large reads; 0: none. They start when there is such work, and each takes some 15 MB. Default: none where fewer than four processors can be used, otherwise two less than those, 8 at most, and no more than fit into an eighth of the container's memory.",
		},
		{ min: 0, max: 64 },
	),
	"read-ahead": size({ description: "How far one sequential reader is read ahead of at most. Default: 64Mi." }),
	"cache-dir": path({ description: "Folder on a disk where parts of objects, and what is being written, are kept." }),
	"cache-size": size(
		{ description: "How much of that disk parts of objects may fill. Default: 10Gi." },
		{ min: 64 * mebibyte },
	),
	"write-buffer": size(
		{
			description:
				"How much may be written and not be uploaded yet; below 1940Mi it limits how long a file can be (SEMANTICS.md). Default: half of memory, at least 64Mi; with cache-dir 4Gi.",
		},
		{ min: 16 * mebibyte },
	),
	"write-back": flag({
		description:
			"Closing a file waits for the disk of cache-dir only, and the bucket gets it behind; a lost node loses what it had not yet (SEMANTICS.md). Default: false.",
	}),
	"write-back-age": duration({
		description:
			"How long a closed file may wait for the bucket before closing others waits for the bucket, too. Default: 30s.",
	}),
	ttl: duration({
		description:
			"How long names and attributes are believed before the server is asked again; 0 asks every time. Default: 60s.",
		aliases: ["stat-cache-ttl"],
	}),
	attributes: choice(["listed", "all"], {
		description:
			"Where modes, owners, times and links come from: listings, as far as the server lists them, or a request for each name. Default: listed.",
	}),
	"use-content-type": flag({
		description:
			"Give new files a Content-Type by their extension, and renamed ones another; files that are there keep what they have. Default: true.",
	}),
	transport: choice(["direct", "libfuse"], {
		description:
			"How the kernel is spoken to: over /dev/fuse itself, or by libfuse 2, which mounts without the program mount but is slower and can do less (docs/libfuse.md). Default: direct.",
	}),
	"max-requests": integer(
		{
			description: "Requests to the server at a time; fewer while it throttles. Default: 32.",
			aliases: ["max_requests"],
		},
		{ min: 1, max: 256 },
	),
	"connect-timeout": duration({ description: "Time limit of one connection. Default: 5s." }),
	"http-timeout": duration({
		description: "How long the server may be silent, or slower than 1 KiB a second. Default: 30s.",
	}),
	"retry-for": duration({
		description: "How long a request is tried again before an application gets an error. Default: 60s.",
	}),
	sse: flag({ description: "Encrypt new objects with keys of S3 (SSE-S3). Default: false." }),
	"sse-kms": text(
		{ description: "Encrypt new objects with this KMS key; empty: the account's own." },
		/^[\w:/-]*$/,
		"a KMS key id",
	),
	"sse-c": secret({
		description: "Encrypt and decrypt all objects with this key (SSE-C): 32 bytes in base64. Needs https.",
	}),
});

type NativeOptions = z.output<typeof options>;

/** The filesystem of this project: a process of its own that speaks FUSE and S3. */
export const native: Driver = {
	name: "native",
	schemes: ["s3", "minio", ""],
	csiDrivers: s3CsiDrivers,
	readVolume: (volume) => readS3Volume(volume),
	readCachePlaces: inOnePlace(nativeCache),
	filesystemTypes: ["fuse.thin-s3"],
	options,
	refusedOptions: { "type-cache-ttl": "names and attributes have one time: use ttl" },
	commonOptions: { transport: "direct" },
	prepare: (mount, raw, files) => new NativeMount(mount, parseOptions(options, mount, raw, { faults }), files),
	startTogether: async (members, context) =>
		start(
			members.map(({ folder, mount }) => ({ folder, mount: asNative(mount) })),
			context,
		),
};

class NativeMount implements PreparedMount {
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
		return ["fluid-fuse", "filesystem", this.source, ...server, this.mount.readOnly ? "ro" : "rw"];
	}

	get source(): string {
		const { bucket, prefix } = s3Source(this.mount);
		return `s3://${bucket}/${prefix}`;
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

	async start(context: StartContext): Promise<DriverSession> {
		return start([{ folder: "", mount: this }], { ...context, readOnly: this.mount.readOnly });
	}
}

interface NativeMember extends Member {
	readonly mount: NativeMount;
}

function asNative(mount: PreparedMount): NativeMount {
	if (!(mount instanceof NativeMount)) throw new TypeError("the mount was prepared by another driver");
	return mount;
}

function faults(mount: Mount, given: NativeOptions): DriverFault[] {
	const found = s3Faults(mount, given);
	const fault = (name: string, message: string): void => {
		found.push({ at: { kind: "option", name }, message });
	};
	if (given["cache-size"] !== undefined && given["cache-dir"] === undefined)
		fault("cache-size", "given without cache-dir");
	const writesBack = given["write-back"] === true;
	if (writesBack && given["cache-dir"] === undefined)
		fault(
			"write-back",
			"needs cache-dir, on a disk that outlives the container: closed files are kept there until they are uploaded",
		);
	if (writesBack && given.transport === "libfuse") fault("write-back", "cannot be combined with transport=libfuse");
	if (given["write-back-age"] !== undefined && !writesBack) fault("write-back-age", "given without write-back");
	const encryptions = (["sse", "sse-kms", "sse-c"] as const).filter(
		(name) => given[name] !== undefined && given[name] !== false,
	);
	if (encryptions.length > 1) fault(encryptions[1] ?? "sse", `cannot be combined with ${encryptions[0]}`);
	const key = given["sse-c"]?.reveal();
	if (key !== undefined && Buffer.from(key, "base64").length !== 32) fault("sse-c", "expected 32 bytes in base64");
	return found;
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

function writesBack({ mount, options: given }: NativeMount): boolean {
	return given["write-back"] === true && !mount.readOnly;
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
		source: members.length === 1 && first?.folder === "" ? encodeURI(first.mount.source) : "thin-s3",
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

/** Options that are the process's, and count for all its mounts from its start on. */
const processOptions = [
	"memory",
	"threads",
	"cache-dir",
	"cache-size",
	"write-buffer",
	"write-back",
	"allow-other",
	"transport",
] as const;

function changedForAll(before: NativeMount, after: NativeMount): string[] {
	return processOptions.filter((name) => before.options[name] !== after.options[name]);
}

/** Whether a mount that has a process of its own becomes another one in it. */
function canBecome(before: NativeMember, after: NativeMember, variables: NodeJS.ProcessEnv): boolean {
	return (
		showSameObjects(volumeConfig(before, variables), volumeConfig(after, variables)) &&
		// The kernel was told.
		before.mount.mount.readOnly === after.mount.mount.readOnly &&
		changedForAll(before.mount, after.mount).length === 0
	);
}

function readAheadOf(members: readonly NativeMember[]): number {
	const given = members.findLast(({ mount }) => mount.options["read-ahead"] !== undefined);
	return given?.mount.options["read-ahead"] ?? 64 * mebibyte;
}

function filesystemConfig(
	members: readonly NativeMember[],
	{ directory, log, variables, continuesAfterCrash = false }: StartContext,
	mount: FilesystemConfig["mount"],
): FilesystemConfig {
	const given = Object.assign({}, ...members.map(({ mount }) => mount.options)) as NativeOptions;
	const cacheDirectory = given["cache-dir"];
	const keepsPending = cacheDirectory !== undefined && members.some(({ mount }) => writesBack(mount));
	return {
		mount,
		volumes: members.map((member) => volumeConfig(member, variables)),
		logLevel: log.level,
		...(given.memory !== undefined && { memoryBytes: given.memory }),
		...(given.threads !== undefined && { threads: given.threads }),
		readAheadBytes: readAheadOf(members),
		stagingDirectory:
			cacheDirectory === undefined
				? join(directory, "writing")
				: // Other pods of the node may have the same disk.
					join(cacheDirectory, keepsPending ? "pending" : "writing", randomUUID()),
		...(keepsPending && { keepsPending }),
		...(cacheDirectory !== undefined && { pendingDirectory: join(cacheDirectory, "pending") }),
		// Others may take over what is pending when nobody has it locked, and would take what is open with it.
		...(continuesAfterCrash &&
			!keepsPending &&
			mount.kind !== "libfuse" && { journalDirectory: join(directory, "journal") }),
		...(given["write-buffer"] !== undefined && { stagingLimitBytes: given["write-buffer"] }),
		...(cacheDirectory !== undefined && {
			cache: { directory: join(cacheDirectory, "parts"), limitBytes: cacheBytes(given) },
		}),
	};
}

function cacheBytes({ "cache-size": sizeBytes = 10 * 1024 * mebibyte }: NativeOptions): number {
	return sizeBytes;
}

/** For the SDK's providers. With the mount that needs them, since others must not have them, and one may come in later. */
function identityVariables(variables: NodeJS.ProcessEnv): Record<string, string> {
	const given = Object.entries(variables).filter(([name, value]) => name.startsWith("AWS_") && value !== undefined);
	return Object.fromEntries(given) as Record<string, string>;
}

function volumeConfig(
	{ folder, mount: { mount, options: given, ca } }: NativeMember,
	variables: NodeJS.ProcessEnv,
): VolumeConfig {
	// Nobody is trusted instead.
	if (given["ca-bundle"] !== undefined && ca === undefined) throw new Error("the CA bundle was not read");
	const source = s3Source(mount);
	const [accessKey, secretKey, token] = [given["access-key"], given["secret-key"], given["session-token"]];
	const customerKey = given["sse-c"];
	return {
		folder,
		bucket: source.bucket,
		prefix: source.prefix,
		readOnly: mount.readOnly,
		pathStyle: pathStyle(source, given),
		...(given.endpoint !== undefined && { endpoint: given.endpoint.href }),
		...(given.region !== undefined && { region: given.region }),
		credentials:
			given.anonymous === true
				? { kind: "anonymous" }
				: accessKey === undefined || secretKey === undefined
					? { kind: "identity", variables: identityVariables(variables) }
					: {
							kind: "keys",
							accessKeyId: accessKey.reveal(),
							secretAccessKey: secretKey.reveal(),
							...(token !== undefined && { sessionToken: token.reveal() }),
						},
		...(ca !== undefined && { ca }),
		...(given["requester-pays"] === true && { requesterPays: true }),
		...(given["storage-class"] !== undefined && { storageClass: given["storage-class"] }),
		...(given.acl !== undefined && { acl: given.acl }),
		...(given.sse === true && { encryption: { kind: "s3" } }),
		...(given["sse-kms"] !== undefined && {
			encryption: { kind: "kms", ...(given["sse-kms"] !== "" && { keyId: given["sse-kms"] }) },
		}),
		...(customerKey !== undefined && { encryption: { kind: "customer", key: customerKey.reveal() } }),
		uid: given.uid ?? 0,
		gid: given.gid ?? 0,
		directoryMode: given["dir-mode"] ?? 0o755,
		fileMode: given["file-mode"] ?? 0o644,
		attributes: given.attributes ?? "listed",
		contentTypes: given["use-content-type"] !== false,
		ttlMs: given.ttl ?? 60_000,
		...(given["write-back"] === true && { writeBack: { maximumAgeMs: given["write-back-age"] ?? 30_000 } }),
		maximumRequests: given["max-requests"] ?? 32,
		connectMs: given["connect-timeout"] ?? 5000,
		silenceMs: given["http-timeout"] ?? 30_000,
		retryForMs: given["retry-for"] ?? 60_000,
	};
}
