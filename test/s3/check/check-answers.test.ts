import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { startFaultProxy, type FaultProxy } from "../../support/fault-proxy.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { check, failureOf, locationOf } from "../failure-of.ts";

let minio: Minio;
let proxy: FaultProxy;

beforeAll(async () => {
	minio = await startMinio({ region: "eu-west-1" });
	proxy = await startFaultProxy(minio.endpoint);
	await minio.createBucket("bucket");
	await minio.put("bucket", "a/b/c.txt", "c");
}, 60_000);

afterAll(async () => {
	await proxy?.stop();
	await minio?.stop();
}, 30_000);

const minutes = (count: number) => count * 60_000;

describe("passes", () => {
	test("with the right keys", async () => {
		await expect(check(locationOf(minio))).resolves.toBeUndefined();
	});

	test("with a prefix, whether anything is below it or not", async () => {
		await expect(check({ ...locationOf(minio), prefix: "a/b/" })).resolves.toBeUndefined();
		await expect(check({ ...locationOf(minio), prefix: "not-there-yet/" })).resolves.toBeUndefined();
	});

	test("with a prefix that some program has made a folder of by an empty object, or that others only begin with", async () => {
		await minio.put("bucket", "old-folder", "");
		await minio.put("bucket", "beginning-and-more", "x");
		await expect(check({ ...locationOf(minio), prefix: "old-folder/" })).resolves.toBeUndefined();
		await expect(check({ ...locationOf(minio), prefix: "beginning/" })).resolves.toBeUndefined();
	});

	test.each([
		"a b/",
		"a+b/",
		"100%/",
		"%2B/",
		"$(rm -rf)/",
		`"quotes"/'and'/`,
		"`backticks`;|&?#/",
		"!*'()~/",
		"größe/日本/😀/",
		"e\u0301/",
		"a\\b/",
		"tab\there/",
		"a:b/?c=d&e=f#g/",
	])("with the prefix %j", async (prefix) => {
		await minio.put("bucket", `${prefix}file`, "x");
		await expect(check({ ...locationOf(minio), prefix })).resolves.toBeUndefined();
	});

	test("with temporary keys and their token", async () => {
		await expect(
			check({ ...locationOf(minio), credentials: await minio.temporaryCredentials() }),
		).resolves.toBeUndefined();
	});

	test("in the region that the server names, when nobody has given one", async () => {
		const guessed = { ...locationOf(minio), region: "us-east-1" };
		await expect(check(guessed, { isRegionGuessed: true })).resolves.toBeUndefined();
	});

	test("with a policy that allows just this prefix", async () => {
		const credentials = await minio.temporaryCredentials({
			policy: {
				Version: "2012-10-17",
				Statement: [
					{
						Effect: "Allow",
						Action: "s3:ListBucket",
						Resource: "arn:aws:s3:::bucket",
						Condition: { StringLike: { "s3:prefix": ["a/b/*"] } },
					},
				],
			},
		});
		await expect(check({ ...locationOf(minio), prefix: "a/b/", credentials })).resolves.toBeUndefined();
		expect(await failureOf({ ...locationOf(minio), credentials })).toMatchObject({ code: "ACCESS_DENIED" });
	});

	test("unsigned, although the server denies it: the driver may have an identity of its own", async () => {
		await expect(check({ ...locationOf(minio), credentials: undefined })).resolves.toBeUndefined();
	});

	test("as a requester who pays", async () => {
		await expect(check({ ...locationOf(minio), requesterPays: true })).resolves.toBeUndefined();
	});

	test("when the first byte comes late, but in time", async () => {
		await proxy.mode("slow-first-byte");
		await expect(check({ ...locationOf(minio), endpoint: new URL(proxy.endpoint) })).resolves.toBeUndefined();
		await proxy.mode("pass");
	});
});

