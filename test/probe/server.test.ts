import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { LauncherError } from "../../src/errors.ts";
import { sampleMount, sampleStatus } from "./sample-status.ts";
import { ask, createRunDirectory, exchangeRaw, startServer } from "./running-server.ts";

const healthy = ["/livez", "/healthz", "/readyz", "/startupz"];

describe("where it listens", () => {
	it("answers on the launcher's socket, which only its owner may open, and over TCP", async () => {
		const server = await startServer();
		expect(server.addresses).toEqual([
			`unix:${server.socketPath}`,
			expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
		]);
		expect(server.warnings).toEqual([]);
		expect(statSync(server.socketPath).mode & 0o777).toBe(0o600);
		for (const where of [server.socketPath, server.url])
			expect(await ask(where, "/readyz")).toMatchObject({ statusCode: 200, body: "ok\n" });
	});

	it("listens on every interface when the address has no host", async () => {
		const server = await startServer({ listen: { kind: "tcp", port: 0 } });
		const { port } = new URL(server.url);
		expect((await ask(`http://127.0.0.1:${port}`, "/livez")).statusCode).toBe(200);
	});

	it("answers on the launcher's socket alone when off", async () => {
		const server = await startServer({ listen: { kind: "off" } });
		expect(server.addresses).toEqual([`unix:${server.socketPath}`]);
		expect((await ask(server.socketPath, "/livez")).statusCode).toBe(200);
	});

	it("answers on a second socket too, without prestop", async () => {
		const path = join(await createRunDirectory(), "probe.sock");
		const server = await startServer({ listen: { kind: "unix", path } });
		expect(server.addresses).toEqual([`unix:${server.socketPath}`, `unix:${path}`]);
		expect((await ask(path, "/readyz")).statusCode).toBe(200);
		expect((await ask(path, "/prestop", "POST")).statusCode).toBe(404);
	});

	it("warns about a port in use and goes on with its socket", async () => {
		const first = await startServer();
		const port = Number(new URL(first.url).port);
		const second = await startServer({ listen: { kind: "tcp", host: "127.0.0.1", port } });
		expect(second.addresses).toEqual([`unix:${second.socketPath}`]);
		expect(second.warnings).toEqual([
			expect.stringMatching(
				new RegExp(`127\\.0\\.0\\.1:${port}: another process has this port.*FLUID_FUSE_PROBE_ADDRESS`),
			),
		]);
		expect(second.logged, "logged once").toEqual([expect.stringContaining("probes over HTTP are not available")]);
		expect((await ask(second.socketPath, "/readyz")).statusCode).toBe(200);
		expect((await ask(first.url, "/readyz")).statusCode).toBe(200);
	});

	it("does not warn of a taken port that nobody asked for", async () => {
		const first = await startServer();
		const listen = { kind: "tcp", host: "127.0.0.1", port: Number(new URL(first.url).port) } as const;
		const second = await startServer({ listen, byDefault: true });
		expect([second.warnings, second.logged]).toEqual([[], []]);
		expect((await ask(second.socketPath, "/readyz")).statusCode).toBe(200);
		const elsewhere = { kind: "tcp", host: "192.0.2.1", port: 0 } as const;
		expect((await startServer({ listen: elsewhere, byDefault: true })).warnings).toHaveLength(1);
	});

	it("warns about an address that this machine does not have", async () => {
		const server = await startServer({ listen: { kind: "tcp", host: "192.0.2.1", port: 0 } });
		expect(server.warnings).toEqual([expect.stringContaining("this pod has no such address")]);
	});

	it("takes the socket and the port back after close", async () => {
		const first = await startServer();
		const listen = { kind: "tcp", host: "127.0.0.1", port: Number(new URL(first.url).port) } as const;
		await first.close();
		await first.close();
		const second = await startServer({ runDirectory: first.runDirectory, listen });
		expect(second.warnings).toEqual([]);
		expect((await ask(second.url, "/readyz")).statusCode).toBe(200);
	});
});

