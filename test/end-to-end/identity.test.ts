import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createCertificate } from "../support/certificates.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startIdentityServer, stsRefusal, type IdentityServer } from "../support/identity-server.ts";
import { startMinio, type Minio, type TemporaryCredentials } from "../support/minio.ts";
import { Pod, until, writeAtomically, type PodOptions } from "../support/pod.ts";

let minio: Minio;
let proxy: FaultProxy;
let server: IdentityServer;
let folder: string;
let pod: Pod | undefined;
let lifeMs: number;
/** May all, unless a test says otherwise. */
let policy: object | undefined;
/** Access keys that requests came with, in order, each once in a row. */
let seen: string[];
/** The same of regions. */
let regions: string[];

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	await minio.createBucket("bucket");
	for (let number = 0; number < 40; number++) await minio.put("bucket", `file-${number}`, contentOf(number));
	server = await startIdentityServer({
		give: async () => ({
			keys: await minio.temporaryCredentials(policy === undefined ? {} : { policy }),
			lifeMs,
		}),
	});
});
afterAll(async () => {
	await server.stop();
	await proxy.stop();
	await minio.stop();
});
beforeEach(async () => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-identity-"));
	lifeMs = 900_000;
	policy = undefined;
	seen = [];
	regions = [];
	server.fail(undefined);
	await proxy.fail({ kind: "lose-answer" }, { only: (request) => note(request) && false });
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
	rmSync(folder, { recursive: true });
});

function accessKeyOf({ headers }: IncomingMessage): string {
	return /Credential=([^/]+)\//.exec(headers.authorization ?? "")?.[1] ?? "none";
}

function note(request: IncomingMessage): true {
	const key = accessKeyOf(request);
	if (seen.at(-1) !== key) seen.push(key);
	const region = /Credential=[^/]+\/\d+\/([^/]+)\//.exec(request.headers.authorization ?? "")?.[1] ?? "none";
	if (regions.at(-1) !== region) regions.push(region);
	return true;
}

function createPod(env: Record<string, string>, more: Partial<PodOptions> = {}): Pod {
	pod = new Pod({
		mounts: [{ mountPoint: "s3://bucket", name: "bucket", options: { endpoint: proxy.endpoint, "retry-for": "5s" } }],
		env: { HOME: folder, ...env },
		...more,
	});
	pod.start();
	return pod;
}

const containerUri = (): Record<string, string> => ({
	AWS_CONTAINER_CREDENTIALS_FULL_URI: `${server.endpoint}/container`,
});

/** Longer than what is brought before anybody opens it. */
function contentOf(number: number): string {
	return `content ${number}`.padEnd(65 * 1024);
}

async function read(here: Pod, number: number): Promise<string> {
	const content = await readFile(join(here.target, `file-${number}`), {
		encoding: "utf8",
		signal: AbortSignal.timeout(20_000),
	});
	return content.trimEnd();
}

function filesystemPid(here: Pod): number {
	const found = here.descendants().find(({ command }) => command.endsWith(" filesystem"));
	if (found === undefined) throw new Error("no filesystem");
	return found.pid;
}

/** Secrets of keys that were handed out. */
function expectNoSecrets(text: string, keys: readonly TemporaryCredentials[]): void {
	for (const { accessKeyId, secretAccessKey, sessionToken } of keys) {
		for (const secret of [accessKeyId, secretAccessKey, sessionToken]) expect(text).not.toContain(secret);
	}
}

