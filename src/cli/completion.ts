import { LauncherError } from "../errors.ts";
import { commands, type Command } from "./arguments.ts";
import type { Output } from "./output.ts";

const shells = { bash, zsh, fish } as const;

/** Prints what completes the program's words in that shell. Returns 0. Throws USAGE for another shell. */
export function printCompletion([shell = ""]: readonly string[], output: Output): number {
	if (!Object.hasOwn(shells, shell)) {
		throw new LauncherError("USAGE", `no completion for ${JSON.stringify(shell)}`, {
			hint: `There are ${Object.keys(shells).join(", ")}.`,
		});
	}
	output.out(shells[shell as keyof typeof shells]());
	return 0;
}

const all: readonly (readonly [name: string, command: Command])[] = Object.entries(commands);

function flagsOf({ flags }: Command): readonly (readonly [flag: string, text: string, value: string | undefined])[] {
	const own = Object.entries(flags).map(([name, { text, value }]) => [`--${name}`, text, value] as const);
	return [...own, ["--help", "print this", undefined]];
}

/** What completes after a flag that wants a file or a folder; undefined: nothing that is known. */
function isPath(value: string | undefined): boolean {
	return value === "FOLDER" || value === "FILE";
}

/** Sources are typed, files found. */
function takesFile({ usage }: Command): boolean {
	return usage.includes("FILE");
}

function bash(): string {
	const cases = all.map(([name, command]) => {
		const flags = flagsOf(command);
		const valued = flags.filter(([, , value]) => value !== undefined);
		const folders = valued.filter(([, , value]) => isPath(value)).map(([flag]) => flag);
		const others = valued.filter(([, , value]) => !isPath(value)).map(([flag]) => flag);
		return [
			`\t${name})`,
			...(folders.length === 0
				? []
				: [`\t\tcase $before in ${folders.join("|")}) COMPREPLY=($(compgen -f -- "$word")); return ;; esac`]),
			...(others.length === 0 ? [] : [`\t\tcase $before in ${others.join("|")}) return ;; esac`]),
			`\t\twords="${[...(command.choices ?? []), ...flags.map(([flag]) => flag)].join(" ")}"`,
			...(takesFile(command) ? ["\t\tfiles=yes"] : []),
			"\t\t;;",
		].join("\n");
	});
	return `# bash completion for fluid-fuse: source <(fluid-fuse completion bash)
_fluid_fuse() {
	local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} words="" files=""
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W "${all.map(([name]) => name).join(" ")} --help --version" -- "$word"))
		return
	fi
	case \${COMP_WORDS[1]} in
${cases.join("\n")}
	esac
	COMPREPLY=($(compgen -W "$words" -- "$word"))
	[ -z "$files" ] || case $word in -*) ;; *) COMPREPLY+=($(compgen -f -- "$word")) ;; esac
}
complete -o filenames -F _fluid_fuse fluid-fuse
`;
}

/** A text between single quotes, of any shell. */
function quoted(text: string): string {
	return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function zsh(): string {
	const described = all.map(
		([name, { summary }]) => `\t\t${quoted(`${name}:${summary.replaceAll(":", String.raw`\:`)}`)}`,
	);
	const cases = all.map(([name, command]) => {
		const flags = flagsOf(command).map(([flag, text, value]) => {
			const explained = text.replaceAll(/[[\]:]/g, String.raw`\$&`);
			const isRepeated = command.flags[flag.slice(2)]?.isRepeated === true ? "*" : "";
			const after = value === undefined ? "" : `:${value}:${isPath(value) ? "_files" : ""}`;
			return quoted(`${isRepeated}${flag}[${explained}]${after}`);
		});
		const words =
			command.choices === undefined ? (takesFile(command) ? "_files" : undefined) : `(${command.choices.join(" ")})`;
		return `\t\t${name}) _arguments ${[...flags, ...(words === undefined ? [] : [quoted(`*:word:${words}`)])].join(" ")} ;;`;
	});
	return `#compdef fluid-fuse
# zsh completion for fluid-fuse: source <(fluid-fuse completion zsh), or as _fluid-fuse in a folder of $fpath
_fluid-fuse() {
	local -a commands
	commands=(
${described.join("\n")}
	)
	if (( CURRENT == 2 )); then
		_describe command commands
		return
	fi
	local command=$words[2]
	shift words
	(( CURRENT-- ))
	case $command in
${cases.join("\n")}
	esac
}
# Read from a folder, this is the function itself.
if [ "$funcstack[1]" = _fluid-fuse ]; then _fluid-fuse "$@"; else compdef _fluid-fuse fluid-fuse; fi
`;
}

/** Inside single quotes of fish a backslash escapes, too. */
function fishQuoted(text: string): string {
	return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}

function fish(): string {
	const lines = ["# fish completion for fluid-fuse: fluid-fuse completion fish | source", "complete -c fluid-fuse -f"];
	for (const [name, command] of all) {
		const within = `-n '__fish_seen_subcommand_from ${name}'`;
		lines.push(`complete -c fluid-fuse -n __fish_use_subcommand -a ${name} -d ${fishQuoted(command.summary)}`);
		if (takesFile(command)) lines.push(`complete -c fluid-fuse ${within} -F`);
		if (command.choices !== undefined)
			lines.push(`complete -c fluid-fuse ${within} -a ${fishQuoted(command.choices.join(" "))}`);
		for (const [flag, text, value] of flagsOf(command)) {
			const wants = value === undefined ? "" : isPath(value) ? " -r -F" : " -x";
			lines.push(`complete -c fluid-fuse ${within} -l ${flag.slice(2)}${wants} -d ${fishQuoted(text)}`);
		}
	}
	return `${lines.join("\n")}\n`;
}
