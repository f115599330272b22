import { mkdir, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execa } from "execa";
import type * as z from "zod";
import { LauncherError } from "../errors.ts";
import { Secret } from "../secrets/secret.ts";
import { containerMemoryLimit, oomKills } from "./cgroup.ts";
import type {
	BucketAccess,
	CheckContext,
	Driver,
	DriverFault,
	Mount,
	PreparedMount,
	RawOptions,
	DriverSession,
	StartContext,
	Update,
} from "./driver.ts";
import type { ReadVolume, Volume } from "./csi/volume.ts";
import { optionFault } from "./faults.ts";
import { parseOptions } from "./parse-options.ts";
import { endHelpers, inheritedVariables, programMissing, superviseProcess } from "./process.ts";

/** What to run for one mount. Secrets belong into `files`, never into `args`. */
export interface Command {
	readonly file: string;
	readonly args: readonly string[];
	/** Added to the few variables that every driver gets. */
	readonly env?: Readonly<Record<string, string>>;
	/** Files to write into the mount's private directory with mode 0600: relative path to content. */
	readonly files?: Readonly<Record<string, string>>;
	/** Those of the files that the program reads again while it runs: when nothing else is different, they are replaced under it. */
	readonly rereads?: readonly string[];
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
	/** The pod's environment; absent where the command is only shown. */
	readonly variables?: NodeJS.ProcessEnv;
}

export interface CommandDriverDefinition<Options extends z.ZodObject> {
	readonly name: string;
	readonly schemes: readonly string[];
	readonly csiDrivers?: readonly string[];
	readonly readVolume?: (volume: Volume) => ReadVolume;
	readonly readCachePlaces?: Driver["readCachePlaces"];
	readonly filesystemTypes: readonly string[];
	readonly settleMs?: number;
	readonly takesAnyOption?: boolean;
	readonly isTrustedWithReadOnly?: boolean;
	readonly options: Options;
	readonly refusedOptions?: Readonly<Record<string, string>>;
	/** Faults of source and options beyond what the schema says. */
	readonly faults?: (mount: Mount, options: z.output<Options>) => DriverFault[];
	/** How to ask the program for its version; it is asked before each start. */
	readonly version?: { readonly file: string; readonly args: readonly string[]; readonly pattern: RegExp };
	/** Pure: from options to a command line. Throws DRIVER_REFUSED when the installed version lacks an option. */
	readonly command: (mount: Mount, options: z.output<Options>, context: CommandContext) => Command;
	readonly check?: (mount: Mount, options: z.output<Options>, context: CheckContext) => Promise<void>;
	readonly bucket?: (mount: Mount, options: z.output<Options>, context: CheckContext) => Promise<BucketAccess>;
	/** Reads the program's own words for why it failed. */
	readonly diagnose?: (line: string) => LauncherError | undefined;
}

/** Makes a driver of an external program that stays in the foreground. */
export function defineCommandDriver<Options extends z.ZodObject>(definition: CommandDriverDefinition<Options>): Driver {
	const { name, schemes, filesystemTypes, settleMs = 0, options: schema, refusedOptions = {} } = definition;
	const { check, bucket } = definition;
	return {
		name,
		schemes,
		csiDrivers: definition.csiDrivers ?? [],
		...(definition.readVolume !== undefined && { readVolume: definition.readVolume }),
		...(definition.readCachePlaces !== undefined && { readCachePlaces: definition.readCachePlaces }),
		filesystemTypes,
		settleMs,
		takesAnyOption: definition.takesAnyOption ?? false,
		isTrustedWithReadOnly: definition.isTrustedWithReadOnly ?? true,
		options: schema,
		refusedOptions,
		prepare(mount, raw) {
			const options = parseOptions(schema, mount, raw, {
				faults: definition.faults,
				optionFaults: (given) =>
					shownSecrets(raw, given, (left) => definition.command(mount, left, nowhere)).map((option) =>
						optionFault(
							option,
							`comes from a secret, and ${name} takes it on its command line, which every process of the node can read: give it as a plain option`,
						),
					),
			});
			return new CommandMount({
				driver: name,
				command: (context) => definition.command(mount, options, context),
				version: async () => programVersion(definition),
				...(check !== undefined && { check: async (context: CheckContext) => check(mount, options, context) }),
				...(bucket !== undefined && { bucket: async (context: CheckContext) => bucket(mount, options, context) }),
				...(definition.diagnose !== undefined && { diagnose: definition.diagnose }),
			});
		},
	};
}

/** Where a command is only looked at. */
const nowhere: CommandContext = { mountpoint: "MOUNTPOINT", directory: "PRIVATE", version: "" };

/**
 * The options that came from secrets and end on the command line. What their types make of a value cannot be looked for there: without
 * such an option the line is another one. A driver that asks for a secret as such has said what becomes of it.
 */
