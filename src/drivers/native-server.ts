import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { LauncherError } from "../errors.ts";
import type { Measured } from "../filesystem-process/measures.ts";
import { report, type Order, type Report } from "../filesystem-process/messages.ts";
import type { DriverConcession, DriverTrouble, Ending, Refusals, StartContext, Tracer } from "./driver.ts";
import type { DepartureReport } from "./departures.ts";
import { Heartbeat } from "./heartbeat.ts";
import { firstOf, within } from "../within.ts";
import { inheritedVariables, programMissing, superviseProcess, type SupervisedProcess } from "./process.ts";

export interface NativeServerOptions {
	readonly context: StartContext;
	/** Of /dev/fuse; undefined: it mounts itself. */
	readonly fd: number | undefined;
	readonly oomKillsBefore: number;
	readonly diagnose?: (line: string) => LauncherError | undefined;
	readonly onDeparture: (message: DepartureReport) => void;
}

/** One process that serves a mount: it is told what to do, tells how it is, and ends. */
export class NativeServer {
	readonly process: SupervisedProcess;
	/** Before its output has ended too, as `process.ended` says. */
	readonly exited: Promise<void>;
	hasExited = false;
	/** What has ended it, if something has. */
	endSignal: NodeJS.Signals | undefined;
	ending: Ending | undefined;
	/** It has said that it answers the kernel from there on, however late. */
	hasTakenOver = false;
	readonly refusals = new Map<string, Refusals>();
	readonly concessions = new Map<string, readonly DriverConcession[]>();
	stats: Readonly<Record<string, number>> = {};
	/** By folder. */
	measured: Readonly<Record<string, Measured>> = {};
	measuredTogether: Measured = {};
	troubles: readonly DriverTrouble[] = [];
	readonly #child: ChildProcess;
	readonly #silenceMs: number;
	readonly #onDeparture: NativeServerOptions["onDeparture"];
	#heartbeat: Heartbeat | undefined;
	readonly #tracers = new Map<number, Tracer>();
	readonly #waiting = new Set<(answer: Report) => void>();

	constructor({ context, fd, oomKillsBefore, diagnose, onDeparture }: NativeServerOptions) {
		this.#onDeparture = onDeparture;
		const child = spawnFilesystem(context, fd);
		const { pid, stdout, stderr } = child;
		const ended = once(child, "close").then(
			([exitCode, endSignal]: (string | number | null)[]) => ({
				exitCode: typeof exitCode === "number" ? exitCode : undefined,
				signal: typeof endSignal === "string" ? endSignal : undefined,
			}),
			() => ({ exitCode: 127 }),
		);
		if (pid === undefined || stdout === null || stderr === null) throw programMissing("native", "setpriv");
		this.#child = child;
		const exit = new Promise<void>((resolve) => {
			child.once("exit", (_, signal) => {
				this.endSignal = signal ?? undefined;
				resolve();
			});
		});
		this.exited = firstOf([exit, ended]).then(() => undefined);
		this.process = superviseProcess({
			driver: "native",
			program: "setpriv",
			pid,
			stdout,
			stderr,
			ended,
			oomKillsBefore,
			log: context.log,
			isOurLog: true,
			onDroppedLines: context.onDroppedLines,
			...(diagnose !== undefined && { diagnose }),
		});
		// Before the mount counts as hung: then it would be killed without a word of where it was.
		this.#silenceMs = context.hangTimeoutMs / 2;
		child.on("message", (message) => {
			const { data } = report.safeParse(message);
			if (data !== undefined) this.#told(data);
		});
		void this.exited.then(() => {
			this.hasExited = true;
		});
		void this.process.ended.then((ending) => {
			this.ending = ending;
			this.#heartbeat?.end();
		});
	}

