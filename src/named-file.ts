import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:fs";
import { open, stat } from "node:fs/promises";
import { within } from "./within.ts";

/** Larger than any ConfigMap or Secret can be. */
const maximumBytes = 4 * 1024 * 1024;

/** For all of a file, on a node that is busy. */
const answerMs = 3000;

/** `unreadable`: it is not there, or may not be read. The others are in the way of whoever tries. */
type Kind = "irregular" | "too large" | "unreadable" | "silent";

/** Why a file cannot be used: the message goes on after the file's name. */
export class FileFault extends Error {
	override readonly name = "FileFault";
	readonly kind: Kind;

	constructor(kind: Kind, message: string) {
		super(message);
		this.kind = kind;
	}

	/** No waiting helps. */
	get isFinal(): boolean {
		return this.kind === "irregular" || this.kind === "too large";
	}
}

const irregular = (): FileFault => new FileFault("irregular", "is not a regular file");
const tooLarge = (limitBytes: number): FileFault => {
	return new FileFault("too large", `is larger than ${limitBytes / 1024 ** 2} MiB`);
};

/**
 * Reads a file of kubelet's, or one that the launcher was started for. What is no regular file is not even opened: a pipe would be
 * waited for, and a device does something. Throws FileFault, or what the system says.
 */
export async function readRegularFile(path: string, limitBytes = maximumBytes): Promise<Buffer> {
	if (!(await stat(path)).isFile()) throw irregular();
	const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
	try {
		// It may have become something else.
		if (!(await file.stat()).isFile()) throw irregular();
		const chunks = await file.createReadStream({ autoClose: false, end: limitBytes }).toArray();
		const content = Buffer.concat(chunks as Buffer[]);
		if (content.length > limitBytes) throw tooLarge(limitBytes);
		return content;
	} finally {
		await file.close();
	}
}

/**
 * Reads a file that a config, or the pod's environment, names: it may be anything, on a filesystem that hangs. So a child reads it,
 * since a thread of this process that hangs would keep it from ending. Throws FileFault, within seconds.
 */
export async function readNamedFile(path: string): Promise<Buffer> {
	const script = '[ ! -e "$1" ] || [ -f "$1" ] || exit 9; exec head -c "$2" -- "$1"';
	const { exitCode, stdout, problem } = await askAbout(path, script, String(maximumBytes + 1));
	if (exitCode === 9) throw irregular();
	if (exitCode !== 0) throw new FileFault("unreadable", `cannot be read: ${problem}`);
	if (stdout.length > maximumBytes) throw tooLarge(maximumBytes);
	return stdout;
}

/** Whether files can be made in a folder that a config names; throws FileFault when not, within seconds. */
export async function requireWritableFolder(path: string): Promise<void> {
	const script = 'cd -- "$1" || exit 1; [ -w . ] || { echo ": not writable" >&2; exit 1; }';
	const { exitCode, problem } = await askAbout(path, script);
	if (exitCode !== 0) throw new FileFault("unreadable", `cannot be written to: ${problem}`);
}

/** Where a path leads that a config names; that of what is not there, and of what does not answer, is taken as it is. */
export async function realPathOf(path: string): Promise<string> {
	try {
		const { exitCode, stdout } = await askAbout(path, 'exec realpath -zm -- "$1"');
		return exitCode === 0 ? stdout.toString().replace(/\0$/, "") : path;
	} catch (error) {
		if (error instanceof FileFault) return path;
		throw error;
	}
}

/** Paths on which a child hangs: there is no second one. */
const hanging = new Set<string>();

interface ScriptEnd {
	readonly exitCode: number | null;
	readonly stdout: Buffer;
	/** The last thing that it complains of. */
	readonly problem: string;
}

/** Runs a script of the shell with the path as its first word. */
async function askAbout(path: string, script: string, ...words: string[]): Promise<ScriptEnd> {
	const silence = new FileFault("silent", `does not answer within ${answerMs / 1000} s`);
	if (hanging.has(path)) throw silence;
	const child = spawn("sh", ["-c", script, "sh", path, ...words], {
		stdio: ["ignore", "pipe", "pipe"],
		env: { PATH: process.env["PATH"], LC_ALL: "C" },
		cwd: "/",
	});
	const ended = once(child, "close");
	const output = Promise.all([child.stdout.toArray(), child.stderr.toArray(), ended]);
	try {
		const answer = await within(output, answerMs);
		if (answer === undefined) throw silence;
		const [stdout, stderr, [exitCode]] = answer as [Buffer[], Buffer[], [number | null]];
		const words = Buffer.concat(stderr).toString().trim();
		return { exitCode, stdout: Buffer.concat(stdout), problem: words.slice(words.lastIndexOf(": ") + 2) };
	} finally {
		// On SIGKILL it ends, unless it hangs in the kernel.
		if (child.kill("SIGKILL")) {
			hanging.add(path);
			child.once("close", () => hanging.delete(path));
		}
	}
}
