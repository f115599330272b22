import { execa } from "execa";

export type Outcome =
	| { readonly kind: "done"; readonly exitCode: number; readonly stdout: string; readonly stderr: string }
	/** It did not end in time. It was sent SIGKILL, but what hangs in the kernel may live on: `gone` tells when it does not. */
	| { readonly kind: "stuck"; readonly gone: Promise<void> };

/**
 * Runs a small program that may hang in the kernel, such as stat or umount on a mount that does not answer. Never
 * waits longer than `timeoutMs`, and never touches the path with a thread of this process.
 */
export async function runBounded(file: string, args: readonly string[], timeoutMs: number): Promise<Outcome> {
	const child = execa(file, args, {
		// Messages are read by programs: they must not be translated.
		env: { PATH: process.env["PATH"], LC_ALL: "C" },
		extendEnv: false,
		cwd: "/",
		stdin: "ignore",
		reject: false,
		cleanup: false,
		maxBuffer: 65_536,
	});
	let timer: NodeJS.Timeout | undefined;
	const timedOut = new Promise<"stuck">((resolve) => {
		timer = setTimeout(() => resolve("stuck"), timeoutMs);
	});
	const ended = await Promise.race([child, timedOut]);
	clearTimeout(timer);
	if (ended === "stuck") {
		child.kill("SIGKILL");
		return { kind: "stuck", gone: child.then(() => undefined) };
	}
	if (ended.exitCode === undefined && ended.code === "ENOENT") throw new Error(`the program ${file} is missing`);
	return { kind: "done", exitCode: ended.exitCode ?? 128, stdout: ended.stdout, stderr: ended.stderr };
}
