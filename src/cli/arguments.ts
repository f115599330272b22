import { parseArgs } from "node:util";
import { didYouMean } from "../options/faults.ts";
import { LauncherError } from "../errors.ts";
import { rows } from "./terminal.ts";

/** What a command is, for people and for the parser. */
export interface Command {
	readonly usage: string;
	readonly summary: string;
	readonly details: string;
	/** One that works, with what it is for. */
	readonly example: { readonly line: string; readonly says: string };
	readonly flags: Readonly<Record<string, Flag>>;
	/** How many words may follow. */
	readonly words: readonly [least: number, most: number];
	/** Which, where there are few. */
	readonly choices?: readonly string[];
}

/** Without `value` it is there or not; with it, that is how the help calls what follows. */
export interface Flag {
	readonly value?: string;
	/** It may be given again and again. */
	readonly isRepeated?: true;
	readonly text: string;
}

const json = { json: { text: "print JSON for programs" } } as const;
const server = {
	endpoint: { value: "URL", text: "the server; Amazon's without it" },
	region: { value: "NAME", text: "the region to sign for" },
} as const;
const keys = {
	keys: {
		value: "FOLDER",
		text: "a folder with files such as access-key and secret-key, as a mounted Secret is one",
	},
} as const;
const anyOption = {
	option: { value: "NAME=VALUE", isRepeated: true, text: "any other option of docs/options.md, as often as needed" },
} as const;

