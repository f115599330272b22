import { parseArgs } from "node:util";
import { didYouMean } from "../options/faults.ts";
import { LauncherError } from "../errors.ts";

interface CommandHelp {
	readonly usage: string;
	readonly summary: string;
	readonly details: string;
	readonly flags: Readonly<Record<string, string>>;
	/** How many words may follow. */
	readonly words: readonly [least: number, most: number];
}

const json = { json: "print JSON for programs" };

export const commands = {
	run: {
		usage: "fluid-fuse [run]",
		summary: "mount what Fluid's config says, and keep it mounted (the default)",
		details: "Reads the config file and the environment (docs/options.md). SIGTERM unmounts and ends.",
		flags: {},
		words: [0, 0],
	},
	validate: {
		usage: "fluid-fuse validate [FILE] [--json]",
		summary: "check a config file and print the plan; mounts nothing",
		details: "Without FILE, the file that run would read. Exit 0, or 78 with every fault.",
		flags: json,
		words: [0, 1],
	},
	probe: {
		usage: "fluid-fuse probe live|ready|startup",
		summary: "ask the running launcher: exit 0 or 1, the reason on stderr",
		details: "For exec probes. Takes 5 ms of CPU, and 9 s at the most.",
		flags: {},
		words: [1, 1],
	},
	status: {
		usage: "fluid-fuse status [--watch] [--json]",
		summary: "show every mount: state, since when, pid, restarts, last error",
		details: "Exit 0, or 69 when no launcher answers.",
		flags: { watch: "go on, and print a line for whatever changes", ...json },
		words: [0, 0],
	},
	prestop: {
		usage: "fluid-fuse prestop",
		summary: "unmount everything and end the launcher: for lifecycle.preStop",
		details: "Exit 0 also when nothing is mounted any more. Takes FLUID_FUSE_STOP_TIMEOUT at the most.",
		flags: {},
		words: [0, 0],
	},
	drivers: {
		usage: "fluid-fuse drivers [NAME] [--json]",
		summary: "list the drivers and their options",
		details: "",
		flags: json,
		words: [0, 1],
	},
	conformance: {
		usage: "fluid-fuse conformance DRIVER [FILE] [--json]",
		summary: "try whether a driver keeps its contract, on a real mount",
		details:
			"Starts, kills and freezes the driver a dozen times; writes a small file. Exit 0, or 75 when it breaks a promise.",
		flags: json,
		words: [1, 2],
	},
	schema: {
		usage: "fluid-fuse schema",
		summary: "print the JSON Schema of the config file and the options",
		details: "",
		flags: {},
		words: [0, 0],
	},
} as const satisfies Record<string, CommandHelp>;

export type CommandName = keyof typeof commands;

export type Invocation =
	| { readonly kind: "help"; readonly text: string }
	| { readonly kind: "version" }
	| { readonly kind: "command"; readonly name: CommandName; readonly words: readonly string[]; readonly flags: Flags };

export interface Flags {
	readonly json: boolean;
	readonly watch: boolean;
}

/** Parses the words after the program's name. Throws USAGE. */
export function parseArguments(argv: readonly string[]): Invocation {
	const first = argv[0];
	const explicit = first !== undefined && !first.startsWith("-");
	if (explicit && !Object.hasOwn(commands, first)) {
		throw usage(`unknown command ${JSON.stringify(first)}${didYouMean(first, Object.keys(commands))}`);
	}
	const name = explicit ? (first as CommandName) : "run";
	const command: CommandHelp = commands[name];
	let parsed;
	try {
		parsed = parseArgs({
			args: argv.slice(explicit ? 1 : 0),
			options: {
				help: { type: "boolean", short: "h" },
				version: { type: "boolean" },
				json: { type: "boolean" },
				watch: { type: "boolean" },
			},
			allowPositionals: true,
		});
	} catch (error) {
		throw usage((error as Error).message, name);
	}
	const { values, positionals } = parsed;
	if (values.help === true) return { kind: "help", text: explicit ? commandHelp(command) : generalHelp() };
	if (values.version === true) return { kind: "version" };
	for (const flag of ["json", "watch"] as const)
		if (values[flag] === true && !(flag in command.flags)) throw usage(`${name} takes no --${flag}`, name);
	const [least, most] = command.words;
	if (positionals.length < least || positionals.length > most) throw usage(`expected ${command.usage}`, name);
	return {
		kind: "command",
		name,
		words: positionals,
		flags: { json: values.json ?? false, watch: values.watch ?? false },
	};
}

function usage(message: string, command?: CommandName): LauncherError {
	return new LauncherError("USAGE", message, {
		hint: `See fluid-fuse ${command === undefined ? "" : `${command} `}--help.`,
	});
}

function commandHelp({ usage: line, summary, details, flags }: CommandHelp): string {
	const options = Object.entries({ ...flags, help: "print this" }).map(
		([name, text]) => `  --${name.padEnd(8)} ${text}`,
	);
	return [
		`Usage: ${line}`,
		"",
		`${summary[0]?.toUpperCase()}${summary.slice(1)}.`,
		...(details === "" ? [] : [details]),
		"",
		...options,
		"",
	].join("\n");
}

function generalHelp(): string {
	const rows = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(11)} ${summary}`);
	return [
		"Usage: fluid-fuse [COMMAND] [--help] [--version]",
		"",
		"Mounts buckets as folders inside a storage pod of Fluid.",
		"",
		...rows,
		"",
		"Exit codes follow sysexits(3): docs/errors.md lists them.",
		"",
	].join("\n");
}
