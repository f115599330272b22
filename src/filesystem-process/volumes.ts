import { access } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { mebibyte } from "../bytes.ts";
import type { Logger } from "../log.ts";
import type { DiskProblem, DiskUse } from "../s3-filesystem/disks/disk-trouble.ts";
import {
	createS3Filesystem,
	keptFrom,
	type KeptFilesystem,
	PendingRemovals,
	type Recalled,
	syncFolder,
	type S3Filesystem,
	type VolumeOptions,
} from "../s3-filesystem/index.ts";
import { defaultBudgetBytes } from "../s3-filesystem/reading/memory-budget.ts";
import { createIdentity, type Identity } from "../s3/identity/identity.ts";
import type { CredentialsSource, ObjectStore, StoreEvent } from "../s3/object-store.ts";
import type { ServerKnowledge } from "../s3/server-knowledge.ts";
import { FarConnections } from "../s3/http/far-connections.ts";
import { createObjectStore } from "../s3/store.ts";
import { maskRotatingKeys } from "../secrets/mask-keys.ts";
import type { Redactor } from "../secrets/redact.ts";
import type { Threads } from "../threads.ts";
import { within, withEither } from "../within.ts";
import { VolumeCounts } from "./counts.ts";
import { sharedMeasures, stateMeasures, type Measured } from "./measures.ts";
import {
	showSameObjects,
	type FilesystemConfig,
	type Order,
	type Report,
	type Trouble,
	type VolumeConfig,
} from "./messages.ts";
import { KnownServers } from "./known-servers.ts";
import { isOf, lookAtPending, takeOverPending } from "./pending-folders.ts";
import { RefusalLog } from "./refusals.ts";
import { removeAbandoned, removeStagingFolder, StagingFolder } from "./staging-folders.ts";
import type { Tracing } from "./tracing.ts";
import { addSecrets, storeOptions } from "./store-options.ts";

interface Surroundings {
	readonly variables: NodeJS.ProcessEnv;
	readonly log: Logger;
	readonly redactor: Redactor;
	/** To the launcher. */
	readonly tell: (report: Report) => void;
	readonly tracing: Tracing;
	readonly threads: Threads | undefined;
}

/** What is not for the process as a whole. */
export type VolumeOrder = Exclude<
	Order,
	{ kind: "serve" | "ping" | "measure" | "log-level" | "trace" | "untrace" | "hand-over" | "go-on" }
>;

/** The filesystem looks at its volume's properties each time it needs them, so that they can be changed while it is shown. */
type ChangeableVolume = { -readonly [Property in keyof VolumeOptions]: VolumeOptions[Property] };

interface ServedVolume {
	config: VolumeConfig;
	readonly volume: ChangeableVolume;
	/** The last is for what begins now; what began with others goes on with them, and with the present keys. */
	readonly stores: ObjectStore[];
	readonly refusals: RefusalLog;
}

/** The volumes of one filesystem, as the launcher wants them by now. */
export class ServedVolumes {
	readonly filesystem: S3Filesystem;
	readonly #config: FilesystemConfig;
	readonly #surroundings: Surroundings;
	readonly #settings: { readAheadBytes: number };
	readonly #volumes = new Map<string, ServedVolume>();
	readonly #servers: KnownServers;
	readonly #farConnections: FarConnections | undefined;
	/** By folder: what takes those out of sight that are to go and may still be seen there. */
	readonly #leaving = new Map<string, () => void>();
	readonly #troubles = new Map<string, Trouble>();
	/** Of what is in no folder, or in one that was removed. */
	readonly #ownCounts = new VolumeCounts();
	/** By folder. */
	readonly #counts = new Map([["", this.#ownCounts]]);
	/** With all servers. */
	readonly #traffic = { server_requests: 0, server_retries: 0, server_received_bytes: 0, server_sent_bytes: 0 };
	#canKeepPending: boolean;
	#firstFailure: { readonly error: unknown } | undefined;
	#identity: Identity | undefined;

