import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { projectRoot } from "../support/pod.ts";

/** What a program can be told to do; each call is one system call, or one after the other until the file ends. */
export type Order = { readonly id: number } & (
	| { readonly kind: "open"; readonly path: string; readonly flags: string }
	/** `through`: goes on until there. */
	| { readonly kind: "read"; readonly file: number; readonly from: number; readonly through: number }
	/** Content of that number: see `stamped`. */
	| {
			readonly kind: "write";
			readonly file: number;
			readonly from: number;
			readonly bytes: number;
			readonly stamp: number;
	  }
	| { readonly kind: "fsync" | "close"; readonly file: number }
	| { readonly kind: "list" | "stat"; readonly path: string }
);

/** What became of it. */
export interface Outcome {
	readonly id: number;
	/** `ok`, or an error such as EIO. */
	readonly result: string;
	readonly milliseconds: number;
	/** Read or written, before the error if there was one. Of `open` and `list` the descriptor and how many names there are. */
	readonly count: number;
	/** Whose content was read: exactly one number if the bytes are right, and none if there were none. */
	readonly stamps: readonly (number | undefined)[];
}

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

/** A program that uses files of a mount step by step, as it is told. What it waits for, the test does not. */
export class Program {
	readonly #process: ChildProcess;
	readonly #directory: string;
	#orders = 0;

	private constructor(child: ChildProcess, directory: string) {
		this.#process = child;
		this.#directory = directory;
		child.setMaxListeners(50);
	}

	static async start(directory: string): Promise<Program> {
		const child = fork(join(import.meta.dirname, "run-program.ts"), {
			cwd: projectRoot,
			execArgv: [],
			serialization: "advanced",
		});
		await once(child, "message");
		return new Program(child, directory);
	}

	/** Throws an error with its code when there is no such file. */
	async open(name: string, flags = "r"): Promise<ProgramFile> {
		const { result, count, milliseconds } = await this.#does({ kind: "open", path: this.#path(name), flags });
		if (result !== "ok") throw Object.assign(new Error(`${name}: ${result}`), { code: result, milliseconds });
		return new ProgramFile((order) => this.#does({ ...order, file: count }));
	}

	async list(name = "."): Promise<Outcome> {
		return this.#does({ kind: "list", path: this.#path(name) });
	}

	async stat(name: string): Promise<Outcome> {
		return this.#does({ kind: "stat", path: this.#path(name) });
	}

	/** Not waited for: what hangs in a mount ends with it. */
	end(): void {
		this.#process.kill("SIGKILL");
		this.#process.unref();
	}

	#path(name: string): string {
		return join(this.#directory, name);
	}

	async #does(order: WithoutId<Order>): Promise<Outcome> {
		const id = ++this.#orders;
		const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
		const onMessage = (outcome: Outcome): void => {
			if (outcome.id === id) resolve(outcome);
		};
		const onExit = (): void => reject(new Error("the program ended"));
		this.#process.on("message", onMessage);
		this.#process.on("exit", onExit);
		try {
			this.#process.send({ ...order, id });
			return await promise;
		} finally {
			this.#process.off("message", onMessage);
			this.#process.off("exit", onExit);
		}
	}
}

type FileOrder = Extract<WithoutId<Order>, { readonly file: number }>;
type WithoutFile<T> = T extends unknown ? Omit<T, "file"> : never;

/** A file that a program has open. */
export class ProgramFile {
	readonly #does: (order: WithoutFile<FileOrder>) => Promise<Outcome>;

	constructor(does: (order: WithoutFile<FileOrder>) => Promise<Outcome>) {
		this.#does = does;
	}

	/** Reads on until there, or to the end. */
	async read(from = 0, through = Number.MAX_SAFE_INTEGER): Promise<Outcome> {
		return this.#does({ kind: "read", from, through });
	}

	async write(from: number, bytes: number, stamp: number): Promise<Outcome> {
		return this.#does({ kind: "write", from, bytes, stamp });
	}

	async fsync(): Promise<Outcome> {
		return this.#does({ kind: "fsync" });
	}

	async close(): Promise<Outcome> {
		return this.#does({ kind: "close" });
	}
}
