import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import { pipeline } from "node:stream";

import { listen } from "./listen.ts";

type Fault = "pass" | "refuse" | "hang" | "reset" | "error-503" | "html" | "slow-first-byte";

/** An HTTP proxy in front of an S3 server that fails on command. */
export interface FaultProxy {
	/** Such as `http://127.0.0.1:34567`: use it in place of the server's, and sign for it: the Host header passes through. */
	readonly endpoint: string;
	/** Requests received so far, whatever became of them. */
	readonly requests: number;
	/**
	 * From now on, resolved when in force:
	 * - `pass`: everything reaches the server and comes back unchanged. The mode at the start.
	 * - `refuse`: nothing listens any more, and open connections are closed.
	 * - `hang`: connections and requests are accepted and never answered; what is held is closed when the mode changes.
	 *   Answers that have begun go on.
	 * - `reset`: the connection is reset in place of an answer, and so are the open ones.
	 * - `error-503`: S3's SlowDown.
	 * - `html`: a web page with status 200.
	 * - `slow-first-byte`: as `pass`, but each answer begins a second late.
	 */
	mode(next: Fault): Promise<void>;
	/** From now on the Date header of passed answers is this much later, or earlier if negative. */
	shiftDate(ms: number): void;
	/** Closes everything. Calling it twice is fine. */
	stop(): Promise<void>;
}

const firstByteDelayMs = 1000;

/** Starts a proxy on a free port of 127.0.0.1 for the server at `targetUrl`. A target's certificate is not verified. */
export async function startFaultProxy(targetUrl: string): Promise<FaultProxy> {
	const target = new URL(targetUrl);
	const { Agent, request: forward } = target.protocol === "https:" ? https : http;
	// No connection is used twice: one that the server had just closed would look like a fault.
	const agent = new Agent({ keepAlive: false, rejectUnauthorized: false });
	const sockets = new Set<Socket>();
	const held = new Set<Socket>();
	let current: Fault = "pass";
	let shiftMs = 0;
	let requests = 0;

	function pass(incoming: http.IncomingMessage, outgoing: http.ServerResponse, delayMs: number): void {
		const upstream = forward(target, {
			agent,
			method: incoming.method ?? "GET",
			path: incoming.url ?? "/",
			// As received, so that the signature still fits; Node would write a Host of its own.
			headers: endToEnd(incoming),
			setHost: false,
		});
		upstream.on("response", (answer) => {
			const reply = () => {
				if (outgoing.destroyed) return;
				outgoing.sendDate = false;
				outgoing.writeHead(answer.statusCode ?? 502, answer.statusMessage, shiftDate(endToEnd(answer), shiftMs));
				// Whichever side breaks off, the other is broken off too.
				pipeline(answer, outgoing, () => upstream.destroy());
			};
			if (delayMs === 0) reply();
			else setTimeout(reply, delayMs);
		});
		upstream.on("error", () => outgoing.destroy());
		outgoing.on("close", () => upstream.destroy());
		incoming.pipe(upstream);
	}

	const server = http.createServer((incoming, outgoing) => {
		requests++;
		switch (current) {
			case "pass":
				pass(incoming, outgoing, 0);
				break;
			case "slow-first-byte":
				pass(incoming, outgoing, firstByteDelayMs);
				break;
			case "hang":
				held.add(incoming.socket);
				break;
			case "reset":
			case "refuse":
				incoming.socket.resetAndDestroy();
				break;
			case "error-503":
				incoming.resume();
				outgoing.writeHead(503, { "content-type": "application/xml" }).end(slowDown);
				break;
			case "html":
				incoming.resume();
				outgoing.writeHead(200, { "content-type": "text/html" }).end(page);
				break;
			default:
				current satisfies never;
		}
	});
	server.keepAliveTimeout = 0;
	server.on("connection", (socket) => {
		sockets.add(socket);
		socket.on("close", () => {
			sockets.delete(socket);
			held.delete(socket);
		});
	});
	const close = async () => {
		for (const socket of sockets) socket.destroy();
		if (!server.listening) return;
		server.close();
		await once(server, "close");
	};

	const port = await listen(server);
	let stopped = false;
	return {
		endpoint: `http://127.0.0.1:${port}`,
		get requests() {
			return requests;
		},
		async mode(next) {
			if (stopped) throw new Error("the fault proxy is stopped");
			current = next;
			for (const socket of held) socket.destroy();
			if (next === "reset") for (const socket of sockets) socket.resetAndDestroy();
			if (next === "refuse") await close();
			else if (!server.listening) await listen(server, port);
		},
		shiftDate(ms) {
			shiftMs = ms;
		},
		async stop() {
			stopped = true;
			await close();
			agent.destroy();
		},
	};
}

/** The raw headers, name and value in turn, without those that are about one connection only. */
function endToEnd({ rawHeaders }: http.IncomingMessage): string[] {
	return rawHeaders.filter((_, index) => !/^(connection|keep-alive)$/i.test(rawHeaders[index - (index % 2)] ?? ""));
}

function shiftDate(rawHeaders: readonly string[], ms: number): string[] {
	return rawHeaders.map((text, index) => {
		const isDate = index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === "date";
		return isDate && ms !== 0 ? new Date(Date.parse(text) + ms).toUTCString() : text;
	});
}

const slowDown = `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`;

const page = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>It works!</body></html>";
