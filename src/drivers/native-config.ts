import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { mebibyte } from "../bytes.ts";
import { showSameObjects, type FilesystemConfig, type VolumeConfig } from "../filesystem-process/messages.ts";
import type { Mount, StartContext } from "./driver.ts";
import type { NativeOptions } from "./native-options.ts";
import { s3Source } from "./s3-driver.ts";
import { pathStyle } from "./s3-options.ts";

/** A mount with its options, and the certificates that were in the file when it was prepared. */
export interface PreparedNative {
	readonly mount: Mount;
	readonly options: NativeOptions;
	readonly ca: string | undefined;
}

/** One of those that a process serves together. */
export interface NativeMember {
	readonly folder: string;
	readonly mount: PreparedNative;
}

export function writesBack({ mount, options: given }: PreparedNative): boolean {
	return given["write-back"] === true && !mount.readOnly;
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

export function changedForAll(before: PreparedNative, after: PreparedNative): string[] {
	return processOptions.filter((name) => before.options[name] !== after.options[name]);
}

/** Whether a mount that has a process of its own becomes another one in it. */
export function canBecome(before: NativeMember, after: NativeMember, variables: NodeJS.ProcessEnv): boolean {
	return (
		showSameObjects(volumeConfig(before, variables), volumeConfig(after, variables)) &&
		// The kernel was told.
		before.mount.mount.readOnly === after.mount.mount.readOnly &&
		changedForAll(before.mount, after.mount).length === 0
	);
}

export function readAheadOf(members: readonly NativeMember[]): number {
	const given = members.findLast(({ mount }) => mount.options["read-ahead"] !== undefined);
	return given?.mount.options["read-ahead"] ?? 64 * mebibyte;
}

export function filesystemConfig(
	members: readonly NativeMember[],
	{
		directory,
		log,
		variables,
		continuesAfterCrash = false,
	}: Pick<StartContext, "directory" | "log" | "variables" | "continuesAfterCrash">,
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

export function cacheBytes({ "cache-size": sizeBytes = 10 * 1024 * mebibyte }: NativeOptions): number {
	return sizeBytes;
}

/** For the SDK's providers. With the mount that needs them, since others must not have them, and one may come in later. */
function identityVariables(variables: NodeJS.ProcessEnv): Record<string, string> {
	const given = Object.entries(variables).filter(([name, value]) => name.startsWith("AWS_") && value !== undefined);
	return Object.fromEntries(given) as Record<string, string>;
}

export function volumeConfig(
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
