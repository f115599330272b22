import { once } from "node:events";
import { readFile, mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import type { ExchangeError } from "../../../src/s3/http/connection.ts";
import { Dialer, type Destination } from "../../../src/s3/http/dialer.ts";
import { createCertificate, type Certificate } from "../../support/certificates.ts";
import { listen } from "../../support/listen.ts";

let directory: string;
let certificate: Certificate;
let ca: string;
let server: https.Server;
let url: URL;
/** Of the server, for each connection: whether it went on with a session of before. */
const reused: boolean[] = [];
let protocols: (string | false | null)[] = [];
const cleanups: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
	directory = await mkdtemp(join(tmpdir(), "dialer-"));
	certificate = await createCertificate(directory);
	ca = await readFile(certificate.caFile, "utf8");
	const [cert, key] = await Promise.all([readFile(certificate.certificateFile), readFile(certificate.keyFile)]);
	server = https.createServer({ cert, key, ALPNProtocols: ["http/1.1"] }, (_, response) => response.end("over TLS"));
	server.on("secureConnection", (socket: TLSSocket) => {
		reused.push(socket.isSessionReused());
		protocols.push(socket.alpnProtocol);
	});
	url = new URL(`https://127.0.0.1:${await listen(server)}`);
});

afterEach(async () => {
	for (const cleanup of cleanups.splice(0)) await cleanup();
	protocols = [];
});

afterAll(async () => {
	server.closeAllConnections();
	server.close();
	await rm(directory, { recursive: true });
});

async function ask(destination: Partial<Destination>, dialer?: Dialer): Promise<string> {
	const used = dialer ?? new Dialer({ url, proxy: undefined, ca, connectMs: 2000, ...destination });
	const connection = await used.dial();
	try {
		const head = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
		return (await connection.exchange({ head, firstByteMs: 2000, idleMs: 2000, maximumBytes: 1000 })).body.toString();
	} finally {
		connection.close();
	}
}

async function failureOf(work: Promise<unknown>): Promise<ExchangeError> {
	return work.then(
		() => {
			throw new Error("it did not fail");
		},
		(error: unknown) => error as ExchangeError,
	);
}

/** A proxy that opens tunnels, and what it was asked for. */
async function startTunnels(
	options: { readonly tls?: boolean; readonly status?: number; readonly more?: string } = {},
): Promise<{ readonly proxy: URL; readonly asked: string[] }> {
	const { status = 200, more = "" } = options;
	const asked: string[] = [];
	const proxyServer =
		options.tls === true
			? https.createServer({
					cert: await readFile(certificate.certificateFile),
					key: await readFile(certificate.keyFile),
				})
			: http.createServer();
	const sockets: Socket[] = [];
	proxyServer.on("connect", (request: http.IncomingMessage, socket: Socket) => {
		asked.push(`${request.url} ${request.headers["proxy-authorization"] ?? ""}`.trim());
		sockets.push(socket);
		socket.on("error", () => undefined);
		if (status !== 200) {
			socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
			return;
		}
		const upstream = connect(Number(url.port), "127.0.0.1", () => {
			socket.write(`HTTP/1.1 200 Connection established\r\n\r\n${more}`);
			socket.pipe(upstream).pipe(socket);
		});
		upstream.on("error", () => socket.destroy());
		sockets.push(upstream);
	});
	const port = await listen(proxyServer);
	cleanups.push(async () => {
		for (const socket of sockets) socket.destroy();
		proxyServer.closeAllConnections();
		proxyServer.close();
		await once(proxyServer, "close");
	});
	return { proxy: new URL(`${options.tls === true ? "https" : "http"}://me:secret@127.0.0.1:${port}`), asked };
}

test("speaks HTTP/1.1 over TLS, and goes on with the session of before", async () => {
	const dialer = new Dialer({ url, proxy: undefined, ca, connectMs: 2000 });
	const before = reused.length;
	for (let round = 0; round < 3; round++) expect(await ask({}, dialer)).toBe("over TLS");
	expect(protocols).toEqual(["http/1.1", "http/1.1", "http/1.1"]);
	expect(reused.slice(before)).toEqual([false, true, true]);
});

test("goes through a tunnel", async () => {
	const { proxy, asked } = await startTunnels();
	expect(await ask({ proxy })).toBe("over TLS");
	expect(asked).toEqual([`127.0.0.1:${url.port} Basic ${Buffer.from("me:secret").toString("base64")}`]);
});

test("tells that the proxy refuses, without its password", async () => {
	for (const status of [407, 403, 502]) {
		const { proxy } = await startTunnels({ status });
		const error = await failureOf(ask({ proxy }));
		expect(error).toMatchObject({ code: "ERR_PROXY_TUNNEL" });
		expect(error.message).toContain(String(status));
		expect(error.message).not.toContain("secret");
	}
});

test("does not believe a proxy that speaks for the server", async () => {
	const { proxy } = await startTunnels({ more: "too early" });
	expect((await failureOf(ask({ proxy }))).code).toMatch(/EPROTO|ERR_SSL/);
});

test.each([
	["of another authority", { ca: undefined }, /CERT|VERIFY|SIGNED/],
	["for another name", { url: new URL("https://localhost.:1") }, /ENOTFOUND|ECONNREFUSED|ERR_TLS|EAI/],
] as const)("refuses a certificate %s", async (_, destination, code) => {
	expect((await failureOf(ask(destination))).code).toMatch(code);
});

test("verifies the name of what is at the tunnel's other end", async () => {
	const { proxy } = await startTunnels();
	const elsewhere = new URL(`https://s3.example.com:${url.port}`);
	expect((await failureOf(ask({ proxy, url: elsewhere }))).code).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
});

test("does not wait for ever", async () => {
	const silent = createServer(() => undefined);
	const port = await listen(silent);
	cleanups.push(() => void silent.close());
	const before = performance.now();
	// It accepts, and says nothing of TLS.
	const error = await failureOf(ask({ url: new URL(`https://127.0.0.1:${port}`), connectMs: 200 }));
	expect(error).toMatchObject({ code: "ETIMEDOUT" });
	expect(performance.now() - before).toBeLessThan(1000);
});

test("gives up when it is told to", async () => {
	const silent = createServer(() => undefined);
	const port = await listen(silent);
	cleanups.push(() => void silent.close());
	const dialer = new Dialer({ url: new URL(`https://127.0.0.1:${port}`), proxy: undefined, ca, connectMs: 5000 });
	const controller = new AbortController();
	const work = failureOf(dialer.dial(controller.signal));
	controller.abort();
	expect(await work).toMatchObject({ code: "ABORTED" });
});

test("goes through a tunnel of a proxy that speaks TLS itself", async () => {
	// The proxy's certificate is one that the system does not know.
	const { proxy } = await startTunnels({ tls: true });
	expect((await failureOf(ask({ proxy }))).code).toMatch(/CERT|VERIFY|SIGNED/);
});