describe("whom it answers over the network", () => {
	const paths = ["/status", "/", "/metrics", "/readyz", "/livez?verbose"];
	const hosts = (names: readonly string[]): string[] => names.flatMap((name) => [name, `${name}:9180`]);

	it("a page on the web whose name was made to point here (DNS rebinding) reads nothing", async () => {
		const server = await startServer();
		const foreign = [
			"rebind.attacker.example",
			"127.0.0.1.nip.io",
			"localhost.attacker.example",
			"a.b",
			"internal.com",
		];
		for (const host of [...hosts(foreign), "a b", ":9180", "[::1"]) {
			for (const path of paths) {
				const { statusCode, body } = await ask(server.url, path, "GET", { host });
				expect([400, 421], `${host} ${path}`).toContain(statusCode);
				expect(body).not.toContain("data");
			}
		}
	});

	it("who asks by an address, by localhost, or by a name that nobody can register, is answered", async () => {
		const server = await startServer();
		const own = [
			"127.0.0.1",
			"10.0.0.7",
			"[::1]",
			"localhost",
			"LOCALHOST",
			"node-7",
			"fuse.team.svc",
			"fuse.team.svc.cluster.local",
			"ip-10-0-0-7.ec2.internal",
			hostname(),
		];
		for (const host of hosts(own)) {
			for (const path of paths)
				expect((await ask(server.url, path, "GET", { host })).statusCode, `${host} ${path}`).toBe(200);
		}
		expect(await exchangeRaw(server.url, "GET /livez HTTP/1.0\r\n\r\n")).toContain("200 OK");
	});

	it("over a socket, which no page can reach, the name means nothing", async () => {
		const server = await startServer();
		expect((await ask(server.socketPath, "/status", "GET", { host: "any.example" })).statusCode).toBe(200);
	});
});

async function listenInChild(runDirectory: string) {
	const path = join(runDirectory, "launcher.sock");
	const code = `require("node:net").createServer().listen(process.argv[1], () => process.stdout.write("listening"))`;
	const child = spawn(process.execPath, ["-e", code, path], { stdio: ["ignore", "pipe", "inherit"] });
	onTestFinished(() => void child.kill("SIGKILL"));
	await once(child.stdout, "data");
	return child;
}

describe("a socket that is there already", () => {
	it("is replaced when its launcher was killed", async () => {
		const runDirectory = await createRunDirectory();
		const child = await listenInChild(runDirectory);
		child.kill("SIGKILL");
		await once(child, "exit");
		expect(statSync(join(runDirectory, "launcher.sock")).isSocket()).toBe(true);
		const server = await startServer({ runDirectory });
		expect((await ask(server.socketPath, "/readyz")).statusCode).toBe(200);
	});

	it("is left to another launcher, even to one that hangs", async () => {
		const runDirectory = await createRunDirectory();
		const child = await listenInChild(runDirectory);
		child.kill("SIGSTOP");
		const message = expect.stringContaining("another launcher uses this RUN_DIR");
		await expect(startServer({ runDirectory })).rejects.toMatchObject({ code: "USAGE", message });
		expect(statSync(join(runDirectory, "launcher.sock")).isSocket()).toBe(true);
	});

	it("is left alone when it is a file", async () => {
		const runDirectory = await createRunDirectory();
		writeFileSync(join(runDirectory, "launcher.sock"), "precious");
		await expect(startServer({ runDirectory })).rejects.toMatchObject({ code: "USAGE" });
		expect(readFileSync(join(runDirectory, "launcher.sock"), "utf8")).toBe("precious");
	});

	it("cannot be made in a RUN_DIR that is missing or too long", async () => {
		await expect(startServer({ runDirectory: "/nowhere/at/all" })).rejects.toMatchObject({ code: "USAGE" });
		await expect(startServer({ runDirectory: `/tmp/${"x".repeat(100)}` })).rejects.toThrow("too long for a socket");
	});
});

