import type { Output } from "../../src/cli/output.ts";

export interface Captured {
	readonly exitCode: number;
	readonly out: string;
	readonly err: string;
}

/** Runs a command and keeps what it prints. */
export async function captured(command: (output: Output) => number | Promise<number>): Promise<Captured> {
	const printed = { out: "", err: "" };
	const exitCode = await command({
		out: (text) => void (printed.out += text),
		err: (text) => void (printed.err += text),
	});
	return { exitCode, ...printed };
}
