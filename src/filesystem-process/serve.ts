import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { memoryUsage } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Secret } from "../secrets/secret.ts";
import { LauncherError } from "../errors.ts";
import {
	order,
	showSameObjects,
	type FilesystemConfig,
	type Order,
	type Report,
	type VolumeConfig,
} from "./messages.ts";
import { serveLibfuse } from "../fuse/libfuse.ts";
import { raiseReadAhead } from "../fuse/read-ahead.ts";
import { serve, type Session } from "../fuse/session.ts";
import { createLog, type Logger } from "../log.ts";
import { maskRotatingKeys } from "../secrets/mask-keys.ts";
import { createRedactor, type Redactor } from "../secrets/redact.ts";
import { createS3Filesystem, type S3Filesystem, type VolumeOptions } from "../s3-filesystem/index.ts";
import { defaultBudgetBytes } from "../s3-filesystem/reading/memory-budget.ts";
import { createIdentity, type Identity } from "../s3/identity/identity.ts";
import type { CredentialsSource, ObjectStore, ObjectStoreOptions } from "../s3/object-store.ts";
import { createObjectStore } from "../s3/store.ts";

/** The descriptor of /dev/fuse that the launcher hands down. */
const fuseDescriptor = 3;

const mebibyte = 1024 ** 2;
const reportEveryMs = 10_000;

/** The launcher's end of the conversation: this process. */
export interface Channel {
	on(event: "message", listener: (message: unknown) => void): unknown;
	send?(message: unknown, callback?: (error: Error | null) => void): boolean;
}

export interface End {
	readonly exitCode: number;
	/** Threads may wait for the kernel's requests still, and keep an exit from returning. */
	readonly isMounted: boolean;
}

/** Serves a mount until it is unmounted or the signal comes; then what is not in its bucket yet is uploaded. */
export async function serveFilesystem(
	launcher: Channel,
	variables: NodeJS.ProcessEnv,
	signal: AbortSignal,
): Promise<End> {
	const started = Promise.withResolvers<FilesystemConfig>();
	let served: ServedFilesystem | undefined;
	/** They may come before it is there. */
	const early: Order[] = [];
	const obey = (told: Order): void => {
		if (told.kind === "serve") started.resolve(told.config);
		else if (served === undefined) early.push(told);
		else served.obey(told, (message) => void launcher.send?.(message, () => undefined));
	};
	launcher.on("message", (message) => obey(order.parse(message)));
	const stopped = new Promise<"stopped">((resolve) => {
		signal.addEventListener("abort", () => resolve("stopped"), { once: true });
	});
	const config = await Promise.race([started.promise, stopped]);
	if (config === "stopped") return { exitCode: 0, isMounted: false };
	const redactor = createRedactor();
	const { logger: log, flush } = createLog(config.logLevel, redactor);
	try {
		served = new ServedFilesystem(config, { variables, log, redactor });
		const { filesystem } = served;
		for (const told of early.splice(0)) obey(told);
		const tell = (): void => {
			const { rss, heapUsed } = memoryUsage();
			const own = { requests: session.requests, resident_memory_bytes: rss, heap_used_bytes: heapUsed };
			const message: Report = { kind: "stats", stats: { ...own, ...filesystem.stats() } };
			launcher.send?.(message, () => undefined);
			served?.showStagingIsUsed();
		};
		const session = await begin(config, filesystem, log);
		const timer = setInterval(tell, reportEveryMs);
		tell();
		const ending = await Promise.race([session.ended, stopped]);
		clearInterval(timer);
		const failed = ending !== "stopped" && ending.kind === "failed";
		if (failed) log.error({ err: ending.cause }, "the kernel's requests cannot be read");
		const isSaved = await served.end();
		log.info({ requests: session.requests, ...filesystem.stats() }, "filesystem ended");
		return { exitCode: failed || !isSaved ? 1 : 0, isMounted: ending === "stopped" || failed };
	} catch (error) {
		// By its code the launcher knows what to do about it.
		const known = error instanceof LauncherError ? { code: error.code, error: error.message, hint: error.hint } : {};
		log.fatal({ err: error, ...known }, "the filesystem cannot be served");
		return { exitCode: 1, isMounted: false };
	} finally {
		flush();
	}
}

/** libfuse can take nothing back that it has told the kernel, so that the kernel may not believe it for long. */
const libfuseValidMs = 1000;

