/** Does ordinary work on S3 servers of others and writes docs/servers.md. CONTRIBUTING.md says how. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { projectRoot } from "../support/pod.ts";
import { watchForEnding } from "../support/ending.ts";
import { firstMatch } from "./first-match.ts";
import { missingFor, serverKinds } from "./kinds.ts";
import { renderPage } from "./page.ts";
import { allSteps, readResults, resultsFolder, runSteps, type DriverName, type ServerResults } from "./run.ts";
import { startServer, type ServerKind } from "./server.ts";
import { steps } from "./steps.ts";

const help = `Usage: npm run test:servers [-- SERVER... [--driver native|s3fs] [--step PART] [--log]]

Does ordinary work through mounts of S3 servers, looks at every byte, and writes docs/servers.md.
Servers: ${serverKinds.map(({ name }) => name).join(", ")}; without a name, all that are installed.
With --step, only the steps with that in their names, and nothing is written. With --log, the launcher's log of what fails is printed.
`;

async function main(): Promise<number> {
	const { values, positionals } = parseArgs({
		options: {
			help: { type: "boolean", default: false },
			driver: { type: "string" },
			step: { type: "string" },
			log: { type: "boolean", default: false },
		},
		allowPositionals: true,
	});
	const unknown = positionals.filter((name) => !serverKinds.some((kind) => kind.name === name));
	if (values.help || unknown.length > 0) {
		process.stderr.write(help);
		return values.help ? 0 : 64;
	}
	execFileSync("npm", ["run", "--silent", "build"], { cwd: projectRoot, stdio: ["ignore", "ignore", "inherit"] });
	const drivers: DriverName[] = (["native", "s3fs"] as const).filter((name) => (values.driver ?? name) === name);
	const ending = watchForEnding();
	let isGood = true;
	for (const kind of serverKinds) {
		if (positionals.length > 0 && !positionals.includes(kind.name)) continue;
		const missing = missingFor(kind);
		if (missing !== undefined) {
			console.log(`${kind.name}: not run, there is no ${missing}`);
			continue;
		}
		for (const driver of drivers)
			try {
				const options = { part: values.step, showsLog: values.log, signal: ending.signal };
				isGood = (await runOne(kind, driver, options)) && isGood;
			} catch (error) {
				if (!ending.signal.aborted) throw error;
				process.stderr.write(`servers: ended early and cleaned up: ${ending.why}\n`);
				return ending.exitCode;
			}
	}
	if (values.step === undefined) await writePage();
	return isGood ? 0 : 1;
}

async function runOne(
	kind: ServerKind,
	driver: DriverName,
	{
		part,
		showsLog,
		signal,
	}: {
		readonly part: string | undefined;
		readonly showsLog: boolean;
		readonly signal: AbortSignal;
	},
): Promise<boolean> {
	const server = await startServer(kind);
	console.log(`${server.kind.title} ${server.version}, ${driver}:`);
	try {
		let isGood = true;
		const results = await runSteps({
			server,
			driver,
			signal,
			steps: steps.filter(({ name }) => part === undefined || name.includes(part)),
			starts: part === undefined,
			onStep: (step, seconds) => {
				if (seconds > 50) console.log(`  (${seconds} s: ${step})`);
			},
			onResult({ step, outcome, said, without, seconds }, log) {
				const more = [said, ...(without ?? []).map((text) => `without ${text}`)].filter((text) => text !== undefined);
				console.log(
					`  ${outcome.padEnd(9)} ${String(seconds).padStart(3)} s  ${step}${more.length > 0 ? `: ${more.join("; ")}` : ""}`,
				);
				if (outcome !== "fails" || driver !== "native" || kind.cannot?.[step] !== undefined) return;
				isGood = false;
				if (showsLog) console.log(log.slice(-60000));
			},
		});
		if (part === undefined) {
			const before = await readResults(kind.name);
			const version = driver === "native" ? "this" : await firstMatch("s3fs", ["--version"], /V[\d.]+/);
			const now: ServerResults = {
				server: kind.name,
				title: kind.title,
				version: server.version,
				drivers: { ...before?.drivers, [driver]: { version, results } },
			};
			mkdirSync(resultsFolder, { recursive: true });
			writeFileSync(join(resultsFolder, `${kind.name}.json`), `${JSON.stringify(now, undefined, "\t")}\n`);
		}
		return isGood;
	} finally {
		await server.stop();
	}
}

async function writePage(): Promise<void> {
	const found = await Promise.all(
		serverKinds.map(async (kind) => {
			const results = await readResults(kind.name);
			return results === undefined ? [] : [{ ...results, cannot: kind.cannot ?? {} }];
		}),
	);
	writeFileSync(join(projectRoot, "docs/servers.md"), renderPage(found.flat(), allSteps()));
}

main().then(
	(exitCode) => process.exit(exitCode),
	(error: unknown) => {
		console.error(error);
		process.exit(70);
	},
);
