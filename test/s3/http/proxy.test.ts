import http from "node:http";
import net from "node:net";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { LauncherError } from "../../../src/errors.ts";
import { proxyFor } from "../../../src/s3/http/proxy.ts";
import { listen } from "../../support/listen.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { check, failureOf, locationOf } from "../failure-of.ts";

const env = { HTTP_PROXY: "http://proxy:3128", HTTPS_PROXY: "http://proxy:3129" };

test.each([
	["http://s3.example/", env, "proxy:3128"],
	["https://s3.example/", env, "proxy:3129"],
	["https://s3.example/", { https_proxy: "http://small:1", ...env }, "small:1"],
	["http://s3.example/", { HTTP_PROXY: "proxy:3128" }, "proxy:3128"],
	["http://s3.example/", { HTTPS_PROXY: "http://proxy:3128" }, undefined],
	["http://s3.example/", { HTTP_PROXY: "" }, undefined],
	["http://s3.example/", {}, undefined],
	["http://localhost:9000/", env, undefined],
	["http://127.8.0.1:9000/", env, undefined],
	["http://[::1]:9000/", env, undefined],
])("%s with %j goes through %s", (url, variables, expected) => {
	expect(proxyFor(new URL(url), variables)?.host).toBe(expected);
});

describe("NO_PROXY", () => {
	test.each([
		["*", "http://s3.example/", true],
		["s3.example", "http://s3.example/", true],
		["S3.EXAMPLE", "http://s3.example/", true],
		["a, s3.example ,b", "http://s3.example/", true],
		["a s3.example", "http://s3.example/", true],
		["example", "http://s3.example/", true],
		["ample", "http://s3.example/", false],
		[".example", "http://s3.example/", true],
		["*.example", "http://s3.example/", true],
		[".s3.example", "http://s3.example/", false],
		["svc.cluster.local", "http://minio.storage.svc.cluster.local:9000/", true],
		["s3.example:9000", "http://s3.example:9000/", true],
		["s3.example:9000", "http://s3.example:9001/", false],
		["s3.example:80", "http://s3.example/", true],
		["s3.example:443", "https://s3.example/", true],
		["10.1.2.3", "http://10.1.2.3:9000/", true],
		["10.1.2.3:9000", "http://10.1.2.3:9000/", true],
		["10.1.2.3", "http://10.1.2.30:9000/", false],
		["2.3", "http://10.1.2.3:9000/", false],
		["10.0.0.0/8", "http://10.1.2.3:9000/", true],
		["10.0.0.0/16", "http://10.1.2.3:9000/", false],
		["10.0.0.0/8", "http://s3.example/", false],
		["10.0.0.0/99", "http://10.1.2.3:9000/", false],
		["nonsense/8", "http://10.1.2.3:9000/", false],
		["fd00::/8", "http://[fd00::1]:9000/", true],
		["fd00::1", "http://[fd00::1]:9000/", true],
		["10.0.0.0/8", "http://[fd00::1]:9000/", false],
		["", "http://s3.example/", false],
		[",.,", "http://s3.example/", false],
	])("%j exempts %s: %s", (noProxy, url, isExempt) => {
		expect(proxyFor(new URL(url), { ...env, NO_PROXY: noProxy }) === undefined).toBe(isExempt);
	});
});

test.each(["socks5://user:password@proxy:1080", "http://user:password@:::"])(
	"%s is refused without being shown",
	(proxy) => {
		let thrown: unknown;
		try {
			proxyFor(new URL("http://s3.example"), { HTTP_PROXY: proxy });
		} catch (error) {
			thrown = error;
		}
		if (!(thrown instanceof LauncherError)) throw new Error("not refused");
		expect(thrown.code).toBe("USAGE");
		expect(thrown.message).not.toContain("password");
	},
);

