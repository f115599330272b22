import type { LauncherStatus, MountStatus } from "./status.ts";

/** The questions Kubernetes asks. `healthz` is the older name of `livez`. */
export const healthEndpoints = ["livez", "readyz", "startupz", "healthz"] as const;

export type HealthEndpoint = (typeof healthEndpoints)[number];

export interface HealthCheck {
	/** Unique within an endpoint: what `?exclude=` and `/readyz/<name>` name. */
	readonly name: string;
	readonly ok: boolean;
	/** Why it failed; for a check that passed, what is wrong nevertheless. */
	readonly reason?: string;
}

export interface Health {
	readonly ok: boolean;
	readonly checks: readonly HealthCheck[];
}

/** What an endpoint checks, from the launcher's own account of itself: nothing here can wait. */
export function checkHealth(endpoint: HealthEndpoint, status: LauncherStatus): Health {
	const checks = checksOf(endpoint, status);
	return { ok: checks.every((check) => check.ok), checks };
}

function checksOf(endpoint: HealthEndpoint, status: LauncherStatus): readonly HealthCheck[] {
	switch (endpoint) {
		case "livez":
		case "healthz":
			// Never a mount's state: a restart takes the mounts of every application on the node with it.
			return [verdict("alive", status.alive, "the launcher cannot recover by itself and has to be restarted")];
		case "startupz":
			return [startedCheck(status)];
		case "readyz":
			return [
				// Without it a launcher that has not read its config yet would have no mount that is not ready.
				startedCheck(status),
				verdict("shutdown", status.state !== "draining", "the launcher is stopping and takes its mounts down"),
				...status.mounts.filter(({ leaving }) => leaving !== true).map(mountCheck),
			];
		default:
			return endpoint satisfies never;
	}
}

function verdict(name: string, ok: boolean, reason: string): HealthCheck {
	return ok ? { name, ok } : { name, ok, reason };
}

function startedCheck({ started, mounts }: LauncherStatus): HealthCheck {
	const waiting = mounts.filter((mount) => !mount.ready && mount.lastError === undefined);
	const reason =
		waiting.length === 0
			? "the mounts are not known yet"
			: `not yet tried: ${waiting.map(({ name, state }) => `${name} (${state})`).join(", ")}`;
	return verdict("started", started, reason);
}

function mountCheck(mount: MountStatus): HealthCheck {
	const name = `mount/${mount.name}`;
	// A pod that goes out of its Services because of a mount that nobody has yet would harm those who use the others.
	if (!mount.ready && mount.joining === true) return { name, ok: true, reason: `joining: ${explainFailure(mount)}` };
	if (!mount.ready) return { name, ok: false, reason: explainFailure(mount) };
	if (mount.state === "ready")
		return mount.reason === undefined ? { name, ok: true } : { name, ok: true, reason: mount.reason };
	return { name, ok: true, reason: `${mount.state}: ${mount.reason ?? mount.lastError?.message ?? "no reason given"}` };
}

/** All that the person who reads `kubectl describe pod` gets to see: state, reason, last error, what to do, and when it is tried again. */
function explainFailure({ state, reason, lastError, retryAt }: MountStatus): string {
	const parts: string[] = [];
	if (reason !== undefined) parts.push(reason);
	if (lastError !== undefined) {
		parts.push(reason?.includes(lastError.message) ? lastError.code : `${lastError.code}: ${lastError.message}`);
		if (lastError.hint !== undefined) parts.push(lastError.hint);
	}
	if (retryAt !== undefined) parts.push(`next try at ${retryAt}`);
	return parts.length === 0 ? state : `${state}: ${parts.join("; ")}`;
}

export interface RenderOptions {
	/** What the last line calls it, such as `readyz` or `readyz/mount/data`. */
	readonly title: string;
	/** Prints the checks that passed as well. */
	readonly verbose: boolean;
	/** Names of checks that do not count. */
	readonly exclude: readonly string[];
}

/** The answer as kube-apiserver prints it, except that failed checks say why and are printed without `?verbose` too. */
export function renderHealth(
	health: Health,
	{ title, verbose, exclude }: RenderOptions,
): { ok: boolean; text: string } {
	const failed = health.checks.filter(({ name, ok }) => !ok && !exclude.includes(name));
	const ok = failed.length === 0;
	const lines = (verbose ? health.checks : failed).map((each) =>
		exclude.includes(each.name) ? `[+]${each.name} excluded: ok` : checkLine(each),
	);
	const unknown = exclude.filter((name) => !health.checks.some((each) => each.name === name));
	if (unknown.length > 0) {
		lines.push(
			`warn: some health checks cannot be excluded: no matches for ${unknown.map((name) => JSON.stringify(name)).join(", ")}`,
		);
	}
	lines.push(verbose || !ok ? `${title} check ${ok ? "passed" : "failed"}` : "ok");
	return { ok, text: lines.map((line) => `${escaped(line)}\n`).join("") };
}

function checkLine({ name, ok, reason }: HealthCheck): string {
	if (!ok) return `[-]${name} failed: ${reason ?? "no reason given"}`;
	return reason === undefined ? `[+]${name} ok` : `[+]${name} ok (${reason})`;
}

/** Keeps a line one line: a mount's name or a server's message must not forge another check or hide in the terminal. */
function escaped(line: string): string {
	return line.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]/gu, (character) =>
		character === "\n" ? String.raw`\n` : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
	);
}
