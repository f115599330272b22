import { describe, expect, it } from "vitest";
import { commands, parseArguments } from "../../src/cli/arguments.ts";

const parse = (...argv: string[]) => parseArguments(argv);
const call = (...argv: string[]) => {
	const found = parse(...argv);
	return found.kind === "command" ? found.call : found;
};

describe("parseArguments", () => {
	it("runs the launcher when no command is given", () => {
		expect(call()).toEqual({ name: "run", words: [], flags: {} });
		expect(parse("run")).toEqual(parse());
	});

	it("reads commands, words and flags in any order", () => {
		expect(call("validate", "--json", "config.json")).toMatchObject({
			name: "validate",
			words: ["config.json"],
			flags: { json: true },
		});
		expect(call("validate", "--", "--json")).toMatchObject({ words: ["--json"], flags: { json: false } });
		expect(call("probe", "ready")).toMatchObject({ name: "probe", words: ["ready"] });
		expect(call("drivers")).toMatchObject({ name: "drivers", words: [] });
	});

	it("suggests the command that was meant", () => {
		expect(() => parse("vaildate")).toThrow('unknown command "vaildate" (did you mean "validate"?)');
		expect(() => parse("__proto__")).toThrow("unknown command");
		expect(() => parse("")).toThrow("unknown command");
	});

	it("refuses words and flags that the command does not take", () => {
		for (const argv of [
			["probe"],
			["probe", "live", "ready"],
			["run", "now"],
			["status", "x"],
			["prestop", "--json"],
			["validate", "--watch"],
			["status", "--jsn"],
			["--json"],
			["schema", "-x"],
		]) {
			expect(() => parse(...argv), argv.join(" ")).toThrow(
				expect.objectContaining({ code: "USAGE", hint: expect.stringContaining("--help") }),
			);
		}
	});

	it("explains itself as a whole and each command", () => {
		const help = (...argv: string[]): string => {
			const found = parse(...argv);
			return found.kind === "help" ? found.text : "";
		};
		for (const [name, { usage, summary, example }] of Object.entries(commands)) {
			expect(help("--help")).toContain(`  ${name.padEnd(14)} ${summary}\n`);
			expect(help(name, "--help")).toContain(`Usage: ${usage}\n`);
			expect(help(name, "--help")).toContain(`Example, ${example.says}:\n  ${example.line}\n`);
			expect(help(name, "-h")).toBe(help(name, "--help"));
		}
		for (const line of help("--help").split("\n")) expect(line.length).toBeLessThanOrEqual(80);
		expect(parse("--version")).toEqual({ kind: "version" });
	});

	it("shows examples that it takes itself", () => {
		for (const [name, { example }] of Object.entries(commands)) {
			const [, words = ""] = /\bfluid-fuse ?([^>|)]*)/.exec(example.line) ?? [];
			expect(call(...words.split(/\s+/).filter((word) => word !== "")), example.line).toMatchObject({ name });
		}
	});
});
