import { spawn } from "node:child_process";
import { once } from "node:events";
import type fs from "node:fs";
import type path from "node:path";
import { text } from "node:stream/consumers";

/** What is given to a function that runs in another process. */
export interface Tools {
	readonly fs: typeof fs;
	readonly path: typeof path;
	/** The error's code, such as ENOENT, or "done". */
	readonly codeOf: (action: () => unknown) => string;
	/** A folder of its own. */
	readonly directory: string;
}

const defaultLimitMs = 60_000;

/** Runs a script in a process of its own, in that folder; fails if it fails. Returns what it printed. */
export async function bash(directory: string, script: string, limitMs = defaultLimitMs): Promise<string> {
	// Not as the process's working directory: spawn waits until that is entered.
	return run("bash", ["-c", `set -euo pipefail; cd "$1"; ${script}`, "bash", directory], limitMs);
}

/**
 * Runs a function in a process of its own: this one must not touch a mount, for it would hang with it. The function can use nothing
 * but what it is given, and returns what JSON can hold.
 */
export async function inNode<T>(directory: string, action: (tools: Tools) => T, limitMs = defaultLimitMs): Promise<T> {
	const program = `
		const fs = require("node:fs"), path = require("node:path");
		const codeOf = (action) => { try { action(); return "done"; } catch (error) { return error.code; } };
		const result = (${action.toString()})({ fs, path, codeOf, directory: process.argv[1] });
		fs.writeSync(1, JSON.stringify({ result }));`;
	const printed = await run(process.execPath, ["--input-type=commonjs", "-e", program, directory], limitMs);
	return (JSON.parse(printed) as { result: T }).result;
}

async function run(file: string, args: readonly string[], limitMs: number): Promise<string> {
	const child = spawn(file, args, { cwd: "/", stdio: ["ignore", "pipe", "pipe"] });
	const { promise: tooLate, reject } = Promise.withResolvers<never>();
	const timer = setTimeout(() => {
		// What waits for a mount survives SIGKILL: nobody waits for its end.
		child.kill("SIGKILL");
		child.unref();
		reject(new Error(`${file} did not end within ${limitMs} ms`));
	}, limitMs);
	try {
		const [printed, complaints, [exitCode]] = await Promise.race([
			tooLate,
			Promise.all([text(child.stdout), text(child.stderr), once(child, "close") as Promise<[number | null]>]),
		]);
		if (exitCode !== 0)
			throw new Error(`${file} ended with ${exitCode}: ${complaints.trim().slice(-2000)}${printed.slice(-500)}`);
		return printed;
	} finally {
		clearTimeout(timer);
	}
}