	send(order: Order): void {
		// A process that is gone is noticed as such.
		if (this.#child.connected) this.#child.send(order, () => undefined);
	}

	/** Asks for what is measured by now. Never rejects. */
	async measure(): Promise<void> {
		if (this.hasExited) return;
		this.send({ kind: "measure" });
		await this.answer(["stats"], measureMs);
	}

	trace(tracer: Tracer): void {
		if (this.#tracers.has(tracer.id)) return;
		this.#tracers.set(tracer.id, tracer);
		const { id, folder, path, slowMs } = tracer;
		this.send({ kind: "trace", id, folder, path, slowMs });
	}

	untrace({ id }: Tracer): void {
		if (this.#tracers.delete(id)) this.send({ kind: "untrace", id });
	}

	/** The first report of these kinds from now on; undefined: it ended, or there was none in time. */
	async answer<Kind extends Report["kind"]>(
		kinds: readonly Kind[],
		limitMs: number,
	): Promise<Extract<Report, { kind: Kind }> | undefined> {
		const answer = Promise.withResolvers<Extract<Report, { kind: Kind }>>();
		const take = (told: Report): void => {
			if ((kinds as readonly string[]).includes(told.kind)) answer.resolve(told as Extract<Report, { kind: Kind }>);
		};
		this.#waiting.add(take);
		try {
			return (await within(firstOf([answer.promise, this.exited]), limitMs)) ?? undefined;
		} finally {
			this.#waiting.delete(take);
		}
	}

	#told(data: Report): void {
		// Not before it serves: how long it may take to begin is for whoever calls to say.
		this.#heartbeat ??= new Heartbeat({
			limitMs: this.#silenceMs,
			ask: () => this.send({ kind: "ping" }),
			onSilent: () => this.process.endHung(this.#silenceMs),
		});
		for (const take of this.#waiting) take(data);
		switch (data.kind) {
			case "pong":
				this.#heartbeat.answered();
				return;
			case "stats":
				this.stats = data.stats;
				this.measured = data.volumes ?? {};
				this.measuredTogether = data.shared ?? {};
				return;
			case "traced":
				this.#tracers.get(data.id)?.take(data.events, data.lost);
				return;
			case "troubles":
				this.troubles = data.troubles;
				return;
			case "refusals":
				this.refusals.set(data.folder, data.refusals);
				return;
			case "concessions":
				this.concessions.set(data.folder, data.concessions);
				return;
			case "hidden":
			case "removed":
				this.#onDeparture(data);
				return;
			case "taken-over":
				this.hasTakenOver = true;
				return;
			case "pausing":
			case "handed-over":
			case "kept":
				// For who asked.
				return;
			default:
				data satisfies never;
		}
	}
}

/** For the process to say what it has measured; a probe waits for that. */
const measureMs = 300;

/** Threads of libuv: those that wait for the kernel's requests, and those for files and names. */
const threads = 16;

function spawnFilesystem({ variables }: StartContext, fd: number | undefined): ChildProcess {
	// Its lifetime is the launcher's: nobody would supervise it afterwards.
	const command = ["--pdeathsig", "KILL", "--", process.execPath, ...nodeFlags, programFile(), "filesystem"];
	return spawn("setpriv", command, {
		env: {
			...inheritedVariables(variables),
			UV_THREADPOOL_SIZE: String(threads),
			...(process.env["NODE_COMPILE_CACHE"] !== undefined && {
				NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"],
			}),
		},
		cwd: "/",
		detached: true,
		stdio: ["ignore", "pipe", "pipe", fd ?? "ignore", "ipc"],
	});
}

/**
 * The debugger's signal stays off; a large young generation keeps what lives shortly from being copied; SIGINT, which a thread of Node's
 * own waits for, tells where a program is that runs in a circle.
 */
const nodeFlags = ["--disable-sigusr1", "--max-semi-space-size=16", "--trace-sigint"];

/** The bundle, or in a checkout the entry of the sources. */
function programFile(): string {
	return fileURLToPath(import.meta.url.endsWith(".ts") ? new URL("../main.ts", import.meta.url) : import.meta.url);
}
