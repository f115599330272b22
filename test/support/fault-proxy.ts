import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import { pipeline, Transform } from "node:stream";

import { listen } from "./listen.ts";

type Fault = "pass" | "refuse" | "hang" | "reset" | "error-503" | "html" | "slow-first-byte";

/** What happens to some requests; the others pass. */
export type RequestFault =
	/** After so many bytes of the answer's body, the connection is reset, closed as if all were well, or left silent. */
	| { readonly kind: "reset-after" | "end-after" | "hang-after"; readonly bytes: number }
	/** One byte of the answer's body, or of the request's, is another one. */
	| { readonly kind: "corrupt-answer" | "corrupt-request"; readonly byte: number }
	/** The server does as it is told, and its answer never arrives: the connection is reset. */
	| { readonly kind: "lose-answer" }
	/** Headers that the server sends are left out of its answer, or are others. */
	| { readonly kind: "headers"; readonly headers: Readonly<Record<string, string | undefined>> }
	/** This in place of the server's answer, without reading the request's body. */
	| {
			readonly kind: "answer";
			readonly status: number;
			readonly headers?: Readonly<Record<string, string>>;
			readonly body?: string;
			/** Close the connection afterwards, as servers do that do not want the rest of a body. */
			readonly close?: boolean;
	  };

