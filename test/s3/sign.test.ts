import { describe, expect, test } from "vitest";
import { signedHeaders } from "../../src/s3/sign.ts";

/** The examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
const options = {
	region: "us-east-1",
	credentials: { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" },
	now: new Date("2013-05-24T00:00:00Z"),
};

describe("signs Amazon's own examples as Amazon does", () => {
	const examples: [string, string, Record<string, string>, string][] = [
		[
			"GET object",
			"/test.txt",
			{ range: "bytes=0-9" },
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		],
		["GET bucket lifecycle", "/?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"],
		["list objects", "/?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"],
	];
	test.each(examples)("%s", (_, path, headers, signature) => {
		const { authorization } = signedHeaders(new URL(path, "https://examplebucket.s3.amazonaws.com"), headers, options);
		expect(authorization).toContain(`Signature=${signature}`);
	});
});

test("a session token is part of what is signed", () => {
	const credentials = { ...options.credentials, sessionToken: "token" };
	const headers = signedHeaders(new URL("https://example.com/"), {}, { ...options, credentials });
	expect(headers["x-amz-security-token"]).toBe("token");
	expect(headers["authorization"]).toContain("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token");
});