describe("through a real proxy", () => {
	let minio: Minio;
	let tlsMinio: Minio;
	let proxy: http.Server;
	let proxyEnv: { HTTP_PROXY: string; HTTPS_PROXY: string };
	let mode: "pass" | "refuse" | "hang" = "pass";
	const seen: string[] = [];

	beforeAll(async () => {
		[minio, tlsMinio] = await Promise.all([startMinio(), startMinio({ tls: true })]);
		await Promise.all([minio.createBucket("bucket"), tlsMinio.createBucket("bucket")]);
		proxy = http.createServer((request, response) => {
			seen.push(`${request.method} ${request.headers["proxy-authorization"]}`);
			const { port, pathname, search } = new URL(request.url ?? "");
			const { method, headers } = request;
			http.get({ host: "127.0.0.1", port, path: pathname + search, method, headers }, (answer) => {
				response.writeHead(answer.statusCode ?? 502, answer.headers);
				answer.pipe(response);
			});
		});
		proxy.on("connect", (request: http.IncomingMessage, socket: net.Socket) => {
			seen.push(`${request.method} ${request.headers["proxy-authorization"]}`);
			socket.on("error", () => {});
			if (mode === "refuse") socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
			if (mode !== "pass") return;
			const tunnel = net.connect(Number(request.url?.split(":")[1]), "127.0.0.1", () => {
				socket.write("HTTP/1.1 200 OK\r\n\r\n");
				tunnel.pipe(socket).pipe(tunnel);
			});
			tunnel.on("error", () => socket.destroy());
		});
		const address = `http://proxy-user:proxy-password@127.0.0.1:${await listen(proxy)}`;
		proxyEnv = { HTTP_PROXY: address, HTTPS_PROXY: address };
	}, 60_000);

	afterAll(async () => {
		proxy?.close();
		proxy?.closeAllConnections();
		await minio?.stop();
		await tlsMinio?.stop();
	}, 30_000);

	const plain = () => ({ ...locationOf(minio), endpoint: hidden(minio.endpoint) });
	const tls = () => ({ ...locationOf(tlsMinio), endpoint: hidden(tlsMinio.endpoint), insecureSkipVerify: true });
	const authorization = `Basic ${Buffer.from("proxy-user:proxy-password").toString("base64")}`;

	test("a signed request arrives, with its own Host", async () => {
		await expect(check(plain(), { proxyEnv })).resolves.toBeUndefined();
		expect(seen.splice(0)).toEqual([`GET ${authorization}`]);
	});

	test("a tunnel is made for https", async () => {
		await expect(check(tls(), { proxyEnv })).resolves.toBeUndefined();
		expect(seen.splice(0)).toEqual([`CONNECT ${authorization}`]);
	});

	test("a certificate in the tunnel is verified", async () => {
		const location = { ...tls(), insecureSkipVerify: false };
		expect(await failureOf(location, { proxyEnv })).toMatchObject({ code: "BACKEND_TLS" });
		const trusting = { ...location, caBundle: String(tlsMinio.caFile) };
		expect((await failureOf(trusting, { proxyEnv })).message).toContain("not for localhost.test");
	});

	test("a proxy that refuses is told from a server that does", async () => {
		mode = "refuse";
		const failure = await failureOf(tls(), { proxyEnv });
		mode = "pass";
		expect(failure.code).toBe("BACKEND_REFUSED");
		expect(failure.message).toContain("the proxy makes no connection to localhost.test");
		expect(failure.hint).toContain("NO_PROXY");
		expect(failure.hint).not.toContain("proxy-password");
	});

	test("a tunnel that hangs ends in time", async () => {
		mode = "hang";
		const failure = await failureOf(tls(), { proxyEnv, timeoutMs: 300 });
		mode = "pass";
		expect(failure.code).toBe("BACKEND_TIMEOUT");
		expect(failure.message).toContain("through the proxy 127.0.0.1:");
	});

	test("a dead proxy is named", async () => {
		const dead = { HTTP_PROXY: "http://127.0.0.1:1" };
		const failure = await failureOf(plain(), { proxyEnv: dead });
		expect(failure.code).toBe("BACKEND_REFUSED");
		expect(failure.message).toContain("127.0.0.1:1 (ECONNREFUSED)");
		expect(failure.hint).toContain("through the proxy 127.0.0.1:1");
	});

	test("what is wrong with the key is not blamed on the proxy", async () => {
		const location = { ...plain(), credentials: { accessKeyId: "unknown-key", secretAccessKey: "secret-key" } };
		const failure = await failureOf(location, { proxyEnv });
		expect(failure.code).toBe("KEY_UNKNOWN");
		expect(failure.hint).not.toContain("proxy");
	});
});

/** Names below .test exist only for the proxy. */
function hidden(endpoint: string): URL {
	return new URL(endpoint.replace("127.0.0.1", "localhost.test"));
}
