import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { drivers } from "../../src/drivers/index.ts";
import { commands, parseArguments } from "../../src/cli/arguments.ts";
import { listDrivers } from "../../src/cli/drivers.ts";
import { validate } from "../../src/cli/validate.ts";
import { parseEnvironment } from "../../src/config/environment.ts";
import { captured } from "../cli/captured.ts";
import { fileWith, fixture, secretsFolder, temporaryFolder } from "../config/planning.ts";
import { projectRoot, writeAtomically } from "../support/pod.ts";

const builtIn = { drivers, faults: [] };

const page = readFileSync(join(projectRoot, "docs/cli.md"), "utf8");

/** What the page shows below a command. */
function shownFor(command: string): string {
	const start = page.indexOf(`$ ${command}\n`) + command.length + 3;
	return page.slice(start, page.indexOf("```", start));
}

async function validated(name: string, text: string) {
	const folder = temporaryFolder();
	writeAtomically(folder, { [name]: text });
	const secrets = secretsFolder({ "minio-login": { "access-key": "AKIAEXAMPLE", "secret-key": "secret-key-example" } });
	const environment = parseEnvironment({ FLUID_FUSE_SECRETS_DIR: secrets });
	const { out, err } = await captured((output) =>
		validate(join(folder, name), environment, builtIn, { json: false }, output),
	);
	return { out: out.replaceAll(`${folder}/`, ""), err: err.replaceAll(`${folder}/`, "") };
}

test("docs/cli.md has a section for every command and no other", () => {
	const sections = [...page.matchAll(/^## `(.*)`$/gm)].map(([, usage]) => usage);
	expect(new Set(sections)).toEqual(new Set(Object.values(commands).map(({ usage }) => usage)));
	expect(shownFor("fluid-fuse --help")).toBe((parseArguments(["--help"]) as { text: string }).text);
});

test("docs/cli.md shows what validate prints", async () => {
	expect(shownFor("fluid-fuse validate config.json")).toBe((await validated("config.json", fixture("minio.json"))).out);
	const faulty = fileWith([
		{ mountPoint: "s3://training-data", options: { regoin: "eu-1" } },
		{ mountPoint: "pvc://claim" },
	]);
	expect(shownFor("fluid-fuse validate faulty.json")).toBe((await validated("faulty.json", faulty)).err);
});

test("docs/cli.md shows what drivers prints, apart from what is left out", async () => {
	const { out } = await captured((output) => listDrivers(builtIn, "s3fs", { json: false }, output));
	for (const part of shownFor("fluid-fuse drivers s3fs").split("…\n")) expect(out).toContain(part);
});
