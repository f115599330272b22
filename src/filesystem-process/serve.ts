import { memoryUsage } from "node:process";
import { LauncherError } from "../errors.ts";
import type { Observe } from "../fuse/call.ts";
import { FarReplies } from "../fuse/far-replies.ts";
import type { Filesystem, KernelConnection } from "../fuse/filesystem.ts";
import { serveLibfuse } from "../fuse/libfuse.ts";
import { raiseReadAhead } from "../fuse/read-ahead.ts";
import { serve, type FuseSession, type PausableSession } from "../fuse/session.ts";
import { createLog, type Logger, type LogLevel } from "../log.ts";
import { recall, type KeptFilesystem, type Recalled } from "../s3-filesystem/index.ts";
import { createRedactor } from "../secrets/redact.ts";
import type { Threads } from "../threads.ts";
import { version } from "../version.ts";
import { within } from "../within.ts";
import { createThreads } from "./data-threads.ts";
import { handOver, readMemory } from "./handover.ts";
import { order, type FilesystemConfig, type Order, type Report } from "./messages.ts";
import { counted, counting, observed } from "./observed.ts";
import { Tracing } from "./tracing.ts";
import { ServedVolumes, type VolumeOrder } from "./volumes.ts";

/** The descriptor of /dev/fuse that the launcher hands down. */
const fuseDescriptor = 3;

const reportEveryMs = 10_000;

/** The launcher's end of the conversation: this process. */
export interface Channel {
	on(event: "message", listener: (message: unknown) => void): unknown;
	send?(message: unknown, callback?: (error: Error | null) => void): boolean;
}

export interface End {
	readonly exitCode: number;
	/** To be ended by instead: threads may wait for the kernel's requests still, and keep an exit from returning. */
	readonly signal?: "SIGKILL" | "SIGABRT";
}

/** Serves a mount until it is unmounted or the signal comes; then what is not in its bucket yet is uploaded. */
export async function serveFilesystem(
	launcher: Channel,
	variables: NodeJS.ProcessEnv,
	signal: AbortSignal,
	/** Gives what is to be called, before the process ends, with an error that nothing has caught. */
	onLog: (tellBug: (error: unknown) => void) => void,
): Promise<End> {
	const started = Promise.withResolvers<FilesystemConfig>();
	let served: ServedVolumes | undefined;
	/** Of what can be left to another process. */
	let direct: PausableSession | undefined;
	/** They may come before it is there. */
	const early: VolumeOrder[] = [];
	const tell = (message: Report, onGone: () => void = () => undefined): void => void launcher.send?.(message, onGone);
	const tracing = new Tracing(tell);
	let setLogLevel = (_level: LogLevel): void => undefined;
	/** Before it serves, there is nothing to tell. */
	let tellStats = (): void => undefined;
	let leaving = new AbortController();
	const leave = async (
		session: PausableSession,
		{ filesystem }: ServedVolumes,
		{ file, storeMs, quietMs }: Extract<Order, { kind: "hand-over" }>,
	): Promise<void> => {
		leaving = new AbortController();
		const { signal } = leaving;
		try {
			const onPause = (): void => tell({ kind: "pausing" });
			await handOver({ session, filesystem, file, storeMs, quietMs, signal, onPause });
			tell({ kind: "handed-over" });
		} catch (error) {
			tell({ kind: "kept", reason: (error as Error).message });
		}
	};
	const obey = (told: Order): void => {
		if (told.kind === "serve") started.resolve(told.config);
		else if (told.kind === "ping") tell({ kind: "pong" });
		else if (told.kind === "measure") tellStats();
		else if (told.kind === "log-level") setLogLevel(told.level);
		else if (told.kind === "trace") tracing.begin(told.id, told);
		else if (told.kind === "untrace") tracing.end(told.id);
		else if (told.kind === "hand-over") {
			if (direct === undefined || served === undefined) tell({ kind: "kept", reason: "it does not serve yet" });
			else void leave(direct, served, told);
		} else if (told.kind === "go-on") {
			leaving.abort();
			direct?.resume();
		} else if (served === undefined) early.push(told);
		else served.obey(told);
	};
	launcher.on("message", (message) => obey(order.parse(message)));
	const config = await within(started.promise, signal);
	if (config === undefined) return { exitCode: 0 };
	const redactor = createRedactor();
	const { logger: log, flush, atOnce, setLevel } = createLog(config.logLevel, redactor);
	setLogLevel = setLevel;
	onLog((error) => atOnce.fatal({ err: error }, "a bug ends the filesystem's process"));
	let isServing = false;
	try {
		const past = pastOf(config);
		const threads = createThreads(log, config.threads);
		served = new ServedVolumes(config, { variables, log, redactor, tell, tracing, threads }, past?.kept);
		const filesystem = observed(served.filesystem, { log, tracing });
		for (const told of early.splice(0)) obey(told);
		await served.lookForPending();
		// Who hands the mount over does not take it back from then on.
		if (config.mount.kind === "taken-over") tell({ kind: "taken-over" });
		const session = await begin(config, {
			filesystem,
			observe: counting(served.countsOf),
			log,
			threads,
			connection: past?.connection,
		});
		if (config.mount.kind === "continued") tell({ kind: "taken-over" });
		tellStats = () => {
			const { rss, heapUsed } = memoryUsage();
			const own = { requests: session.requests, resident_memory_bytes: rss, heap_used_bytes: heapUsed };
			tell({ kind: "stats", stats: { ...own, ...served?.stats() }, ...served?.measured() });
		};
		direct = "pause" in session ? session : undefined;
		isServing = true;
		const timer = setInterval(() => tellStats(), reportEveryMs);
		tellStats();
		// Undefined: it is to stop.
		const ending = await within(session.ended, signal);
		clearInterval(timer);
		const failed = ending?.kind === "failed";
		if (failed) log.error({ err: ending.cause }, "the kernel's requests cannot be read");
		const isSaved = await served.end({ isUnmounted: ending !== undefined });
		log.info({ requests: session.requests, ...served.stats() }, "filesystem ended");
		const exitCode = failed || !isSaved ? 1 : 0;
		if (failed) return { exitCode, signal: "SIGABRT" };
		return ending === undefined ? { exitCode, signal: "SIGKILL" } : { exitCode };
	} catch (error) {
		// By its code the launcher knows what to do about it.
		const known = error instanceof LauncherError ? { code: error.code, error: error.message, hint: error.hint } : {};
		log.fatal({ err: error, ...known }, "the filesystem cannot be served");
		return { exitCode: 1, ...(isServing && { signal: "SIGABRT" }) };
	} finally {
		await flush();
	}
}

