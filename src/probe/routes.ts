import { toLauncherError } from "../errors.ts";
import { logLevels, type LogLevel } from "../log.ts";
import { checkHealth, healthEndpoints, renderHealth } from "./health.ts";
import type { HealthEndpoint } from "./health.ts";
import type { History } from "./history.ts";
import { metricsContentType } from "./metrics.ts";
import type { Metrics } from "./metrics.ts";
import { isOwnHost } from "./own-host.ts";
import { page, pageSecurityPolicy } from "./page.ts";
import type { ExchangeOutcome, LauncherStatus, OpenFiles } from "./status.ts";

/** What somebody wants to see of what applications do. */
export interface TraceWish {
	readonly mount?: string | undefined;
	readonly path?: string | undefined;
	readonly slowMs?: number | undefined;
}

/** What a request may change. */
export interface ProbeActions {
	/**
	 * Drains the launcher: resolves when every mount is down. Called again only after it has rejected. `waitedMs`: how long whoever asks has
	 * been about it already.
	 */
	prestop(waitedMs: number): Promise<void>;
	/** Has other processes serve the mounts. */
	reload(): Promise<readonly ExchangeOutcome[]>;
	/** How much is logged from now on. */
	setLogLevel(level: LogLevel): void;
	/** Gives each event to `write` until the signal is aborted. `write` says whether there is room for more. */
	trace(wish: TraceWish, write: (line: object) => boolean, signal: AbortSignal): Promise<void>;
}

export interface Request {
	readonly method: string;
	/** Path and query as sent. */
	readonly target: string;
	/** It came over the launcher's own socket, which only root of this container can open. */
	readonly trusted: boolean;
	/** Whom it asks for, where that is said. */
	readonly host?: string | undefined;
	/** What bin/ask-launcher says of itself. */
	readonly waitedMs?: string | undefined;
}

export interface ProbeAnswer {
	readonly statusCode: number;
	readonly headers: Readonly<Record<string, string>>;
	readonly body: string;
	/** What comes after that, until the signal is aborted. `write` says whether there was room. */
	readonly rest?: (write: (text: string) => boolean, signal: AbortSignal) => Promise<void>;
}

export interface RouteSources {
	readonly status: () => LauncherStatus;
	readonly metrics: Pick<Metrics, "render">;
	readonly openFiles: () => OpenFiles;
	/** What mounts did in the last quarter of an hour. */
	readonly history: () => History;
	readonly actions: ProbeActions;
	/** The last lines of the log. */
	readonly recentLog: () => string;
}

const misdirected =
	"this is not the host that was asked for: use an IP address, localhost, or the name of this machine without its domain\n";

export type Routes = (request: Request) => Promise<ProbeAnswer>;

