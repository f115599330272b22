import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commands } from "../../src/cli/arguments.ts";
import { printCompletion } from "../../src/cli/completion.ts";
import { captured } from "./captured.ts";

let folder: string;

beforeAll(async () => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-completion-"));
	writeFileSync(join(folder, "config.json"), "{}");
	for (const shell of ["bash", "zsh", "fish"]) {
		const { out } = await captured((output) => printCompletion([shell], output));
		writeFileSync(join(folder, `_${shell}`), out);
	}
});
afterAll(() => rmSync(folder, { recursive: true }));

function has(shell: string): boolean {
	const found = spawnSync(shell, ["-c", "exit 0"]).status === 0;
	if (!found) process.stderr.write(`skipped: completion in ${shell}, because it is not installed\n`);
	return found;
}

/** What the shell offers for the last word of the line. */
type Complete = (line: string) => readonly string[];

const bash: Complete = (line) => {
	const words = line.split(" ");
	const script = `source ./_bash
		COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}
		_fluid_fuse; printf '%s\\n' "\${COMPREPLY[@]}"`;
	return output("bash", ["--norc", "-c", script]);
};

const fish: Complete = (line) =>
	output("fish", ["--no-config", "-c", `source ./_fish; complete -C '${line}'`]).map(firstWord);

/** Tells what is offered, and when that is all. */
const tellingZsh = `
PS1=
autoload -Uz compinit
compinit -D -u
source ./_zsh
compadd() {
	if [[ $@[(I)-[OAD]] -eq 0 ]]; then
		local -a found
		builtin compadd -A found "$@"
		print -rl -- "offered "$^found >>./offered
	fi
	builtin compadd "$@"
}
tab() { zle complete-word; print done >>./offered }
zle -N tab
bindkey "\\t" tab
`;

/** Asked as a person does, with the Tab key in a terminal of its own. */
const zsh: Complete = (line) => {
	writeFileSync(join(folder, "telling"), tellingZsh);
	// What is typed is echoed, so that the answer to wait for must not be in it.
	const script = `
		zmodload zsh/zpty
		zpty shell zsh -f -i
		zpty -w shell "source ./telling; print -r re''ady"
		zpty -r shell answer '*ready'$'\\r\\n*'
		zpty -w -n shell $'${line}\\t'
		repeat 1000; do sleep 0.05; [[ -e ./offered && $(tail -n 1 ./offered) = done ]] && break; done
		cat ./offered; rm -f ./offered`;
	return output("zsh", ["-f", "-c", script]).map((word) => word.replace("offered ", ""));
};

function output(shell: string, args: readonly string[]): readonly string[] {
	const { stdout, stderr } = spawnSync(shell, args, { cwd: folder, encoding: "utf8", timeout: 55_000 });
	expect(stderr).toBe("");
	return stdout.split("\n").filter((word) => word !== "");
}

function firstWord(line: string): string {
	return line.split("\t")[0] ?? "";
}

describe.each([
	["bash", bash],
	["fish", fish],
	["zsh", zsh],
] as const)("in %s", (shell, complete) => {
	test.skipIf(!has(shell))("commands, flags, words and files are completed", () => {
		expect(complete("fluid-fuse ")).toEqual(expect.arrayContaining(Object.keys(commands)));
		expect(complete("fluid-fuse val")).toContain("validate");
		expect(complete("fluid-fuse val")).not.toContain("status");
		expect(complete("fluid-fuse status --")).toEqual(expect.arrayContaining(["--watch", "--json", "--help"]));
		expect(complete("fluid-fuse status --")).not.toContain("--write");
		expect(complete("fluid-fuse probe ")).toEqual(expect.arrayContaining(["live", "ready", "startup"]));
		expect(complete("fluid-fuse validate con")).toContain("config.json");
		expect(complete("fluid-fuse check --keys con")).toContain("config.json");
	});
});

test("another shell is refused with those that there are", async () => {
	await expect(captured((output) => printCompletion(["csh"], output))).rejects.toMatchObject({
		code: "USAGE",
		hint: "There are bash, zsh, fish.",
	});
});
