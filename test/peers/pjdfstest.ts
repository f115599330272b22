import { join } from "node:path";
import type { Outcome, Outcomes } from "./compare.ts";
import { folderIn, type Suite } from "./suite.ts";

export const pjdfstest: Suite = {
	name: "pjdfstest",
	variable: "PJDFSTEST",
	place: "folder of pjdfstest, built",
	divisible: true,
	async run(path, stage, tests) {
		const folder = join(path, "tests");
		const pod = await stage.mount("pjdfstest");
		const { output } = await stage.run(
			"prove",
			["--recurse", "--verbose", ...(tests.length === 0 ? [folder] : tests.map((test) => join(folder, test)))],
			{
				cwd: await folderIn(pod, "pjdfstest"),
			},
		);
		return parseProve(output, `${folder}/`);
	},
};

/** What `prove --verbose` printed, a test each assert: `chmod/00.t 12`. */
export function parseProve(output: string, folder: string): Outcomes {
	const outcomes = new Map<string, Outcome>();
	let file = "";
	for (const line of output.split("\n")) {
		const [heading] = /^\S+\.t(?= \.\.)/.exec(line) ?? [];
		if (heading?.startsWith(folder) === true) file = heading.slice(folder.length);
		const planned = Number(/^1\.\.(\d+)/.exec(line)?.[1] ?? 0);
		// Until its line comes.
		for (let number = 1; number <= planned; number++)
			outcomes.set(`${file} ${number}`, { kind: "failed", said: "it did not come so far" });
		const [, not, number, said = ""] = /^(not )?ok (\d+)(?: -)?(.*)$/.exec(line) ?? [];
		if (number === undefined) continue;
		// Those marked TODO are what systems may do differently.
		const kind = said.includes("# TODO") ? "skipped" : not === undefined ? "passed" : "failed";
		outcomes.set(`${file} ${number}`, { kind, said: said.trim() });
	}
	return outcomes;
}
