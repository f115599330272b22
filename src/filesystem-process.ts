import { readFileSync, rmSync } from "node:fs";
import { text } from "node:stream/consumers";
import { filesystemConfig, type VolumeConfig } from "./filesystem-config.ts";
import { serve } from "./fuse/session.ts";
import { createLog } from "./log.ts";
import { createRedactor } from "./redact.ts";
import { Secret } from "./config/secret.ts";
import { createS3Filesystem, type VolumeOptions } from "./s3-filesystem/index.ts";
import { defaultBudgetBytes } from "./s3-filesystem/memory-budget.ts";
import { createObjectStore } from "./s3/store.ts";
import { credentialChain } from "./s3/credential-chain.ts";

/** The descriptor of /dev/fuse that the launcher hands down. */
const fuseDescriptor = 3;

const mebibyte = 1024 ** 2;

/**
 * Serves a mount until it is unmounted or the signal comes; then what is not in its bucket yet is uploaded. Resolves with the exit
 * code; the process may have threads that wait for the kernel, and must not wait for them.
 */
export async function serveFilesystem(variables: NodeJS.ProcessEnv, signal: AbortSignal): Promise<number> {
	const redactor = createRedactor();
	const { logger: log, flush } = createLog("info", redactor);
	const config = filesystemConfig.parse(JSON.parse(await text(process.stdin)));
	for (const { credentials, encryption } of config.volumes) {
		if (credentials.kind === "keys") {
			const { secretAccessKey, sessionToken } = credentials;
			redactor.add(new Secret(secretAccessKey, "secret-key"));
			if (sessionToken !== undefined) redactor.add(new Secret(sessionToken, "session-token"));
		}
		if (encryption?.kind === "customer") redactor.add(new Secret(encryption.key, "sse-c"));
	}
	const memoryBytes = config.memoryBytes ?? defaultBudgetBytes();
	const onDisk = config.cache !== undefined;
	// Of an earlier process that was killed: nobody can make objects of it any more.
	rmSync(config.stagingDirectory, { recursive: true, force: true });
	const filesystem = createS3Filesystem(
		config.volumes.map((volume) => volumeOptions(volume, variables)),
		{
			memoryBytes,
			readAheadBytes: config.readAheadBytes,
			stagingDirectory: config.stagingDirectory,
			stagingLimitBytes:
				config.stagingLimitBytes ?? (onDisk ? 4096 * mebibyte : Math.max(64 * mebibyte, memoryBytes / 2)),
			...(config.cache !== undefined && { cache: config.cache }),
			log: (level, fields, message) => log[level](fields, message),
		},
	);
	const session = serve({
		fd: fuseDescriptor,
		filesystem,
		log: (level, fields, message) => log[level](fields, message),
	});
	const stopped = new Promise<"stopped">((resolve) => {
		signal.addEventListener("abort", () => resolve("stopped"), { once: true });
	});
	const ending = await Promise.race([session.ended, stopped]);
	let exitCode = ending === "stopped" || ending.kind === "unmounted" ? 0 : 1;
	if (ending !== "stopped" && ending.kind === "failed")
		log.error({ err: ending.cause }, "the kernel's requests cannot be read");
	try {
		await filesystem.drain();
	} catch (error) {
		log.error({ err: error }, "not everything could be uploaded");
		exitCode = 1;
	}
	rmSync(config.stagingDirectory, { recursive: true, force: true });
	log.info(filesystem.stats(), "filesystem ended");
	flush();
	return exitCode;
}

function volumeOptions(volume: VolumeConfig, variables: NodeJS.ProcessEnv): VolumeOptions {
	const { folder, bucket, prefix, readOnly, uid, gid, directoryMode, fileMode, attributes, ttlMs } = volume;
	const { credentials, encryption, endpoint } = volume;
	const store = createObjectStore({
		endpoint: endpoint === undefined ? undefined : new URL(endpoint),
		region: volume.region,
		bucket,
		pathStyle: volume.pathStyle,
		credentials:
			credentials.kind === "anonymous"
				? undefined
				: credentials.kind === "identity"
					? credentialChain(variables)
					: {
							accessKeyId: credentials.accessKeyId,
							secretAccessKey: credentials.secretAccessKey,
							...(credentials.sessionToken !== undefined && { sessionToken: credentials.sessionToken }),
						},
		...(volume.caBundle !== undefined && { ca: readFileSync(volume.caBundle, "utf8") }),
		proxyEnv: variables,
		...(encryption !== undefined && {
			encryption:
				encryption.kind === "customer"
					? { kind: "customer", key: Buffer.from(encryption.key, "base64") }
					: encryption.kind === "kms"
						? { kind: "kms", ...(encryption.keyId !== undefined && { keyId: encryption.keyId }) }
						: { kind: "s3" },
		}),
		...(volume.storageClass !== undefined && { storageClass: volume.storageClass }),
		...(volume.acl !== undefined && { acl: volume.acl }),
		...(volume.requesterPays !== undefined && { requesterPays: volume.requesterPays }),
		timeouts: { connectMs: volume.connectMs, firstByteMs: volume.silenceMs, idleMs: volume.silenceMs },
		retryForMs: volume.retryForMs,
		maximumRequests: volume.maximumRequests,
	});
	const identity = `${endpoint ?? ""} ${bucket}`;
	return { folder, store, identity, prefix, readOnly, uid, gid, directoryMode, fileMode, attributes, ttlMs };
}