/** Says what each path answers. Everything is read-only, except what a trusted request may ask for. */
export function createRoutes({ status, openFiles, metrics, history, actions, recentLog }: RouteSources): Routes {
	let prestop: Promise<void> | undefined;
	const opened = keptFor(openFilesMs, openFiles);

	return async ({ method, target, trusted, host, waitedMs }) => {
		if (!trusted && host !== undefined && !isOwnHost(host)) return text(421, misdirected);
		const { path, query } = splitTarget(target);
		// To everybody else the path does not exist.
		if (path === "/prestop" && trusted)
			return method === "POST" ? answerPrestop(Number(waitedMs) || 0) : notAllowed("POST");
		if (path === "/reload" && trusted)
			return method === "POST" ? json(200, await actions.reload()) : notAllowed("POST");
		if (path === "/log-level" && trusted) return method === "POST" ? answerLogLevel(query) : notAllowed("POST");
		if (path === "/trace" && trusted) return method === "POST" ? answerTrace(query) : notAllowed("POST");

		const read = path === "/log" && trusted ? () => text(200, recentLog()) : reader(path, query, trusted);
		if (read === undefined) return text(404, "not found\n");
		return method === "GET" || method === "HEAD" ? read() : notAllowed("GET, HEAD");
	};

	function reader(
		path: string,
		query: URLSearchParams,
		trusted: boolean,
	): (() => ProbeAnswer | Promise<ProbeAnswer>) | undefined {
		switch (path) {
			case "/":
				return () => answer(200, "text/html; charset=utf-8", page, { "content-security-policy": pageSecurityPolicy });
			case "/status":
				return () => {
					const now = status();
					return json(200, { ...now, mounts: now.mounts.map((mount) => ({ ...mount, measured: undefined })) });
				};
			case "/history":
				return () => answer(200, "application/json; charset=utf-8", JSON.stringify(history()));
			case "/open-files":
				return () => answerOpenFiles(trusted);
			case "/metrics":
				return async () => answer(200, metricsContentType, await metrics.render());
			default: {
				const endpoint = healthEndpoints.find((name) => path === `/${name}` || path.startsWith(`/${name}/`));
				return endpoint && (() => answerHealth(endpoint, path.slice(endpoint.length + 2), query));
			}
		}
	}

	function answerOpenFiles(isTrusted: boolean): ProbeAnswer {
		const { seesNode, mounts } = opened();
		const shown = mounts.map(({ openers, ...mount }) => ({
			...mount,
			openers: openers.map(({ path, ...opener }) => (isTrusted ? { ...opener, path } : opener)),
		}));
		return json(200, { seesNode, mounts: shown });
	}

	function answerHealth(endpoint: HealthEndpoint, encodedName: string, query: URLSearchParams): ProbeAnswer {
		let health = checkHealth(endpoint, status());
		const name = decode(encodedName);
		if (name === undefined) return text(400, "the path is not valid percent-encoding\n");
		if (name !== "") {
			const checks = health.checks.filter((check) => check.name === name);
			if (checks.length === 0) return text(404, `${endpoint} has no such check; /${endpoint}?verbose lists all\n`);
			health = { ok: checks.every((check) => check.ok), checks };
		}
		const title = name === "" ? endpoint : `${endpoint}/${name}`;
		const rendered = renderHealth(health, { title, verbose: query.has("verbose"), exclude: query.getAll("exclude") });
		return text(rendered.ok ? 200 : 503, rendered.text);
	}

	function answerLogLevel(query: URLSearchParams): ProbeAnswer {
		const level = logLevels.find((known) => known === query.get("level"));
		if (level === undefined) return text(400, `not a level; there are ${logLevels.join(", ")}\n`);
		actions.setLogLevel(level);
		return text(200, "ok\n");
	}

	function answerTrace(query: URLSearchParams): ProbeAnswer {
		const slow = query.get("slow-ms");
		const slowMs = slow === null ? undefined : Number(slow);
		if (slowMs !== undefined && !(slowMs >= 0 && Number.isFinite(slowMs)))
			return text(400, "slow-ms is not a number of milliseconds\n");
		const path = query.get("path") ?? undefined;
		if (path !== undefined && growsInBraces.test(path))
			return text(400, "path has ranges or more than two sets in braces\n");
		const mount = query.get("mount") ?? undefined;
		const names = status().mounts.map(({ name }) => name);
		if (mount !== undefined && !names.includes(mount))
			return text(400, `there is no mount ${mount}; there are ${names.join(", ")}\n`);
		const wish = { mount, path, slowMs };
		return {
			...answer(200, "application/x-ndjson", ""),
			rest: async (write, signal) => actions.trace(wish, (line) => write(`${JSON.stringify(line)}\n`), signal),
		};
	}

	async function answerPrestop(waitedMs: number): Promise<ProbeAnswer> {
		// Kubernetes and a Job's controller may both ask: they share one run.
		prestop ??= actions.prestop(waitedMs);
		try {
			await prestop;
			return text(200, "ok\n");
		} catch (thrown) {
			prestop = undefined;
			const { message, hint, exitCode } = toLauncherError(thrown);
			// For a client that knows no JSON: bin/ask-launcher.
			return answer(500, plainText, [`fluid-fuse: ${message}`, ...(hint === undefined ? [] : [hint]), ""].join("\n"), {
				"fluid-fuse-exit-code": `${exitCode}`,
			});
		}
	}
}

/** To look at all processes of a node takes a moment, in which nothing else is done here. */
const openFilesMs = 5000;

function keptFor<T>(keptMs: number, look: () => T): () => T {
	let last: { readonly at: number; readonly value: T } | undefined;
	return () => {
		if (last === undefined || performance.now() - last.at > keptMs) last = { at: performance.now(), value: look() };
		return last.value;
	};
}

/** What is in braces is written out before it is compared, by the process that serves the mount: it must not become millions. */
const growsInBraces = /\{[^}]*\.\.|(?:\{.*){3}|^.{1000}/s;

function splitTarget(target: string): { path: string; query: URLSearchParams } {
	// Not `new URL`, which would resolve the dots in /readyz/mount/.. before we see them.
	const [path = "", ...rest] = target.split("?");
	return { path, query: new URLSearchParams(rest.join("?")) };
}

function decode(encoded: string): string | undefined {
	try {
		return decodeURIComponent(encoded);
	} catch {
		// URIError is all that it throws.
		return undefined;
	}
}

function answer(
	statusCode: number,
	contentType: string,
	body: string,
	headers: Record<string, string> = {},
): ProbeAnswer {
	return {
		statusCode,
		body,
		headers: {
			"content-type": contentType,
			"cache-control": "no-store",
			"x-content-type-options": "nosniff",
			"content-security-policy": "default-src 'none'; frame-ancestors 'none'",
			"cross-origin-resource-policy": "same-origin",
			"referrer-policy": "no-referrer",
			...headers,
		},
	};
}

const plainText = "text/plain; charset=utf-8";

function text(statusCode: number, body: string): ProbeAnswer {
	return answer(statusCode, plainText, body);
}

function json(statusCode: number, value: unknown): ProbeAnswer {
	return answer(statusCode, "application/json; charset=utf-8", `${JSON.stringify(value, undefined, 2)}\n`);
}

function notAllowed(allow: string): ProbeAnswer {
	return answer(405, plainText, "method not allowed\n", { allow });
}
