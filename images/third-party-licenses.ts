import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface Manifest {
	readonly name: string;
	readonly version: string;
	readonly license?: string;
}

/** Prints the licenses of the packages that are in the bundle, whose terms ask for it. */
const list = execFileSync("npm", ["ls", "--omit", "dev", "--all", "--parseable"], { encoding: "utf8" });
const [, ...folders] = list.trim().split("\n");
for (const folder of folders.toSorted()) {
	const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
	const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
	if (license === undefined) throw new Error(`${name} ${version} states no license`);
	const text = file === undefined ? "" : readFileSync(join(folder, file), "utf8");
	process.stdout.write(`${name} ${version}: ${license}\n\n${text.trim()}\n\n${"-".repeat(80)}\n\n`);
}
