import { once } from "node:events";
import { createInterface } from "node:readline";
import { execa } from "execa";

/** The other side of when-told.ts: a Node script that waits, works and waits again. */
export interface Child {
	readonly pid: number;
	/** Lets it work and returns its seconds. */
	go(): Promise<number>;
	/** Lets it end; rejects when it ended with an error, of its last checks for instance. */
	end(): Promise<void>;
}

/** Resolves when the child is ready to work. */
export async function startChild(
	script: URL,
	argument: unknown,
	{ signal, env = {} }: { readonly signal: AbortSignal; readonly env?: Readonly<Record<string, string>> },
): Promise<Child> {
	const child = execa(process.execPath, [script.pathname, JSON.stringify(argument)], {
		env,
		stdin: "pipe",
		stdout: "pipe",
		stderr: "pipe",
		buffer: { stdout: false },
		reject: false,
		cancelSignal: signal,
		killSignal: "SIGKILL",
	});
	const lines = createInterface(child.stdout);
	const answers: string[] = [];
	lines.on("line", (line) => answers.push(line));
	/** The next line, or why there is none. */
	const answer = async (): Promise<string> => {
		const ended = new AbortController();
		void child.finally(() => ended.abort());
		try {
			while (answers.length === 0) await once(lines, "line", { signal: ended.signal });
		} catch {
			if (answers.length === 0) throw await failure();
		}
		return answers.shift() ?? "";
	};
	const failure = async (): Promise<Error> => {
		const { exitCode, signal: killedBy, stderr } = await child;
		return new Error(`${script.pathname} ended with ${exitCode ?? killedBy}: ${lastLines(stderr)}`);
	};
	await answer();
	const { pid } = child;
	if (pid === undefined) throw await failure();
	return {
		pid,
		async go() {
			child.stdin.write("go\n");
			return (JSON.parse(await answer()) as { seconds: number }).seconds;
		},
		async end() {
			child.stdin.end();
			const { exitCode } = await child;
			if (exitCode !== 0) throw await failure();
		},
	};
}

/** The message of an uncaught error is not in the last line: that is Node's version. */
function lastLines(stderr: string | undefined): string {
	const lines = (stderr ?? "").split("\n");
	return lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.slice(-3).join(" ");
}