describe("health endpoints", () => {
	it.each(healthy)("%s answers 200 as uncacheable text", async (path) => {
		const { url } = await startServer();
		const { statusCode, headers, body } = await ask(url, path);
		expect({ statusCode, body }).toEqual({ statusCode: 200, body: "ok\n" });
		expect(headers).toMatchObject({
			"content-type": "text/plain; charset=utf-8",
			"cache-control": "no-store",
			"x-content-type-options": "nosniff",
			"content-length": "3",
		});
		expect(headers).not.toHaveProperty("access-control-allow-origin");
		expect((await ask(url, `${path}?verbose`)).body).toMatch(
			new RegExp(`^\\[\\+\\].*${path.slice(1)} check passed\n$`, "s"),
		);
	});

	it("answers 503 with the reason, and follows the status", async () => {
		let status = sampleStatus();
		const { url } = await startServer({ status: () => status });
		expect((await ask(url, "/readyz")).statusCode).toBe(200);
		status = sampleStatus({ mounts: [sampleMount({ ready: false, state: "recovering", reason: "goofys ended" })] });
		expect(await ask(url, "/readyz")).toMatchObject({
			statusCode: 503,
			body: "[-]mount/data failed: recovering: goofys ended\nreadyz check failed\n",
		});
		expect((await ask(url, "/livez")).statusCode).toBe(200);
		expect((await ask(url, "/readyz?exclude=mount/data")).statusCode).toBe(200);
		expect((await ask(url, "/readyz?exclude=mount%2Fdata&exclude=started")).statusCode).toBe(200);
	});

	it("answers one check", async () => {
		const mounts = [sampleMount(), sampleMount({ name: "late", ready: false, state: "starting" })];
		const { url } = await startServer({ status: () => sampleStatus({ mounts }) });
		expect(await ask(url, "/readyz/mount/data")).toMatchObject({ statusCode: 200, body: "ok\n" });
		expect(await ask(url, "/readyz/mount/data?verbose")).toMatchObject({
			body: "[+]mount/data ok\nreadyz/mount/data check passed\n",
		});
		expect(await ask(url, "/readyz/mount/late")).toMatchObject({ statusCode: 503 });
		expect(await ask(url, "/readyz/shutdown")).toMatchObject({ statusCode: 200 });
		expect(await ask(url, "/readyz/mount/nope")).toMatchObject({ statusCode: 404 });
		expect(await ask(url, "/livez/mount/data")).toMatchObject({ statusCode: 404 });
	});

	it.each(["..", "a/b", "a b", "ü?&#%", "<img src=x onerror=alert(1)>", "x\r\nset-cookie: a=b", "__proto__"])(
		"finds a mount that is called %j, and no other",
		async (name) => {
			const { url } = await startServer({ status: () => sampleStatus({ mounts: [sampleMount({ name })] }) });
			const { statusCode, headers, body } = await ask(url, `/readyz/mount/${encodeURIComponent(name)}?verbose`);
			expect(statusCode).toBe(200);
			expect(headers).not.toHaveProperty("set-cookie");
			expect(body.split("\n")).toHaveLength(3);
			expect((await ask(url, `/readyz/mount/${encodeURIComponent(`${name}x`)}`)).statusCode).toBe(404);
		},
	);
});

