import { readdir, readlink } from "node:fs/promises";
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

export interface Holder {
	readonly pid: number;
	readonly command: string;
	/** One of the paths it holds. */
	readonly path: string;
}

/** Processes of this container that keep `path` busy: with open files, as working directory or root. For messages. */
export async function findHolders(path: string, limit = 10): Promise<Holder[]> {
	const holders: Holder[] = [];
	for (const pid of await list("/proc")) {
		if (holders.length >= limit) break;
		if (!/^\d+$/.test(pid)) continue;
		const links = [
			`/proc/${pid}/cwd`,
			`/proc/${pid}/root`,
			...(await list(`/proc/${pid}/fd`)).map((fd) => `/proc/${pid}/fd/${fd}`),
		];
		for (const link of links) {
			// Reading the link does not touch what it points at.
			const held = await readlink(link).catch(() => "");
			if (held !== path && !held.startsWith(`${path}/`)) continue;
			const command = await readlink(`/proc/${pid}/exe`).catch(() => "?");
			holders.push({ pid: Number(pid), command, path: held });
			break;
		}
	}
	return holders;
}

async function list(path: string): Promise<string[]> {
	// A process may end while it is looked at.
	return readdir(path).catch(() => []);
}