/** What a process before this one has left. */
function pastOf({
	mount,
	journalDirectory,
}: FilesystemConfig): { readonly connection: KernelConnection; readonly kept: KeptFilesystem | Recalled } | undefined {
	if (mount.kind === "taken-over") {
		const { connection, filesystem } = readMemory(mount.file);
		return { connection, kept: filesystem };
	}
	if (mount.kind !== "continued") return undefined;
	if (journalDirectory === undefined) throw new Error("nobody says where it has written down what it had promised");
	const recalled = recall(journalDirectory, version);
	const { connection, past } = recalled;
	return { connection, kept: { ...recalled, past: { ...past, isDeadly: mount.refusesRepeated } } };
}

/** libfuse can take nothing back that it has told the kernel, so that the kernel may not believe it for long. */
const libfuseValidMs = 1000;

async function begin(
	{ mount, volumes }: FilesystemConfig,
	{
		filesystem,
		observe,
		log: logger,
		threads,
		connection,
	}: {
		readonly filesystem: Filesystem;
		readonly observe: Observe;
		readonly log: Logger;
		readonly threads: Threads | undefined;
		readonly connection: KernelConnection | undefined;
	},
): Promise<FuseSession | PausableSession> {
	const log = (level: "warn" | "error", fields: object, message: string): void => logger[level](fields, message);
	switch (mount.kind) {
		case "inherited":
		case "taken-over":
		case "continued": {
			const resend = mount.kind === "continued";
			return serve({
				fd: fuseDescriptor,
				filesystem,
				observe,
				log,
				resend,
				farReplies: threads && new FarReplies(threads),
				...(connection !== undefined && { connection }),
			});
		}
		case "libfuse": {
			const validMs = Math.min(libfuseValidMs, ...volumes.map(({ ttlMs }) => ttlMs));
			const session = await serveLibfuse({ ...mount, validMs, filesystem: counted(filesystem, observe), log });
			await raiseReadAhead(mount.target);
			return session;
		}
		default:
			return mount satisfies never;
	}
}