describe("other endpoints", () => {
	it("/status is the launcher's status as JSON", async () => {
		const { url } = await startServer();
		const { headers, body } = await ask(url, "/status");
		expect(headers["content-type"]).toBe("application/json; charset=utf-8");
		expect(JSON.parse(body)).toEqual(sampleStatus());
	});

	it("/metrics is Prometheus' text format", async () => {
		const { url } = await startServer();
		const { headers, body } = await ask(url, "/metrics");
		expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
		expect(body).toContain('fluid_fuse_mount_ready{mount="data"} 1\n');
	});

	it("/ is a page that may load nothing from elsewhere and cannot be framed", async () => {
		const { url } = await startServer();
		const { headers, body } = await ask(url, "/");
		expect(headers["content-type"]).toBe("text/html; charset=utf-8");
		expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; .*frame-ancestors 'none'$/);
		expect(headers["content-security-policy"]).not.toContain("unsafe");
		expect(body).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
	});

	it("HEAD has the headers of GET and no body", async () => {
		const { url } = await startServer();
		for (const path of ["/", "/status", "/readyz", "/readyz/mount/data", "/nowhere"]) {
			const [get, head] = await Promise.all([ask(url, path), ask(url, path, "HEAD")]);
			expect(head.body).toBe("");
			expect(head.statusCode).toBe(get.statusCode);
			expect(head.headers["content-length"]).toBe(get.headers["content-length"]);
		}
	});

	it.each([
		"/nowhere",
		"/readyzz",
		"/READYZ",
		"/readyz.txt",
		"//readyz",
		"/../readyz",
		"/prestop",
		"/mount/data",
		"/index.html",
	])("%s is not found", async (path) => {
		expect((await ask((await startServer()).url, path)).statusCode).toBe(404);
	});

	it("malformed percent-encoding is a bad request", async () => {
		expect((await ask((await startServer()).url, "/readyz/%zz")).statusCode).toBe(400);
	});

	it("other methods are refused", async () => {
		const { url, socketPath } = await startServer();
		for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
			for (const path of ["/", "/status", "/metrics", ...healthy]) {
				expect(await ask(url, path, method)).toMatchObject({ statusCode: 405, headers: { allow: "GET, HEAD" } });
			}
		}
		expect(await ask(socketPath, "/prestop")).toMatchObject({ statusCode: 405, headers: { allow: "POST" } });
	});

	it("answers 500 for a bug, logs it and goes on", async () => {
		let broken = true;
		const { url, logged } = await startServer({
			status: () => {
				if (broken) throw new Error("a bug");
				return sampleStatus();
			},
		});
		expect((await ask(url, "/readyz")).statusCode).toBe(500);
		expect(logged.join("")).toContain("a probe request failed");
		broken = false;
		expect((await ask(url, "/readyz")).statusCode).toBe(200);
	});
});

it("tells the last lines of the log to root of this container only", async () => {
	const { url, socketPath } = await startServer();
	expect((await ask(url, "/log")).statusCode).toBe(404);
	expect(await ask(socketPath, "/log")).toMatchObject({ statusCode: 200, body: "the last line\n" });
});

describe("reload", () => {
	it("is asked for with POST and over the launcher's own socket only", async () => {
		const reload = vi.fn<() => Promise<[]>>(async () => []);
		const { url, socketPath } = await startServer({ actions: { reload } });
		expect((await ask(url, "/reload", "POST")).statusCode).toBe(404);
		expect(await ask(socketPath, "/reload")).toMatchObject({ statusCode: 405, headers: { allow: "POST" } });
		expect(reload).not.toHaveBeenCalled();
		expect(await ask(socketPath, "/reload", "POST")).toMatchObject({ statusCode: 200, body: "[]\n" });
	});
});

describe("prestop", () => {
	it("is there on the launcher's socket only", async () => {
		const prestop = vi.fn<() => Promise<void>>(async () => {});
		const { url, socketPath } = await startServer({ actions: { prestop } });
		expect((await ask(url, "/prestop", "POST")).statusCode).toBe(404);
		expect(prestop).not.toHaveBeenCalled();
		const answer = await ask(socketPath, "/prestop", "POST");
		expect(answer.statusCode).toBe(200);
		expect(prestop).toHaveBeenCalledTimes(1);
	});

	it("answers when the mounts are down, and probes meanwhile", async () => {
		const down = Promise.withResolvers<void>();
		const prestop = vi.fn<() => Promise<void>>(() => down.promise);
		const { socketPath } = await startServer({ actions: { prestop } });
		const settled = vi.fn<() => void>();
		const answers = [ask(socketPath, "/prestop", "POST"), ask(socketPath, "/prestop", "POST")];
		void Promise.race(answers).then(settled, settled);
		await vi.waitFor(() => expect(prestop).toHaveBeenCalled(), 10_000);
		expect((await ask(socketPath, "/livez")).statusCode).toBe(200);
		expect(settled).not.toHaveBeenCalled();
		down.resolve();
		for (const answer of await Promise.all(answers)) expect(answer.statusCode).toBe(200);
		expect(prestop, "both share one run").toHaveBeenCalledTimes(1);
	});

	it("tells what failed, and can be asked again", async () => {
		const prestop = vi.fn<() => Promise<void>>(async () => {
			throw new LauncherError("MOUNTPOINT_UNUSABLE", "the target is busy", { hint: "Stop process 42." });
		});
		const { socketPath } = await startServer({ actions: { prestop } });
		const answer = await ask(socketPath, "/prestop", "POST");
		expect(answer.statusCode).toBe(500);
		expect(answer.headers["fluid-fuse-exit-code"]).toBe("73");
		expect(answer.body).toBe("fluid-fuse: the target is busy\nStop process 42.\n");
		await ask(socketPath, "/prestop", "POST");
		expect(prestop).toHaveBeenCalledTimes(2);
	});

	it("has its answer delivered when the server closes right after", async () => {
		const server = await startServer({ actions: { prestop: () => delay(50) } });
		const answer = ask(server.socketPath, "/prestop", "POST");
		await delay(20);
		await server.close();
		expect((await answer).statusCode).toBe(200);
	});
});

