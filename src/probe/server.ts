import { chmod, lstat, unlink } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { connect } from "node:net";
import type { ListenOptions, Socket } from "node:net";
import { LauncherError } from "../errors.ts";
import { launcherSocket } from "./client.ts";
import type { Logger } from "../log.ts";
import { HistoryKeeper } from "./history.ts";
import { formatListenAddress, maxSocketPathBytes } from "./listen-address.ts";
import type { ListenAddress } from "./listen-address.ts";
import { createRoutes } from "./routes.ts";
import type { ProbeAnswer, RouteSources, Routes } from "./routes.ts";
import type { LauncherStatus } from "./status.ts";

/** How much one client, or a hundred, can hold on to. An honest request takes a millisecond and no body. */
const limits = { connections: 64, connectionMs: 5000, headerBytes: 8192, closeMs: 300, connectMs: 1000 };

export interface ProbeServerOptions extends Omit<RouteSources, "history"> {
	/** The status with what is measured now. */
	readonly measuredStatus: () => Promise<LauncherStatus>;
	/** Where to answer besides the launcher's own socket. */
	readonly listen: ListenAddress;
	/** Holds `launcher.sock`; has to exist. */
	readonly runDirectory: string;
	/** Nobody has asked for `listen`: it is the default. */
	readonly byDefault?: boolean;
	readonly log: Pick<Logger, "info" | "warn" | "error">;
}

export interface ProbeServer {
	/** Where it answers, such as `unix:/run/fluid-fuse/launcher.sock` and `http://[::]:9180`. */
	readonly addresses: readonly string[];
	/** What does not work and how to mend it: the launcher goes on without. */
	readonly warnings: readonly string[];
	/** Stops listening and gives the answers under way a moment. Calling it twice is fine. */
	close(): Promise<void>;
}

/**
 * Answers probes on the launcher's socket and at `listen`. Fails with USAGE where the socket cannot be had; where `listen` cannot,
 * that is a warning: on the node's network two pods may want the same port, and the mounts matter more.
 */
export async function startProbeServer(options: ProbeServerOptions): Promise<ProbeServer> {
	const { listen, log } = options;
	const keeper = new HistoryKeeper(options.measuredStatus);
	const routes = createRoutes({ ...options, history: () => keeper.history() });
	const socketPath = launcherSocket(options.runDirectory);
	const warnings: string[] = [];

	const own = await listenOnSocket(createProbeServer(routes, { trusted: true, log }), socketPath);
	const servers = [own];
	const addresses = [`unix:${socketPath}`];

	if (listen.kind !== "off" && !(listen.kind === "unix" && listen.path === socketPath)) {
		try {
			const server = createProbeServer(routes, { trusted: false, log });
			servers.push(
				listen.kind === "unix" ? await listenOnSocket(server, listen.path) : await listenOn(server, tcpOptions(listen)),
			);
			addresses.push(listen.kind === "unix" ? `unix:${listen.path}` : boundUrl(server));
		} catch (thrown) {
			// Exec probes need no port, and with the default two datasets on one node want the same.
			const expected =
				options.byDefault === true && thrown instanceof Error && "code" in thrown && thrown.code === "EADDRINUSE";
			if (!expected) warnings.push(explainListenFailure(listen, thrown));
			log[expected ? "info" : "warn"](
				{ err: thrown, address: formatListenAddress(listen) },
				"probes over HTTP are not available",
			);
		}
	}

	for (const server of servers)
		server.on("error", (error) => log.warn({ err: error }, "the probe server had an error"));

	let closed: Promise<void> | undefined;
	return {
		addresses,
		warnings,
		async close() {
			keeper.end();
			closed ??= Promise.all(servers.map(closeServer)).then(() => undefined);
			await closed;
		},
	};
}

function createProbeServer(
	routes: Routes,
	{ trusted, log }: { trusted: boolean; log: ProbeServerOptions["log"] },
): Server {
	const server = createServer({ maxHeaderSize: limits.headerBytes });
	const lift = limitConnections(server);
	server.on("request", (request, response) => {
		// A prestop or a reload takes as long as the mounts take, a trace as long as somebody looks, and only the trusted can ask for it.
		if (trusted && request.method === "POST") lift(request.socket);
		void respond(routes, request, response, trusted, log);
	});
	return server;
}

/** Never rejects: whatever happens becomes an answer or the end of the connection. */
async function respond(
	routes: Routes,
	request: IncomingMessage,
	response: ServerResponse,
	trusted: boolean,
	log: ProbeServerOptions["log"],
): Promise<void> {
	const { method = "", url: target = "" } = request;
	try {
		const { host, "fluid-fuse-waited-ms": waitedMs } = request.headers;
		const { statusCode, headers, body, rest } = await routes({
			method,
			target,
			trusted,
			host,
			...(typeof waitedMs === "string" && { waitedMs }),
		});
		if (rest !== undefined) {
			await sendRest(response, { statusCode, headers }, rest);
			return;
		}
		// One answer a connection: then its deadline also ends a client that sends or reads a byte a second.
		response.writeHead(statusCode, { ...headers, "content-length": Buffer.byteLength(body), connection: "close" });
		response.end(method === "HEAD" ? undefined : body);
	} catch (error) {
		log.error({ err: error, method }, "a probe request failed");
		if (response.headersSent) request.socket.destroy();
		else response.writeHead(500, { connection: "close" }).end();
	}
}

