import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A process that reads files through a mount again and again, as applications do; it counts and keeps every error. */
export class Reader {
	readonly #child: ChildProcess;
	readonly errors: string[] = [];
	reads = 0;

	constructor(...files: string[]) {
		const script = `
			const fs = require("node:fs");
			const files = process.argv.slice(1);
			(function next() {
				for (const file of files) {
					try { fs.readFileSync(file); process.stdout.write("ok\\n"); }
					catch (error) { process.stdout.write(error.message + "\\n"); }
				}
				setTimeout(next, 20);
			})();`;
		this.#child = spawn(process.execPath, ["-e", script, ...files], { stdio: ["ignore", "pipe", "inherit"] });
		if (this.#child.stdout === null) throw new Error("no output");
		createInterface({ input: this.#child.stdout }).on("line", (line) => {
			if (line === "ok") this.reads++;
			else this.errors.push(line);
		});
	}

	async stop(): Promise<void> {
		this.#child.kill("SIGKILL");
		if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
	}
}

/** A process that has one file open: each step is one system call of its own. */
export class OpenFile {
	readonly #child: ChildProcess;
	readonly #answers: AsyncIterator<string>;

	constructor(path: string, flags: "r" | "w" | "w+") {
		const script = `
			const fs = require("node:fs");
			const [path, flags] = process.argv.slice(1);
			let fd;
			let counted = 0;
			require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
				const [word, argument] = JSON.parse(line);
				try {
					let answer = "";
					if (word === "open") fd = fs.openSync(path, flags);
					if (word === "write") fs.writeSync(fd, Buffer.alloc(argument, "x"));
					if (word === "count") fs.writeSync(fd, Uint32Array.from({ length: argument }, () => counted++));
					if (word === "unlink") fs.unlinkSync(path);
					if (word === "read") { const buffer = Buffer.alloc(argument); answer = buffer.toString("utf8", 0, fs.readSync(fd, buffer, 0, argument, 0)); }
					if (word === "close") fs.closeSync(fd);
					process.stdout.write("ok " + JSON.stringify(answer) + "\\n");
				} catch (error) { process.stdout.write(error.code + "\\n"); }
			});`;
		this.#child = spawn(process.execPath, ["-e", script, path, flags], { stdio: ["pipe", "pipe", "inherit"] });
		if (this.#child.stdout === null) throw new Error("no output");
		this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
	}

	get pid(): number {
		return this.#child.pid ?? 0;
	}

	/** `ok` with what was read in JSON, or the error's code. `count` writes so many numbers of four bytes, each one more than the last. */
	async step(word: "open" | "write" | "count" | "unlink" | "read" | "close", argument = 0): Promise<string> {
		this.#child.stdin?.write(`${JSON.stringify([word, argument])}\n`);
		const { value } = (await this.#answers.next()) as { value: string };
		return value;
	}

	kill(): void {
		this.#child.kill("SIGKILL");
	}
}
