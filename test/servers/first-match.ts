import { execa } from "execa";

/** What a program says of itself. */
export async function firstMatch(file: string, args: readonly string[], pattern: RegExp): Promise<string> {
	const { all } = await execa(file, args, { all: true, reject: false, timeout: 20_000 });
	return pattern.exec(all)?.[0] ?? "unknown";
}
