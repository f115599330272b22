import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { commands } from "../../src/cli/arguments.ts";
import { printManPage } from "../../src/cli/man-page.ts";
import { captured } from "./captured.ts";

const hasGroff = spawnSync("groff", ["--version"]).status === 0;
if (!hasGroff) process.stderr.write("skipped: the manual's page as it is read, because groff is not installed\n");

test.skipIf(!hasGroff)(
	"the manual's page is read without a warning, and has every command, flag, variable and exit code",
	async () => {
		const { out } = await captured((output) => printManPage(output));
		const { stdout, stderr } = spawnSync("groff", ["-man", "-ww", "-Tascii", "-P-cbou", "-rLL=200n"], {
			input: out,
			encoding: "utf8",
		});
		expect(stderr).toBe("");
		for (const { usage, flags, example } of Object.values(commands)) {
			expect(stdout).toContain(`   ${usage.replaceAll("…", "...")}\n`);
			expect(stdout).toContain(example.line);
			for (const flag of Object.keys(flags)) expect(stdout).toMatch(new RegExp(`^ +--${flag}( |$)`, "m"));
		}
		for (const word of ["FLUID_FUSE_STOP_TIMEOUT", "SIGNATURE_WRONG", "EXIT STATUS"]) expect(stdout).toContain(word);
	},
);
