import type { constants } from "node:os";
import * as z from "zod";
import { errorKinds, LauncherError, type ErrorCode } from "../errors.ts";
import type { Logger } from "../log.ts";
import { oomKills } from "./cgroup.ts";
import type { Ending, DriverSession } from "./driver.ts";
import { Hang } from "./hang.ts";
import { LineSplitter } from "./lines.ts";

/** The pod's variables that any program may need; nothing else is handed down. */
const usualVariables = /^(PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY)$/i;

/** What a driver's process gets of the pod's environment: the usual few, and those that `inherit` names. */
export function inheritedVariables(variables: NodeJS.ProcessEnv, inherit?: RegExp): NodeJS.ProcessEnv {
	const inherited = Object.entries(variables).filter(
		([name]) => usualVariables.test(name) || inherit?.test(name) === true,
	);
	return { ...Object.fromEntries(inherited), ...proxyVariables(variables) };
}

/**
 * What our own requests go by, for programs that read it otherwise: curl knows `http_proxy` in lower case only, Go looks at upper case
 * first, and curl does not know that no proxy reaches this pod.
 */
function proxyVariables(variables: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
	const proxies: [string, string][] = [];
	for (const name of ["http_proxy", "https_proxy"]) {
		const value = variables[name] || variables[name.toUpperCase()];
		if (value) proxies.push([name, value]);
	}
	if (proxies.length === 0) return {};
	const noProxy = variables["no_proxy"] || variables["NO_PROXY"] || "";
	// An asterisk means all hosts only where it is alone.
	proxies.push(["no_proxy", noProxy.trim() === "*" ? "*" : [noProxy, ...ownHosts].filter(Boolean).join(",")]);
	return Object.fromEntries(
		proxies.flatMap(([name, value]) => [
			[name, value],
			[name.toUpperCase(), value],
		]),
	);
}

const ownHosts = ["localhost", "127.0.0.1", "::1"];

export function programMissing(driver: string, file: string): LauncherError {
	return new LauncherError(
		"DRIVER_MISSING",
		`the driver ${driver} needs the program ${file}, which is not in this image`,
		{
			hint: `Use an image that has ${file}, or choose another driver with the option "driver".`,
		},
	);
}

export interface DriverProcess {
	readonly driver: string;
	/** For messages. */
	readonly program: string;
	readonly pid: number;
	readonly stdout: NodeJS.ReadableStream;
	readonly stderr: NodeJS.ReadableStream;
	/** Never rejects. */
	readonly ended: Promise<{ readonly exitCode?: number | undefined; readonly signal?: string | undefined }>;
	readonly oomKillsBefore: number;
	readonly log: Logger;
	readonly onDroppedLines: (count: number) => void;
	/** Reads the program's own words for why it failed. */
	readonly diagnose?: (line: string) => LauncherError | undefined;
	/** It prints lines of our own logger. Default: false. */
	readonly isOurLog?: boolean;
}

export interface SupervisedProcess extends DriverSession {
	/** Ends a program of Node that has done nothing for so long; `ended` and the log say where it was. */
	endHung(silentMs: number): void;
}

/** How long a program may take to say where it is. */
const lastWordsMs = 2000;

/** Follows a process that leads a group of its own: its output, and how it ends. */
export function superviseProcess(child: DriverProcess): SupervisedProcess {
	const { driver, program, pid, stdout, stderr, oomKillsBefore, onDroppedLines, diagnose, isOurLog = false } = child;
	const log = child.log.child({ pid });
	let diagnosis: LauncherError | undefined;
	let ownDiagnosis: LauncherError | undefined;
	let lastLine = "";
	let hang: Hang | undefined;
	for (const stream of ["stdout", "stderr"] as const) {
		drain(stream === "stdout" ? stdout : stderr, stream, log, onDroppedLines, (line) => {
			if (hang?.takes(line) === true) return true;
			const logged = isOurLog ? parseLogLine(line) : undefined;
			lastLine = logged?.words ?? line;
			diagnosis ??= diagnose?.(line);
			if (logged === undefined) return false;
			ownDiagnosis ??= logged.error;
			log[logged.level](logged.fields, logged.message);
			return true;
		});
	}
	let stopping = false;
	let alive = true;
	const ended = child.ended.then(async ({ exitCode, signal }): Promise<Ending> => {
		alive = false;
		log.info({ exitCode, signal }, "driver ended");
		if (stopping) return { kind: "stopped" };
		if (hang !== undefined) {
			if (hang.stack.length > 0) log.error({ stack: hang.stack }, "where the driver did not run on");
			return { kind: "failed", cause: hang.cause(driver) };
		}
		if (exitCode === 127) return { kind: "failed", cause: programMissing(driver, program) };
		if (signal === "SIGKILL" && (await oomKills()) > oomKillsBefore) {
			const cause = new LauncherError("DRIVER_FAILED", `${driver} was killed for want of memory`, {
				hint: "Raise the memory limit of the fuse container.",
			});
			return { kind: "failed", cause };
		}
		if (signal === "SIGKILL" || signal === "SIGTERM") {
			return {
				kind: "failed",
				cause: new LauncherError("DRIVER_KILLED", `${driver} was ended by ${signal} from outside`),
			};
		}
		const how = signal === undefined ? `exited with ${exitCode}` : `was ended by ${signal}`;
		const words = lastLine === "" ? "" : `: ${lastLine.slice(0, 300)}`;
		const cause = diagnosis ?? ownDiagnosis ?? new LauncherError("DRIVER_FAILED", `${driver} ${how}${words}`);
		return { kind: "failed", cause, exitCode };
	});
	const killIfAlive = (): void => {
		if (alive) signalGroup(pid, "SIGKILL");
	};
	return {
		pid,
		ended,
		endHung(silentMs) {
			if (!alive) return;
			hang = new Hang(pid, silentMs);
			if (!hang.isStopped) signalGroup(pid, "SIGINT");
			setTimeout(killIfAlive, hang.isStopped ? 0 : lastWordsMs).unref();
		},
		async stop({ graceMs }) {
			stopping = true;
			if (alive) signalGroup(pid, graceMs > 0 ? "SIGTERM" : "SIGKILL");
			const timer = setTimeout(killIfAlive, graceMs);
			try {
				return await ended;
			} finally {
				clearTimeout(timer);
			}
		},
	};
}