export const commands = {
	run: {
		usage: "fluid-fuse [run]",
		summary: "mount what Fluid's config says and keep it (the default)",
		details: "Reads the config file and the environment (docs/options.md). SIGTERM unmounts and ends.",
		example: { line: "fluid-fuse", says: "what the image does" },
		flags: {},
		words: [0, 0],
	},
	validate: {
		usage: "fluid-fuse validate [FILE] [--json]",
		summary: "check a config file and print the plan; mounts nothing",
		details: "Without FILE, the file that run would read. Exit 0, or 78 with every fault.",
		example: { line: "fluid-fuse validate config.json", says: "every fault of a config, before it is used" },
		flags: json,
		words: [0, 1],
	},
	check: {
		usage: "fluid-fuse check [FILE | s3://BUCKET[/PREFIX] …] [--write] [--json]",
		summary: "try a bucket step by step, and say what is wrong and what to do",
		details:
			"Without FILE or a source, the file that run would read, and this container too. Keys come from AWS_ACCESS_KEY_ID and\nAWS_SECRET_ACCESS_KEY, from --keys, or from the pod's identity. Exit 0, or the code of the first failure (docs/errors.md).",
		example: {
			line: "fluid-fuse check s3://my-first-bucket --endpoint http://minio:9000 --keys /etc/bucket-keys",
			says: "a Secret, before a Dataset uses it",
		},
		flags: {
			...server,
			...keys,
			...anyOption,
			write: { text: "also make, copy, rename and delete objects of its own" },
			...json,
		},
		words: [0, 64],
	},
	"upload-pending": {
		usage: "fluid-fuse upload-pending FOLDER [FILE | s3://BUCKET[/PREFIX] …] [--json]",
		summary: "upload closed files that write-back left in a cache-dir",
		details:
			"Of processes that are gone, and as the next one with that cache-dir would: what somebody else has changed since is left.\nBucket, prefix and endpoint have to be those of the mount; keys come from where check has them. Exit 0, 75 when files are\nleft, or the code of the first failure (docs/errors.md).",
		example: {
			line: "fluid-fuse upload-pending /cache s3://my-first-bucket --endpoint http://minio:9000 --keys /etc/bucket-keys",
			says: "what a storage pod has left on a node to which none comes back",
		},
		flags: { ...server, ...keys, ...anyOption, ...json },
		words: [1, 65],
	},
	manifests: {
		usage: "fluid-fuse manifests s3://BUCKET[/PREFIX] [--name NAME] [--read-write] …",
		summary: "print what Fluid needs to serve a bucket, for kubectl apply",
		details:
			"Profile, Secret, Dataset, ThinRuntime and a pod that uses it. Without --secret and --keys-from-env the storage pod signs\nas itself. What the launcher would refuse ends with 78.",
		example: {
			line: "fluid-fuse manifests s3://my-first-bucket --endpoint http://minio:9000 --keys-from-env | kubectl apply -f -",
			says: "a bucket of MinIO, with the key of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
		},
		flags: {
			name: { value: "NAME", text: "of the Dataset, its claim and its ThinRuntime; the bucket's without it" },
			namespace: { value: "NAME", text: "of all but the profile" },
			...server,
			secret: { value: "NAME", text: "a Secret that is there, with access-key and secret-key" },
			"keys-from-env": { text: "a Secret with the keys of the environment" },
			"read-write": { text: "applications may write" },
			driver: { value: "NAME", text: "goofys, s3fs or a driver of your own; native without it" },
			memory: { value: "SIZE", text: "for parts of objects, such as 512Mi; the container may use four times as much" },
			"cache-dir": { value: "FOLDER", text: "a folder of the node's disk for parts of objects" },
			...anyOption,
			image: { value: "IMAGE", text: "such as registry.example/fluid-fuse:0.1.0" },
			profile: { value: "NAME", text: "a profile that is there: none is printed" },
			metrics: { text: "annotations for a Prometheus that looks for them" },
		},
		words: [1, 1],
	},
	probe: {
		usage: "fluid-fuse probe live|ready|startup",
		summary: "ask the running launcher: exit 0 or 1, the reason on stderr",
		details: "For exec probes. Takes 5 ms of CPU, and 9 s at the most.",
		example: { line: "fluid-fuse probe ready", says: "what a readinessProbe runs" },
		flags: {},
		words: [1, 1],
		choices: ["live", "ready", "startup"],
	},
	status: {
		usage: "fluid-fuse status [--watch] [--json]",
		summary: "show every mount: state, since when, pid, restarts, last error",
		details: "Exit 0, or 69 when no launcher answers.",
		example: { line: "kubectl exec POD -- fluid-fuse status", says: "what is mounted, and why something is not" },
		flags: { watch: { text: "go on, and print a line for whatever changes" }, ...json },
		words: [0, 0],
	},
	report: {
		usage: "fluid-fuse report",
		summary: "print all that a bug report needs, without a secret",
		details:
			"Versions, config, container, status, metrics, the last lines of the log, mounts, limits. Names of buckets, endpoints and\nobjects are in it; keys, tokens and passwords are not.",
		example: { line: "kubectl exec POD -- fluid-fuse report > report.txt", says: "for whoever looks into it" },
		flags: {},
		words: [0, 0],
	},
	top: {
		usage: "fluid-fuse top [--json] [--count N]",
		summary: "show once a second what applications do and what it costs",
		details:
			"Of each mount operations, latency, throughput, requests to the server, cache, memory and CPU. Ends when it is\ninterrupted. Exit 0, or 69 when no launcher answers.",
		example: { line: "kubectl exec -it POD -- fluid-fuse top", says: "a live table" },
		flags: {
			count: { value: "N", text: "end after so many times" },
			json: { text: "print a line of JSON for each time" },
		},
		words: [0, 0],
	},
	trace: {
		usage: "fluid-fuse trace [--mount NAME] [--path GLOB] [--slow TIME] [--json]",
		summary: "print each operation of applications and its requests",
		details:
			"Of native mounts; what the kernel answers from its cache is no operation. Paths and keys are in it, content is not. Ends\nwhen it is interrupted. Exit 0, or 69 when no launcher answers.",
		example: {
			line: "kubectl exec POD -- fluid-fuse trace --slow 100ms",
			says: "what applications wait for",
		},
		flags: {
			mount: { value: "NAME", text: "only that mount" },
			path: { value: "GLOB", text: "only such paths in the mount, or names if it has no slash" },
			slow: { value: "TIME", text: "only what takes longer, such as 100ms" },
			json: { text: "print a line of JSON for each" },
		},
		words: [0, 0],
	},
	"log-level": {
		usage: "fluid-fuse log-level trace|debug|info|warn|error|fatal",
		summary: "change how much the running launcher and its native drivers log",
		details: "Until it is changed again, or the pod ends. Exit 0, or 69 when no launcher answers.",
		example: { line: "kubectl exec POD -- fluid-fuse log-level debug", says: "each request to the server" },
		flags: {},
		words: [1, 1],
		choices: ["trace", "debug", "info", "warn", "error", "fatal"],
	},
	reload: {
		usage: "fluid-fuse reload [--json]",
		summary: "give native mounts another process, without an error for anyone",
		details:
			"Applications wait for a moment. Exit 0, 75 when a mount keeps its process, or 69 when no launcher answers.",
		example: {
			line: "kubectl exec POD -- fluid-fuse reload",
			says: "a changed memory or cache-dir comes into use",
		},
		flags: json,
		words: [0, 0],
	},
	prestop: {
		usage: "fluid-fuse prestop",
		summary: "unmount everything and end the launcher: for lifecycle.preStop",
		details: "Exit 0 also when nothing is mounted any more. Takes FLUID_FUSE_STOP_TIMEOUT at the most.",
		example: { line: "fluid-fuse prestop", says: "what a preStop hook runs" },
		flags: {},
		words: [0, 0],
	},
	drivers: {
		usage: "fluid-fuse drivers [NAME] [--json]",
		summary: "list the drivers and their options",
		details: "",
		example: { line: "fluid-fuse drivers native", says: "every option of one driver" },
		flags: json,
		words: [0, 1],
	},
	conformance: {
		usage: "fluid-fuse conformance DRIVER [FILE] [--json]",
		summary: "try whether a driver keeps its contract, on a real mount",
		details:
			"Starts, kills and freezes the driver a dozen times; writes a small file. Exit 0, or 75 when it breaks a promise.",
		example: { line: "fluid-fuse conformance rclone config.json", says: "a driver of your own, before it is shipped" },
		flags: json,
		words: [1, 2],
	},
	schema: {
		usage: "fluid-fuse schema",
		summary: "print the JSON Schema of the config file and the options",
		details: "",
		example: { line: "fluid-fuse schema > fluid-fuse.schema.json", says: "completion and checks in an editor" },
		flags: {},
		words: [0, 0],
	},
	completion: {
		usage: "fluid-fuse completion bash|zsh|fish",
		summary: "print what completes commands and flags in that shell",
		details: "",
		example: { line: "source <(fluid-fuse completion bash)", says: "for this shell" },
		flags: {},
		words: [1, 1],
		choices: ["bash", "zsh", "fish"],
	},
	man: {
		usage: "fluid-fuse man",
		summary: "print the manual's page, in the language of man(7)",
		details: "",
		example: { line: "fluid-fuse man | man -l -", says: "to read it" },
		flags: {},
		words: [0, 0],
	},
} as const satisfies Record<string, Command>;