describe("tells what is wrong with", () => {
	test("a missing bucket", async () => {
		const failure = await failureOf({ ...locationOf(minio), bucket: "missing", prefix: "a/b/" });
		expect(failure.code).toBe("BUCKET_MISSING");
		expect(failure.message).toBe(
			`s3://missing/a/b/ at ${minio.endpoint}: the bucket does not exist (the server says NoSuchBucket: The specified bucket does not exist)`,
		);
	});

	test.each(["a b", "a+b", "größe", "$(id)", "it's", '"', "100%", "%2e%2e", "a\\b", "a?b#c"])(
		"a bucket that no server can have: %j",
		async (bucket) => {
			const failure = await failureOf({ ...locationOf(minio), bucket });
			// Any fault in the signature would be SIGNATURE_WRONG.
			expect(failure).toMatchObject({ code: "BUCKET_MISSING" });
			expect(failure.message).toContain("InvalidBucketName");
		},
	);

	test("a key that may read the bucket but not list it", async () => {
		const policy = {
			Version: "2012-10-17",
			Statement: [{ Effect: "Allow", Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket/*" }],
		};
		const credentials = await minio.temporaryCredentials({ policy });
		const failure = await failureOf({ ...locationOf(minio), credentials });
		expect(failure.code).toBe("ACCESS_DENIED");
		expect(failure.hint).toContain("s3:ListBucket");
	});

	test("an unknown access key", async () => {
		const credentials = { accessKeyId: "unknown-key", secretAccessKey: minio.secretKey };
		expect(await failureOf({ ...locationOf(minio), credentials })).toMatchObject({ code: "KEY_UNKNOWN" });
	});

	test("a wrong secret key", async () => {
		const credentials = { accessKeyId: minio.accessKey, secretAccessKey: "wrong-secret" };
		expect(await failureOf({ ...locationOf(minio), credentials })).toMatchObject({ code: "SIGNATURE_WRONG" });
	});

	test("a secret key with a line break at its end", async () => {
		const credentials = { accessKeyId: minio.accessKey, secretAccessKey: `${minio.secretKey}\n` };
		const failure = await failureOf({ ...locationOf(minio), credentials });
		expect(failure.code).toBe("SIGNATURE_WRONG");
		expect(failure.hint).toContain("white space");
	});

	test("a session token that is none", async () => {
		const credentials = { ...(await minio.temporaryCredentials()), sessionToken: "garbage-token" };
		const failure = await failureOf({ ...locationOf(minio), credentials });
		expect(failure).toMatchObject({ code: "TOKEN_INVALID" });
		expect(failure.hint).toContain("new temporary keys");
	});

	test("temporary keys without their token", async () => {
		const { accessKeyId, secretAccessKey } = await minio.temporaryCredentials();
		const failure = await failureOf({ ...locationOf(minio), credentials: { accessKeyId, secretAccessKey } });
		expect(failure.code).toBe("TOKEN_INVALID");
		expect(failure.hint).toContain("session-token");
	});

	test("what is wrong in the region that the server names", async () => {
		const guessed = { ...locationOf(minio), region: "us-east-1", bucket: "no-such-bucket" };
		expect((await failureOf(guessed, { isRegionGuessed: true })).code).toBe("BUCKET_MISSING");
	});

	test.each([
		["the same again", { "x-amz-bucket-region": "eu-west-9" }],
		["none", {}],
	])("a redirect that names %s", async (_, headers) => {
		await proxy.fail({ kind: "answer", status: 301, headers, body: "<Error><Code>PermanentRedirect</Code></Error>" });
		const guessed = { ...locationOf(minio), endpoint: new URL(proxy.endpoint) };
		expect((await failureOf(guessed, { isRegionGuessed: true })).code).toBe("REGION_WRONG");
		await proxy.mode("pass");
	});

	test("a prefix that is an object, also among others that only begin like it", async () => {
		for (const key of ["file", "file-", "file.txt", "file-/below"]) await minio.put("bucket", key, "x");
		const failure = await failureOf({ ...locationOf(minio), prefix: "file/" });
		expect(failure).toMatchObject({ code: "PREFIX_WRONG", hint: "Mount the folder that the object is in." });
		expect(failure.message).toContain("file is an object, not a folder");
	});

	test("the region", async () => {
		const failure = await failureOf({ ...locationOf(minio), region: "us-east-1" });
		expect(failure.code).toBe("REGION_WRONG");
		expect(failure.message).toContain("in the region eu-west-1, not in us-east-1");
		expect(failure.hint).toContain("region to eu-west-1");
	});

	test("a clock that is behind", async () => {
		const failure = await failureOf(locationOf(minio), { now: () => new Date(Date.now() - minutes(17)) });
		expect(failure.code).toBe("CLOCK_SKEW");
		expect(failure.message).toContain("this node's clock is 17 min behind the server's");
	});

	test("a clock that is ahead", async () => {
		const failure = await failureOf(locationOf(minio), { now: () => new Date(Date.now() + minutes(3 * 60)) });
		expect(failure.code).toBe("CLOCK_SKEW");
		expect(failure.message).toContain("this node's clock is 3 h ahead of the server's");
	});

	test("the clock, when the server blames the secret key", async () => {
		const credentials = { accessKeyId: minio.accessKey, secretAccessKey: "wrong-secret" };
		const location = { ...locationOf(minio), endpoint: new URL(proxy.endpoint), credentials };
		proxy.shiftDate(minutes(20));
		const failure = await failureOf(location);
		proxy.shiftDate(0);
		expect(failure.code).toBe("CLOCK_SKEW");
		expect(failure.message).toContain("this node's clock is 20 min behind the server's");
		expect(failure.message).toContain("SignatureDoesNotMatch");
		expect(await failureOf(location)).toMatchObject({ code: "SIGNATURE_WRONG" });
	});

	test("a server that asks to slow down", async () => {
		await proxy.mode("error-503");
		const failure = await failureOf({ ...locationOf(minio), endpoint: new URL(proxy.endpoint) });
		expect(failure.code).toBe("BACKEND_FAILING");
		expect(failure.message).toContain("fewer requests (status 503)");
	});

	test("an endpoint that is a website", async () => {
		await proxy.mode("html");
		const failure = await failureOf({ ...locationOf(minio), endpoint: new URL(proxy.endpoint) });
		expect(failure.code).toBe("ENDPOINT_WRONG");
		expect(failure.message).toContain("a web page (status 200)");
		expect(failure.message).not.toContain("It works");
	});

	test("an endpoint that holds the bucket", async () => {
		const failure = await failureOf({ ...locationOf(minio), endpoint: new URL("bucket", minio.endpoint) });
		expect(failure.code).toBe("ENDPOINT_WRONG");
		expect(failure.message).toContain("NoSuchKey");
		expect(failure.hint).toContain("out of the endpoint");
	});
});

test("asks once", async () => {
	await proxy.mode("pass");
	const before = proxy.requests;
	await expect(check({ ...locationOf(minio), endpoint: new URL(proxy.endpoint) })).resolves.toBeUndefined();
	await failureOf({ ...locationOf(minio), endpoint: new URL(proxy.endpoint), bucket: "missing" });
	expect(proxy.requests - before).toBe(2);
});
