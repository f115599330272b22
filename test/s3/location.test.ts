import { expect, test } from "vitest";

import { describe as describeLocation, listUrl } from "../../src/s3/location.ts";
import { failureOf, nowhere } from "./failure-of.ts";

const query = "?list-type=2&max-keys=1&prefix=";

test.each([
	["the bucket in the path", { endpoint: new URL("http://s3.example:9000") }, "http://s3.example:9000/bucket"],
	[
		"the bucket in the host name",
		{ endpoint: new URL("http://s3.example:9000"), pathStyle: false },
		"http://bucket.s3.example:9000/",
	],
	[
		"an endpoint with a path",
		{ endpoint: new URL("https://s3.example/gateway/") },
		"https://s3.example/gateway/bucket",
	],
	[
		"an endpoint with more than it needs",
		{ endpoint: new URL("https://u:p@s3.example/?a=b#c") },
		"https://s3.example/bucket",
	],
	["an IPv6 address", { endpoint: new URL("http://[::1]:9000") }, "http://[::1]:9000/bucket"],
	["AWS", { endpoint: undefined, pathStyle: false, region: "eu-west-1" }, "https://bucket.s3.eu-west-1.amazonaws.com/"],
	["AWS by path", { endpoint: undefined, region: "eu-west-1" }, "https://s3.eu-west-1.amazonaws.com/bucket"],
	["AWS in China", { endpoint: undefined, region: "cn-north-1" }, "https://s3.cn-north-1.amazonaws.com.cn/bucket"],
])("%s", (_, location, expected) => {
	expect(listUrl({ ...nowhere, ...location }).href).toBe(`${expected}${query}`);
});

test("a prefix is encoded to the last character that a URL or a signature could read otherwise", () => {
	const url = listUrl({ ...nowhere, prefix: "a b/+%&=?#'!*()~ü\ud800/" });
	expect(url.search).toBe(`${query}a%20b%2F%2B%25%26%3D%3F%23%27%21%2A%28%29~%C3%BC%EF%BF%BD%2F`);
});

test.each(["", ".", "..", "a/b", "/"])("%j is no bucket in a path", async (bucket) => {
	expect(await failureOf({ ...nowhere, bucket })).toMatchObject({ code: "BUCKET_MISSING" });
});

test.each(["a b", "Upper", "-a", "a@b", "a/b", "a:1", "größe", "a%41", ""])(
	"%j is no part of a host name",
	async (bucket) => {
		const location = { ...nowhere, endpoint: new URL("http://s3.example"), pathStyle: false, bucket };
		expect(await failureOf(location)).toMatchObject({ code: "BUCKET_MISSING" });
	},
);

test.each(["http://127.0.0.1:9000", "http://[::1]:9000"])("%s has no host names for buckets", async (endpoint) => {
	const failure = await failureOf({ ...nowhere, endpoint: new URL(endpoint), pathStyle: false });
	expect(failure.code).toBe("ENDPOINT_WRONG");
	expect(failure.hint).toContain("path-style");
});

test("a region that is none cannot lead to another host", async () => {
	const failure = await failureOf({ ...nowhere, endpoint: undefined, region: "x@evil.example/" });
	expect(failure.code).toBe("REGION_WRONG");
});

test("the place in messages shows no user and password", () => {
	const endpoint = new URL("https://user:password@s3.example:9000/path?query");
	expect(describeLocation({ ...nowhere, endpoint, prefix: "a/" })).toBe("s3://bucket/a/ at https://s3.example:9000");
	expect(describeLocation({ ...nowhere, endpoint: undefined })).toBe("s3://bucket/ at AWS in us-east-1");
});

test.each(["access-key\n", " access-key", "accéss-key", "access-key\u0000", ""])(
	"the access key %j is refused before a header shows it",
	async (accessKeyId) => {
		const failure = await failureOf({
			...nowhere,
			credentials: { accessKeyId: accessKeyId, secretAccessKey: "secret-key" },
		});
		expect(failure.code).toBe("KEY_UNKNOWN");
	},
);

test("the session token is refused before a header shows it", async () => {
	const credentials = { accessKeyId: "access-key", secretAccessKey: "secret-key", sessionToken: "session\ntoken" };
	expect(await failureOf({ ...nowhere, credentials })).toMatchObject({ code: "TOKEN_INVALID" });
});
