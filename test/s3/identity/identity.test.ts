import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LauncherError } from "../../../src/errors.ts";
import { createIdentity, type IdentityKeys } from "../../../src/s3/identity/identity.ts";
import { startIdentityServer, stsRefusal, type IdentityServer } from "../../support/identity-server.ts";
import { writeAtomically } from "../../support/pod.ts";

let server: IdentityServer;
let folder: string;
let lifeMs: number;
let authorization: string;
const before = { ...process.env };

beforeAll(async () => {
	let number = 0;
	server = await startIdentityServer({
		give: () => {
			number++;
			const keys = {
				accessKeyId: `ASIA${number}`,
				secretAccessKey: `secret-${number}`,
				sessionToken: `token-${number}`,
			};
			return { keys, lifeMs };
		},
		authorization: () => authorization,
	});
});
afterAll(async () => {
	await server.stop();
});
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-identity-"));
	lifeMs = 60 * 60_000;
	authorization = "an-authorization";
	server.fail(undefined);
	(server.requests as string[]).length = 0;
});
afterEach(() => {
	rmSync(folder, { recursive: true });
	for (const name of Object.keys(process.env)) if (!Object.hasOwn(before, name)) delete process.env[name];
	Object.assign(process.env, before);
});

/** In a pod that has these variables, and nobody's home. */
function keysWith(variables: Record<string, string>): Promise<IdentityKeys> {
	for (const name of Object.keys(process.env)) if (name.startsWith("AWS_")) delete process.env[name];
	Object.assign(process.env, { HOME: folder, ...variables });
	return createIdentity(process.env).keys();
}

async function failureWith(variables: Record<string, string>): Promise<LauncherError> {
	const thrown: unknown = await keysWith(variables).then(
		() => undefined,
		(error: unknown) => error,
	);
	if (!(thrown instanceof LauncherError)) throw new Error("not a LauncherError", { cause: thrown });
	expect(thrown.message).not.toMatch(/\n|undefined|null|\[object/);
	expect(thrown.hint).toBeDefined();
	return thrown;
}

const metadata = (): Record<string, string> => ({ AWS_EC2_METADATA_SERVICE_ENDPOINT: server.endpoint });

const container = (): Record<string, string> => {
	writeFileSync(join(folder, "authorization"), authorization);
	return {
		AWS_CONTAINER_CREDENTIALS_FULL_URI: `${server.endpoint}/container`,
		AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: join(folder, "authorization"),
	};
};

const webIdentity = (token = "a-service-account-token"): Record<string, string> => {
	writeAtomically(join(folder, "serviceaccount"), { token });
	return {
		AWS_ROLE_ARN: "arn:aws:iam::1:role/reader",
		AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, "serviceaccount/token"),
		AWS_ENDPOINT_URL_STS: server.endpoint,
		AWS_REGION: "eu-west-1",
	};
};

const profile = (name = "default"): Record<string, string> => {
	writeFileSync(
		join(folder, "credentials"),
		`[${name}]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = of-${name}\n`,
	);
	const section = name === "default" ? name : `profile ${name}`;
	writeFileSync(join(folder, "config"), `[${section}]\nregion = eu-central-1\n`);
	return { AWS_SHARED_CREDENTIALS_FILE: join(folder, "credentials"), AWS_CONFIG_FILE: join(folder, "config") };
};

describe("a file of the identity that cannot be read by anybody is said to be that, and no thread waits for it", () => {
	const pipe = (): string => {
		execFileSync("mkfifo", [join(folder, "pipe")]);
		return join(folder, "pipe");
	};
	const cases: Record<string, () => Record<string, string>> = {
		"a token that is a pipe": () => ({ ...webIdentity(), AWS_WEB_IDENTITY_TOKEN_FILE: pipe() }),
		"an endpoint's token that is a pipe": () => ({ ...container(), AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: pipe() }),
		"a profile in a pipe": () => ({ ...profile(), AWS_PROFILE: "default", AWS_CONFIG_FILE: pipe() }),
		"credentials that never end": () => ({ ...profile(), AWS_SHARED_CREDENTIALS_FILE: "/dev/zero" }),
	};
	test.each(Object.entries(cases))("%s", async (_, variables) => {
		const failure = await failureWith(variables());
		expect(failure.code).toBe("IDENTITY_MISSING");
		expect(failure.message).toMatch(/gives none: \/.* is not a regular file$/);
		// The four threads that read files would be used up by now.
		expect((await readFile("/etc/hostname")).length).toBeGreaterThan(0);
	});
});

