import { spawn } from "node:child_process";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { parseArguments } from "../../src/cli/arguments.ts";
import { check, type CheckFlags } from "../../src/cli/check.ts";
import { parseEnvironment } from "../../src/config/environment.ts";
import { drivers } from "../../src/drivers/index.ts";
import type { Step } from "../../src/s3/check/step.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startLyingProxy } from "../support/lying-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, writeAtomically } from "../support/pod.ts";
import { minioPod } from "../support/s3-drivers.ts";
import { captured } from "./captured.ts";

let folder: string;
let minio: Minio;
let secure: Minio;
let proxy: FaultProxy;

beforeAll(async () => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-check-"));
	[minio, secure] = await Promise.all([startMinio({ region: "eu-west-1" }), startMinio({ tls: true })]);
	proxy = await startFaultProxy(minio.endpoint);
	for (const server of [minio, secure]) await server.createBucket("bucket");
	await minio.put("bucket", "folder/small.txt", "twelve bytes");
	await minio.put("bucket", "folder/large", Buffer.alloc(2 * 1024 ** 2, "large"));
});
afterAll(async () => {
	await proxy.stop();
	await Promise.all([minio.stop(), secure.stop()]);
	rmSync(folder, { recursive: true });
});

/** A folder with keys, as a Secret is mounted. */
function keysFolder(name: string, keys: Readonly<Record<string, string>>): string {
	const path = join(folder, name);
	mkdirSync(path, { recursive: true });
	writeAtomically(path, keys);
	return path;
}

function rootKeys({ accessKey, secretKey }: Minio): string {
	return keysFolder(accessKey + secretKey.slice(0, 4), {
		"minio-access-key": accessKey,
		"minio-access-secret": `${secretKey}\n`,
		"no-key": "-",
	});
}

interface Checked {
	readonly exitCode: number;
	readonly steps: Readonly<Record<string, Step>>;
	readonly concessions: readonly { readonly name: string }[];
	readonly text: string;
}

async function checked(words: readonly string[], given: Partial<CheckFlags>): Promise<Checked> {
	const flags = { endpoint: minio.endpoint, region: undefined, option: [], keys: rootKeys(minio), write: false };
	const { exitCode, out } = await captured((output) =>
		check(
			words,
			{ ...flags, ...given, json: true },
			{
				environment: parseEnvironment({}),
				variables: {},
				drivers: { drivers, faults: [] },
				signal: AbortSignal.timeout(50_000),
			},
			output,
		),
	);
	for (const { secretKey } of [minio, secure]) expect(out).not.toContain(secretKey);
	const { ok, mounts } = JSON.parse(out) as { ok: boolean; mounts: { steps: Step[]; concessions: [] }[] };
	expect(ok).toBe(exitCode === 0);
	const steps = mounts.flatMap((mount) => mount.steps);
	const [concessions = []] = mounts.map((mount) => mount.concessions);
	return { exitCode, steps: Object.fromEntries(steps.map((step) => [step.name, step])), concessions, text: out };
}

/** The one that failed, and those before and after it. */
function failureOf({ steps }: Checked) {
	const all = Object.values(steps);
	const at = all.findIndex(({ outcome }) => outcome === "failed");
	const { name, code, message = "", hint = "" } = all[at] ?? {};
	return {
		name,
		code,
		message,
		hint,
		before: all.slice(0, at).map((step) => step.name),
		after: all.slice(at + 1).map(({ outcome }) => outcome),
	};
}