/** How long what a program has started may go on after it. */
const helpersMs = 10_000;

/** Ends what is left of a group whose leader has ended: a script's own children, for one. */
export function endHelpers(pid: number): void {
	signalGroup(pid, "SIGTERM");
	// Nothing has to wait for it: without the group it does nothing.
	setTimeout(() => signalGroup(pid, "SIGKILL"), helpersMs).unref();
}

/** The child leads a process group of its own, so that its helpers end with it. */
function signalGroup(pid: number, signal: keyof typeof constants.signals): void {
	try {
		process.kill(-pid, signal);
	} catch (error) {
		// ESRCH: it has ended meanwhile, which is what was wanted.
		if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
	}
}

interface LogLine {
	readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
	readonly fields: object;
	readonly message: string;
	/** For whoever wants to know the reason of a failure. */
	readonly words: string;
	/** What ended the process, when it knows that by a code. */
	readonly error?: LauncherError;
}

const logLine = z.looseObject({
	level: z.enum(["trace", "debug", "info", "warn", "error", "fatal"]),
	msg: z.string(),
	err: z.looseObject({ message: z.string() }).optional(),
	code: z
		.enum(Object.keys(errorKinds) as ErrorCode[])
		.optional()
		.catch(undefined),
	hint: z.string().optional(),
});

const fatalLine = z.looseObject({
	level: z.literal("fatal"),
	code: z.enum(Object.keys(errorKinds) as ErrorCode[]),
	error: z.string(),
	hint: z.string().optional(),
});

/** A line of our own logger, or undefined for anything else that a process may print. */
function parseLogLine(line: string): LogLine | undefined {
	if (!line.startsWith("{")) return undefined;
	try {
		const { level, msg: message, time: _, ...fields } = logLine.parse(JSON.parse(line));
		const cause = fields.err === undefined ? "" : `: ${fields.err.message}`;
		const error = fatalError({ level, ...fields });
		return { level, fields, message, words: message + cause, ...(error !== undefined && { error }) };
	} catch {
		// Cut, or of another program.
		return undefined;
	}
}

function fatalError(line: unknown): LauncherError | undefined {
	const { data } = fatalLine.safeParse(line);
	return data && new LauncherError(data.code, data.error, data.hint === undefined ? {} : { hint: data.hint });
}

/** `onLine` says whether it has dealt with the line. */
function drain(
	readable: NodeJS.ReadableStream,
	stream: "stdout" | "stderr",
	log: Logger,
	onDroppedLines: (count: number) => void,
	onLine: (line: string) => boolean,
): void {
	const lines = new LineSplitter({
		maximumBytes: 8192,
		linesPerSecond: 200,
		onLine(line, truncatedBytes) {
			if (onLine(line)) return;
			log.info({ stream, line, ...(truncatedBytes > 0 && { truncatedBytes }) }, "driver output");
		},
		onDropped(count) {
			onDroppedLines(count);
			log.warn({ stream, count }, "driver output dropped");
		},
	});
	readable.on("data", (chunk: Buffer) => lines.push(chunk));
	readable.on("end", () => lines.end());
	readable.on("error", (error: Error) => log.warn({ stream, err: error }, "driver output unreadable"));
}
