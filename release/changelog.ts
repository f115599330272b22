import { readFileSync, writeFileSync } from "node:fs";

// What is unreleased becomes the version's that npm is about to make, which makes none when this fails.
const changelog = readFileSync("CHANGELOG.md", "utf8");
const version = process.env["npm_new_version"];
const today = new Date().toISOString().slice(0, 10);

const [before, unreleased, ...others] = changelog.split(/^(?=## )/m);
if (unreleased === undefined || !/^## Unreleased\n\s*\S/.test(unreleased))
	throw new Error("CHANGELOG.md says nothing below `## Unreleased`: write what this version changes for operators");
const released = unreleased.replace("## Unreleased", `## ${version} (${today})`);
writeFileSync("CHANGELOG.md", [before, "## Unreleased\n\n", released, ...others].join(""));