	/** `kept`: of the process that has served them before, or what it has written down. */
	constructor(config: FilesystemConfig, surroundings: Surroundings, kept?: KeptFilesystem | Recalled) {
		this.#config = config;
		this.#canKeepPending = config.keepsPending === true;
		this.#surroundings = surroundings;
		const { log, redactor, threads } = surroundings;
		this.#farConnections = threads && new FarConnections(threads);
		this.#servers = new KnownServers({
			log,
			redact: (text) => redactor.redact(text),
			news: (server) => this.#tellConcessions(server),
		});
		const { stagingDirectory, cache } = config;
		const memoryBytes = config.memoryBytes ?? defaultBudgetBytes();
		const volumes = config.volumes.flatMap((volume) => this.#serve(volume)?.volume ?? []);
		if (volumes.length === 0 && this.#firstFailure !== undefined) throw this.#firstFailure.error;
		const stagingFolder = new StagingFolder(stagingDirectory, {
			isHeritable: config.journalDirectory !== undefined,
			keepsPending: config.keepsPending === true,
		});
		if (cache !== undefined && config.mount.kind === "continued") stagingFolder.takeOver();
		if (config.pendingDirectory !== undefined && config.keepsPending === true)
			this.#takeOverPending(config.pendingDirectory, stagingFolder, volumes);
		if (cache !== undefined && config.keepsPending !== true) void removeAbandoned(dirname(stagingDirectory));
		const settings = {
			memoryBytes,
			sharesMemory: this.#farConnections !== undefined,
			readAheadBytes: config.readAheadBytes,
			stagingDirectory,
			stagingLimitBytes:
				config.stagingLimitBytes ??
				(cache === undefined && config.keepsPending !== true
					? Math.max(64 * mebibyte, memoryBytes / 2)
					: 4096 * mebibyte),
			...(config.journalDirectory !== undefined && { journalDirectory: config.journalDirectory }),
			...(cache !== undefined && { cache, makeStagingDirectory: () => stagingFolder.make() }),
			...(config.keepsPending === true && { keepsPending: true }),
			onPendingTrouble: (message: string | undefined) => this.#trouble("pending files", message),
			onDiskTrouble: (use: DiskUse, problem: DiskProblem | undefined) => this.#diskTrouble(use, problem),
			log: (level: "debug" | "info" | "warn" | "error", fields: object, message: string) => log[level](fields, message),
		};
		this.#settings = settings;
		const known = kept !== undefined && "volumes" in kept ? keptFrom(kept, volumes) : kept;
		this.filesystem = createS3Filesystem(volumes, settings, known);
	}

	#takeOverPending(parent: string, stagingFolder: StagingFolder, volumes: readonly VolumeOptions[]): void {
		const { log } = this.#surroundings;
		const { stagingDirectory } = this.#config;
		try {
			stagingFolder.make();
			if (!stagingFolder.isLocked) throw new Error("its files cannot be locked");
			for (const each of [parent, dirname(parent)]) syncFolder(each);
			if (this.#isFirst) takeOverPending(parent, stagingDirectory, volumes, log);
		} catch (error) {
			this.#canKeepPending = false;
			for (const { volume } of this.#volumes.values()) volume.writeBack = undefined;
			log.error(
				{ err: error, stagingDirectory },
				"the disk is of no use for write-back, and closing waits for the bucket",
			);
		}
	}

	/** Otherwise the process that was there has stored all, or has written down more. */
	get #isFirst(): boolean {
		const { kind } = this.#config.mount;
		return kind === "inherited" || kind === "libfuse";
	}

	/** Says so when files are pending for these mounts that nobody uploads. Never rejects, and waits for no disk that does not answer. */
	async lookForPending(): Promise<void> {
		const { keepsPending, pendingDirectory: parent } = this.#config;
		if (parent === undefined || keepsPending === true || !this.#isFirst) return;
		// Not by the thread that is to serve.
		const isThere = access(parent).then(
			() => true,
			() => false,
		);
		if ((await within(isThere, diskAnswerMs)) !== true) return;
		const { log } = this.#surroundings;
		try {
			const volumes = Array.from(this.#volumes.values(), ({ volume }) => volume);
			const files = lookAtPending(parent).records.filter((record) => isOf(record, volumes)).length;
			if (files === 0) return;
			const message = `${files} closed files of this mount wait in ${parent} and are not in the bucket: mount it with write-back once more`;
			log.error({ files, folder: parent }, "files are pending that this mount does not upload");
			this.#trouble("pending files", message);
		} catch (error) {
			log.warn({ err: error, folder: parent }, "whether files are pending cannot be seen");
		}
	}

	obey(told: VolumeOrder): void {
		switch (told.kind) {
			case "put":
				this.put(told.volume);
				return;
			case "remove":
				void this.remove(told);
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
		const { log, redactor } = this.#surroundings;
		const { volume, stores, config: before } = served;
		const { folder } = config;
		const changed = (Object.keys({ ...before, ...config }) as (keyof VolumeConfig)[]).filter(
			(name) => JSON.stringify(before[name]) !== JSON.stringify(config[name]),
		);
		if (changed.length === 0) return;
		addSecrets(config, redactor);
		if (changed.some((name) => name !== "credentials" && !shownOptions.has(name))) {
			try {
				const store = this.#createStore(config, served.refusals);
				volume.store = volume.removals?.over(store) ?? store;
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
		const { readOnly, uid, gid, directoryMode, fileMode, attributes, contentTypes, ttlMs } = config;
		const writeBack = this.#writeBackOf(config);
		Object.assign(volume, { readOnly, uid, gid, directoryMode, fileMode, attributes, contentTypes, ttlMs, writeBack });
		served.config = config;
		const options = changed.filter((name) => name !== "credentials");
		if (options.some((name) => shownOptions.has(name))) this.filesystem.attributesChanged(volume);
		if (options.length > 0) log.info({ folder, options }, "options changed");
	}

	/** Takes a volume away: in sight as long as it is in use, then out of it, then for good. */
	async remove({ folder, departure, visibleMs, hiddenMs }: Extract<Order, { kind: "remove" }>): Promise<void> {
		const { log, tell } = this.#surroundings;
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
		this.#tellPending("closed files of a removed folder stay on the disk", volume);
		const keys = await this.filesystem.forsake(volume);
		for (const store of stores) store.close();
		if (!this.#volumes.has(folder)) this.#counts.delete(folder);
		if (openFiles > 0) log.warn({ folder, openFiles }, "files of a removed folder are still open and get errors now");
		if (keys.length > 0) log.error({ folder, keys: keys.slice(0, 20) }, "changes could not be uploaded and are lost");
		return keys.length;
	}

	async #untilUnused(volume: VolumeOptions, limitMs: number, signal?: AbortSignal): Promise<void> {
		await withEither([AbortSignal.timeout(limitMs), signal], async (limit) => {
			while (!limit.aborted && this.filesystem.openFiles(volume) > 0) await sleep(100);
		});
	}

	drainInBackground(): void {
		// Whatever it could not do is tried again at the end, and reported then.
		void this.filesystem.drain().catch(() => undefined);
	}

	/** Says whether everything is in its bucket. `isUnmounted`: nobody goes on with what is not. */
	async end({ isUnmounted }: { readonly isUnmounted: boolean }): Promise<boolean> {
		let isSaved = true;
		const { stagingDirectory } = this.#config;
		this.#tellPending("closed files are uploaded before the end; what cannot be stays on the disk");
		try {
			await this.filesystem.drain();
		} catch (error) {
			this.#surroundings.log.error({ err: error }, "not everything could be uploaded");
			isSaved = false;
		}
		// Applications write on.
		if (!isUnmounted && this.#config.journalDirectory !== undefined) return isSaved;
		// Whoever comes next goes on with them.
		if (this.#tellPending("closed files stay on the disk, and the next process with it uploads them")) return false;
		// Otherwise there is none, or whoever comes next finds it.
		await removeStagingFolder(stagingDirectory).catch(() => undefined);
		return isSaved;
	}

	#tellPending(message: string, volume?: VolumeOptions): boolean {
		const left = this.filesystem.pendingLeft(volume);
		if (left === undefined) return false;
		const { files, bytes, seconds, keys } = left;
		this.#surroundings.log.warn({ files, bytes, seconds, keys, folder: this.#config.stagingDirectory }, message);
		return true;
	}

	#trouble(about: string, message: string | undefined): void {
		const since = this.#troubles.get(about)?.since ?? new Date().toISOString();
		if (message === undefined) this.#troubles.delete(about);
		else this.#troubles.set(about, { about, message, since });
		this.#surroundings.tell({ kind: "troubles", troubles: [...this.#troubles.values()] });
	}

	#diskTrouble(use: DiskUse, problem: DiskProblem | undefined): void {
		const { log } = this.#surroundings;
		if (problem === undefined) log.info({ disk: use }, "a disk is in order again");
		else log.warn({ disk: use, problem: problem.message, err: problem.error }, "a disk is out of order");
		this.#trouble(`disk of ${use}`, problem?.message);
	}

	#tellConcessions(server: ServerKnowledge): void {
		for (const { config } of this.#volumes.values()) {
			const { folder } = config;
			if (this.#servers.at(config) === server)
				this.#surroundings.tell({ kind: "concessions", folder, concessions: this.#servers.concessionsOf(server) });
		}
	}

	#serve(config: VolumeConfig): ServedVolume | undefined {
		const { log, redactor, tell } = this.#surroundings;
		addSecrets(config, redactor);
		const refusals = new RefusalLog({
			folder: config.folder,
			log,
			redact: (text) => redactor.redact(text),
			tell: (told) => {
				// Another bucket may be there by now.
				if (this.#volumes.get(config.folder)?.refusals === refusals)
					tell({ kind: "refusals", folder: config.folder, refusals: told });
			},
		});
		try {
			const store = this.#createStore(config, refusals);
			const { folder, prefix, readOnly, uid, gid, directoryMode, fileMode, attributes, contentTypes, ttlMs } = config;
			const writeBack = this.#writeBackOf(config);
			const identity = identityOf(config);
			const removals = this.#canKeepPending ? this.#createRemovals(config) : undefined;
			const volume = {
				folder,
				store: removals?.over(store) ?? store,
				removals,
				identity,
				prefix,
				readOnly,
				uid,
				gid,
				directoryMode,
				fileMode,
				attributes,
				contentTypes,
				ttlMs,
				writeBack,
			};
			const served = { config, volume, stores: [store], refusals };
			this.#volumes.set(folder, served);
			const knowledge = this.#servers.at(config);
			if (knowledge.concessions.length > 0) this.#tellConcessions(knowledge);
			return served;
		} catch (error) {
			log.error({ err: error, folder: config.folder, bucket: config.bucket }, "the folder cannot be served");
			this.#firstFailure ??= { error };
			return undefined;
		}
	}

	#createRemovals(config: VolumeConfig): PendingRemovals {
		const { log } = this.#surroundings;
		const { folder, prefix } = config;
		return new PendingRemovals({
			directory: this.#config.stagingDirectory,
			identity: identityOf(config),
			prefix,
			log: (level, fields, message) => log[level]({ folder, ...fields }, message),
			onTrouble: (message) => this.#trouble(`removed files${folder === "" ? "" : ` of ${folder}`}`, message),
		});
	}

	/** Undefined also where the process was begun without: what was closed would not be looked for on its disk. */
	#writeBackOf({ writeBack }: VolumeConfig): VolumeOptions["writeBack"] {
		return this.#canKeepPending ? writeBack : undefined;
	}

	#createStore(config: VolumeConfig, refusals: RefusalLog): ObjectStore {
		const { log, variables, tracing } = this.#surroundings;
		const counts = this.#counts.get(config.folder) ?? new VolumeCounts();
		this.#counts.set(config.folder, counts);
		return createObjectStore({
			...storeOptions(config, variables, this.#credentialsOf(config)),
			knowledge: this.#servers.at(config),
			farConnections: this.#farConnections,
			onEvent: (event) => {
				this.#count(event);
				counts.take(event);
				tracing.request(event);
				refusals.take(event);
				logRequest(log, config.bucket, event);
			},
		});
	}

	#count(event: StoreEvent): void {
		if (event.kind === "retry") this.#traffic.server_retries++;
		if (event.kind !== "request") return;
		this.#traffic.server_requests++;
		this.#traffic.server_received_bytes += event.receivedBytes;
		this.#traffic.server_sent_bytes += event.sentBytes;
	}

	stats(): Record<string, number> {
		return { ...this.#traffic, ...this.filesystem.stats() };
	}

	/** Of the volume that a node is in. */
	readonly countsOf = (node: number): VolumeCounts =>
		this.#counts.get(this.filesystem.folderOf(node)) ?? this.#ownCounts;

	/** What is counted, for metrics. */
	measured(): { readonly volumes: Readonly<Record<string, Measured>>; readonly shared: Measured } {
		const states = this.filesystem.volumeStates();
		const measuredIn = (folder: string): Measured => ({
			...this.#counts.get(folder)?.measured(),
			...stateMeasures(states.get(folder)),
		});
		const folders = new Set(["", ...this.#volumes.keys(), ...states.keys()]);
		return {
			volumes: Object.fromEntries(Array.from(folders, (folder) => [folder, measuredIn(folder)])),
			shared: sharedMeasures(this.filesystem.stats()),
		};
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

/** What identifies the bucket in what is on disks. */
export function identityOf({ endpoint, bucket }: VolumeConfig): string {
	return `${endpoint ?? ""} ${bucket}`;
}

function logRequest(log: Logger, bucket: string, event: StoreEvent): void {
	// There is one for each request: what nobody logs is not put together either.
	if (!log.isLevelEnabled("debug")) return;
	switch (event.kind) {
		case "request": {
			const { kind: _, seconds, firstByteSeconds: __, waitedSeconds: ___, ...facts } = event;
			log.debug({ bucket, ...facts, ms: Math.round((seconds ?? 0) * 1000) }, "request to the server");
			return;
		}
		case "retry": {
			const { kind: _, waitMs, ...facts } = event;
			log.debug({ bucket, ...facts, waitMs: Math.round(waitMs) }, "to be tried again");
			return;
		}
		case "failure":
			// That is logged for everybody.
			return;
		default:
			event satisfies never;
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
	"contentTypes",
	"ttlMs",
	"writeBack",
]);

/** How long what is open of a bucket goes on after another one has taken its place. */
const replacedMs = 600_000;

/** A disk that takes longer may take for ever. */
const diskAnswerMs = 3000;
