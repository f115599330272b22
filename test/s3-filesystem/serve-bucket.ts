/**
 * The filesystem in a process of its own, for tests: mounts one bucket and serves it until it is unmounted. Told what to do, and
 * asked for its numbers, over Node's channel.
 */
import { closeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { FarReplies } from "../../src/fuse/far-replies.ts";
import type { Filesystem } from "../../src/fuse/filesystem.ts";
import { serveLibfuse } from "../../src/fuse/libfuse.ts";
import { openAndMount } from "../../src/fuse/mount.ts";
import { serve, type FuseSession } from "../../src/fuse/session.ts";
import { S3Error, type ObjectStore } from "../../src/s3/object-store.ts";
import { createS3Filesystem, PendingRemovals } from "../../src/s3-filesystem/index.ts";
import { createTestStore, testThreads } from "../support/threads.ts";
import type { ToFilesystem, FromFilesystem, ServedBucket } from "./mounted-bucket.ts";

const say = (message: FromFilesystem): void => void process.send?.(message);

process.once("message", (served: ServedBucket) => {
	run(served).catch((error: unknown) => say({ kind: "failed", reason: String(error) }));
});

async function run(served: ServedBucket): Promise<void> {
	const { store: storeOptions, settings, volume, readOnly } = served;
	const log = (level: string, fields: object, message: string): void => {
		if (level !== "debug") say({ kind: "log", level, message, fields });
	};
	const plainStore = createTestStore({
		...storeOptions,
		endpoint: new URL(storeOptions.endpoint),
		pathStyle: true,
		credentials: storeOptions.credentials,
		onEvent: (event) => {
			if (event.kind === "request") requests++;
			else retries++;
		},
	});
	let requests = 0;
	let retries = 0;
	const store = withFailuresTold(plainStore, (message) => log("info", {}, message));
	const { identity, prefix } = volume;
	const removals = settings.keepsPending
		? new PendingRemovals({
				directory: settings.stagingDirectory,
				identity,
				prefix,
				log,
				onTrouble: (message) => log("warn", {}, `trouble: ${message ?? "over"}`),
			})
		: undefined;
	const shown = { ...volume, folder: "", readOnly, store: removals?.over(store) ?? store, removals };
	const filesystem = createS3Filesystem([shown], {
		...settings,
		sharesMemory: testThreads !== undefined,
		log,
		onDiskTrouble: (use, problem) => log("warn", {}, `disk of ${use}: ${problem?.message ?? "in order again"}`),
		onPendingTrouble: (message) => log("warn", {}, `trouble: ${message ?? "over"}`),
	});
	const { session, close } = await (served.transport === "libfuse" ? mountByLibfuse : mountDirectly)(
		served,
		filesystem,
		log,
	);
	process.on("message", (message: ToFilesystem) => {
		switch (message.kind) {
			case "stats":
				say({ kind: "stats", stats: { ...filesystem.stats(), requests, retries } });
				return;
			case "credentials":
				store.setCredentials(message.credentials);
				return;
			case "drain":
				filesystem.drain().then(
					() => say({ kind: "drained" }),
					(error: unknown) => say({ kind: "drained", reason: String(error) }),
				);
				return;
			default:
				message satisfies never;
		}
	});
	say({ kind: "mounted" });
	// Most are killed, and would keep nothing for the next.
	flushCompileCache();
	const ending = await session.ended;
	// What fails stays, and is looked for by the test.
	await filesystem.drain().catch(() => undefined);
	await filesystem.destroy?.();
	store.close();
	close();
	say({ kind: "ended", ...(ending.kind === "failed" && { reason: String(ending.cause) }) });
	process.disconnect();
}

interface Served {
	readonly session: FuseSession;
	readonly close: () => void;
}

type Log = (level: string, fields: object, message: string) => void;

async function mountDirectly({ target, readOnly }: ServedBucket, filesystem: Filesystem, log: Log): Promise<Served> {
	const fd = await openAndMount({
		target,
		source: "bucket",
		subtype: "thin-s3",
		readOnly,
		allowOther: true,
		signal: AbortSignal.timeout(20_000),
	});
	return {
		session: serve({ fd, filesystem, log, farReplies: testThreads && new FarReplies(testThreads, 1) }),
		close: () => closeSync(fd),
	};
}

async function mountByLibfuse(served: ServedBucket, filesystem: Filesystem, log: Log): Promise<Served> {
	const { target, readOnly, volume } = served;
	const session = await serveLibfuse({
		target,
		source: "bucket",
		subtype: "thin-s3",
		readOnly,
		allowOther: true,
		validMs: Math.min(1000, volume.ttlMs),
		filesystem,
		log,
	});
	return { session, close: () => undefined };
}

/** So that a test that fails can show why. */
function withFailuresTold(store: ObjectStore, tell: (message: string) => void): ObjectStore {
	return new Proxy(store, {
		get(target, name) {
			const value: unknown = Reflect.get(target, name);
			if (typeof value !== "function") return value;
			return (...args: unknown[]): unknown => {
				const result: unknown = value.apply(target, args);
				if (result instanceof Promise) {
					result.catch((error: unknown) => {
						const isUsual = error instanceof S3Error && error.kind === "NOT_FOUND";
						if (!isUsual) tell(`${String(name)} ${String(args[0])}: ${String(error)}`);
					});
				}
				return result;
			};
		},
	});
}
