import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, program, projectRoot, until } from "../support/pod.ts";
import { minioPod, testedDrivers } from "../support/s3-drivers.ts";

/** Every odd character that both drivers can pass on. */
const rootPassword = String.raw`#p+w/=%$&!@~^*()<>{}[]'";,?|\S-_.secret-0815`;
/** Unlike the other test files' servers have it, which run at the same time. */
const rootUser = "secrets-root+user";

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio({ rootUser, rootPassword });
	await minio.createBucket("data");
	await minio.put("data", "hello.txt", "hello\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

function createPod(...args: ConstructorParameters<typeof Pod>): Pod {
	pod = new Pod(...args);
	return pod;
}

function readThroughMount(path: string): string {
	return execFileSync("cat", [path], { encoding: "utf8", timeout: 10_000 });
}

/** Every form in which a value could slip out. */
function formsOf(value: string): string[] {
	const bytes = Buffer.from(value);
	return [
		value,
		JSON.stringify(value).slice(1, -1),
		encodeURIComponent(value),
		bytes.toString("base64"),
		bytes.toString("hex"),
	];
}

function leaks(text: string, secrets: readonly string[]): string[] {
	return secrets.flatMap(formsOf).filter((form) => text.includes(form));
}

/** `/proc/<pid>/<file>` of every process but this one. */
function processFiles(file: "cmdline" | "environ"): Map<number, string> {
	const found = new Map<number, string>();
	for (const name of readdirSync("/proc")) {
		const pid = Number(name);
		if (!Number.isInteger(pid) || pid === process.pid) continue;
		try {
			found.set(pid, readFileSync(`/proc/${pid}/${file}`, "latin1"));
		} catch {
			// It has ended.
		}
	}
	return found;
}

function filesBelow(folder: string): string[] {
	return readdirSync(folder, { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile())
		.map(({ parentPath, name }) => join(parentPath, name));
}

/** All that somebody can ask the launcher for. */
async function everythingItSays(here: Pod): Promise<string> {
	const paths = ["/status", "/metrics", "/", "/readyz?verbose", "/livez?verbose", "/startupz?verbose"];
	const answers = await Promise.all(paths.map(async (path) => (await here.ask(path)).body));
	const commands = await Promise.all([
		here.command("status"),
		here.command("status", "--json"),
		here.command("validate"),
		here.command("validate", "--json"),
		here.command("probe", "ready"),
	]);
	return [...answers, ...commands.map(({ stdout, stderr }) => stdout + stderr), here.output].join("\n");
}

describe.each(testedDrivers())("$title", (driver) => {
	test("a crash of no process writes what it has in memory to a disk, whatever the container allows", async () => {
		const here = createPod(minioPod(minio, "data", driver));
		const allowing = join(here.folder, "allowing");
		writeFileSync(allowing, `#!/bin/sh\nulimit -c unlimited\nexec ${program} "$@"\n`, { mode: 0o755 });
		here.start({}, allowing);
		await here.untilReady();
		for (const pid of [here.pid, ...here.descendants().map((child) => child.pid)])
			expect(readFileSync(`/proc/${pid}/limits`, "utf8"), String(pid)).toMatch(/^Max core file size +0 +0 /m);
		expect(await here.stop()).toBe(0);
	});

	test("no secret is seen in argv, another's environment, logs, status, metrics, or on disk afterwards", async () => {
		const here = createPod(minioPod(minio, "data", driver, { env: { FLUID_FUSE_LOG_LEVEL: "trace" } }));
		const secrets = [minio.secretKey, minio.accessKey];
		here.start();
		await here.untilReady();
		expect(readThroughMount(join(here.target, "hello.txt"))).toBe("hello\n");
		for (const file of ["cmdline", "environ"] as const) {
			for (const [pid, text] of processFiles(file)) {
				// The server itself was told its own password.
				expect(pid === minio.pid ? [] : leaks(text, secrets), `${file} of ${pid}`).toEqual([]);
			}
		}
		const credentials = filesBelow(here.runDirectory).filter(
			(path) => leaks(readFileSync(path, "utf8"), secrets).length > 0,
		);
		// The native driver hands them to its process over a socket of its own.
		expect(credentials).toHaveLength(driver.name === "native" ? 0 : 1);
		for (const path of credentials) {
			expect(statSync(path).mode & 0o777).toBe(0o600);
			expect(statSync(join(path, "..")).mode & 0o777).toBe(0o700);
		}
		expect(leaks(await everythingItSays(here), secrets)).toEqual([]);
		expect(await here.stop()).toBe(0);
		expect(leaks(here.output, secrets)).toEqual([]);
		expect(filesBelow(here.runDirectory)).toEqual([]);
		const kept = filesBelow(here.folder).filter((path) => leaks(readFileSync(path, "latin1"), secrets).length > 0);
		expect(kept.filter((path) => !path.startsWith(here.secretsDirectory))).toEqual([]);
	});

	test("a refused secret is not seen in the log or the termination message", async () => {
		const wrong = "this-is-a-wrong-secret/but+still&secret";
		const options = minioPod(minio, "data", driver, { env: { FLUID_FUSE_LOG_LEVEL: "trace" } });
		const here = createPod({
			...options,
			secrets: { "minio-secret": { "minio-access-key": minio.accessKey, "minio-access-secret": wrong } },
		});
		here.start();
		expect(await here.ended()).toBe(77);
		expect(here.terminationMessage).toMatchObject({ reason: "SIGNATURE_WRONG", class: "authentication", exitCode: 77 });
		expect(leaks(here.output + JSON.stringify(here.terminationMessage), [wrong, minio.accessKey])).toEqual([]);
		expect(filesBelow(here.runDirectory)).toEqual([]);
	});

	test("a session token works and stays as secret as the key", async () => {
		const keys = await minio.temporaryCredentials();
		const options = {
			endpoint: minio.endpoint,
			"access-key": "/etc/fluid/secrets/sts/id",
			"secret-key": "/etc/fluid/secrets/sts/key",
			"session-token": "/etc/fluid/secrets/sts/token",
		};
		const here = createPod({
			...minioPod(minio, "data", driver),
			mounts: [{ mountPoint: "s3://data", name: "data", options }],
			secrets: { sts: { id: keys.accessKeyId, key: keys.secretAccessKey, token: keys.sessionToken } },
		});
		const secrets = [keys.secretAccessKey, keys.sessionToken];
		here.start();
		await here.untilReady();
		expect(readThroughMount(join(here.target, "hello.txt"))).toBe("hello\n");
		const { pid: driverPid } = await here.mount();
		for (const [pid, text] of processFiles("environ")) {
			// s3fs has no file for a token: its own environment, which nobody else can read, is the only way.
			expect(pid === driverPid ? [] : leaks(text, secrets), `environment of ${pid}`).toEqual([]);
		}
		for (const [pid, text] of processFiles("cmdline")) expect(leaks(text, secrets), `arguments of ${pid}`).toEqual([]);
		expect(leaks(await everythingItSays(here), secrets)).toEqual([]);
		expect(await here.stop()).toBe(0);
	});

	test("literal values, as Fluid's secret mode writes them, work and are redacted", async () => {
		const options = {
			"minio-url": minio.endpoint,
			"minio-access-key": minio.accessKey,
			"minio-access-secret": `${minio.secretKey}\n`,
		};
		const here = createPod({
			...minioPod(minio, "data", driver, { env: { FLUID_FUSE_LOG_LEVEL: "trace" } }),
			mounts: [{ mountPoint: "minio://data", name: "data", options }],
			secrets: {},
		});
		here.start();
		await here.untilReady();
		expect(readThroughMount(join(here.target, "hello.txt"))).toBe("hello\n");
		expect(leaks(await everythingItSays(here), [minio.secretKey, minio.accessKey])).toEqual([]);
		expect(await here.stop()).toBe(0);
	});

	test("waits for a secret that is not there yet, and says so", async () => {
		const { secrets = {}, ...options } = minioPod(minio, "data", driver);
		const here = createPod(options);
		here.start();
		await until(
			async () => (await here.ask("/status")).body.includes("SECRET_MISSING"),
			10_000,
			() => here.output,
		);
		expect((await here.mount()).state).toBe("pending");
		expect((await here.ask("/readyz")).body).toContain("minio-secret/minio-access-key");
		for (const [name, data] of Object.entries(secrets)) here.writeSecret(name, data);
		await here.untilReady();
		expect(await here.stop()).toBe(0);
	});
});

describe.each(testedDrivers().filter(({ name }) => name !== "native"))("keys in files for $title", (driver) => {
	/** Without a look into what is mounted there. */
	const keyFiles = (here: Pod): string[] =>
		readdirSync(join(here.runDirectory, "mounts")).flatMap((id) => {
			const folder = join(here.runDirectory, "mounts", id);
			const names = readdirSync(folder).filter((name) => name !== "staging");
			return names.filter((name) => leaks(readFileSync(join(folder, name), "utf8"), [minio.secretKey]).length > 0);
		});

	test("that a killed launcher left are gone when the next one is there, whatever it mounts", async () => {
		const here = createPod(minioPod(minio, "data", driver));
		here.start();
		await here.untilReady();
		here.launcher?.kill("SIGKILL");
		expect(await here.ended()).toBe(137);
		expect(keyFiles(here)).toHaveLength(1);
		here.writeConfig(here.renderConfig({ mounts: [] }));
		here.start();
		await here.untilReady();
		expect(filesBelow(here.runDirectory)).toEqual([]);
		expect(readdirSync(join(here.runDirectory, "mounts"))).toEqual([]);
		expect(await here.stop()).toBe(0);
	});

	test("are gone with a driver that died, though its mount cannot be taken away", async () => {
		const programs = mkdtempSync(join(tmpdir(), "fluid-fuse-programs-"));
		writeFileSync(join(programs, "umount"), "#!/bin/sh\necho umount: cannot >&2\nexit 32\n", { mode: 0o755 });
		try {
			const path = [programs, driver.programs].filter((part) => part !== undefined).join(":");
			const options = minioPod(minio, "data", driver, { programs: path });
			const here = createPod({ ...options, env: { ...options.env, FLUID_FUSE_STOP_TIMEOUT: "4s" } });
			here.start();
			await here.untilReady();
			process.kill((await here.mount()).pid ?? 0, "SIGKILL");
			await until(
				() => here.log.some(({ msg }) => msg === "clean-up failed"),
				20_000,
				() => here.output,
			);
			expect(keyFiles(here)).toEqual([]);
			expect(await here.stop()).toBe(0);
		} finally {
			rmSync(programs, { recursive: true });
		}
	});
});

describe("a secret that is cited for a plain option", () => {
	const plain = "PlainOptionOfASecret";
	const secretsOf = (options: ReturnType<typeof minioPod>) => ({ ...options.secrets, plain: { value: plain } });

	test.each([
		["goofys", "region"],
		["s3fs", "instance_name"],
	] as const)("ends on no command line: %s refuses it for %s", async (name, option) => {
		const options = minioPod(minio, "data", { title: name, name });
		const [mount] = options.mounts;
		const cited = { ...mount?.options, [option]: "/etc/fluid/secrets/plain/value" };
		const mounts = [
			{ mountPoint: "minio://data", name: "cited", options: cited },
			{ mountPoint: "minio://data", name: "others", options: mount?.options ?? {} },
		];
		const here = createPod({ ...options, secrets: secretsOf(options), mounts });
		here.start();
		await until(
			async () => (await here.status().catch(() => undefined))?.mounts[1]?.ready === true,
			20_000,
			() => here.output,
		);
		const { lastError } = await here.mount("cited");
		expect(lastError).toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(`options.${option}`) });
		for (const [pid, text] of processFiles("cmdline")) expect(leaks(text, [plain]), `arguments of ${pid}`).toEqual([]);
		expect(leaks(await everythingItSays(here), [plain])).toEqual([]);
		expect(await here.stop()).toBe(0);
	});

	test("is used by native, which has no command line for it, and by a script from its own file", async () => {
		const options = minioPod(minio, "data", { title: "", name: "native" });
		const cited = { ...options.mounts[0]?.options, "storage-class": "/etc/fluid/secrets/plain/value" };
		const script = {
			driver: "script",
			url: minio.endpoint,
			"access-key": "/etc/fluid/secrets/minio-secret/minio-access-key",
			"secret-key": "/etc/fluid/secrets/minio-secret/minio-access-secret",
			anything: "/etc/fluid/secrets/plain/value",
		};
		const here = createPod({
			...options,
			secrets: secretsOf(options),
			mounts: [
				{ mountPoint: "minio://data", name: "native", options: cited },
				{ mountPoint: "s3://data", name: "script", options: script },
			],
			env: { ...options.env, FLUID_FUSE_SCRIPT: join(projectRoot, "test/fixtures/mount.sh") },
		});
		here.start();
		await here.untilReady();
		expect(readThroughMount(join(here.target, "script/hello.txt"))).toBe("hello\n");
		for (const [pid, text] of processFiles("cmdline")) {
			expect(leaks(text, [plain, minio.secretKey]), `arguments of ${pid}`).toEqual([]);
		}
		expect(await here.stop()).toBe(0);
	});
});

