import { spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { Operation, Outcome } from "./operation.ts";

/** No single call may take longer. */
const callLimitMs = 60_000;

/** The process that makes the calls of a player, one after the other. */
export class PlayerProcess {
	readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
	readonly #lines: Interface;
	#errors = "";
	#waiting: { readonly resolve: (outcome: Outcome) => void; readonly reject: (error: Error) => void } | undefined;

	constructor(directory: string) {
		this.#process = spawn(process.execPath, [join(import.meta.dirname, "player.ts"), directory], {
			stdio: ["pipe", "pipe", "pipe"],
		});
		this.#process.stderr.on("data", (chunk: Buffer) => {
			this.#errors += chunk.toString();
		});
		this.#process.stdin.on("error", () => {
			// It has ended, as "close" tells.
		});
		this.#lines = createInterface({ input: this.#process.stdout });
		this.#lines.on("line", (line) => {
			this.#waiting?.resolve(JSON.parse(line) as Outcome);
			this.#waiting = undefined;
		});
		this.#process.on("close", () => this.#waiting?.reject(new Error(`the player ended: ${this.#errors}`)));
	}

	async call(operation: Operation): Promise<Outcome> {
		const answered = Promise.withResolvers<Outcome>();
		this.#waiting = answered;
		const timer = setTimeout(() => answered.reject(new Error(`no answer within ${callLimitMs} ms`)), callLimitMs);
		this.#process.stdin.write(`${JSON.stringify(operation)}\n`);
		try {
			return await answered.promise;
		} finally {
			clearTimeout(timer);
		}
	}

	async end(): Promise<void> {
		const ended = once(this.#process, "close");
		this.#process.stdin.end();
		await ended;
	}

	kill(): void {
		this.#process.kill("SIGKILL");
	}
}
