import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { choice, duration, flag, integer, path, secret, size, text } from "../config/option.ts";
import { LauncherError } from "../errors.ts";
import type { FilesystemConfig, VolumeConfig } from "../filesystem-config.ts";
import { openAndMount } from "../fuse/mount.ts";
import { raiseReadAhead } from "../fuse/read-ahead.ts";
import { oomKills } from "./cgroup.ts";
import type { Driver, DriverFault, Mount, RawOptions, Session, StartContext } from "./driver.ts";
import { parseOptions } from "./parse-options.ts";
import { inheritedVariables, programMissing, superviseProcess } from "./process.ts";
import { s3Check, s3Faults, s3Source } from "./s3-driver.ts";
import { pathStyle, s3Options } from "./s3-options.ts";

const mebibyte = 1024 ** 2;

const options = z.strictObject({
	...s3Options,
	memory: size(
		{
			description:
				"Memory for parts of objects that are read. Default: a quarter of the container's limit, 512Mi at most.",
		},
		{ min: 16 * mebibyte },
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
				"How much may be written and not be uploaded yet. Default: half of memory, at least 64Mi; with cache-dir 4Gi.",
		},
		{ min: 16 * mebibyte },
	),
	ttl: duration({
		description:
			"How long names and attributes are believed before the server is asked again; 0 asks every time. Default: 60s.",
		aliases: ["stat-cache-ttl", "stat_cache_expire"],
	}),
	attributes: choice(["listed", "all"], {
		description:
			"Where modes, owners, times and links come from: listings, as far as the server lists them, or a request for each name. Default: listed.",
	}),
	"max-requests": integer(
		{
			description: "Requests to the server at a time; fewer while it throttles. Default: 32.",
			aliases: ["max_requests"],
		},
		{ min: 1, max: 256 },
	),
	"connect-timeout": duration({ description: "Time limit of one connection. Default: 5s." }),
	"http-timeout": duration({ description: "How long the server may be silent. Default: 30s." }),
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

/** A mount with its options, checked. */
interface Member {
	readonly mount: Mount;
	readonly folder: string;
	readonly options: NativeOptions;
}

/** The filesystem of this project: a process of its own that speaks FUSE and S3. */
export const native: Driver = {
	name: "native",
	schemes: ["s3", "minio", ""],
	filesystemTypes: ["fuse.thin-s3"],
	options,
	refusedOptions: {},
	prepare: (mount, raw) => prepared([member(mount, raw, "")]),
	prepareAll: (mounts) => prepared(mounts.map(({ mount, options: raw, folder }) => member(mount, raw, folder))),
};

function member(mount: Mount, raw: RawOptions, folder: string): Member {
	return { mount, folder, options: parseOptions(options, mount, raw, faults) };
}

function faults(mount: Mount, given: NativeOptions): DriverFault[] {
	const found = s3Faults(mount, given);
	const fault = (name: string, message: string): void => {
		found.push({ at: { kind: "option", name }, message });
	};
	if (given["cache-size"] !== undefined && given["cache-dir"] === undefined)
		fault("cache-size", "given without cache-dir");
	const encryptions = (["sse", "sse-kms", "sse-c"] as const).filter(
		(name) => given[name] !== undefined && given[name] !== false,
	);
	if (encryptions.length > 1) fault(encryptions[1] ?? "sse", `cannot be combined with ${encryptions[0]}`);
	const key = given["sse-c"]?.reveal();
	if (key !== undefined && Buffer.from(key, "base64").length !== 32) fault("sse-c", "expected 32 bytes in base64");
	return found;
}

function prepared(members: readonly Member[]): ReturnType<Driver["prepare"]> {
	const [first] = members;
	return {
		summary: ["fluid-fuse", "filesystem", ...members.flatMap(summary)],
		servesWithoutBackend: true,
		async check(context) {
			if (first !== undefined) await s3Check(first.mount, first.options, context);
		},
		start: async (context) => start(members, context),
	};
}

function summary({ mount, folder, options: given }: Member): string[] {
	const server = given.endpoint === undefined ? [] : [`endpoint=${given.endpoint.href.replace(/\/$/, "")}`];
	const region = given.region === undefined ? [] : [`region=${given.region}`];
	return [describe(mount), ...server, ...region, ...(folder === "" ? [] : [`folder=${folder}`])];
}

function describe(mount: Mount): string {
	const { bucket, prefix } = s3Source(mount);
	return `s3://${bucket}/${prefix}`;
}

/** Threads of libuv: those that wait for the kernel's requests, and those for files and names. */
const threads = 16;

async function start(members: readonly Member[], context: StartContext): Promise<Session> {
	const { signal, variables, mountpoint } = context;
	signal.throwIfAborted();
	const oomKillsBefore = await oomKills();
	const fd = await openAndMount({
		target: mountpoint,
		// Programs split lines of mountinfo and df at spaces.
		source: members.length === 1 && members[0] !== undefined ? encodeURI(describe(members[0].mount)) : "thin-s3",
		subtype: "thin-s3",
		readOnly: members.every(({ mount }) => mount.readOnly),
		allowOther: members.every(({ options: given }) => given["allow-other"] !== false),
		signal,
	}).catch((error: unknown) => {
		if (signal.aborted) throw error;
		throw new LauncherError("MOUNTPOINT_UNUSABLE", `cannot mount at ${mountpoint}: ${(error as Error).message}`, {
			cause: error,
		});
	});
	let isOpen = true;
	// Whoever waits for the mount gets an error as soon as no process has the descriptor.
	const close = (): void => {
		if (isOpen) closeSync(fd);
		isOpen = false;
	};
	try {
		await raiseReadAhead(mountpoint);
		signal.throwIfAborted();
		const hasKeys = members.every(
			({ options: given }) => given["access-key"] !== undefined || given.anonymous === true,
		);
		const child = spawn(
			"setpriv",
			["--pdeathsig", "KILL", "--", process.execPath, ...nodeFlags, programFile(), "filesystem"],
			{
				env: {
					...inheritedVariables(variables, hasKeys ? undefined : /^AWS_/),
					UV_THREADPOOL_SIZE: String(threads),
					...(process.env["NODE_COMPILE_CACHE"] !== undefined && {
						NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"],
					}),
				},
				cwd: "/",
				detached: true,
				stdio: ["pipe", "pipe", "pipe", fd],
			},
		);
		const { pid, stdin, stdout, stderr } = child;
		const ended = once(child, "close").then(
			([exitCode, endSignal]: (string | number | null)[]) => ({
				exitCode: typeof exitCode === "number" ? exitCode : undefined,
				signal: typeof endSignal === "string" ? endSignal : undefined,
			}),
			() => ({ exitCode: 127 }),
		);
		if (pid === undefined || stdin === null || stdout === null || stderr === null) {
			throw programMissing("native", "setpriv");
		}
		void ended.then(close);
		// Secrets go this way: not in arguments, not in the environment.
		stdin.on("error", () => undefined);
		stdin.end(JSON.stringify(filesystemConfig(members, context)));
		return superviseProcess({
			driver: "native",
			program: "setpriv",
			pid,
			stdout,
			stderr,
			ended,
			oomKillsBefore,
			log: context.log,
			onDroppedLines: context.onDroppedLines,
		});
	} catch (error) {
		close();
		throw error;
	}
}

/** The debugger's signal stays off; a large young generation keeps what lives shortly from being copied. */
const nodeFlags = ["--disable-sigusr1", "--max-semi-space-size=16"];

/** The bundle, or in a checkout the entry of the sources. */
function programFile(): string {
	return fileURLToPath(import.meta.url.endsWith(".ts") ? new URL("../main.ts", import.meta.url) : import.meta.url);
}

function filesystemConfig(members: readonly Member[], { directory }: StartContext): FilesystemConfig {
	const given = Object.assign({}, ...members.map(({ options: own }) => own)) as NativeOptions;
	const cacheDirectory = given["cache-dir"];
	return {
		volumes: members.map(volumeConfig),
		...(given.memory !== undefined && { memoryBytes: given.memory }),
		readAheadBytes: given["read-ahead"] ?? 64 * mebibyte,
		stagingDirectory:
			cacheDirectory === undefined ? join(directory, "writing") : join(cacheDirectory, "writing", basename(directory)),
		...(given["write-buffer"] !== undefined && { stagingLimitBytes: given["write-buffer"] }),
		...(cacheDirectory !== undefined && {
			cache: { directory: join(cacheDirectory, "parts"), limitBytes: given["cache-size"] ?? 10 * 1024 * mebibyte },
		}),
	};
}

function volumeConfig({ mount, folder, options: given }: Member): VolumeConfig {
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
					? { kind: "identity" }
					: {
							kind: "keys",
							accessKeyId: accessKey.reveal(),
							secretAccessKey: secretKey.reveal(),
							...(token !== undefined && { sessionToken: token.reveal() }),
						},
		...(given["ca-bundle"] !== undefined && { caBundle: given["ca-bundle"] }),
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
		ttlMs: given.ttl ?? 60_000,
		maximumRequests: given["max-requests"] ?? 32,
		connectMs: given["connect-timeout"] ?? 5000,
		silenceMs: given["http-timeout"] ?? 30_000,
		retryForMs: given["retry-for"] ?? 60_000,
	};
}
