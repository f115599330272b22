import { execFileSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openAndMount } from "../../src/fuse/mount.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { freePort } from "../support/listen.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, until, type PodOptions } from "../support/pod.ts";
import { minioPod, s3Drivers, testedDrivers } from "../support/s3-drivers.ts";

let minio: Minio;
let secured: Minio;
let proxy: FaultProxy;
let pod: Pod | undefined;

beforeAll(async () => {
	[minio, secured] = await Promise.all([startMinio(), startMinio({ tls: true })]);
	for (const server of [minio, secured]) {
		await server.createBucket("data");
		await server.put("data", "hello.txt", "hello\n");
	}
	proxy = await startFaultProxy(minio.endpoint);
});
afterAll(async () => {
	await proxy.stop();
	await Promise.all([minio.stop(), secured.stop()]);
});
afterEach(async () => {
	await proxy.mode("pass");
	proxy.shiftDate(0);
	await pod?.cleanup();
	pod = undefined;
});

function createPod(options: PodOptions): Pod {
	pod = new Pod(options);
	return pod;
}

/** The usual pod with something changed in its only mount. */
function changed(
	base: PodOptions,
	change: { mountPoint?: string; options?: Record<string, string>; secrets?: PodOptions["secrets"] },
): PodOptions {
	const [mount] = base.mounts;
	if (mount === undefined) throw new Error("the pod has no mount");
	return {
		...base,
		mounts: [
			{ ...mount, mountPoint: change.mountPoint ?? mount.mountPoint, options: { ...mount.options, ...change.options } },
		],
		...(change.secrets !== undefined && { secrets: change.secrets }),
	};
}