describe("the pod's identity comes from", () => {
	test("the environment", async () => {
		const variables = { AWS_ACCESS_KEY_ID: "AKIA", AWS_SECRET_ACCESS_KEY: "secret", AWS_SESSION_TOKEN: "token" };
		expect(await keysWith(variables)).toEqual({
			accessKeyId: "AKIA",
			secretAccessKey: "secret",
			sessionToken: "token",
			provider: "AWS_ACCESS_KEY_ID",
		});
		expect(await keysWith({ ...variables, ...metadata(), AWS_SESSION_TOKEN: "", AWS_REGION: "eu-west-1" })).toEqual({
			accessKeyId: "AKIA",
			secretAccessKey: "secret",
			region: "eu-west-1",
			provider: "AWS_ACCESS_KEY_ID",
		});
	});

	test("a profile, with its region", async () => {
		expect(await keysWith({ ...profile(), ...metadata() })).toMatchObject({
			accessKeyId: "AKIAPROFILE",
			secretAccessKey: "of-default",
			region: "eu-central-1",
		});
		expect(await keysWith({ ...profile("other"), AWS_PROFILE: "other", AWS_REGION: "us-west-2" })).toMatchObject({
			secretAccessKey: "of-other",
			region: "us-west-2",
		});
		expect(server.requests).toEqual([]);
	});

	test("a web identity, whose token is read anew each time", async () => {
		lifeMs = 3500;
		const keys = await keysWith(webIdentity("first-token"));
		expect(keys).toMatchObject({ provider: "web identity, role arn:aws:iam::1:role/reader", region: "eu-west-1" });
		expect(keys.sessionToken).toBe(server.handedOut.at(-1)?.sessionToken);
		const identity = createIdentity(process.env);
		await identity.keys();
		writeAtomically(join(folder, "serviceaccount"), { token: "second-token" });
		const renewed = async (): Promise<boolean> => {
			await identity.keys();
			return server.tokens.at(-1) === "second-token";
		};
		await expect.poll(renewed, { timeout: 10_000 }).toBe(true);
		expect(server.tokens).toEqual(["first-token", "first-token", "second-token"]);
	});

	test("the container's endpoint, which is shown the token that is in the file now", async () => {
		const keys = await keysWith(container());
		expect(keys).toMatchObject({ provider: "the container's credentials endpoint" });
		expect(keys.sessionToken).toBe(server.handedOut.at(-1)?.sessionToken);
		expect(keys.expiresAt?.getTime()).toBeGreaterThan(Date.now() + 59 * 60_000);
		const identity = createIdentity(process.env);
		const first = await identity.keys();
		authorization = "another-authorization";
		writeFileSync(join(folder, "authorization"), authorization);
		// Not before a second has passed.
		await expect
			.poll(async () => (await identity.keys({ refused: first })).accessKeyId, { timeout: 10_000 })
			.not.toBe(first.accessKeyId);
	});

	test("STS behind a proxy, if there is one; what is nearby is asked directly", async () => {
		const proxies = { HTTP_PROXY: server.endpoint, NO_PROXY: "" };
		const variables = { ...webIdentity(), AWS_ENDPOINT_URL_STS: "http://sts.example:8080", ...proxies };
		expect((await keysWith(variables)).sessionToken).toBe(server.handedOut.at(-1)?.sessionToken);
		expect(server.requests).toEqual(["POST http://sts.example:8080/"]);
		await keysWith({ ...metadata(), ...proxies, HTTP_PROXY: "http://127.0.0.1:1" });
		await keysWith({ ...container(), ...proxies, HTTP_PROXY: "http://127.0.0.1:1" });
	});

	test("the instance's metadata, version 2", async () => {
		const keys = await keysWith(metadata());
		expect(keys).toMatchObject({ provider: "instance metadata" });
		expect(keys.sessionToken).toBe(server.handedOut.at(-1)?.sessionToken);
		expect(server.requests).toEqual([
			"PUT /latest/api/token",
			"GET /latest/meta-data/iam/security-credentials/",
			"GET /latest/meta-data/iam/security-credentials/a-node-role",
		]);
	});

	test("what was configured, and never from the node behind it", async () => {
		expect((await keysWith({ ...webIdentity(), ...container(), ...metadata() })).provider).toContain("web identity");
		expect((await keysWith({ ...container(), ...metadata() })).provider).toContain("container");
		server.fail(stsRefusal("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"));
		const { message } = await failureWith({ ...webIdentity(), ...metadata() });
		expect(message).toContain("web identity");
		expect(server.requests.filter((request) => request.startsWith("PUT"))).toEqual([]);
	});
});

