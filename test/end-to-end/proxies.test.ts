import http from "node:http";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { listen } from "../support/listen.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod } from "../support/pod.ts";
import { minioPod, testedDrivers } from "../support/s3-drivers.ts";

let minio: Minio;
let proxy: http.Server;
let proxyUrl: string;
let proxied = 0;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
	// Knows the names that nobody else knows.
	proxy = http.createServer((request, response) => {
		proxied++;
		const { port, pathname, search } = new URL(request.url ?? "");
		const { method, headers } = request;
		const forwarded = http.request({ host: "127.0.0.1", port, path: pathname + search, method, headers }, (answer) => {
			response.writeHead(answer.statusCode ?? 502, answer.headers);
			answer.pipe(response);
		});
		request.pipe(forwarded);
	});
	proxyUrl = `http://127.0.0.1:${await listen(proxy)}`;
});
afterAll(async () => {
	proxy.close();
	proxy.closeAllConnections();
	await minio.stop();
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
	proxied = 0;
});

describe.each(testedDrivers())("$title", (driver) => {
	async function hello(endpoint: string, variable: string): Promise<string> {
		pod = new Pod(minioPod({ ...minio, endpoint }, "data", driver, { env: { [variable]: proxyUrl } }));
		pod.start();
		await pod.untilReady();
		const before = proxied;
		const { stdout } = await execa("cat", ["hello.txt"], { cwd: pod.target, timeout: 20_000 });
		const isProxied = proxied > before;
		expect(await pod.stop()).toBe(0);
		return `${stdout} ${isProxied ? "through the proxy" : "directly"}`;
	}

	test.each(["HTTP_PROXY", "http_proxy"])("goes through the proxy that %s names", async (variable) => {
		const endpoint = minio.endpoint.replace("127.0.0.1", "only-the-proxy-knows.test");
		expect(await hello(endpoint, variable)).toBe("hello through the proxy");
	});

	test.each(["HTTP_PROXY", "http_proxy"])(
		"reaches this pod itself without the proxy that %s names",
		async (variable) => {
			expect(await hello(minio.endpoint, variable)).toBe("hello directly");
			expect(proxied).toBe(0);
		},
	);
});