async function begin({ mount, volumes }: FilesystemConfig, filesystem: S3Filesystem, logger: Logger): Promise<Session> {
	const log = (level: "warn" | "error", fields: object, message: string): void => logger[level](fields, message);
	switch (mount.kind) {
		case "inherited":
			return serve({ fd: fuseDescriptor, filesystem, log });
		case "libfuse": {
			const validMs = Math.min(libfuseValidMs, ...volumes.map(({ ttlMs }) => ttlMs));
			const session = await serveLibfuse({ ...mount, validMs, filesystem, log });
			await raiseReadAhead(mount.target);
			return session;
		}
		default:
			return mount satisfies never;
	}
}

interface Surroundings {
	readonly variables: NodeJS.ProcessEnv;
	readonly log: Logger;
	readonly redactor: Redactor;
}

/** The filesystem looks at its volume's properties each time it needs them, so that they can be changed while it is shown. */
type ChangeableVolume = { -readonly [Property in keyof VolumeOptions]: VolumeOptions[Property] };

interface ServedVolume {
	config: VolumeConfig;
	readonly volume: ChangeableVolume;
	/** The last is for what begins now; what began with others goes on with them, and with the present keys. */
	readonly stores: ObjectStore[];
}

class ServedFilesystem {
	readonly filesystem: S3Filesystem;
	readonly #config: FilesystemConfig;
	readonly #surroundings: Surroundings;
	readonly #settings: { readAheadBytes: number };
	readonly #volumes = new Map<string, ServedVolume>();
	/** By folder: what takes those out of sight that are to go and may still be seen there. */
	readonly #leaving = new Map<string, () => void>();
	#firstFailure: { readonly error: unknown } | undefined;
	#identity: Identity | undefined;

