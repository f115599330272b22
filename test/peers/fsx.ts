import { randomInt } from "node:crypto";
import { join } from "node:path";
import type { Outcome } from "./compare.ts";
import { folderIn, type Suite } from "./suite.ts";

const operations = 20_000;

const variants: Readonly<Record<string, readonly string[]>> = {
	"with mmap": [],
	"without mmap": ["-R", "-W"],
	"opened again and again": ["-c", "50"],
	"large, synchronized again and again": ["-l", "8388608", "-o", "1048576", "-y", "-N", "2000"],
	"direct I/O": ["-R", "-W", "-Z", "-r", "4096", "-w", "4096", "-t", "4096"],
};

export const fsx: Suite = {
	name: "fsx",
	variable: "FSX",
	place: "the program fsx, of xfstests",
	async run(path, stage) {
		const pod = await stage.mount("fsx");
		const folder = await folderIn(pod, "fsx");
		const outcomes = new Map<string, Outcome>();
		for (const [name, args] of Object.entries(variants)) {
			// One that is always the same, and one that is printed when it finds something.
			for (const [kind, seed] of Object.entries({ "same seed": 1, "another seed": randomInt(2, 2 ** 31) })) {
				const { exitCode, output } = await stage.run(
					path,
					["-q", "-N", String(operations), "-S", String(seed), "-P", stage.folder, ...args, join(folder, "file")],
					{ cwd: stage.folder },
				);
				const said = `seed ${seed}: ${output.split("\n").slice(0, 3).join("; ")}`;
				outcomes.set(`${name}, ${kind}`, { kind: exitCode === 0 ? "passed" : "failed", said });
			}
		}
		return outcomes;
	},
};
