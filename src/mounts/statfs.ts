import { runBounded } from "./run.ts";

export type StatfsAnswer =
	| { readonly kind: "answered" }
	/** ENOTCONN: the mount is there, its server is not. */
	| { readonly kind: "dead" }
	| { readonly kind: "failed"; readonly reason: string }
	/** No answer in time. `gone` tells when the child that asked has ended. */
	| { readonly kind: "hung"; readonly gone: Promise<void> };

/**
 * Asks a mount for its statfs in a disposable child. statfs and not stat, because a stat may be answered from the
 * kernel's attribute cache while the server is frozen.
 */
export async function statfs(path: string, timeoutMs: number): Promise<StatfsAnswer> {
	const outcome = await runBounded("stat", ["-f", "--format=%T", "--", path], timeoutMs);
	if (outcome.kind === "stuck") return { kind: "hung", gone: outcome.gone };
	if (outcome.exitCode === 0) return { kind: "answered" };
	// ECONNABORTED while it is being aborted, ENOTCONN afterwards.
	if (/Transport endpoint is not connected|connection abort/.test(outcome.stderr)) return { kind: "dead" };
	return { kind: "failed", reason: outcome.stderr.trim().slice(0, 200) };
}
