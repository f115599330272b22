import net from "node:net";
import tls from "node:tls";
import { Connection, ExchangeError } from "./connection.ts";
import { GrowingBuffer } from "./growing-buffer.ts";
import { parseResponseHead } from "./response-head.ts";
import { systemTrust } from "./trust.ts";
import { firstOf } from "../../within.ts";

/** Where requests go, and how. */
export interface Destination {
	readonly url: URL;
	readonly proxy: URL | undefined;
	/** PEM text; undefined: the system's authorities. */
	readonly ca: string | undefined;
	/** Default: true. */
	readonly verifies?: boolean;
	readonly connectMs: number;
}

/** Makes connections to one server, through a proxy if there is one: a tunnel for https, and as any client would for http. */
export class Dialer {
	readonly #destination: Destination;
	readonly #isTls: boolean;
	#context: tls.SecureContext | undefined;
	/** Of the last handshake: the next one needs neither certificates nor a signature. */
	#session: Buffer | undefined;

	constructor(destination: Destination) {
		this.#destination = destination;
		this.#isTls = destination.url.protocol === "https:";
	}

	/** Rejects with an ExchangeError. */
	async dial(signal?: AbortSignal): Promise<Connection> {
		const { connectMs } = this.#destination;
		const connection = new Connection();
		const sockets: net.Socket[] = [];
		const failed = Promise.withResolvers<never>();
		const fail = (code: string, problem: string, cause?: unknown): void =>
			failed.reject(new ExchangeError(problem, { code, cause }));
		const timer = setTimeout(() => fail("ETIMEDOUT", `no connection within ${connectMs} ms`), connectMs);
		const abort = (): void => fail("ABORTED", "the request was given up");
		signal?.addEventListener("abort", abort);
		const track = <T extends net.Socket>(socket: T): T => {
			sockets.push(socket);
			socket.on("error", (error: NodeJS.ErrnoException) => fail(error.code ?? "ECONNRESET", error.message, error));
			socket.on("close", () => fail("ECONNRESET", "the connection was closed before it could be used"));
			return socket;
		};
		try {
			if (signal?.aborted === true) abort();
			const socket = await firstOf([this.#connect(connection, track), failed.promise]);
			connection.attach(socket);
			return connection;
		} catch (error) {
			for (const socket of sockets) socket.destroy();
			if (error instanceof ExchangeError) throw error;
			const { message, code = "EPROTO" } = error as NodeJS.ErrnoException;
			throw new ExchangeError(message, { code, cause: error });
		} finally {
			clearTimeout(timer);
			signal?.removeEventListener("abort", abort);
		}
	}

	async #connect(connection: Connection, track: <T extends net.Socket>(socket: T) => T): Promise<net.Socket> {
		const { url, proxy } = this.#destination;
		const { onread } = connection;
		if (proxy === undefined) {
			return this.#isTls
				? this.#secure({ ...address(url), onread } as tls.ConnectionOptions, url, track)
				: connected(track(net.connect({ ...address(url), ...socketOptions, onread })), "connect");
		}
		const toProxy = { ...address(proxy), ...socketOptions, ...(!this.#isTls && { onread }) };
		const socket =
			proxy.protocol === "https:"
				? await connected(
						track(
							tls.connect({ ...toProxy, ...serverName(proxy), secureContext: systemTrust() } as tls.ConnectionOptions),
						),
						"secureConnect",
					)
				: await connected(track(net.connect(toProxy)), "connect");
		if (!this.#isTls) return socket;
		await openTunnel(socket, url, proxy);
		const secured = await this.#secure({ socket, host: hostOf(url) }, url, track);
		// Of a socket inside of another one, Node ignores `onread`.
		secured.on("data", (bytes: Buffer) => connection.push(bytes));
		return secured;
	}

	async #secure(
		over: tls.ConnectionOptions,
		url: URL,
		track: <T extends net.Socket>(socket: T) => T,
	): Promise<net.Socket> {
		const { ca, verifies = true } = this.#destination;
		this.#context ??= ca === undefined ? systemTrust() : tls.createSecureContext({ ca });
		const options: tls.ConnectionOptions = {
			...over,
			...serverName(url),
			ALPNProtocols: ["http/1.1"],
			secureContext: this.#context,
			rejectUnauthorized: verifies,
			...(this.#session !== undefined && { session: this.#session }),
		};
		const socket = track(tls.connect(options));
		socket.on("session", (session) => {
			this.#session = session;
		});
		try {
			await connected(socket, "secureConnect");
		} catch (error) {
			// It may be the session's fault.
			this.#session = undefined;
			throw error;
		}
		// Options for this are net.connect's only.
		socket.setNoDelay(true);
		socket.setKeepAlive(true, socketOptions.keepAliveInitialDelay);
		return socket;
	}
}

/** Node looks at all addresses of a name, also where one family leads nowhere. */
const socketOptions = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 } as const;

function address(url: URL): { readonly host: string; readonly port: number } {
	return { host: hostOf(url), port: Number(url.port || (url.protocol === "https:" ? 443 : 80)) };
}

function hostOf({ hostname }: URL): string {
	return hostname.replaceAll(/[[\]]/g, "");
}

/** No server has a certificate by the name of an address. */
function serverName(url: URL): { readonly servername?: string } {
	const host = hostOf(url);
	return net.isIP(host) === 0 ? { servername: host } : {};
}

/** Its errors are told elsewhere. */
async function connected<T extends net.Socket>(socket: T, event: "connect" | "secureConnect"): Promise<T> {
	return new Promise((resolve, reject) => {
		socket.once(event, () => resolve(socket));
		socket.once("error", reject);
	});
}

const maximumTunnelHeadBytes = 16 * 1024;

/** https://www.rfc-editor.org/rfc/rfc9110#name-connect */
async function openTunnel(socket: net.Socket, url: URL, proxy: URL): Promise<void> {
	const authority = `${url.hostname}:${url.port || 443}`;
	const authorization = proxyAuthorization(proxy);
	const lines = [
		`CONNECT ${authority} HTTP/1.1`,
		`host: ${authority}`,
		...(authorization === undefined ? [] : [`proxy-authorization: ${authorization}`]),
	];
	socket.write(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
	const answer = Promise.withResolvers<string>();
	const head = new GrowingBuffer();
	const take = (bytes: Buffer): void => {
		const seenBytes = head.length;
		head.append(bytes);
		const end = head.bytes.indexOf("\r\n\r\n", Math.max(0, seenBytes - 3), "latin1");
		if (end !== -1 || head.length > maximumTunnelHeadBytes) answer.resolve(head.bytes.toString("latin1"));
	};
	socket.on("data", take);
	try {
		const all = await answer.promise;
		const end = all.indexOf("\r\n\r\n");
		const { status } = parseResponseHead(all.slice(0, Math.max(0, end)));
		if (status !== 200) {
			const problem = status === 407 ? "the proxy wants a user name and a password" : "the proxy makes no connection";
			throw new ExchangeError(`${problem} (status ${status})`, { code: "ERR_PROXY_TUNNEL" });
		}
		// A server waits for the client to begin.
		if (all.length > end + 4) throw new ExchangeError("bytes before the tunnel's begin", { code: "EPROTO" });
	} finally {
		socket.off("data", take);
		socket.pause();
	}
}

export function proxyAuthorization({ username, password }: URL): string | undefined {
	if (username === "" && password === "") return undefined;
	return `Basic ${Buffer.from(`${decoded(username)}:${decoded(password)}`).toString("base64")}`;
}

/** Of a part of a URL. */
export function decoded(text: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		// A percent sign that was meant as one.
		return text;
	}
}