describe("a bucket that can be used", () => {
	test("passes each step, with the keys of a folder, and learns the region", async () => {
		const { exitCode, steps } = await checked(["s3://bucket/folder"], {});
		expect(exitCode).toBe(0);
		expect(Object.keys(steps)).toEqual("connect answer clock signature region list read reads write".split(" "));
		expect(steps["connect"]).toMatchObject({ outcome: "passed", message: `127.0.0.1:${minio.port}` });
		expect(steps["region"]?.message).toBe("eu-west-1, which nobody has given");
		expect(steps["read"]?.message).toBe("65536 bytes of folder/large");
		expect(steps["reads"]?.message).toMatch(/^one stream [\d.]+ MiB\/s, 8 streams [\d.]+ MiB\/s$/);
		expect(steps["write"]).toMatchObject({ outcome: "skipped" });
	});

	test("over TLS says by whom the certificate is, and warns before it ends", async () => {
		const { exitCode, steps } = await checked(["s3://bucket"], {
			endpoint: secure.endpoint.replace("127.0.0.1", "localhost"),
			option: [`ca-bundle=${secure.caFile}`],
			keys: rootKeys(secure),
		});
		expect(exitCode).toBe(0);
		expect(steps["name"]?.outcome).toBe("passed");
		expect(steps["tls"]).toMatchObject({ outcome: "warning", hint: expect.stringContaining("renewed") });
		expect(steps["tls"]?.message).toMatch(/^TLSv1\.3, certificate by fluid-fuse test CA, good for 1 day more$/);
		expect(steps["read"]).toMatchObject({ outcome: "skipped", message: "there is no object with content" });
	});

	test("with --write has objects made, copied, renamed and deleted, of which nothing is left", async () => {
		const before = await minio.list("bucket");
		const { exitCode, steps, concessions } = await checked(["s3://bucket/folder/"], { write: true });
		expect(exitCode).toBe(0);
		for (const name of ["create", "copy", "rename", "parts", "writes", "reads", "delete"])
			expect(steps[name]).toMatchObject({ outcome: "passed" });
		expect(concessions).toEqual([]);
		expect(await minio.list("bucket")).toEqual(before);
	});

	test("names what its server does otherwise", async () => {
		const lying = await startLyingProxy(minio.endpoint);
		lying.manners({
			refuses: ({ headers }) =>
				"if-match" in headers
					? { status: 501, body: "<Error><Code>NotImplemented</Code><Message>If-Match</Message></Error>" }
					: undefined,
		});
		const { exitCode, concessions } = await checked(["s3://bucket"], { endpoint: lying.endpoint });
		await lying.stop();
		expect(exitCode).toBe(0);
		expect(concessions).toEqual([expect.objectContaining({ name: "conditional-reads" })]);
	});
});