export type CommandName = keyof typeof commands;

/** The values of a command's flags, by name. */
type FlagsOf<Flags> = {
	readonly [Name in keyof Flags]: Flags[Name] extends { isRepeated: true }
		? readonly string[]
		: Flags[Name] extends { value: string }
			? string | undefined
			: boolean;
};

/** A command as it was called. */
export type Call = {
	[Name in CommandName]: {
		readonly name: Name;
		readonly words: readonly string[];
		readonly flags: FlagsOf<(typeof commands)[Name]["flags"]>;
	};
}[CommandName];

export type Invocation =
	| { readonly kind: "help"; readonly text: string }
	| { readonly kind: "version" }
	| { readonly kind: "command"; readonly call: Call };

/** Parses the words after the program's name. Throws USAGE. */
export function parseArguments(argv: readonly string[]): Invocation {
	const first = argv[0];
	const explicit = first !== undefined && !first.startsWith("-");
	if (explicit && !Object.hasOwn(commands, first)) {
		throw usage(`unknown command ${JSON.stringify(first)}${didYouMean(first, Object.keys(commands))}`);
	}
	const name = explicit ? (first as CommandName) : "run";
	const command: Command = commands[name];
	const { values, positionals } = parse(name, command, argv.slice(explicit ? 1 : 0));
	if (values["help"] === true) return { kind: "help", text: explicit ? commandHelp(command) : generalHelp() };
	if (values["version"] === true) return { kind: "version" };
	const [least, most] = command.words;
	if (positionals.length < least || positionals.length > most) throw usage(`expected ${command.usage}`, name);
	const flags = Object.fromEntries(
		Object.entries(command.flags).map(([flag, { value, isRepeated }]) => [
			flag,
			values[flag] ?? (isRepeated === true ? [] : value === undefined ? false : undefined),
		]),
	);
	return { kind: "command", call: { name, words: positionals, flags } as unknown as Call };
}

/** What stands in the words, before it is known to be right. */
interface Parsed {
	readonly values: Readonly<Record<string, unknown>>;
	readonly positionals: readonly string[];
}

function parse(name: CommandName, { flags }: Command, args: string[]): Parsed {
	const own = Object.entries(flags).map(
		([flag, { value, isRepeated = false }]) =>
			[flag, { type: value === undefined ? "boolean" : "string", multiple: isRepeated }] as const,
	);
	try {
		return parseArgs({
			args,
			options: {
				...Object.fromEntries(own),
				help: { type: "boolean", short: "h" },
				version: { type: "boolean" },
			},
			allowPositionals: true,
		});
	} catch (error) {
		throw usage((error as Error).message, name);
	}
}

function usage(message: string, command?: CommandName): LauncherError {
	return new LauncherError("USAGE", message, {
		hint: `See fluid-fuse ${command === undefined ? "" : `${command} `}--help.`,
	});
}

function commandHelp({ usage: line, summary, details, flags, example }: Command): string {
	const all: Readonly<Record<string, Flag>> = { ...flags, help: { text: "print this" } };
	const options = Object.entries(all).map(
		([name, { value, text }]) => [`--${name}${value === undefined ? "" : ` ${value}`}`, text] as const,
	);
	return [
		`Usage: ${line}`,
		"",
		`${summary[0]?.toUpperCase()}${summary.slice(1)}.`,
		...(details === "" ? [] : [details]),
		"",
		rows(options),
		`Example, ${example.says}:`,
		`  ${example.line}`,
		"",
	].join("\n");
}

function generalHelp(): string {
	const rows = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(14)} ${summary}`);
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
