import { runBounded } from "./run.ts";

export type UnmountOutcome =
	| { readonly kind: "done" }
	| { readonly kind: "not-mounted" }
	| { readonly kind: "busy" }
	| { readonly kind: "hung" }
	| { readonly kind: "failed"; readonly reason: string };

/**
 * One try to unmount the topmost mount at `path`, in a child. `lazy` takes it out of sight though it is in use; `force`
 * with `lazy` also aborts a FUSE connection, which frees whoever waits for it and loses what was not written yet. Never rejects.
 */
export async function unmount(
	path: string,
	{ lazy = false, force = false, timeoutMs = 3000 } = {},
): Promise<UnmountOutcome> {
	// -c: the path is as mountinfo has it, and resolving it would touch a mount that may hang.
	const args = ["-i", "-n", "-c", ...(lazy ? ["-l"] : []), ...(force ? ["-f"] : []), "--", path];
	const outcome = await runBounded("umount", args, timeoutMs).catch(String);
	if (typeof outcome === "string") return { kind: "failed", reason: outcome };
	if (outcome.kind === "stuck") return { kind: "hung" };
	if (outcome.exitCode === 0) return { kind: "done" };
	if (/not mounted|no mount point/i.test(outcome.stderr)) return { kind: "not-mounted" };
	if (/busy/i.test(outcome.stderr)) return { kind: "busy" };
	return { kind: "failed", reason: outcome.stderr.trim().slice(0, 300) };
}