describe("one clear error", () => {
	test("when there is no identity at all", async () => {
		const none = await failureWith({ AWS_EC2_METADATA_DISABLED: "true" });
		expect(none).toMatchObject({ code: "IDENTITY_MISSING", permanent: true });
		expect(none.hint).toContain("access-key and secret-key");
		const unreachable = await failureWith({ AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://127.0.0.1:1" });
		expect(unreachable).toMatchObject({ code: "IDENTITY_MISSING" });
		expect(unreachable.message).toBe(
			"the mount has no keys, and the pod's identity (instance metadata) gives none: no connection (ECONNREFUSED)",
		);
	});

	test("when the node has no role", async () => {
		server.fail({ status: 404 });
		const { code, message } = await failureWith(metadata());
		expect(code).toBe("IDENTITY_MISSING");
		expect(message).toContain("status 404");
	});

	test("when one of the two keys is missing", async () => {
		const { code, message } = await failureWith({ AWS_SECRET_ACCESS_KEY: "a-secret", ...metadata() });
		expect(code).toBe("IDENTITY_MISSING");
		expect(message).toMatch(/AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID$/);
	});

	test("when the profile does not exist", async () => {
		const { code, message, hint } = await failureWith({ ...profile(), AWS_PROFILE: "absent", ...metadata() });
		expect(code).toBe("IDENTITY_MISSING");
		expect(message).toContain("the profile absent");
		expect(hint).toContain("AWS_SHARED_CREDENTIALS_FILE");
	});

	test("when STS refuses the token", async () => {
		server.fail(stsRefusal("InvalidIdentityToken", "No OpenIDConnect provider found in your account"));
		const error = await failureWith(webIdentity("a-service-account-token"));
		expect(error).toMatchObject({ code: "IDENTITY_MISSING" });
		expect(error.message).toContain("STS says InvalidIdentityToken");
		expect(error.message).toContain("No OpenIDConnect provider found");
		expect(error.hint).toContain("trust policy");
		expect(inspect(error, { depth: 3 })).not.toContain("a-service-account-token");
	});

	test("when the token's file is not there", async () => {
		const path = join(folder, "absent");
		const { code, message } = await failureWith({ ...webIdentity(), AWS_WEB_IDENTITY_TOKEN_FILE: path });
		expect(code).toBe("IDENTITY_MISSING");
		expect(message).toContain(`${path} cannot be read (ENOENT)`);
	});

	test("when STS or an agent fails, which may pass", async () => {
		server.fail({ status: 503, body: "" });
		expect(await failureWith(webIdentity())).toMatchObject({ code: "IDENTITY_UNAVAILABLE", permanent: false });
		expect(await failureWith(container())).toMatchObject({ code: "IDENTITY_UNAVAILABLE" });
		expect(await failureWith(metadata())).toMatchObject({ code: "IDENTITY_UNAVAILABLE" });
		server.fail("silence");
		const silent = await failureWith(container());
		expect(silent.code).toBe("IDENTITY_UNAVAILABLE");
		expect(silent.message).toContain("the container's credentials endpoint");
	});

	test("when the keys are older than this node's clock allows", async () => {
		lifeMs = -60_000;
		const error = await failureWith(container());
		expect(error.code).toBe("IDENTITY_UNAVAILABLE");
		expect(error.message).toMatch(/\(the container's credentials endpoint\) expired at \d{4}-/);
		expect(error.hint).toContain("clock");
	});

	test("without a word of an answer that cannot be read", async () => {
		server.fail({ status: 200, body: '{"SecretAccessKey":"wJalrXUtn"' });
		const { code, message } = await failureWith(container());
		expect(code).toBe("IDENTITY_UNAVAILABLE");
		expect(message).not.toContain("wJalr");
	});

	test("when the container's endpoint is one that the SDK does not trust", async () => {
		const { message } = await failureWith({ AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://example.com/keys" });
		expect(message).toContain("the container's credentials endpoint");
	});
});
