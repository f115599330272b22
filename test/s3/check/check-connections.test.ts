import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { startFaultProxy, type FaultProxy } from "../../support/fault-proxy.ts";
import { listen } from "../../support/listen.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { check, failureOf, locationOf, nowhere } from "../failure-of.ts";

let minio: Minio;
let proxy: FaultProxy;
const cleanups: (() => void | Promise<void>)[] = [];

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	await minio.createBucket("bucket");
}, 60_000);

afterEach(async () => {
	for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
	minio.resume();
	await proxy.mode("pass");
});

afterAll(async () => {
	await proxy?.stop();
	await minio?.stop();
}, 30_000);

/** A TCP server that does this with each connection. Returns `127.0.0.1:port`. */
async function startServer(onConnection: (socket: net.Socket) => void): Promise<string> {
	const sockets = new Set<net.Socket>();
	const server = net.createServer((socket) => {
		sockets.add(socket);
		// The client is free to leave as it likes.
		socket.on("error", () => {});
		onConnection(socket);
	});
	const port = await listen(server);
	cleanups.push(() => {
		server.close();
		for (const socket of sockets) socket.destroy();
	});
	return `127.0.0.1:${port}`;
}

const limit = { timeoutMs: 300 };
const at = (url: string) => ({ ...nowhere, endpoint: new URL(url) });

describe("BACKEND_REFUSED", () => {
	test("when nothing listens", async () => {
		await proxy.mode("refuse");
		const failure = await failureOf(at(proxy.endpoint));
		expect(failure.code).toBe("BACKEND_REFUSED");
		expect(failure.message).toContain("(ECONNREFUSED)");
	});

	test("when nothing listens at any address of a name", async () => {
		expect(await failureOf(at("http://localhost:1"))).toMatchObject({ code: "BACKEND_REFUSED" });
		expect(await failureOf(at("http://[::1]:1"))).toMatchObject({ code: "BACKEND_REFUSED" });
	});

	test("when the connection is reset before an answer", async () => {
		await proxy.mode("reset");
		const failure = await failureOf(at(proxy.endpoint));
		expect(failure.code).toBe("BACKEND_REFUSED");
		expect(failure.message).toContain("without an answer (ECONNRESET)");
	});

	test("when the connection is closed in the TLS handshake", async () => {
		const failure = await failureOf(at(`https://${await startServer((socket) => socket.destroy())}`));
		expect(failure.code).toBe("BACKEND_REFUSED");
		expect(failure.message).toContain("during the TLS handshake");
	});
});

describe("BACKEND_DNS", () => {
	test("when the name does not exist", async () => {
		const failure = await failureOf(at("http://nonexistent.invalid:9000"));
		expect(failure.code).toBe("BACKEND_DNS");
		expect(failure.message).toMatch(/the name nonexistent\.invalid cannot be resolved \(E\w+\)/);
	});

	test("when the bucket's own name does not exist", async () => {
		const failure = await failureOf({ ...at("http://nonexistent.invalid:9000"), pathStyle: false });
		expect(failure.code).toBe("BACKEND_DNS");
		expect(failure.message).toContain("bucket.nonexistent.invalid");
		expect(failure.hint).toContain("path-style");
	});
});

describe("BACKEND_TIMEOUT says that it hung in", () => {
	test("the name lookup", async () => {
		await hangThreadPool();
		const failure = await failureOf({ ...at("http://nonexistent.invalid:9000"), credentials: undefined }, limit);
		expect(failure.code).toBe("BACKEND_TIMEOUT");
		expect(failure.message).toContain("the name lookup of nonexistent.invalid did not end within 300 ms");
	});

	test("the connection", async () => {
		const failure = await failureOf(at(`http://127.0.0.1:${await startFullListener()}`), limit);
		expect(failure.code).toBe("BACKEND_TIMEOUT");
		expect(failure.message).toMatch(/no connection to 127\.0\.0\.1:\d+ came about within 300 ms/);
	});

	test("the TLS handshake", async () => {
		const failure = await failureOf(at(`https://${await startServer(() => {})}`), limit);
		expect(failure.code).toBe("BACKEND_TIMEOUT");
		expect(failure.message).toContain("the TLS handshake with");
	});

	test("the answer", async () => {
		await proxy.mode("hang");
		const failure = await failureOf(at(proxy.endpoint), limit);
		expect(failure.code).toBe("BACKEND_TIMEOUT");
		expect(failure.message).toContain("took the request and did not answer within 300 ms");
	});

	test("the answer of a frozen server, which works again afterwards", async () => {
		minio.pause();
		expect(await failureOf(locationOf(minio), limit)).toMatchObject({ code: "BACKEND_TIMEOUT" });
		minio.resume();
		await expect(check(locationOf(minio))).resolves.toBeUndefined();
	});

	test("the answer's body", async () => {
		const address = await startServer((socket) => {
			socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n<ListBucketResult>");
		});
		const failure = await failureOf(at(`http://${address}`), limit);
		expect(failure.code).toBe("BACKEND_TIMEOUT");
		expect(failure.message).toContain("began to answer and did not end");
	});
});