function openSlowly(url: string) {
	const socket = connect({ host: "127.0.0.1", port: Number(new URL(url).port) });
	socket.on("error", () => {});
	socket.write("GET /readyz HTTP/1.1\r\nx-slow: ");
	onTestFinished(() => void socket.destroy());
	return socket;
}

describe("clients that misbehave", () => {
	it("cannot keep a probe out by holding connections open", async () => {
		const { url } = await startServer();
		const sockets = Array.from({ length: 300 }, () => openSlowly(url));
		await Promise.all(sockets.slice(-10).map((socket) => once(socket, "connect")));
		const started = performance.now();
		expect((await ask(url, "/readyz")).statusCode).toBe(200);
		expect(performance.now() - started).toBeLessThan(1000);
		await vi.waitFor(() => expect(sockets.filter((socket) => !socket.closed).length).toBeLessThanOrEqual(64), 10_000);
	});

	it("are cut off after some seconds, however busily they drip", { timeout: 20_000 }, async () => {
		const { url, socketPath } = await startServer({ actions: { prestop: () => delay(6000) } });
		const prestop = ask(socketPath, "/prestop", "POST");
		const socket = openSlowly(url);
		const drip = setInterval(() => socket.write("a"), 100);
		onTestFinished(() => clearInterval(drip));
		const started = performance.now();
		await once(socket, "close");
		expect(performance.now() - started).toBeGreaterThan(3000);
		expect(performance.now() - started).toBeLessThan(9000);
		expect((await prestop).statusCode, "a prestop may take longer than that").toBe(200);
	});

	it("do not delay close", async () => {
		const server = await startServer();
		await once(openSlowly(server.url), "connect");
		const started = performance.now();
		await server.close();
		expect(performance.now() - started).toBeLessThan(2000);
	});

	it("are told that their headers are too long", async () => {
		const { url } = await startServer();
		expect(await exchangeRaw(url, `GET /readyz HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(20_000)}\r\n\r\n`)).toMatch(
			/^HTTP\/1\.1 431 /,
		);
	});

	it("get their answer without their body being read", async () => {
		const { url } = await startServer();
		const answer = await exchangeRaw(
			url,
			`GET /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n${"y".repeat(1000)}`,
		);
		expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok\n$/s);
	});

	it("get one answer a connection", async () => {
		const { url } = await startServer();
		const answer = await exchangeRaw(url, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50));
		expect(answer.match(/HTTP\/1\.1 200/g)).toHaveLength(1);
		expect(answer).toMatch(/connection: close/i);
	});

	it.each([
		"nonsense\r\n\r\n",
		"GET /readyz HTTP/9.9\r\n\r\n",
		"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n",
		"\u0016\u0003\u0001",
	])("sending %j do no harm", async (bytes) => {
		const { url } = await startServer();
		await exchangeRaw(url, bytes);
		expect((await ask(url, "/readyz")).statusCode).toBe(200);
	});
});