/** Until the client goes away. */
async function sendRest(
	response: ServerResponse,
	{ statusCode, headers }: Pick<ProbeAnswer, "statusCode" | "headers">,
	rest: NonNullable<ProbeAnswer["rest"]>,
): Promise<void> {
	const over = new AbortController();
	response.once("close", () => over.abort());
	response.writeHead(statusCode, { ...headers, connection: "close" }).flushHeaders();
	const write = (text: string): boolean => {
		if (response.writableNeedDrain) return false;
		response.write(text);
		return true;
	};
	await rest(write, over.signal);
	response.end();
}

/**
 * Gives each connection a deadline, and when there are too many ends the oldest, so that clients that hold connections open cannot keep
 * the next probe out. Returns a function that exempts one.
 */
function limitConnections(server: Server): (socket: Socket) => void {
	const deadlines = new Map<Socket, NodeJS.Timeout>();
	function release(socket: Socket): void {
		clearTimeout(deadlines.get(socket));
		deadlines.delete(socket);
	}
	server.on("connection", (socket) => {
		const [oldest] = deadlines.keys();
		if (oldest !== undefined && deadlines.size >= limits.connections) {
			release(oldest);
			oldest.destroy();
		}
		deadlines.set(
			socket,
			setTimeout(() => socket.destroy(), limits.connectionMs),
		);
		socket.once("close", () => release(socket));
	});
	return release;
}

function tcpOptions({ host, port }: ListenAddress & { kind: "tcp" }): ListenOptions {
	return host === undefined ? { port } : { host, port };
}

async function listenOn(server: Server, options: ListenOptions): Promise<Server> {
	await new Promise<void>((resolve, reject) => {
		server.once("error", reject).listen(options, () => {
			server.off("error", reject);
			resolve();
		});
	});
	return server;
}

async function listenOnSocket(server: Server, path: string): Promise<Server> {
	if (Buffer.byteLength(path) > maxSocketPathBytes) {
		throw new LauncherError("USAGE", `${path} is too long for a socket: at most ${maxSocketPathBytes} bytes`, {
			hint: "Choose a shorter FLUID_FUSE_RUN_DIR.",
		});
	}
	await removeStaleSocket(path);
	try {
		await listenOn(server, { path });
		await chmod(path, 0o600);
	} catch (cause) {
		server.close();
		throw new LauncherError(
			"USAGE",
			`cannot listen on ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
			{
				hint: "FLUID_FUSE_RUN_DIR has to be a directory that this user can write to.",
				cause,
			},
		);
	}
	return server;
}

/** Removes the socket of a launcher that was killed; one on which somebody answers is USAGE. */
async function removeStaleSocket(path: string): Promise<void> {
	const found = await lstat(path).catch(() => undefined);
	if (found === undefined) return;
	if (!found.isSocket())
		throw new LauncherError("USAGE", `${path} is in the way: it is not a socket`, { hint: "Remove it." });
	if (await somebodyListens(path)) {
		throw new LauncherError("USAGE", `another launcher uses this RUN_DIR: it answers on ${path}`, {
			hint: "Give each launcher a FLUID_FUSE_RUN_DIR of its own, or stop the other one.",
		});
	}
	await unlink(path);
}

async function somebodyListens(path: string): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(path);
		// The kernel accepts for a launcher that hangs: only a refusal proves that nobody is there.
		socket.once("error", (error: NodeJS.ErrnoException) =>
			resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
		);
		socket.once("connect", () => {
			socket.destroy();
			resolve(true);
		});
		socket.setTimeout(limits.connectMs, () => {
			socket.destroy();
			resolve(true);
		});
	});
}

function boundUrl(server: Server): string {
	const bound = server.address();
	if (bound === null || typeof bound === "string") throw new Error("a TCP server has an address and a port");
	return `http://${bound.family === "IPv6" ? `[${bound.address}]` : bound.address}:${bound.port}`;
}

function explainListenFailure(listen: ListenAddress, thrown: unknown): string {
	const remedy =
		"`fluid-fuse probe` works all the same; for HTTP set FLUID_FUSE_PROBE_ADDRESS to another address, or to off to silence this.";
	const where = `probes are not answered at ${formatListenAddress(listen)}`;
	switch (thrown instanceof Error && "code" in thrown ? thrown.code : undefined) {
		case "EADDRINUSE":
			return `${where}: another process has this port, perhaps a dataset on the same node (pods with hostNetwork share its ports). ${remedy}`;
		case "EACCES":
			return `${where}: this user may not use this port. ${remedy}`;
		case "EADDRNOTAVAIL":
			return `${where}: this pod has no such address. ${remedy}`;
		default:
			return `${where}: ${thrown instanceof Error ? thrown.message : String(thrown)}. ${remedy}`;
	}
}

async function closeServer(server: Server): Promise<void> {
	const closed = new Promise<void>((resolve) => {
		server.close(() => resolve());
	});
	const deadline = setTimeout(() => server.closeAllConnections(), limits.closeMs);
	await closed;
	clearTimeout(deadline);
}
