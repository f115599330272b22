import { execa } from "execa";
import { within } from "../within.ts";

export type BoundedOutcome =
	| { readonly kind: "done"; readonly exitCode: number; readonly stdout: string; readonly stderr: string }
	/** It did not end in time. It was sent SIGKILL, but what hangs in the kernel may live on: `gone` tells when it does not. */
	| { readonly kind: "stuck"; readonly gone: Promise<void> };

/** For mount, umount and their like. */
export function toolEnvironment(): NodeJS.ProcessEnv {
	return {
		PATH: process.env["PATH"],
		// Messages are read by programs: they must not be translated.
		LC_ALL: "C",
		// mount(2): through fsopen, which util-linux prefers since 2.39, the kernel drops the part of the type after the dot, which Fluid looks
		// for, and refuses to make FUSE mounts read-only.
		LIBMOUNT_FORCE_MOUNT2: "always",
	};
}

/**
 * Runs a small program that may hang in the kernel, such as stat or umount on a mount that does not answer. Never
 * waits longer than `timeoutMs`, and never touches the path with a thread of this process.
 */
export async function runBounded(file: string, args: readonly string[], timeoutMs: number): Promise<BoundedOutcome> {
	const child = execa(file, args, {
		env: toolEnvironment(),
		extendEnv: false,
		cwd: "/",
		stdin: "ignore",
		reject: false,
		cleanup: false,
		maxBuffer: 65_536,
	});
	const ended = await within(child, timeoutMs);
	if (ended === undefined) {
		child.kill("SIGKILL");
		return { kind: "stuck", gone: child.then(() => undefined) };
	}
	if (ended.exitCode === undefined && ended.code === "ENOENT") throw new Error(`the program ${file} is missing`);
	return { kind: "done", exitCode: ended.exitCode ?? 128, stdout: ended.stdout, stderr: ended.stderr };
}
