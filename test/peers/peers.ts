/** Runs tests that others wrote for filesystems on real mounts, and compares with what is known to fail. CONTRIBUTING.md says how. */
import { mkdtempSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { watchForEnding, type Ending } from "../support/ending.ts";
import { startMinio } from "../support/minio.ts";
import { compare, formatNames, parseExpected, type Expected, type Outcomes } from "./compare.ts";
import { fio } from "./fio.ts";
import { fsx } from "./fsx.ts";
import { pjdfstest } from "./pjdfstest.ts";
import { s3fs } from "./s3fs.ts";
import { onStage, type Suite } from "./suite.ts";
import { xfstests } from "./xfstests.ts";

const suites: readonly Suite[] = [fsx, fio, pjdfstest, s3fs, xfstests];

const help = `Usage: npm run test:peers [-- SUITE [TEST...]]

Runs tests that others wrote on real mounts of a real server, and compares with what is known to fail.
What is not given is not run. Of ${suites
	.filter(({ divisible }) => divisible)
	.map(({ name }) => name)
	.join(" and ")} tests can be named, as they name them.

${suites.map(({ variable, place, installed }) => `  ${variable.padEnd(12)}${place}${installed === undefined ? "" : "; else the one on the PATH"}`).join("\n")}
`;

async function main(): Promise<number> {
	let given;
	try {
		given = parseArgs({ options: { help: { type: "boolean", default: false } }, allowPositionals: true });
	} catch (error) {
		process.stderr.write(`peers: ${(error as Error).message}\n\n${help}`);
		return 64;
	}
	if (given.values.help) {
		process.stdout.write(help);
		return 0;
	}
	const [name, ...tests] = given.positionals;
	const wanted = suites.filter((suite) => name === undefined || suite.name === name);
	if (wanted.length === 0 || (tests.length > 0 && wanted[0]?.divisible !== true)) {
		process.stderr.write(`peers: cannot run ${given.positionals.join(" ")}\n\n${help}`);
		return 64;
	}
	const ending = watchForEnding();
	const kept = mkdtempSync(join(tmpdir(), "fluid-fuse-peers-"));
	let isAsExpected = true;
	for (const suite of wanted) {
		const path = process.env[suite.variable] ?? suite.installed;
		if (path === undefined) {
			console.log(`${suite.name}: not run, ${suite.variable} is not set (${suite.place})`);
			continue;
		}
		try {
			isAsExpected = (await runSuite({ suite, path, tests, kept, ending })) && isAsExpected;
		} catch (error) {
			if (ending.signal.aborted) {
				process.stderr.write(`\npeers: ended early and cleaned up: ${ending.why}\n`);
				return ending.exitCode;
			}
			throw error;
		}
	}
	return isAsExpected ? 0 : 1;
}

interface Run {
	readonly suite: Suite;
	readonly path: string;
	/** All if there are none. */
	readonly tests: readonly string[];
	readonly kept: string;
	readonly ending: Ending;
}

async function runSuite({ suite, path, tests, kept, ending: { signal } }: Run): Promise<boolean> {
	const expected = await readExpected(suite);
	const folder = mkdtempSync(join(tmpdir(), `fluid-fuse-${suite.name}-`));
	const logFile = join(kept, `${suite.name}.log`);
	console.log(`${suite.name}: running; what it prints is in ${logFile}`);
	try {
		const minio = await startMinio();
		try {
			const outcomes = await onStage({ minio, folder, kept, logFile, signal }, (stage) =>
				suite.run(path, stage, tests),
			);
			return tell(suite, outcomes, tests.length === 0 ? expected : onlyThose(expected, outcomes));
		} finally {
			await minio.stop();
		}
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

/** Prints how it went, and returns whether that was known before. */
function tell({ name }: Suite, outcomes: Outcomes, expected: Expected): boolean {
	const count = (kind: string): number => [...outcomes.values()].filter((outcome) => outcome.kind === kind).length;
	console.log(`${name}: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
	const failures = new Map<string, number>();
	for (const [test, { kind }] of outcomes) {
		const reason = expected.get(test);
		if (kind === "failed" && reason !== undefined) failures.set(reason, (failures.get(reason) ?? 0) + 1);
	}
	for (const [reason, number] of failures) console.log(`  ${number} failed as expected: ${reason}`);
	const { news, better, gone } = compare(outcomes, expected);
	for (const test of news) console.log(`  NEW: ${test}: ${outcomes.get(test)?.said ?? "failed"}`);
	const lists = {
		"NEW, as lines for the list": news,
		"BETTER: passes, take it from the list": better,
		"GONE: in the list, not in the suite": gone,
	};
	for (const [title, tests] of Object.entries(lists)) {
		if (tests.length > 0)
			console.log(
				`  ${title}:\n${formatNames(tests)
					.map((line) => `    ${line}\n`)
					.join("")}`,
			);
	}
	if (outcomes.size === 0) console.log("  no test was run: see its log");
	return outcomes.size > 0 && news.length + better.length + gone.length === 0;
}

function onlyThose(expected: Expected, outcomes: Outcomes): Expected {
	return new Map([...expected].filter(([name]) => outcomes.has(name)));
}

async function readExpected({ name }: Suite): Promise<Expected> {
	return parseExpected(await readFile(join(import.meta.dirname, "expected", `${name}.txt`), "utf8"));
}

main().then(
	(exitCode) => process.exit(exitCode),
	(error: unknown) => {
		console.error(error);
		process.exit(70);
	},
);