describe.each(testedDrivers())("$title", (driver) => {
	const servesWithoutBackend = driver.name === "native";
	const usual = (): PodOptions => minioPod(minio, "data", driver);

	describe("a failure that stays ends the launcher with its reason when nothing is mounted", () => {
		const cases: [string, () => PodOptions, string, number][] = [
			[
				"the bucket does not exist",
				() => changed(usual(), { mountPoint: "minio://no-such-bucket" }),
				"BUCKET_MISSING",
				69,
			],
			[
				"the access key is unknown",
				() =>
					changed(usual(), {
						secrets: { "minio-secret": { "minio-access-key": "nobody", "minio-access-secret": minio.secretKey } },
					}),
				"KEY_UNKNOWN",
				77,
			],
			[
				"the secret key is wrong",
				() =>
					changed(usual(), {
						secrets: { "minio-secret": { "minio-access-key": minio.accessKey, "minio-access-secret": "wrong-secret" } },
					}),
				"SIGNATURE_WRONG",
				77,
			],
			["the certificate is not trusted", () => minioPod(secured, "data", driver), "BACKEND_TLS", 69],
			[
				"the endpoint is not S3",
				() => changed(usual(), { options: { "minio-url": proxy.endpoint } }),
				"ENDPOINT_WRONG",
				69,
			],
		];
		test.each(cases)("%s", async (title, options, code, exitCode) => {
			if (title === "the endpoint is not S3") await proxy.mode("html");
			const here = createPod(options());
			here.start();
			expect(await here.ended(), here.output).toBe(exitCode);
			const text = readFileSync(here.terminationLog, "utf8");
			expect(JSON.parse(text)).toMatchObject({ reason: code, exitCode });
			expect(text).not.toContain("\n");
			expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096);
			expect(await here.layers()).toEqual([]);
		});
	});

	describe("a failure that may pass is reported and tried again", () => {
		const cases: [string, () => PodOptions | Promise<PodOptions>, string][] = [
			[
				"nothing listens",
				async () => changed(usual(), { options: { "minio-url": `http://127.0.0.1:${await freePort()}` } }),
				"BACKEND_REFUSED",
			],
			[
				"the name cannot be resolved",
				() => changed(usual(), { options: { "minio-url": "http://nonexistent.invalid:9000" } }),
				"BACKEND_DNS",
			],
			["the clock is wrong", () => changed(usual(), { options: { "minio-url": proxy.endpoint } }), "CLOCK_SKEW"],
			["the server throttles", () => changed(usual(), { options: { "minio-url": proxy.endpoint } }), "BACKEND_FAILING"],
		];
		test.each(cases)("%s", async (title, options, code) => {
			if (title === "the clock is wrong") {
				// A request that is refused by a server whose clock differs.
				proxy.shiftDate(-17 * 60_000);
			}
			if (title === "the server throttles") await proxy.mode("error-503");
			const prepared = await options();
			const wrongKey = {
				"minio-secret": { "minio-access-key": minio.accessKey, "minio-access-secret": "wrong-secret" },
			};
			const here = createPod(title === "the clock is wrong" ? { ...prepared, secrets: wrongKey } : prepared);
			here.start();
			await until(
				async () => (await here.mount().catch(() => undefined))?.lastError?.code === code,
				10_000,
				() => here.output,
			);
			if (servesWithoutBackend) await here.untilReady();
			const { state, lastError } = await here.mount();
			expect(servesWithoutBackend ? ["degraded"] : ["pending", "checking", "starting"]).toContain(state);
			expect(lastError?.code).toBe(code);
			const readiness = await here.ask("/readyz");
			expect(readiness.statusCode).toBe(servesWithoutBackend ? 200 : 503);
			expect(readiness.body).toContain(servesWithoutBackend ? "ok" : code);
			expect((await here.ask("/livez")).statusCode).toBe(200);
			expect(await here.stop()).toBe(0);
		});
	});

	test("mounts by itself when the endpoint comes up", async () => {
		await proxy.mode("refuse");
		const here = createPod(changed(usual(), { options: { "minio-url": proxy.endpoint } }));
		here.start();
		await until(
			async () => (await here.ask("/status")).body.includes("BACKEND_REFUSED"),
			10_000,
			() => here.output,
		);
		await proxy.mode("pass");
		await here.untilReady();
		expect(await here.stop()).toBe(0);
	});

	test("ca-bundle makes a private certificate authority trusted", async () => {
		const base = minioPod(secured, "data", driver);
		const here = createPod(changed(base, { options: { "ca-bundle": secured.caFile ?? "" } }));
		here.start();
		await here.untilReady();
		expect(execFileSync("cat", [join(here.target, "hello.txt")], { encoding: "utf8", timeout: 10_000 })).toBe(
			"hello\n",
		);
		expect(await here.stop()).toBe(0);
	});

	test("a key that may not use the bucket is told from a wrong one", async () => {
		const policy = {
			Version: "2012-10-17",
			Statement: [{ Effect: "Allow", Action: ["s3:*"], Resource: ["arn:aws:s3:::other", "arn:aws:s3:::other/*"] }],
		};
		const { accessKeyId, secretAccessKey, sessionToken } = await minio.temporaryCredentials({ policy });
		const here = createPod(
			changed(usual(), {
				options: { "session-token": "/etc/fluid/secrets/minio-secret/token" },
				secrets: {
					"minio-secret": {
						"minio-access-key": accessKeyId,
						"minio-access-secret": secretAccessKey,
						token: sessionToken,
					},
				},
			}),
		);
		here.start();
		expect(await here.ended(), here.output).toBe(77);
		expect(here.terminationMessage).toMatchObject({ reason: "ACCESS_DENIED", class: "authentication", exitCode: 77 });
		expect(String(here.terminationMessage?.["hint"])).toContain("s3:ListBucket");
	});

	test("an endpoint that hangs is reported within seconds, and mounted when it answers", async () => {
		await proxy.mode("hang");
		const here = createPod(changed(usual(), { options: { "minio-url": proxy.endpoint } }));
		here.start();
		await until(
			async () => (await here.mount().catch(() => undefined))?.lastError?.code === "BACKEND_TIMEOUT",
			10_000,
			() => here.output,
		);
		if (servesWithoutBackend) await here.untilReady();
		expect((await here.ask("/readyz")).body).toContain(servesWithoutBackend ? "ok" : "BACKEND_TIMEOUT");
		expect((await here.ask("/startupz")).statusCode).toBe(200);
		await proxy.mode("pass");
		await here.untilReady();
		expect(await here.stop()).toBe(0);
	});

	test.skipIf(driver.name === "native")("a program that is missing from the image is named", async () => {
		const here = createPod(usual());
		const programs = join(here.folder, "programs");
		mkdirSync(programs);
		for (const name of ["setpriv", "stdbuf", "mount", "umount", "stat", "sh", "readlink", "find"]) {
			execFileSync("ln", ["-s", execFileSync("which", [name], { encoding: "utf8" }).trim(), join(programs, name)]);
		}
		here.start({ PATH: programs });
		expect(await here.ended(), here.output).toBe(78);
		expect(here.terminationMessage).toMatchObject({ reason: "DRIVER_MISSING" });
		expect(String(here.terminationMessage?.["message"])).toContain(driver.name);
	});
});

const [driver] = s3Drivers();
if (driver === undefined) throw new Error("no driver to test with");
const usual = (): PodOptions => minioPod(minio, "data", driver);

test("s3fs without a folder for its temporary files: 78, and what to do, instead of a mount in which every read fails", async () => {
	const usual = minioPod(minio, "data", { title: "s3fs", name: "s3fs" });
	const here = createPod(changed(usual, { options: { tmpdir: "/nonexistent" } }));
	here.start();
	expect(await here.ended(), here.output).toBe(78);
	const { reason, message, hint } = here.terminationMessage ?? {};
	expect(reason).toBe("DRIVER_REFUSED");
	expect(message).toContain("/nonexistent");
	expect(hint).toContain("tmpdir");
	expect(await here.layers()).toEqual([]);
});

