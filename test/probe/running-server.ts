import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import { createMetrics } from "../../src/probe/metrics.ts";
import type { ProbeActions } from "../../src/probe/routes.ts";
import { startProbeServer } from "../../src/probe/server.ts";
import type { ProbeServer, ProbeServerOptions } from "../../src/probe/server.ts";
import { sampleStatus } from "./sample-status.ts";

type OnFinished = (callback: () => Promise<void>) => void;

export interface RunningServer extends ProbeServer {
	readonly runDirectory: string;
	readonly socketPath: string;
	/** Of the TCP listener, where there is one. */
	readonly url: string;
	/** The messages it logged. */
	readonly logged: readonly string[];
}

/** A short-lived RUN_DIR. */
export async function createRunDirectory(onFinished: OnFinished = onTestFinished): Promise<string> {
	const directory = await mkdtemp(join(tmpdir(), "fluid-fuse-probe-"));
	onFinished(() => rm(directory, { recursive: true, force: true }));
	return directory;
}

/** A server on a socket and on a free port of 127.0.0.1, closed when the test ends. */
export async function startServer(
	options: Partial<Omit<ProbeServerOptions, "actions">> & { readonly actions?: Partial<ProbeActions> } = {},
	onFinished: OnFinished = onTestFinished,
): Promise<RunningServer> {
	const runDirectory = options.runDirectory ?? (await createRunDirectory(onFinished));
	const status = options.status ?? (() => sampleStatus());
	const logged: string[] = [];
	const server = await startProbeServer({
		status,
		measuredStatus: async () => status(),
		openFiles: () => ({ seesNode: true, mounts: [] }),
		metrics: createMetrics(status),
		listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
		runDirectory,
		log: pino({ level: "warn" }, { write: (line) => void logged.push(line) }),
		recentLog: () => "the last line\n",
		...options,
		actions: {
			prestop: async () => {},
			reload: async () => [],
			setLogLevel: () => {},
			trace: async () => {},
			...options.actions,
		},
	});
	onFinished(() => server.close());
	return {
		...server,
		runDirectory,
		socketPath: join(runDirectory, "launcher.sock"),
		url: server.addresses[1] ?? "",
		logged,
	};
}

export interface PlainAnswer {
	readonly statusCode: number;
	readonly headers: IncomingHttpHeaders;
	readonly body: string;
}

/** One request whose path is sent as it is written. `where` is a URL or a socket's path. */
export async function ask(
	where: string,
	path: string,
	method = "GET",
	headers: Record<string, string> = {},
): Promise<PlainAnswer> {
	const target = where.startsWith("/")
		? { socketPath: where }
		: { host: new URL(where).hostname.replace(/^\[|\]$/g, ""), port: new URL(where).port };
	return new Promise((resolve, reject) => {
		request({ ...target, path, method, headers, agent: false }, (response) => {
			text(response).then(
				(body) => resolve({ statusCode: response.statusCode ?? 0, headers: response.headers, body }),
				reject,
			);
		})
			.on("error", reject)
			.end();
	});
}

/** Everything the server sends on a raw connection until it ends it. */
export async function exchangeRaw(url: string, bytes: string): Promise<string> {
	const socket = connect({ host: new URL(url).hostname, port: Number(new URL(url).port) });
	socket.write(bytes);
	// The server may reset a connection on which we still wanted to send.
	socket.on("error", () => {});
	let received = "";
	socket.setEncoding("utf8").on("data", (part) => (received += part));
	await new Promise((resolve) => {
		socket.once("close", resolve);
	});
	return received;
}