export interface FaultRule {
	/** Default: all requests. */
	readonly only?: (request: http.IncomingMessage) => boolean;
	/** How many of them; default: every one. */
	readonly times?: number;
	/** How many of them, on average; default: 1, which is all. */
	readonly probability?: number;
	/** Before one of them is answered; with this, the server can be told other things in between. */
	readonly before?: () => Promise<void>;
}

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
	/** In the mode `pass`, which this sets: so many requests fail like this. */
	fail(fault: RequestFault, rule?: FaultRule): Promise<void>;
	/** Requests that failed by the last rule. */
	readonly failed: number;
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
	let failed = 0;
	let rule: { readonly fault: RequestFault; readonly rule: FaultRule } | undefined;

	function faultFor(incoming: http.IncomingMessage): RequestFault | undefined {
		if (rule === undefined) return undefined;
		const { only = () => true, times = Infinity, probability = 1 } = rule.rule;
		if (failed >= times || !only(incoming) || Math.random() >= probability) return undefined;
		failed++;
		return rule.fault;
	}

	async function passOrFail(incoming: http.IncomingMessage, outgoing: http.ServerResponse): Promise<void> {
		const fault = faultFor(incoming);
		if (fault !== undefined) await rule?.rule.before?.();
		if (fault?.kind !== "answer") {
			pass(incoming, outgoing, 0, fault);
			return;
		}
		const { status, headers = {}, body = "", close = false } = fault;
		outgoing.writeHead(status, {
			"content-type": "application/xml",
			...headers,
			...(close && { connection: "close" }),
		});
		outgoing.end(body);
		if (!close) incoming.resume();
	}

	function pass(
		incoming: http.IncomingMessage,
		outgoing: http.ServerResponse,
		delayMs: number,
		fault?: RequestFault,
	): void {
		const hasBody = Number(incoming.headers["content-length"] ?? 0) > 0;
		const upstream = forward(target, {
			agent,
			method: incoming.method ?? "GET",
			path: incoming.url ?? "/",
			// As received, so that the signature still fits; Node would write a Host of its own.
			headers: [...endToEnd(incoming, "expect"), ...(hasBody ? ["expect", "100-continue"] : [])],
			setHost: false,
		});
		upstream.on("response", (answer) => {
			// Refused before its body was wanted: who sends it must not be kept waiting.
			incoming.resume();
			if (fault?.kind === "lose-answer") {
				answer.resume();
				answer.on("end", () => incoming.socket.resetAndDestroy());
				return;
			}
			const reply = () => {
				if (outgoing.destroyed) return;
				outgoing.sendDate = false;
				const headers = shiftDate(endToEnd(answer), shiftMs);
				outgoing.writeHead(
					answer.statusCode ?? 502,
					answer.statusMessage,
					fault?.kind === "headers" ? replaceHeaders(headers, fault.headers) : headers,
				);
				// Whichever side breaks off, the other is broken off too.
				const done = () => upstream.destroy();
				const body = fault === undefined ? undefined : spoilAnswer(fault, incoming.socket, held);
				if (body === undefined) pipeline(answer, outgoing, done);
				else pipeline(answer, body, outgoing, done);
			};
			if (delayMs === 0) reply();
			else setTimeout(reply, delayMs);
		});
		upstream.on("error", () => outgoing.destroy());
		outgoing.on("close", () => upstream.destroy());
		const send = (): void => {
			if (fault?.kind === "corrupt-request") incoming.pipe(corrupt(fault.byte)).pipe(upstream);
			else incoming.pipe(upstream);
		};
		// Only when the server wants the body. One that does not answers and closes, and what was sent meanwhile would take the answer along.
		if (hasBody) upstream.once("continue", send).flushHeaders();
		else send();
	}

	const server = http.createServer((incoming, outgoing) => {
		requests++;
		switch (current) {
			case "pass":
				void passOrFail(incoming, outgoing);
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
	const setMode = async (next: Fault) => {
		if (stopped) throw new Error("the fault proxy is stopped");
		current = next;
		rule = undefined;
		failed = 0;
		for (const socket of held) socket.destroy();
		if (next === "reset") for (const socket of sockets) socket.resetAndDestroy();
		if (next === "refuse") await close();
		else if (!server.listening) await listen(server, port);
	};
	return {
		endpoint: `http://127.0.0.1:${port}`,
		get requests() {
			return requests;
		},
		get failed() {
			return failed;
		},
		mode: setMode,
		async fail(fault, options = {}) {
			await setMode("pass");
			rule = { fault, rule: options };
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
function endToEnd({ rawHeaders }: http.IncomingMessage, ...others: readonly string[]): string[] {
	const left = new Set(["connection", "keep-alive", ...others]);
	return rawHeaders.filter((_, index) => !left.has((rawHeaders[index - (index % 2)] ?? "").toLowerCase()));
}

function replaceHeaders(
	rawHeaders: readonly string[],
	headers: Readonly<Record<string, string | undefined>>,
): string[] {
	const kept = rawHeaders.filter((_, index) => {
		const name = rawHeaders[index - (index % 2)]?.toLowerCase() ?? "";
		return !Object.hasOwn(headers, name);
	});
	return [...kept, ...Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [name, value]))];
}

/** What the answer's body goes through. */
function spoilAnswer(fault: RequestFault, socket: Socket, held: Set<Socket>): Transform | undefined {
	switch (fault.kind) {
		case "corrupt-answer":
			return corrupt(fault.byte);
		case "reset-after":
			return cutAfter(fault.bytes, () => socket.resetAndDestroy());
		case "end-after":
			return cutAfter(fault.bytes, () => socket.end());
		case "hang-after":
			return cutAfter(fault.bytes, () => held.add(socket));
		case "corrupt-request":
		case "lose-answer":
		case "headers":
		case "answer":
			return undefined;
		default:
			return fault satisfies never;
	}
}

function corrupt(byte: number): Transform {
	let passed = 0;
	return new Transform({
		transform(chunk: Buffer, _, done) {
			const at = byte - passed;
			passed += chunk.length;
			if (at < 0 || at >= chunk.length) {
				done(null, chunk);
				return;
			}
			const other = Buffer.from(chunk);
			other[at] = (other[at] ?? 0) ^ 0x01;
			done(null, other);
		},
	});
}

/** Passes so many bytes; when they are on their way, that happens, and nothing more is passed. */
function cutAfter(bytes: number, then: () => void): Transform {
	let passed = 0;
	return new Transform({
		transform(chunk: Buffer, _, done) {
			if (passed >= bytes) return;
			const part = chunk.subarray(0, bytes - passed);
			passed += chunk.length;
			if (passed < bytes) {
				done(null, part);
				return;
			}
			this.push(part);
			// Never `done`: no more bytes, and no end.
			setTimeout(then, 50);
		},
	});
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