describe("a file that an option names and that nobody can read", () => {
	/** Waits in seconds what would be waited for without end, and takes as long as that. */
	const hopeless = (here: Pod): Record<string, string> => {
		const pipe = join(here.folder, "pipe");
		if (!existsSync(pipe)) execFileSync("mkfifo", [pipe]);
		return { "/dev/zero": "/dev/zero", pipe };
	};

	test.each(["native", "goofys", "s3fs"] as const)("%s: is a fault of that mount alone", async (name) => {
		const options = minioPod(minio, "data", { title: name, name });
		const [mount] = options.mounts;
		if (mount === undefined) throw new Error("the pod has no mount");
		const here = createPod(options);
		const bad = Object.entries(hopeless(here)).map(([title, file]) => ({
			mountPoint: "minio://data",
			name: title.replaceAll("/", "-"),
			options: { ...mount.options, "ca-bundle": file },
		}));
		here.writeConfig(here.renderConfig({ mounts: [...bad, { ...mount, name: "good" }] }));
		const checked = await here.command("validate");
		expect(checked.exitCode).toBe(78);
		expect(checked.stderr.match(/is not a regular file/g)).toHaveLength(2);
		here.start();
		await until(
			async () => (await here.mount("good").catch(() => undefined))?.ready === true,
			15_000,
			() => here.output,
		);
		expect((await here.ask("/livez")).statusCode).toBe(200);
		expect((await here.mount("pipe")).lastError).toMatchObject({ code: "CONFIG_INVALID" });
		// The same while it runs: what is served goes on.
		const changed = {
			...mount,
			name: "good",
			options: { ...mount.options, "ca-bundle": hopeless(here)["pipe"] ?? "" },
		};
		here.writeConfig(here.renderConfig({ mounts: [...bad, changed] }));
		await until(
			async () => (await here.mount("good")).pendingChange !== undefined,
			15_000,
			() => here.output,
		);
		expect((await here.mount("good")).ready).toBe(true);
		const peak = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${here.pid}/status`, "utf8"))?.[1]) / 1024;
		expect(peak).toBeLessThan(200);
		expect(await here.stop()).toBe(0);
	});

	test("is waited for while its filesystem hangs, and the others are served, ended and looked at meanwhile", async () => {
		const options = minioPod(minio, "data", driver);
		const [mount] = options.mounts;
		if (mount === undefined) throw new Error("the pod has no mount");
		const here = createPod(options);
		// Not beside the config, where every name is looked at for changes.
		const hung = mkdtempSync(join(tmpdir(), "fluid-fuse-hung-"));
		const signal = AbortSignal.timeout(10_000);
		const mounting = { target: hung, source: "hung", subtype: "hung", readOnly: true, allowOther: true, signal };
		const fd = await openAndMount(mounting);
		try {
			const waiting = { ...mount.options, "ca-bundle": join(hung, "ca.pem") };
			const mounts = [
				{ ...mount, name: "waiting", options: waiting },
				{ ...mount, name: "good" },
			];
			here.writeConfig(here.renderConfig({ mounts }));
			const checked = await here.command("validate");
			expect(checked.stderr).toContain('options.ca-bundle: the file "');
			expect(checked.stderr).toContain("does not answer within 3 s: the mount waits for it");
			here.start();
			await until(
				async () => {
					const { mounts: found = [] } = (await here.status().catch(() => undefined)) ?? {};
					return found[0]?.lastError?.code === "FILE_UNREADABLE" && found[1]?.ready === true;
				},
				20_000,
				() => here.output,
			);
			expect(await here.stop()).toBe(0);
		} finally {
			closeSync(fd);
			execFileSync("umount", ["-l", hung]);
			rmdirSync(hung);
		}
	});
});

test("no config file: 66, and where it was looked for", async () => {
	const here = createPod(usual());
	here.start({ FLUID_FUSE_CONFIG: join(here.folder, "nothing.json") });
	expect(await here.ended()).toBe(66);
	expect(here.terminationMessage).toMatchObject({ reason: "CONFIG_MISSING" });
	expect(String(here.terminationMessage?.["message"])).toContain("nothing.json");
});

test("a config with faults: 78, and all of them at once", async () => {
	const here = createPod(changed(usual(), { mountPoint: "minio://x", options: { regoin: "eu-west-1", uid: "-5" } }));
	here.start();
	expect(await here.ended()).toBe(78);
	const message = String(here.terminationMessage?.["message"]);
	for (const part of [
		"mounts[0].mountPoint",
		"mounts[0].options.regoin",
		'did you mean "region"',
		"mounts[0].options.uid",
	]) {
		expect(message).toContain(part);
	}
});

test("half-written config: 78, naming the place and not the text", async () => {
	const here = createPod(usual());
	here.writeConfig('{"mounts":[{"mountPoint":"minio://data","options":{"minio-access-secret":"hunter2-hunter2');
	here.start();
	expect(await here.ended()).toBe(78);
	expect(here.output).not.toContain("hunter2");
});

describe("what keeps a container from mounting is told apart, with 71", () => {
	/** The launcher in a mount namespace of its own, after a command that spoils something. */
	function start(here: Pod, wrapper: readonly string[]): { exitCode: number; output: string } {
		const [file = program, ...args] = [...wrapper, program].values();
		try {
			const output = execFileSync(file, args, {
				env: here.environment(),
				encoding: "utf8",
				timeout: 20_000,
				stdio: "pipe",
			});
			return { exitCode: 0, output };
		} catch (error) {
			const { status, stdout } = error as { status: number; stdout: string };
			return { exitCode: status, output: stdout };
		}
	}
	const spoil = (command: string): string[] => [
		"unshare",
		"--mount",
		"--propagation",
		"private",
		"sh",
		"-c",
		`${command} && exec "$0"`,
	];

	test("no /dev/fuse", () => {
		const here = createPod(usual());
		// A /dev without it.
		const { exitCode, output } = start(
			here,
			spoil("mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9"),
		);
		expect(exitCode, output).toBe(71);
		expect(here.terminationMessage).toMatchObject({ reason: "FUSE_DEVICE_MISSING" });
	});

	test("a kernel without FUSE", () => {
		const here = createPod(usual());
		// A device number that no driver serves answers ENXIO or ENODEV.
		const { exitCode, output } = start(
			here,
			spoil(
				"mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 && mknod -m 666 /dev/fuse c 10 254",
			),
		);
		expect(exitCode, output).toBe(71);
		expect(here.terminationMessage).toMatchObject({ reason: "FUSE_MODULE_MISSING" });
	});

	test("no CAP_SYS_ADMIN", () => {
		const here = createPod(usual());
		const { exitCode, output } = start(here, ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]);
		expect(exitCode, output).toBe(71);
		expect(here.terminationMessage).toMatchObject({ reason: "CAPABILITY_MISSING" });
	});
});

test("a parent that does not propagate is a warning that says what to set", async () => {
	const here = createPod(usual());
	execFileSync("mount", ["--make-private", join(here.target, "..")]);
	here.start();
	await here.untilReady();
	expect((await here.status()).warnings.join("\n")).toContain("mountPropagation: Bidirectional");
	expect(await here.stop()).toBe(0);
});

test("a target that is a file is refused with 73's reason, and kept", async () => {
	const here = createPod(usual());
	writeFileSync(here.target, "somebody's file");
	here.start();
	await until(
		async () => (await here.ask("/status")).body.includes("MOUNTPOINT_UNUSABLE"),
		10_000,
		() => here.output,
	);
	expect(await here.stop()).toBe(0);
	expect(readFileSync(here.target, "utf8")).toBe("somebody's file");
});

test("a backend that goes away leaves mounts ready but degraded, alive, and well again afterwards", async () => {
	// All drivers in one pod: the backend is looked at only twice a minute.
	const [options] = changed(usual(), { options: { "minio-url": proxy.endpoint } }).mounts;
	const names = [...new Set(s3Drivers().map(({ name }) => name))];
	const mounts = names.map((name) => ({
		...options,
		mountPoint: "minio://data",
		name,
		options: { ...options?.options, driver: name },
	}));
	const here = createPod({ ...usual(), mounts, env: {} });
	here.start();
	await here.untilReady();
	await proxy.mode("refuse");
	const untilAll = async (state: string): Promise<void> =>
		until(
			async () => (await here.status()).mounts.every((mount) => mount.state === state),
			45_000,
			() => here.output,
		);
	await untilAll("degraded");
	for (const mount of (await here.status()).mounts) {
		expect(mount).toMatchObject({ ready: true, backend: { ok: false }, lastError: { code: "BACKEND_REFUSED" } });
		expect(mount.reason).toContain("backend");
	}
	expect((await here.ask("/readyz")).statusCode).toBe(200);
	expect((await here.ask("/readyz?verbose")).body).toContain("degraded");
	expect((await here.ask("/livez")).statusCode).toBe(200);
	await proxy.mode("pass");
	await untilAll("ready");
	for (const name of names) {
		// Not synchronously: the proxy answers in this process.
		const { stdout } = await execa("cat", [join(here.target, name, "hello.txt")], { timeout: 20_000 });
		expect(stdout).toBe("hello");
	}
	expect((await here.status()).mounts.map(({ restarts }) => restarts)).toEqual(names.map(() => 0));
	expect(await here.stop()).toBe(0);
}, 120_000);