describe("a failure belongs to its step, and what depends on it is not tried", () => {
	test("an unknown name", async () => {
		const result = await checked(["s3://bucket"], { endpoint: "http://nowhere.invalid" });
		expect(result.exitCode).toBe(69);
		expect(failureOf(result)).toMatchObject({ name: "name", code: "BACKEND_DNS", before: [] });
		expect(new Set(failureOf(result).after)).toEqual(new Set(["skipped"]));
	});

	test("nobody listens", async () => {
		const result = await checked(["s3://bucket"], { endpoint: "http://127.0.0.1:1" });
		expect(failureOf(result)).toMatchObject({ name: "connect", code: "BACKEND_REFUSED" });
	});

	test("an unknown authority", async () => {
		const result = await checked(["s3://bucket"], { endpoint: secure.endpoint });
		expect(failureOf(result)).toMatchObject({ name: "tls", code: "BACKEND_TLS", before: ["connect"] });
		expect(failureOf(result).hint).toContain("ca-bundle");
	});

	test("something that is not S3", async () => {
		await proxy.mode("html");
		const result = await checked(["s3://bucket"], { endpoint: proxy.endpoint });
		await proxy.mode("pass");
		expect(failureOf(result)).toMatchObject({ name: "answer", code: "ENDPOINT_WRONG", before: ["connect"] });
	});

	test("a clock that the server refuses", async () => {
		proxy.shiftDate(3600_000);
		const keys = keysFolder("wrong", { "access-key": minio.accessKey, "secret-key": "not-the-secret-key" });
		const result = await checked(["s3://bucket"], { endpoint: proxy.endpoint, keys });
		// The server accepts what is right by its own clock; another hour is only odd.
		const warned = await checked(["s3://bucket"], { endpoint: proxy.endpoint });
		proxy.shiftDate(0);
		expect(result.exitCode).toBe(77);
		expect(failureOf(result)).toMatchObject({ name: "clock", code: "CLOCK_SKEW", before: ["connect", "answer"] });
		expect(warned.exitCode).toBe(0);
		expect(warned.steps["clock"]).toMatchObject({ outcome: "warning", message: expect.stringContaining("60 min") });
	});

	test("a wrong secret key", async () => {
		const keys = keysFolder("wrong", { "access-key": minio.accessKey, "secret-key": "not-the-secret-key" });
		const result = await checked(["s3://bucket"], { keys });
		expect(result.exitCode).toBe(77);
		expect(failureOf(result)).toMatchObject({ name: "signature", code: "SIGNATURE_WRONG" });
		expect(failureOf(result).before).toEqual(["connect", "answer", "clock"]);
		expect(result.text).not.toContain("not-the-secret-key");
	});

	test("another region than the given one", async () => {
		const result = await checked(["s3://bucket"], { region: "us-west-2" });
		expect(result.exitCode).toBe(78);
		expect(failureOf(result)).toMatchObject({ name: "region", code: "REGION_WRONG", after: ["skipped"] });
		expect(failureOf(result).hint).toContain("eu-west-1");
	});

	test("a missing bucket says nothing of the keys", async () => {
		const result = await checked(["s3://missing"], {});
		expect(result.exitCode).toBe(69);
		expect(failureOf(result)).toMatchObject({ name: "list", code: "BUCKET_MISSING" });
		expect(result.steps["signature"]?.outcome).toBe("skipped");
	});

	test("an unsigned request that is refused is no pass", async () => {
		const result = await checked(["s3://bucket"], { keys: undefined, option: ["anonymous="] });
		expect(result.exitCode).toBe(77);
		expect(failureOf(result)).toMatchObject({ name: "list", code: "ACCESS_DENIED" });
	});

	test("keys that only the driver's program would find are not judged", async () => {
		const { exitCode, steps } = await checked(["s3://bucket"], { keys: undefined, option: ["driver=s3fs"] });
		expect(exitCode).toBe(0);
		expect(steps["signature"]).toMatchObject({ outcome: "skipped" });
		expect(steps["list"]).toMatchObject({ outcome: "skipped" });
	});

	test("a key that may list and not read", async () => {
		const keys = await limitedKeys("list", ["s3:ListBucket"]);
		const result = await checked(["s3://bucket"], { keys });
		expect(result.exitCode).toBe(77);
		expect(failureOf(result)).toMatchObject({ name: "read", code: "ACCESS_DENIED" });
		expect(failureOf(result).hint).toContain("s3:GetObject");
	});

	test("a key that may not delete leaves names behind, and says which", async () => {
		const keys = await limitedKeys("put", ["s3:ListBucket", "s3:GetObject", "s3:PutObject"]);
		const result = await checked(["s3://bucket"], { keys, write: true });
		expect(result.exitCode).toBe(77);
		expect(failureOf(result)).toMatchObject({ name: "rename", code: "ACCESS_DENIED" });
		const left = (await minio.list("bucket")).filter((key) => key.includes("fluid-fuse-check"));
		expect(left.length).toBeGreaterThan(0);
		for (const key of left) {
			expect(result.steps["delete"]?.message).toContain(key);
			await minio.delete("bucket", key);
		}
	});

	async function limitedKeys(name: string, actions: readonly string[]): Promise<string> {
		const policy = {
			Version: "2012-10-17",
			Statement: [{ Effect: "Allow", Action: actions, Resource: ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"] }],
		};
		const { accessKeyId, secretAccessKey, sessionToken } = await minio.temporaryCredentials({ policy });
		return keysFolder(name, {
			"access-key": accessKeyId,
			"secret-key": secretAccessKey,
			"session-token": sessionToken,
		});
	}
});

describe("keys", () => {
	test("are refused as arguments, and not repeated", async () => {
		for (const option of ["secret-key=visible-secret", "ak=visible-secret"]) {
			const failure: unknown = await checked(["s3://bucket"], { option: [option] }).catch((error: unknown) => error);
			expect(failure).toMatchObject({ code: "USAGE", hint: expect.stringContaining("--help") });
			expect(String(failure)).not.toContain("visible-secret");
		}
	});

	test("are missed where the folder has none", async () => {
		await expect(checked(["s3://bucket"], { keys: keysFolder("none", { other: "x" }) })).rejects.toMatchObject({
			code: "USAGE",
			message: expect.stringContaining("there is no key in none"),
		});
	});

	test("come from the environment, too", async () => {
		const { exitCode, output } = await run(["s3://bucket", "--endpoint", minio.endpoint], {
			AWS_ACCESS_KEY_ID: minio.accessKey,
			AWS_SECRET_ACCESS_KEY: minio.secretKey,
		});
		expect(output).toContain("accepted, as the pod's own identity (");
		expect(output).not.toContain(minio.secretKey);
		expect(exitCode).toBe(0);
	});
});

test("the Job of examples/check tries a bucket", async () => {
	const job = parse(readFileSync(join(projectRoot, "examples/check/job.yaml"), "utf8")) as {
		spec: { template: { spec: { containers: { command: string[] }[] } } };
	};
	const [, ...words] = job.spec.template.spec.containers[0]?.command ?? [];
	const call = parseArguments(words);
	if (call.kind !== "command" || call.call.name !== "check") throw new Error(`not a check: ${words.join(" ")}`);
	await minio.createBucket("my-first-bucket");
	const { exitCode, steps } = await checked(call.call.words, {
		...call.call.flags,
		endpoint: minio.endpoint,
		keys: rootKeys(minio),
	});
	expect(exitCode).toBe(0);
	expect(steps["delete"]?.outcome).toBe("passed");
});

test("given up while it writes, it leaves nothing, no begun upload either", async () => {
	const before = await minio.list("bucket");
	let key = "";
	const interrupt = async (): Promise<void> => {
		child.kill("SIGINT");
	};
	const isPart = ({ method, url = "" }: IncomingMessage): boolean => {
		[, key = key] = /^\/bucket\/(.*)\?.*partNumber=/.exec(url) ?? [];
		return method === "PUT" && url.includes("partNumber=");
	};
	await proxy.fail({ kind: "headers", headers: {} }, { only: isPart, times: 1, before: interrupt });
	const child = spawnCheck(["s3://bucket", "--endpoint", proxy.endpoint, "--keys", rootKeys(minio), "--write"], {});
	const [exitCode] = (await once(child, "exit")) as [number];
	await proxy.mode("pass");
	expect(key).toContain("fluid-fuse-check");
	expect(exitCode).toBe(130);
	expect(await minio.list("bucket")).toEqual(before);
	// MinIO tells only those of one key.
	const uploads = new ListMultipartUploadsCommand({ Bucket: "bucket", Prefix: key });
	const { Uploads = [] } = await minio.client.send(uploads);
	expect(Uploads).toEqual([]);
});

test("in a storage pod the container is looked at, too", async () => {
	const pod = new Pod(minioPod(minio, "bucket", { title: "native", name: "native" }));
	try {
		const { stdout, exitCode } = await pod.command("check");
		expect(stdout).toContain("mounts[0] ");
		expect(stdout).toMatch(/ok {6}fuse .*\/dev\/fuse can be opened/);
		expect(stdout).toMatch(/ok {6}pod .* propagate, and .* is memory/);
		expect(stdout).toMatch(/memory .* for the container/);
		expect(stdout).toMatch(/ok {6}grace .* within 25 s/);
		expect(stdout).toMatch(/\nOK$/);
		expect(exitCode).toBe(0);
	} finally {
		await pod.cleanup();
	}
});

function spawnCheck(args: readonly string[], variables: Readonly<Record<string, string>>) {
	return spawn(process.execPath, [join(projectRoot, "src/main.ts"), "check", ...args], {
		env: { PATH: process.env["PATH"], ...variables },
		stdio: ["ignore", "pipe", "inherit"],
	});
}

async function run(args: readonly string[], variables: Readonly<Record<string, string>>) {
	const child = spawnCheck(args, variables);
	expect(readFileSync(`/proc/${child.pid}/cmdline`, "utf8")).not.toContain(minio.secretKey);
	let output = "";
	child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
	const [exitCode] = (await once(child, "close")) as [number];
	return { exitCode, output };
}