	constructor(config: FilesystemConfig, surroundings: Surroundings) {
		this.#config = config;
		this.#surroundings = surroundings;
		const { log } = surroundings;
		const { stagingDirectory, cache } = config;
		if (cache !== undefined) removeAbandoned(dirname(stagingDirectory));
		mkdirSync(stagingDirectory, { recursive: true, mode: 0o700 });
		const memoryBytes = config.memoryBytes ?? defaultBudgetBytes();
		const volumes = config.volumes.flatMap((volume) => this.#serve(volume)?.volume ?? []);
		if (volumes.length === 0 && this.#firstFailure !== undefined) throw this.#firstFailure.error;
		const settings = {
			memoryBytes,
			readAheadBytes: config.readAheadBytes,
			stagingDirectory,
			stagingLimitBytes:
				config.stagingLimitBytes ?? (cache === undefined ? Math.max(64 * mebibyte, memoryBytes / 2) : 4096 * mebibyte),
			...(cache !== undefined && { cache }),
			log: (level: "info" | "warn" | "error", fields: object, message: string) => log[level](fields, message),
		};
		this.#settings = settings;
		this.filesystem = createS3Filesystem(volumes, settings);
	}

	obey(told: Exclude<Order, { kind: "serve" }>, tell: (report: Report) => void): void {
		switch (told.kind) {
			case "put":
				this.put(told.volume);
				return;
			case "remove":
				void this.remove(told, tell);
				return;
			case "tune":
				this.tune(told.readAheadBytes);
				return;
			case "drain":
				this.drainInBackground();
				return;
			default:
				told satisfies never;
		}
	}

	/** Sequential readers are read ahead of by so much from now on. */
	tune(readAheadBytes: number): void {
		if (this.#settings.readAheadBytes === readAheadBytes) return;
		this.#settings.readAheadBytes = readAheadBytes;
		this.#surroundings.log.info({ readAheadBytes }, "read-ahead changed");
	}

	/** Shows one more volume, goes on with other options of one, or shows another one in its place. */
	put(config: VolumeConfig): void {
		const { log } = this.#surroundings;
		const { folder, bucket } = config;
		const known = this.#volumes.get(folder);
		if (known !== undefined && showSameObjects(known.config, config)) {
			this.#change(known, config);
			return;
		}
		const served = this.#serve(config);
		if (served === undefined) return;
		this.#leaving.get(folder)?.();
		if (known !== undefined) {
			this.filesystem.hide(known.volume);
			void this.#end(known, replacedMs);
		}
		this.filesystem.add(served.volume);
		log.info({ folder, bucket }, known === undefined ? "folder added" : "folder replaced");
	}

	/** Goes on with other options of a volume; what is open stays open. */
	#change(served: ServedVolume, config: VolumeConfig): void {
		const { log, variables, redactor } = this.#surroundings;
		const { volume, stores, config: before } = served;
		const { folder } = config;
		const changed = (Object.keys({ ...before, ...config }) as (keyof VolumeConfig)[]).filter(
			(name) => JSON.stringify(before[name]) !== JSON.stringify(config[name]),
		);
		if (changed.length === 0) return;
		addSecrets(config, redactor);
		if (changed.some((name) => name !== "credentials" && !shownOptions.has(name))) {
			try {
				volume.store = createObjectStore(storeOptions(config, variables, this.#credentialsOf(config)));
			} catch (error) {
				log.error({ err: error, folder }, "the folder goes on with the options that it had");
				return;
			}
			stores.push(volume.store);
		}
		if (changed.includes("credentials")) {
			for (const store of stores) store.setCredentials(this.#credentialsOf(config));
			log.info({ folder }, "credentials replaced");
		}
		const { readOnly, uid, gid, directoryMode, fileMode, attributes, ttlMs } = config;
		Object.assign(volume, { readOnly, uid, gid, directoryMode, fileMode, attributes, ttlMs });
		served.config = config;
		const options = changed.filter((name) => name !== "credentials");
		if (options.some((name) => shownOptions.has(name))) this.filesystem.attributesChanged(volume);
		if (options.length > 0) log.info({ folder, options }, "options changed");
	}

	/** Takes a volume away: in sight as long as it is in use, then out of it, then for good. */
	async remove(
		{ folder, departure, visibleMs, hiddenMs }: Extract<Order, { kind: "remove" }>,
		tell: (report: Report) => void,
	): Promise<void> {
		const { log } = this.#surroundings;
		const served = this.#volumes.get(folder);
		let lostFiles = 0;
		if (served !== undefined) {
			this.#volumes.delete(folder);
			const { volume } = served;
			const hidden = new AbortController();
			const hide = (): void => {
				if (hidden.signal.aborted) return;
				hidden.abort();
				this.#leaving.delete(folder);
				this.filesystem.hide(volume);
				log.info({ folder, openFiles: this.filesystem.openFiles(volume) }, "folder removed");
				tell({ kind: "hidden", departure });
			};
			this.#leaving.set(folder, hide);
			await this.#untilUnused(volume, visibleMs, hidden.signal);
			hide();
			lostFiles = await this.#end(served, hiddenMs);
		}
		tell({ kind: "removed", departure, lostFiles });
	}

	/** Serves what is open of a hidden volume for a while. Returns how many files are lost. */
	async #end({ volume, stores }: ServedVolume, hiddenMs: number): Promise<number> {
		const { log } = this.#surroundings;
		const { folder } = volume;
		await this.#untilUnused(volume, hiddenMs);
		await this.filesystem.drain(volume).catch((error: unknown) => log.error({ err: error, folder }, "upload failed"));
		const openFiles = this.filesystem.openFiles(volume);
		const keys = await this.filesystem.forsake(volume);
		for (const store of stores) store.close();
		if (openFiles > 0) log.warn({ folder, openFiles }, "files of a removed folder are still open and get errors now");
		if (keys.length > 0) log.error({ folder, keys: keys.slice(0, 20) }, "changes could not be uploaded and are lost");
		return keys.length;
	}

	async #untilUnused(volume: VolumeOptions, limitMs: number, signal?: AbortSignal): Promise<void> {
		const limit = AbortSignal.any([AbortSignal.timeout(limitMs), ...(signal === undefined ? [] : [signal])]);
		while (!limit.aborted && this.filesystem.openFiles(volume) > 0) await sleep(100);
	}

	drainInBackground(): void {
		// Whatever it could not do is tried again at the end, and reported then.
		void this.filesystem.drain().catch(() => undefined);
	}

	/** Says whether everything is in its bucket. */
	async end(): Promise<boolean> {
		let isSaved = true;
		try {
			await this.filesystem.drain();
		} catch (error) {
			this.#surroundings.log.error({ err: error }, "not everything could be uploaded");
			isSaved = false;
		}
		rmSync(this.#config.stagingDirectory, { recursive: true, force: true });
		return isSaved;
	}

	showStagingIsUsed(): void {
		const now = new Date();
		utimesSync(this.#config.stagingDirectory, now, now);
	}

	#serve(config: VolumeConfig): ServedVolume | undefined {
		const { log, variables, redactor } = this.#surroundings;
		addSecrets(config, redactor);
		try {
			const store = createObjectStore(storeOptions(config, variables, this.#credentialsOf(config)));
			const { folder, bucket, prefix, readOnly, uid, gid, directoryMode, fileMode, attributes, ttlMs } = config;
			const identity = `${config.endpoint ?? ""} ${bucket}`;
			const volume = {
				folder,
				store,
				identity,
				prefix,
				readOnly,
				uid,
				gid,
				directoryMode,
				fileMode,
				attributes,
				ttlMs,
			};
			const served = { config, volume, stores: [store] };
			this.#volumes.set(folder, served);
			return served;
		} catch (error) {
			log.error({ err: error, folder: config.folder, bucket: config.bucket }, "the folder cannot be served");
			this.#firstFailure ??= { error };
			return undefined;
		}
	}

	#credentialsOf({ credentials }: VolumeConfig): CredentialsSource {
		switch (credentials.kind) {
			case "anonymous":
				return undefined;
			case "identity":
				// Where the SDK's providers look; the process is there for nothing else.
				Object.assign(this.#surroundings.variables, credentials.variables);
				return (this.#identity ??= this.#createIdentity()).keys;
			case "keys": {
				const { accessKeyId, secretAccessKey, sessionToken } = credentials;
				return { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
			}
			default:
				return credentials satisfies never;
		}
	}

	#createIdentity(): Identity {
		const { log, variables, redactor } = this.#surroundings;
		const mask = maskRotatingKeys(redactor);
		return createIdentity(variables, {
			onRenewed: (keys) => {
				mask(keys);
				log.info({ provider: keys.provider, expiresAt: keys.expiresAt }, "keys of the pod's identity renewed");
			},
			onFailed: ({ code, message, hint }, retryInMs) =>
				log.warn({ code, error: message, hint, retryInMs }, "no new keys of the pod's identity"),
		});
	}
}

/** What the filesystem itself shows, and no request to the server depends on. */
const shownOptions: ReadonlySet<keyof VolumeConfig> = new Set([
	"readOnly",
	"uid",
	"gid",
	"directoryMode",
	"fileMode",
	"attributes",
	"ttlMs",
]);

/** How long what is open of a bucket goes on after another one has taken its place. */
const replacedMs = 600_000;

/** Longer than any process lets its own directory look unused. */
const abandonedAfterMs = 24 * 3_600_000;

/** What processes that were killed together with their launcher have left: nobody can make objects of it any more. */
function removeAbandoned(folder: string): void {
	let names: string[] = [];
	try {
		names = readdirSync(folder);
	} catch {
		// There is none yet.
	}
	for (const name of names) {
		const path = join(folder, name);
		const usedAtMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
		if (usedAtMs !== undefined && Date.now() - usedAtMs > abandonedAfterMs)
			rmSync(path, { recursive: true, force: true });
	}
}

function addSecrets({ credentials, encryption }: VolumeConfig, redactor: Redactor): void {
	if (credentials.kind === "keys") {
		const { accessKeyId, secretAccessKey, sessionToken } = credentials;
		redactor.add(new Secret(accessKeyId, "access-key"));
		redactor.add(new Secret(secretAccessKey, "secret-key"));
		if (sessionToken !== undefined) redactor.add(new Secret(sessionToken, "session-token"));
	}
	if (encryption?.kind === "customer") redactor.add(new Secret(encryption.key, "sse-c"));
}

function encryptionOf({ encryption }: VolumeConfig): ObjectStoreOptions["encryption"] {
	switch (encryption?.kind) {
		case undefined:
			return undefined;
		case "s3":
			return { kind: "s3" };
		case "kms":
			return { kind: "kms", ...(encryption.keyId !== undefined && { keyId: encryption.keyId }) };
		case "customer":
			return { kind: "customer", key: Buffer.from(encryption.key, "base64") };
		default:
			return encryption satisfies never;
	}
}

function storeOptions(
	volume: VolumeConfig,
	variables: NodeJS.ProcessEnv,
	credentials: CredentialsSource,
): ObjectStoreOptions {
	const { endpoint, region, bucket, pathStyle, caBundle, storageClass, acl, requesterPays } = volume;
	const encryption = encryptionOf(volume);
	return {
		endpoint: endpoint === undefined ? undefined : new URL(endpoint),
		region,
		bucket,
		pathStyle,
		credentials,
		...(caBundle !== undefined && { ca: readFileSync(caBundle, "utf8") }),
		proxyEnv: variables,
		...(encryption !== undefined && { encryption }),
		...(storageClass !== undefined && { storageClass }),
		...(acl !== undefined && { acl }),
		...(requesterPays !== undefined && { requesterPays }),
		timeouts: { connectMs: volume.connectMs, firstByteMs: volume.silenceMs, idleMs: volume.silenceMs },
		retryForMs: volume.retryForMs,
		maximumRequests: volume.maximumRequests,
	};
}
