import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { environmentVariables, parseEnvironment } from "../../src/config/environment.ts";
import { optionMeta } from "../../src/options/option.ts";
import type { Rule } from "../../src/drivers/csi/csi-driver.ts";
import { csiDrivers } from "../../src/drivers/csi/index.ts";
import { drivers } from "../../src/drivers/index.ts";
import { s3Options } from "../../src/drivers/s3-options.ts";
import { errorKinds } from "../../src/errors.ts";
import { projectRoot } from "../support/pod.ts";

/** The cells of every table row below the heading, up to the next heading of the same depth. */
function rowsBelow(page: string, heading: string): string[][] {
	const text = readFileSync(join(projectRoot, "docs", page), "utf8");
	const start = text.indexOf(`\n${heading}\n`);
	if (start === -1) throw new Error(`${page} has no heading ${heading}`);
	const depth = heading.split(" ")[0] ?? "";
	const end = text.indexOf(`\n${depth} `, start + heading.length);
	return text
		.slice(start, end === -1 ? undefined : end)
		.split("\n")
		.filter((line) => line.startsWith("| `"))
		.map((line) =>
			line
				.split(/(?<!\\)\|/)
				.map((cell) => cell.trim().replaceAll(/\\([|<])/g, "$1"))
				.slice(1, -1),
		);
}

const code = (name: string): string => `\`${name}\``;

test("docs/errors.md has every error code with its class, exit code and kind", () => {
	const documented = rowsBelow("errors.md", "## Codes").map((row) => row.slice(0, 5));
	const actual = Object.entries(errorKinds).map(([name, kind]) => [
		code(name),
		kind.class,
		String(kind.exitCode),
		kind.permanent ? "permanent" : "temporary",
		kind.meaning,
	]);
	expect(documented).toEqual(actual);
});

test("docs/options.md has every environment variable with its default", () => {
	const rows = rowsBelow("options.md", "## Environment variables");
	const documented = rows.map(([name, , text]) => [name, text]);
	expect(documented).toEqual(
		Object.entries(environmentVariables).map(([name, schema]) => [code(name), schema.description]),
	);
	const defaults = rows.map(([name = "", value = ""]) => [name, value].map((cell) => cell.replaceAll("`", "")));
	expect(parseEnvironment(Object.fromEntries(defaults))).toEqual(parseEnvironment({}));
	const set = defaults.filter(([, value]) => value !== "").map(([name]) => name);
	expect(set).toEqual(Object.keys(parseEnvironment({})));
});

function optionRow([name, schema]: [string, Parameters<typeof optionMeta>[0]]): string[] {
	const { type, aliases = [], description } = optionMeta(schema);
	return [code(name), type, aliases.map(code).join(", "), description];
}

test("docs/options.md has every shared option", () => {
	expect(rowsBelow("options.md", "## Shared options")).toEqual(Object.entries(s3Options).map(optionRow));
});

describe.each(drivers)("docs/options.md", ({ name, options, refusedOptions }) => {
	test(`has every option of ${name}, and what is refused`, () => {
		const own = Object.entries(options.shape).filter(([option]) => !(option in s3Options)) as Parameters<
			typeof optionRow
		>[0][];
		const refused = Object.entries(refusedOptions).map(([option, why]) => [code(option), why]);
		expect(rowsBelow("options.md", `### ${name}`)).toEqual([...own.map(optionRow), ...refused]);
	});
});

describe("docs/pvc.md says of every attribute, option and flag what becomes of it", () => {
	const mountpoint = csiDrivers["s3.csi.scality.com"];
	const csiS3 = csiDrivers["ru.yandex.s3.csi"];
	const cosfs = csiDrivers["com.tencent.cloud.csi.cosfs"];
	const ibmCos = csiDrivers["cos.s3.csi.ibm.io"];

	test.each([
		["### volumeAttributes of Mountpoint", mountpoint?.attributes],
		["### mountOptions of Mountpoint", mountpoint?.mountOptions],
		["### volumeAttributes of csi-s3", csiS3?.attributes],
		["### Flags in its attribute options", csiS3?.flags],
		["### mountOptions of csi-s3", csiS3?.mountOptions],
		["### volumeAttributes of COSFS", cosfs?.attributes],
		["### Flags in its attribute additional_args", cosfs?.flags],
		["### mountOptions of COSFS", cosfs?.mountOptions],
		["### volumeAttributes of IBM's", ibmCos?.attributes],
		["### mountOptions of IBM's", ibmCos?.mountOptions],
	])("%s", (heading, rules = {}) => {
		const rows = Object.entries(rules).map(([name, rule]) => [code(name), outcome(rule)]);
		expect(rows.length).toBeGreaterThan(0);
		expect(rowsBelow("pvc.md", heading)).toEqual(rows);
	});

	test("and of every CSI driver the keys of its Secret", () => {
		const page = readFileSync(join(projectRoot, "docs/pvc.md"), "utf8");
		for (const [name, { keys }] of Object.entries(csiDrivers)) {
			const row = page.split("\n").find((line) => line.startsWith("| `") && line.includes(code(name))) ?? "";
			expect([...row.matchAll(/`([^`]+)`/g)].map(([, word]) => word)).toEqual(
				expect.arrayContaining([name, ...keys.map(({ key }) => key)]),
			);
		}
	});

	function outcome(rule: Rule): string {
		if (rule.kind === "used") return rule.as;
		return rule.kind === "unused" ? `no effect: ${rule.why}` : `refused: ${rule.why}`;
	}
});
