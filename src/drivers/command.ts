import { mkdir, writeFile } from "node:fs/promises";
import type { constants } from "node:os";
import { dirname, join } from "node:path";
import { execa } from "execa";
import type * as z from "zod";
import { LauncherError } from "../errors.ts";
import { containerMemoryLimit, oomKills } from "./cgroup.ts";
import type { Logger } from "../log.ts";
import { LineSplitter } from "./lines.ts";
import {
	DriverFaults,
	type CheckContext,
	type Driver,
	type DriverFault,
	type Ending,
	type Mount,
	type RawOptions,
	type Session,
	type StartContext,
} from "./driver.ts";

/** What to run for one mount. Secrets belong into `files`, never into `args`. */
export interface Command {
	readonly file: string;
	readonly args: readonly string[];
	/** Added to the few variables that every driver gets. */
	readonly env?: Readonly<Record<string, string>>;
	/** Files to write into the mount's private directory with mode 0600: relative path to content. */
	readonly files?: Readonly<Record<string, string>>;
	/** Variables to hand down from the pod's environment, besides the usual few. */
	readonly inherit?: RegExp;
}

export interface CommandContext {
	readonly mountpoint: string;
	/** Where `files` are written. */
	readonly directory: string;
	/** What `version` found, `""` without one. */
	readonly version: string;
	/** The container's memory limit; absent without one. */
	readonly memoryLimitBytes?: number;
}

export interface CommandDriverDefinition<Options extends z.ZodObject> {
	readonly name: string;
	readonly schemes: readonly string[];
	readonly filesystemTypes: readonly string[];
	readonly settleMs?: number;
	readonly options: Options;
	readonly refusedOptions?: Readonly<Record<string, string>>;
	/** Faults of source and options beyond what the schema says. */
	readonly faults?: (mount: Mount, options: z.output<Options>) => DriverFault[];
	/** How to ask the program for its version; it is asked before each start. */
	readonly version?: { readonly file: string; readonly args: readonly string[]; readonly pattern: RegExp };
	/** Pure: from options to a command line. Throws DRIVER_REFUSED when the installed version lacks an option. */
	readonly command: (mount: Mount, options: z.output<Options>, context: CommandContext) => Command;
	readonly check?: (mount: Mount, options: z.output<Options>, context: CheckContext) => Promise<void>;
	/** Reads the program's own words for why it failed. */
	readonly diagnose?: (line: string) => LauncherError | undefined;
}

/** Makes a driver of an external program that stays in the foreground. */
export function defineCommandDriver<Options extends z.ZodObject>(definition: CommandDriverDefinition<Options>): Driver {
	const { name, schemes, filesystemTypes, settleMs = 0, options: schema, refusedOptions = {}, check } = definition;
	return {
		name,
		schemes,
		filesystemTypes,
		settleMs,
		options: schema,
		refusedOptions,
		prepare(mount, raw) {
			const options = parse(definition, mount, raw);
			const shownContext = { mountpoint: "MOUNTPOINT", directory: "PRIVATE", version: "" };
			const { file, args } = definition.command(mount, options, shownContext);
			return {
				summary: [file, ...args],
				...(check !== undefined && { check: async (context) => check(mount, options, context) }),
				async start(context) {
					const version = await programVersion(definition);
					const memoryLimitBytes = await containerMemoryLimit();
					const command = definition.command(mount, options, {
						mountpoint: context.mountpoint,
						directory: context.directory,
						version,
						...(memoryLimitBytes !== undefined && { memoryLimitBytes }),
					});
					return run(name, command, definition.diagnose, context);
				},
			};
		},
	};
}

function parse<Options extends z.ZodObject>(
	{ options: schema, faults }: CommandDriverDefinition<Options>,
	mount: Mount,
	raw: RawOptions,
): z.output<Options> {
	const parsed = schema.safeParse(raw);
	const found: DriverFault[] = (parsed.error?.issues ?? []).map(({ path, message }) => ({
		at: { kind: "option", name: String(path[0] ?? "") },
		message,
	}));
	// The source is looked at even when options are wrong, so that all faults come at once.
	if (parsed.data === undefined) found.push(...sourceFaults(faults?.(mount, schema.parse({}))));
	else found.push(...(faults?.(mount, parsed.data) ?? []));
	if (parsed.data === undefined || found.length > 0) throw new DriverFaults(found);
	return parsed.data;
}

