import { readFileSync } from "node:fs";
import { LauncherError } from "../errors.ts";

/** What is known of why a program of Node does not run on. */
export class Hang {
	readonly #seconds: number;
	/** A letter, as in proc(5). */
	readonly #state: string | undefined;
	readonly #stack: string[] = [];

	/** Looks at the process, which must be there still. */
	constructor(pid: number, silentMs: number) {
		this.#seconds = silentMs / 1000;
		this.#state = stateOf(pid);
	}

	get isStopped(): boolean {
		return this.#state === "T";
	}

	/** Whether the line is one of those that Node prints on SIGINT with --trace-sigint: where the program was. */
	takes(line: string): boolean {
		if (line.startsWith("KEYBOARD_INTERRUPT:")) return true;
		const [, frame] = /^\s+at (.+)/.exec(line) ?? [];
		if (frame !== undefined) this.#stack.push(frame);
		return frame !== undefined;
	}

	/** From the inside out. Empty: it was not in a function, or could not say. */
	get stack(): readonly string[] {
		return this.#stack;
	}

	cause(driver: string): LauncherError {
		const lost = "What applications had written and not closed may be lost.";
		if (this.isStopped)
			return new LauncherError(
				"DRIVER_HUNG",
				`${driver} was stopped by a signal for ${this.#seconds} s, and is ended`,
				{
					hint: `Look for who sends SIGSTOP to processes of this container. ${lost}`,
				},
			);
		const [where] = this.#stack;
		const place = where === undefined ? "" : `; it was at ${where}`;
		return new LauncherError("DRIVER_HUNG", `${driver} did not run on for ${this.#seconds} s, and is ended${place}`, {
			hint: `This is a bug, or the disk of cache-dir hangs: please report it with the log, which has the stack. ${lost}`,
		});
	}
}

function stateOf(pid: number): string | undefined {
	try {
		// The name before it is in brackets, and may hold some itself.
		return /^.*\) (\S)/s.exec(readFileSync(`/proc/${pid}/stat`, "latin1"))?.[1];
	} catch {
		// It has just ended.
		return undefined;
	}
}