test("a driver that prints its secret is redacted in the log", async () => {
	const driver = {
		title: "",
		name: "goofys",
		programs: join(projectRoot, "test/fixtures/programs/tells-its-secret"),
	} as const;
	const here = createPod(minioPod(minio, "data", driver));
	here.start();
	await here.untilReady();
	expect(await here.stop()).toBe(0);
	const lines = here.log.filter(({ msg }) => msg === "driver output").map(({ line }) => String(line));
	expect(lines).toContain("told everything");
	expect(lines.filter((line) => line.includes("[redacted]")).length).toBeGreaterThanOrEqual(5);
	expect(leaks(here.output, [minio.secretKey])).toEqual([]);
	// What is left of the base64 when the value is not at its beginning.
	expect(here.output).not.toContain(Buffer.from(`user:${minio.secretKey}`).toString("base64").slice(8, 24));
});

describe("keys with whatever the drivers' files cannot hold work with each driver", () => {
	const cases = [
		{ name: "s3fs", key: "account:user", secret: "a secret: with spaces", isInEnvironment: true },
		{ name: "s3fs", key: "#account", secret: "nothing special", isInEnvironment: true },
		{ name: "s3fs", key: rootUser, secret: "#nothing[special]", isInEnvironment: false },
		{ name: "goofys", key: "account:user", secret: "a secret: with spaces", isInEnvironment: false },
		{ name: "goofys", key: rootUser, secret: String.raw`back\new\\slash"es\'`, isInEnvironment: false },
		{ name: "goofys", key: rootUser, secret: "EXPIRATION/&of$(a)secret", isInEnvironment: false },
	] as const;
	test.each(cases)("$name: $key and $secret", async ({ name, key, secret, isInEnvironment }) => {
		const server = await startMinio({ rootUser: key, rootPassword: secret });
		try {
			await server.createBucket("data");
			await server.put("data", "hello.txt", "hello\n");
			const here = createPod(minioPod(server, "data", { title: name, name }));
			here.start();
			await here.untilReady();
			expect(readThroughMount(join(here.target, "hello.txt"))).toBe("hello\n");
			const { pid: driverPid = 0 } = await here.mount();
			const others = new Set([server.pid, process.pid]);
			const holders = [...processFiles("environ")].filter(
				([pid, text]) => !others.has(pid) && leaks(text, [secret]).length > 0,
			);
			expect(holders.map(([pid]) => pid)).toEqual(isInEnvironment ? [driverPid] : []);
			// Of root alone, as the file would be.
			const { mode, uid } = statSync(`/proc/${driverPid}/environ`);
			expect([mode & 0o777, uid]).toEqual([0o400, 0]);
			for (const [pid, text] of processFiles("cmdline"))
				expect(leaks(text, [secret]), `arguments of ${pid}`).toEqual([]);
			expect(leaks(await everythingItSays(here), [secret])).toEqual([]);
			expect(await here.stop()).toBe(0);
		} finally {
			await server.stop();
		}
	});
});