describe("a mount without keys", () => {
	test("reads on while its keys expire again and again", async () => {
		lifeMs = 6000;
		const here = createPod(containerUri());
		await here.untilReady();
		const before = server.handedOut.length;
		for (let count = 0; count < 40; count++) {
			// Here and there: files that are read in order come before they are asked for.
			const number = (count * 17) % 40;
			expect(await read(here, number)).toBe(`content ${number}`);
			await sleep(400);
		}
		// Two of each life, one for the check and one for the mount.
		expect(server.handedOut.length - before).toBeGreaterThanOrEqual(3);
		const handedOut = server.handedOut.map(({ accessKeyId }) => accessKeyId);
		expect(new Set(seen).size).toBeGreaterThanOrEqual(4);
		expect(new Set(handedOut).isSupersetOf(new Set(seen))).toBe(true);
		expect(await here.stop()).toBe(0);
		expect(here.output).toContain("keys of the pod's identity renewed");
		expectNoSecrets(here.output, server.handedOut);
	});

	test("asks for others as soon as the server says that they have expired", async () => {
		const here = createPod(containerUri());
		await here.untilReady();
		expect(await read(here, 0)).toBe("content 0");
		const expired = new Set(server.handedOut.map(({ accessKeyId }) => accessKeyId));
		const body = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
		await proxy.fail(
			{ kind: "answer", status: 400, body },
			{ only: (request) => note(request) && expired.has(accessKeyOf(request)) },
		);
		expect(await read(here, 1)).toBe("content 1");
		expect(proxy.failed).toBeGreaterThan(0);
		expect(expired.has(seen.at(-1) ?? "")).toBe(false);
	});

	test("lives on old keys while nobody gives new ones, says so, and gets new ones when somebody does", async () => {
		lifeMs = 8000;
		const here = createPod(containerUri());
		await here.untilReady();
		expect(await read(here, 0)).toBe("content 0");
		server.fail({ status: 503 });
		const endAt = Date.now() + 4000;
		for (let number = 1; Date.now() < endAt; number++) {
			expect(await read(here, number)).toBe(`content ${number}`);
			await sleep(300);
		}
		await sleep(4000);
		await expect(read(here, 30)).rejects.toMatchObject({ code: "EIO" });
		const lines = here.log.filter(({ msg }) => msg === "no new keys of the pod's identity");
		expect(lines.length).toBeGreaterThan(0);
		// Asked with pace: not by each try of each request.
		expect(lines.length).toBeLessThan(8);
		expect(lines[0]).toMatchObject({ level: "warn", code: "IDENTITY_UNAVAILABLE", driver: "native" });
		server.fail(undefined);
		await until(
			async () => (await read(here, 31).catch(() => "")) === "content 31",
			20_000,
			() => here.output,
		);
	});

	test("is checked with that identity before it is mounted, and refused with the reason", async () => {
		policy = {
			Version: "2012-10-17",
			Statement: [{ Effect: "Allow", Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/*" }],
		};
		const here = createPod(containerUri());
		expect(await here.ended()).toBe(77);
		expect(here.terminationMessage).toMatchObject({ reason: "ACCESS_DENIED" });
		expect(here.terminationMessage?.["message"]).toContain("the container's credentials endpoint");
		expectNoSecrets(here.output, server.handedOut);
	});

	test("is refused with one clear error when the pod has no identity", async () => {
		server.fail(stsRefusal("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"));
		writeAtomically(join(folder, "serviceaccount"), { token: "a-service-account-token" });
		const here = createPod({
			AWS_ROLE_ARN: "arn:aws:iam::1:role/reader",
			AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, "serviceaccount/token"),
			AWS_ENDPOINT_URL_STS: server.endpoint,
		});
		expect(await here.ended()).toBe(77);
		expect(here.terminationMessage).toMatchObject({ reason: "IDENTITY_MISSING", class: "authentication" });
		expect(here.terminationMessage?.["message"]).toMatch(/role arn:aws:iam::1:role\/reader.*STS says AccessDenied/);
		expect(here.output).not.toContain("a-service-account-token");
	});

	test.each([
		["instance metadata", () => ({ AWS_EC2_METADATA_SERVICE_ENDPOINT: server.endpoint })],
		[
			"a web identity",
			() => {
				writeAtomically(join(folder, "serviceaccount"), { token: "a-service-account-token" });
				return {
					AWS_ROLE_ARN: "arn:aws:iam::1:role/reader",
					AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, "serviceaccount/token"),
					AWS_ENDPOINT_URL_STS: server.endpoint,
				};
			},
		],
		[
			"a profile",
			() => {
				writeFileSync(
					join(folder, "credentials"),
					`[reader]\naws_access_key_id = ${minio.accessKey}\naws_secret_access_key = ${minio.secretKey}\nregion = us-east-1\n`,
				);
				return { AWS_PROFILE: "reader", AWS_SHARED_CREDENTIALS_FILE: join(folder, "credentials") };
			},
		],
		[
			"the environment",
			() => ({ AWS_ACCESS_KEY_ID: minio.accessKey, AWS_SECRET_ACCESS_KEY: minio.secretKey, AWS_REGION: "us-east-1" }),
		],
	])("reads as %s", async (_, variables: () => Record<string, string>) => {
		const here = createPod(variables());
		await here.untilReady();
		expect(await read(here, 7)).toBe("content 7");
		const { backend } = await here.mount();
		expect(backend?.ok).toBe(true);
		expect(await here.stop()).toBe(0);
		expectNoSecrets(here.output, server.handedOut);
		expect(here.output).not.toContain(minio.secretKey);
	});

	test("signs for the region that the environment names, until the server names another to each who asks", async () => {
		const here = createPod({ ...containerUri(), AWS_REGION: "eu-north-1" });
		await here.untilReady();
		expect(regions[0]).toBe("eu-north-1");
		expect(await read(here, 3)).toBe("content 3");
		expect(regions[1]).toBe("us-east-1");
		// Who looks at the bucket from time to time has learnt it by itself, and may be asking at this moment.
		expect(new Set(regions).size).toBe(2);
	});

	test("with keys of another server is refused with that in the hint", async () => {
		const here = createPod({ AWS_ACCESS_KEY_ID: "AKIAUNKNOWN", AWS_SECRET_ACCESS_KEY: "unknown-secret-key" });
		expect(await here.ended()).toBe(77);
		expect(here.terminationMessage).toMatchObject({ reason: "KEY_UNKNOWN" });
		expect(here.terminationMessage?.["hint"]).toContain("this identity is one of this server");
	});

	test("trusts an STS whose certificate the image's store vouches for, and no other", async () => {
		const { caFile, certificateFile, keyFile } = await createCertificate(folder);
		const sts = await startIdentityServer({
			give: async () => ({ keys: await minio.temporaryCredentials(), lifeMs }),
			tls: { key: readFileSync(keyFile, "utf8"), cert: readFileSync(certificateFile, "utf8") },
		});
		try {
			writeAtomically(join(folder, "serviceaccount"), { token: "a-service-account-token" });
			const variables = {
				AWS_ROLE_ARN: "arn:aws:iam::1:role/reader",
				AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, "serviceaccount/token"),
				AWS_ENDPOINT_URL_STS: sts.endpoint,
			};
			const here = createPod({ ...variables, SSL_CERT_FILE: caFile });
			await here.untilReady();
			expect(await read(here, 4)).toBe("content 4");
			expect(sts.tokens.length).toBe(2);
			expect(await here.stop()).toBe(0);
			await here.cleanup();
			const other = createPod(variables);
			await until(
				async () => (await other.mount().catch(() => undefined))?.lastError?.code === "IDENTITY_UNAVAILABLE",
				20_000,
				() => other.output,
			);
			expect((await other.mount()).lastError?.message).toContain("UNABLE_TO_VERIFY_LEAF_SIGNATURE");
			expect(sts.tokens.length).toBe(2);
		} finally {
			await sts.stop();
		}
	});

	test("may come in later, beside one with keys, whose process knows nothing of the identity before", async () => {
		const handedOutBefore = [...server.handedOut];
		const options = { endpoint: proxy.endpoint };
		const login = { "access-key": minio.accessKey, "secret-key": minio.secretKey };
		const keys = {
			"access-key": "/etc/fluid/secrets/login/access-key",
			"secret-key": "/etc/fluid/secrets/login/secret-key",
		};
		const here = createPod(containerUri(), {
			mounts: [
				{ mountPoint: "s3://bucket", name: "with", options: { ...options, ...keys } },
				{
					mountPoint: "s3://bucket",
					name: "without",
					options: { ...options, region: "/etc/fluid/secrets/late/region" },
				},
			],
			secrets: { login },
		});
		const isReady = (name: string) => async (): Promise<boolean> =>
			(await here.mount(name).catch(() => undefined))?.ready === true;
		await until(isReady("with"), 20_000, () => here.output);
		expect((await here.mount("without")).lastError?.code).toBe("SECRET_MISSING");
		const environment = readFileSync(`/proc/${filesystemPid(here)}/environ`, "utf8");
		expect(environment).not.toContain("AWS_");
		const inMount = async (name: string): Promise<string> =>
			(await readFile(join(here.target, name), { encoding: "utf8", signal: AbortSignal.timeout(20_000) })).trimEnd();
		expect(await inMount("with/file-1")).toBe("content 1");
		expect(server.handedOut).toEqual(handedOutBefore);
		here.writeSecret("late", { region: minio.region });
		await until(isReady("without"), 20_000, () => here.output);
		expect(await inMount("without/file-2")).toBe("content 2");
	});
});
