import { onSignal } from "./signals.ts";
import { writeFileSync } from "node:fs";
import { inspect } from "node:util";
import { parseArguments, type Call } from "./cli/arguments.ts";
import { parseEnvironment, type Environment } from "./config/environment.ts";
import { toLauncherError, type LauncherError } from "./errors.ts";
import type { LoadedDrivers } from "./vendor/load.ts";
import { version } from "./version.ts";

/** The process edge: nothing else, but for signals.ts, reads argv or the environment's variables, takes signals, or exits. */
async function main(): Promise<number> {
	// What the native driver starts, with its descriptor: nothing that people call.
	if (process.argv[2] === "filesystem") return runFilesystem();
	const invocation = parseArguments(process.argv.slice(2));
	switch (invocation.kind) {
		case "help":
			process.stdout.write(invocation.text);
			return 0;
		case "version":
			process.stdout.write(`fluid-fuse ${version}\n`);
			return 0;
		case "command":
			return runCommand(invocation.call);
		default:
			return invocation satisfies never;
	}
}

async function runFilesystem(): Promise<number> {
	const stop = new AbortController();
	process.on("SIGTERM", () => stop.abort());
	// SIGINT is left to Node, which ends the process with it and prints where it was: drivers/native.ts has it do so.
	for (const signal of ["SIGHUP", "SIGUSR2", "SIGPIPE"] as const) process.on(signal, () => undefined);
	let tellBug = (error: unknown): void => void process.stderr.write(`${inspect(error)}\n`);
	// Rejections that nobody handles come here too. An exit would wait for threads that wait for the kernel, and applications with them. Not
	// SIGKILL: the launcher is to count it as a crash.
	process.on("uncaughtException", (error) => {
		try {
			tellBug(error);
		} finally {
			process.kill(process.pid, "SIGABRT");
		}
	});
	const { serveFilesystem } = await import("./filesystem-process/serve.ts");
	const { exitCode, signal } = await serveFilesystem(process, process.env, stop.signal, (tell) => {
		tellBug = tell;
	});
	if (signal !== undefined) process.kill(process.pid, signal);
	return exitCode;
}

/** Each command loads only what it needs. */
async function runCommand(call: Call): Promise<number> {
	const environment = parseEnvironment(process.env);
	const output = {
		out: (text: string) => process.stdout.write(text),
		err: (text: string) => process.stderr.write(text),
	};
	switch (call.name) {
		case "run":
			return runLauncher(environment);
		case "probe":
			return (await import("./cli/probe.ts")).refuseQuestion(call.words[0] ?? "");
		case "status":
			return (await import("./cli/status.ts")).status(environment, call.flags, output);
		case "reload":
			return (await import("./cli/reload.ts")).reload(environment, call.flags, output);
		case "log-level":
			return (await import("./cli/log-level.ts")).setLogLevel(call.words[0] ?? "", environment, output);
		case "trace":
			return (await import("./cli/trace.ts")).trace(call.flags, environment, untilInterrupted(), output);
		case "top":
			return (await import("./cli/top.ts")).top(call.flags, environment, untilInterrupted(), {
				...output,
				isTerminal: process.stdout.isTTY,
			});
		case "prestop":
			return (await import("./cli/prestop.ts")).clearWithoutLauncher(environment);
		case "validate":
			return (await import("./cli/validate.ts")).validate(
				call.words[0],
				environment,
				await allDrivers(environment),
				call.flags,
				output,
			);
		case "check":
			return (await import("./cli/check.ts")).check(
				call.words,
				call.flags,
				{ ...(await surroundingsIn(environment)), signal: untilInterrupted() },
				output,
			);
		case "upload-pending":
			return (await import("./cli/upload-pending.ts")).uploadPending(
				call.words,
				call.flags,
				{ ...(await surroundingsIn(environment)), signal: untilInterrupted() },
				output,
			);
		case "manifests":
			return (await import("./cli/manifests.ts")).printManifests(
				call.words,
				call.flags,
				await surroundingsIn(environment),
				output,
			);
		case "drivers":
			return (await import("./cli/drivers.ts")).listDrivers(
				await allDrivers(environment),
				call.words[0],
				call.flags,
				output,
			);
		case "conformance":
			return (await import("./cli/conformance.ts")).runConformance(
				call.words,
				process.env,
				environment,
				await allDrivers(environment),
				call.flags,
				output,
			);
		case "completion":
			return (await import("./cli/completion.ts")).printCompletion(call.words, output);
		case "man":
			return (await import("./cli/man-page.ts")).printManPage(output);
		case "report":
			return (await import("./cli/report.ts")).report(await surroundingsIn(environment), output);
		case "schema":
			return (await import("./cli/schema.ts")).printSchema(await allDrivers(environment), output);
		default:
			return call satisfies never;
	}
}