describe("ENDPOINT_WRONG", () => {
	test.each(["http", "https"])("when something other than a web server listens: %s", async (scheme) => {
		const address = await startServer((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n"));
		const failure = await failureOf(at(`${scheme}://${address}`));
		expect(failure.code).toBe("ENDPOINT_WRONG");
		expect(failure.message).not.toContain("SSH");
	});

	test("when the endpoint says https and the server speaks plain HTTP", async () => {
		const failure = await failureOf(at(minio.endpoint.replace("http:", "https:")));
		expect(failure.code).toBe("ENDPOINT_WRONG");
		expect(failure.message).toContain("does not speak TLS");
	});
});

test("an answer that breaks off is BACKEND_FAILING", async () => {
	const address = await startServer((socket) => {
		socket.end("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n<ListBucketResult>");
	});
	const failure = await failureOf(at(`http://${address}`));
	expect(failure.code).toBe("BACKEND_FAILING");
	expect(failure.message).toContain("broke off");
});

test("an endless answer is read no further than 64 KiB", async () => {
	let sentBytes = 0;
	const chunk = Buffer.alloc(16 * 1024, "x");
	const address = await startServer((socket) => {
		socket.write("HTTP/1.1 403 Forbidden\r\n\r\n<Error><Code>AccessDenied</Code>");
		const pump = () => {
			while (socket.writable && socket.write(chunk)) sentBytes += chunk.length;
		};
		socket.on("drain", pump);
		pump();
	});
	expect(await failureOf(at(`http://${address}`))).toMatchObject({ code: "ACCESS_DENIED" });
	// What was on its way in the sockets' buffers is lost, and no more follows.
	const then = sentBytes;
	await expect(check(locationOf(minio))).resolves.toBeUndefined();
	expect(sentBytes - then).toBeLessThan(chunk.length);
});

test("nothing that a server repeats of the request shows a secret", async () => {
	const credentials = {
		accessKeyId: "access/key+id=",
		secretAccessKey: "the<secret>&key",
		sessionToken: "session/token+with==signs",
	};
	const server = http.createServer((request, response) => {
		const token = String(request.headers["x-amz-security-token"]).replaceAll("=", "&#x3D;");
		const key = /Credential=([^,]*=)\//.exec(request.headers.authorization ?? "")?.[1];
		const message = `no ${token} for ${key}, \u001b[31m\u202e\nThe&lt;secret&gt; ${"x".repeat(10_000)}`;
		response.writeHead(403).end(`<Error><Code>Access${token}</Code><Message>${message}</Message></Error>`);
	});
	const port = await listen(server);
	cleanups.push(() => void server.close());
	const failure = await failureOf({ ...at(`http://127.0.0.1:${port}`), credentials });
	expect(failure.message).toContain("no [redacted] for [redacted], [31m The<secret> xxx");
	expect(failure.message.length).toBeLessThan(500);
});

test("rejects with the reason of the signal, at once", async () => {
	await proxy.mode("hang");
	const reason = new Error("shutting down");
	const controller = new AbortController();
	const checked = check(at(proxy.endpoint), { signal: controller.signal });
	setTimeout(() => controller.abort(reason), 50);
	await expect(checked).rejects.toBe(reason);
	await expect(check(locationOf(minio), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

/** Blocks all threads that look names up, as a hung mount does. */
async function hangThreadPool(): Promise<void> {
	const directory = await mkdtemp(join(tmpdir(), "fifo-"));
	const fifo = join(directory, "fifo");
	await promisify(execFile)("mkfifo", [fifo]);
	const threads = Number(process.env["UV_THREADPOOL_SIZE"] ?? 4);
	const readers = Array.from({ length: threads }, () => open(fifo, "r"));
	cleanups.push(async () => {
		// Its own process: here there is no thread left to open a file with.
		await execa("sh", ["-c", 'exec 3>"$0"', fifo]);
		for (const reader of await Promise.all(readers)) await reader.close();
		await rm(directory, { recursive: true });
	});
}

/** A port whose queue of connections is full, and nobody takes one out: the kernel drops the packets of new ones. */
async function startFullListener(): Promise<number> {
	const script = `
		const server = require("node:net").createServer().listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => {
			console.log(server.address().port);
			process.kill(process.pid, "SIGSTOP");
		});`;
	const server = execa("node", ["-e", script], { reject: false });
	cleanups.push(async () => {
		server.kill("SIGKILL");
		await server;
	});
	const [line] = await once(server.stdout, "data");
	const port = Number(line);
	const fillers = Array.from({ length: 4 }, () => net.connect(port, "127.0.0.1").on("error", () => {}));
	cleanups.push(() => fillers.forEach((filler) => filler.destroy()));
	// Two fit; the others stay unanswered.
	await Promise.all(fillers.slice(0, 2).map((filler) => once(filler, "connect")));
	return port;
}
