import { environmentVariables } from "../config/environment.ts";
import { errorKinds } from "../errors.ts";
import { version } from "../version.ts";
import { commands, type Command } from "./arguments.ts";
import type { Output } from "./output.ts";

/** Prints the manual's page, in the language of man(7). Returns 0. */
export function printManPage(output: Output): number {
	const all: readonly Command[] = Object.values(commands);
	const codes = new Map<number, string[]>();
	for (const [code, { exitCode }] of Object.entries(errorKinds))
		codes.set(exitCode, [...(codes.get(exitCode) ?? []), code]);
	const lines = [
		`.TH FLUID-FUSE 1 "" "fluid-fuse ${version}" "User Commands"`,
		".SH NAME",
		text("fluid-fuse - mounts buckets as folders inside a storage pod of Fluid"),
		".SH SYNOPSIS",
		...all.flatMap(({ usage }) => [text(usage), ".br"]),
		".SH COMMANDS",
		...all.flatMap(describe),
		".SH ENVIRONMENT",
		...Object.entries(environmentVariables).flatMap(([name, { description = "" }]) => item(name, description)),
		".SH EXIT STATUS",
		...item("0", "Success, also with warnings."),
		...[...codes].toSorted(([a], [b]) => a - b).flatMap(([code, names]) => item(String(code), names.join(", "))),
		".SH SEE ALSO",
		text("The folder docs of the sources: options.md, errors.md, cli.md, troubleshooting.md."),
	];
	output.out(`${lines.join("\n")}\n`);
	return 0;
}

function describe({ usage, summary, details, flags, example }: Command): string[] {
	return [
		`.SS "${inQuotes(usage)}"`,
		text(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`),
		...(details === "" ? [] : [text(details)]),
		...Object.entries(flags).flatMap(([name, { value, text: meaning }]: [string, Command["flags"][string]]) =>
			item(`--${name}${value === undefined ? "" : ` ${value}`}`, meaning),
		),
		".PP",
		text(`Example, ${example.says}:`),
		".PP",
		".RS",
		".nf",
		text(example.line),
		".fi",
		".RE",
	];
}

function item(name: string, meaning: string): string[] {
	return [".TP", `.B ${text(name)}`, text(meaning)];
}

/** Without what means something to troff: escapes, and dots and quotes at a line's begin; hyphens that can be copied. */
function text(words: string): string {
	return words
		.split("\n")
		.map((line) => escaped(line).replace(/^(?=[.'])/, String.raw`\&`))
		.join("\n");
}

function inQuotes(words: string): string {
	return escaped(words).replaceAll('"', String.raw`\(dq`);
}

function escaped(words: string): string {
	return words
		.replaceAll("\\", String.raw`\e`)
		.replaceAll("-", String.raw`\-`)
		.replaceAll("…", "...");
}