function shownSecrets<Values extends object>(
	raw: RawOptions,
	options: Values,
	build: (options: Values) => Command,
): string[] {
	const fromSecrets = Object.entries(options).flatMap(([name, value]) =>
		raw[name] instanceof Secret && !(value instanceof Secret) ? [name] : [],
	);
	const line = (left?: string): string | undefined => {
		try {
			const { file, args } = build(left === undefined ? options : { ...options, [left]: undefined });
			return [file, ...args].join("\0");
		} catch {
			// It cannot do without that one, or the source is wrong, which is said elsewhere.
			return undefined;
		}
	};
	const whole = fromSecrets.length === 0 ? undefined : line();
	return whole === undefined ? [] : fromSecrets.filter((name) => line(name) !== whole);
}

interface CommandMountOptions {
	readonly driver: string;
	readonly command: (context: CommandContext) => Command;
	readonly version: () => Promise<string>;
	readonly check?: (context: CheckContext) => Promise<void>;
	readonly bucket?: (context: CheckContext) => Promise<BucketAccess>;
	readonly diagnose?: (line: string) => LauncherError | undefined;
}

class CommandMount implements PreparedMount {
	readonly summary: readonly string[];
	readonly check?: (context: CheckContext) => Promise<void>;
	readonly bucket?: (context: CheckContext) => Promise<BucketAccess>;
	readonly #options: CommandMountOptions;

	constructor(options: CommandMountOptions) {
		this.#options = options;
		const { file, args } = options.command(nowhere);
		this.summary = [file, ...args];
		if (options.check !== undefined) this.check = options.check;
		if (options.bucket !== undefined) this.bucket = options.bucket;
	}

	async start(context: StartContext): Promise<DriverSession> {
		const { driver, version, diagnose } = this.#options;
		const { mountpoint, directory } = context;
		const memoryLimitBytes = await containerMemoryLimit();
		const place: CommandContext = {
			mountpoint,
			directory,
			version: await version(),
			variables: context.variables,
			...(memoryLimitBytes !== undefined && { memoryLimitBytes }),
		};
		let command = this.#options.command(place);
		const session = await run(driver, command, diagnose, context);
		const update = async (mount: PreparedMount): Promise<Update> => {
			if (!(mount instanceof CommandMount)) return { kind: "needs-start" };
			const next = mount.#options.command(place);
			const files = filesToReplace(command, next);
			// The same command: what is different is in a file that it cites, a secret's for one, and that it has read.
			if (files === undefined || files.length === 0) return { kind: "needs-start" };
			for (const name of files) await replaceFile(join(directory, name), next.files?.[name] ?? "");
			command = next;
			return { kind: "updated", later: [] };
		};
		return { ...session, update };
	}
}

/** The files that make the first command the second one while it runs; undefined: it has to be started again. */
function filesToReplace(running: Command, wanted: Command): string[] | undefined {
	const rest = ({ file, args, env = {}, files = {}, inherit, rereads = [] }: Command): string =>
		JSON.stringify([
			file,
			args,
			env,
			String(inherit),
			Object.entries(files).filter(([name]) => !rereads.includes(name)),
		]);
	if (rest(running) !== rest(wanted)) return undefined;
	return (wanted.rereads ?? []).filter((name) => running.files?.[name] !== wanted.files?.[name]);
}

/** In one step, so that nobody reads half of it. */
async function replaceFile(path: string, content: string): Promise<void> {
	await writeFile(`${path}.new`, content, { mode: 0o600 });
	await rename(`${path}.new`, path);
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

async function run(
	driver: string,
	command: Command,
	diagnose: ((line: string) => LauncherError | undefined) | undefined,
	context: StartContext,
): Promise<DriverSession> {
	for (const [name, content] of Object.entries(command.files ?? {})) {
		const path = join(context.directory, name);
		await mkdir(dirname(path), { recursive: true, mode: 0o700 });
		await writeFile(path, content, { mode: 0o600, flag: "wx" });
	}
	const oomKillsBefore = await oomKills();
	context.signal.throwIfAborted();
	// pdeathsig: a launcher that is killed must not leave a driver behind that nobody supervises.
	const child = execa("setpriv", ["--pdeathsig", "KILL", "--", command.file, ...command.args], {
		env: { ...inheritedVariables(context.variables, command.inherit), ...command.env },
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
	child.nodeChildProcess.once("exit", () => endHelpers(pid));
	return superviseProcess({
		driver,
		program: command.file,
		pid,
		stdout: child.stdout,
		stderr: child.stderr,
		ended: child.then(({ exitCode, signal }) => ({ exitCode, signal })),
		oomKillsBefore,
		log: context.log,
		onDroppedLines: context.onDroppedLines,
		...(diagnose !== undefined && { diagnose }),
	});
}