/** For commands that have something to put in order before they end. */
function untilInterrupted(): AbortSignal {
	const stop = new AbortController();
	for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
	return stop.signal;
}

/** What most commands look at besides their words and flags. */
async function surroundingsIn(environment: Environment) {
	return { environment, variables: process.env, drivers: await allDrivers(environment) };
}

async function allDrivers(environment: Environment): Promise<LoadedDrivers> {
	const [{ loadDrivers }, { drivers }] = await Promise.all([import("./vendor/load.ts"), import("./drivers/index.ts")]);
	return loadDrivers(environment.FLUID_FUSE_DRIVERS_DIR, drivers);
}

async function runLauncher(environment: Environment): Promise<number> {
	const [{ createLog }, { createRedactor }, { launch }, { drivers, faults: driverFileFaults }] = await Promise.all([
		import("./log.ts"),
		import("./secrets/redact.ts"),
		import("./launcher.ts"),
		allDrivers(environment),
	]);
	const redactor = createRedactor();
	const { logger: log, flush, recent, setLevel } = createLog(environment.FLUID_FUSE_LOG_LEVEL, redactor);
	const stop = new AbortController();
	onSignal((signal) => {
		const isEnd = signal === "SIGTERM" || signal === "SIGINT";
		// The others are never relayed: SIGUSR2, for one, makes s3fs log its credentials.
		log.info({ signal }, isEnd ? "signal received" : "signal ignored");
		if (isEnd) stop.abort();
	});
	try {
		await launch({
			environment,
			variables: process.env,
			drivers,
			driverFileFaults,
			version,
			log,
			recentLog: recent,
			setLogLevel: setLevel,
			redactor,
			signal: stop.signal,
		});
		return 0;
	} catch (thrown) {
		const error = toLauncherError(thrown);
		const facts = { code: error.code, exitCode: error.exitCode, hint: error.hint };
		log.fatal(
			{ ...facts, error: error.message, ...(error.code === "INTERNAL" && { err: thrown }) },
			"launcher gave up",
		);
		writeTerminationMessage(environment.FLUID_FUSE_TERMINATION_LOG, error, redactor.redact);
		return error.exitCode;
	} finally {
		await flush();
	}
}

/** One line of JSON for `kubectl describe pod`, where Kubernetes looks for it; at most the 4096 bytes that it keeps. */
function writeTerminationMessage(path: string, error: LauncherError, redact: (text: string) => string): void {
	let message = redact(error.message);
	const render = (): string =>
		JSON.stringify({
			reason: error.code,
			class: error.class,
			exitCode: error.exitCode,
			message,
			hint: error.hint && redact(error.hint),
		});
	while (Buffer.byteLength(render()) > 4096) message = `${message.slice(0, Math.floor(message.length * 0.9))}…`;
	try {
		writeFileSync(path, render());
	} catch {
		// Outside Kubernetes there is no such file; the log has it all.
	}
}

main().then(
	// Not exitCode alone: a thread that hangs on a mount must not keep the process.
	(code) => process.exit(code),
	(thrown: unknown) => {
		const error = toLauncherError(thrown);
		process.stderr.write(`fluid-fuse: ${error.message}\n${error.hint === undefined ? "" : `${error.hint}\n`}`);
		if (error.code === "INTERNAL") process.stderr.write(`${inspect(thrown)}\n`);
		process.exit(error.exitCode);
	},
);