function sourceFaults(faults: DriverFault[] = []): DriverFault[] {
	return faults.filter(({ at }) => at.kind === "source");
}

async function programVersion<Options extends z.ZodObject>({
	name,
	version,
}: CommandDriverDefinition<Options>): Promise<string> {
	if (version === undefined) return "";
	const { all, failed, code } = await execa(version.file, version.args, {
		all: true,
		reject: false,
		timeout: 5000,
		maxBuffer: 65_536,
	});
	if (code === "ENOENT") throw programMissing(name, version.file);
	const found = version.pattern.exec(all ?? "")?.[1];
	if (failed || found === undefined)
		throw new LauncherError("DRIVER_FAILED", `${version.file} does not tell its version`);
	return found;
}

function programMissing(driver: string, file: string): LauncherError {
	return new LauncherError(
		"DRIVER_MISSING",
		`the driver ${driver} needs the program ${file}, which is not in this image`,
		{
			hint: `Use an image that has ${file}, or choose another driver with the option "driver".`,
		},
	);
}

/** The pod's variables that any program may need; nothing else is handed down. */
const usualVariables = /^(PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY)$/i;

async function run(
	driver: string,
	command: Command,
	diagnose: ((line: string) => LauncherError | undefined) | undefined,
	context: StartContext,
): Promise<Session> {
	for (const [name, content] of Object.entries(command.files ?? {})) {
		const path = join(context.directory, name);
		await mkdir(dirname(path), { recursive: true, mode: 0o700 });
		await writeFile(path, content, { mode: 0o600, flag: "wx" });
	}
	const inherited = Object.entries(context.variables).filter(
		([name]) => usualVariables.test(name) || command.inherit?.test(name) === true,
	);
	const oomKillsBefore = await oomKills();
	context.signal.throwIfAborted();
	// pdeathsig: a launcher that is killed must not leave a driver behind that nobody supervises.
	const child = execa("setpriv", ["--pdeathsig", "KILL", "--", command.file, ...command.args], {
		env: { ...Object.fromEntries(inherited), ...command.env },
		extendEnv: false,
		cwd: "/",
		stdin: "ignore",
		buffer: false,
		reject: false,
		detached: true,
		cleanup: false,
	});
	const { pid } = child;
	if (pid === undefined) throw programMissing(driver, "setpriv");
	const log = context.log.child({ pid });
	let diagnosis: LauncherError | undefined;
	let lastLine = "";
	for (const stream of ["stdout", "stderr"] as const) {
		drain(child[stream], stream, log, context.onDroppedLines, (line) => {
			lastLine = line;
			diagnosis ??= diagnose?.(line);
		});
	}
	let stopping = false;
	let alive = true;
	const ended = child.then(async ({ exitCode, signal }): Promise<Ending> => {
		alive = false;
		log.info({ exitCode, signal }, "driver ended");
		if (stopping) return { kind: "stopped" };
		if (exitCode === 127) return { kind: "failed", cause: programMissing(driver, command.file) };
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
		return { kind: "failed", cause: diagnosis ?? new LauncherError("DRIVER_FAILED", `${driver} ${how}${words}`) };
	});
	return {
		pid,
		ended,
		async stop({ graceMs }) {
			stopping = true;
			if (alive) signalGroup(pid, graceMs > 0 ? "SIGTERM" : "SIGKILL");
			const timer = setTimeout(() => {
				if (alive) signalGroup(pid, "SIGKILL");
			}, graceMs);
			try {
				return await ended;
			} finally {
				clearTimeout(timer);
			}
		},
	};
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

function drain(
	readable: NodeJS.ReadableStream,
	stream: "stdout" | "stderr",
	log: Logger,
	onDroppedLines: (count: number) => void,
	onLine: (line: string) => void,
): void {
	const lines = new LineSplitter({
		maximumBytes: 8192,
		linesPerSecond: 200,
		onLine(line, truncatedBytes) {
			onLine(line);
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
