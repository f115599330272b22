import { describe, expect, test } from "vitest";

import { diagnoseAnswer } from "../../../src/s3/check/diagnosis.ts";
import type { Answer } from "../../../src/s3/check/request.ts";
import { expectNoSecrets, nowhere } from "../failure-of.ts";

const now = new Date("2026-05-04T12:00:00Z");

const error = (code: string, rest = "") =>
	`<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>Some message</Message>${rest}</Error>`;

function diagnose(answer: Partial<Answer>, location = nowhere) {
	return diagnoseAnswer({ status: 400, headers: {}, body: "", ...answer }, { location, now });
}

const unsigned = { ...nowhere, credentials: undefined };

describe("no failure", () => {
	test.each([
		[
			"a listing",
			{ status: 200, body: '<?xml version="1.0"?>\n<ListBucketResult xmlns="x"></ListBucketResult>' },
			nowhere,
		],
		[
			"a listing, whatever the clocks say",
			{ status: 200, headers: { date: "x" }, body: "<ListBucketResult>" },
			nowhere,
		],
		["unsigned and denied", { status: 403, body: error("AccessDenied") }, unsigned],
		["unsigned and denied without a word", { status: 403 }, unsigned],
		["unsigned and asked for a signature", { status: 401, body: "Unauthorized" }, unsigned],
		[
			"unsigned, denied and another time",
			{ status: 403, headers: { date: "Mon, 04 May 2026 13:00:00 GMT" } },
			unsigned,
		],
	])("%s", (_, answer, location) => {
		expect(diagnoseAnswer({ headers: {}, body: "", ...answer }, { location, now })).toBeUndefined();
	});
});

describe("a server's code means", () => {
	test.each([
		[404, "NoSuchBucket", "BUCKET_MISSING"],
		[400, "InvalidBucketName", "BUCKET_MISSING"],
		[403, "AccessDenied", "ACCESS_DENIED"],
		[403, "AllAccessDisabled", "ACCESS_DENIED"],
		[403, "SomethingNew", "ACCESS_DENIED"],
		[401, "SomethingNew", "ACCESS_DENIED"],
		[403, "InvalidAccessKeyId", "KEY_UNKNOWN"],
		// Of versitygw.
		[404, "XAdminUserNotFound", "KEY_UNKNOWN"],
		[403, "SignatureDoesNotMatch", "SIGNATURE_WRONG"],
		[400, "ExpiredToken", "TOKEN_INVALID"],
		[400, "InvalidToken", "TOKEN_INVALID"],
		[403, "InvalidTokenId", "TOKEN_INVALID"],
		[400, "TokenRefreshRequired", "TOKEN_INVALID"],
		[403, "RequestTimeTooSkewed", "CLOCK_SKEW"],
		[301, "PermanentRedirect", "REGION_WRONG"],
		[307, "TemporaryRedirect", "REGION_WRONG"],
		[400, "AuthorizationHeaderMalformed", "REGION_WRONG"],
		[400, "IllegalLocationConstraintException", "REGION_WRONG"],
		[503, "SlowDown", "BACKEND_FAILING"],
		[503, "ServiceUnavailable", "BACKEND_FAILING"],
		[500, "InternalError", "BACKEND_FAILING"],
		[429, "TooManyRequests", "BACKEND_FAILING"],
		[400, "RequestTimeout", "BACKEND_FAILING"],
		[404, "NoSuchKey", "ENDPOINT_WRONG"],
		[403, "constructor", "ACCESS_DENIED"],
		[400, "__proto__", "ENDPOINT_WRONG"],
		[400, "InvalidArgument", "ENDPOINT_WRONG"],
		[501, "NotImplemented", "ENDPOINT_WRONG"],
	])("%i %s: %s", (status, code, expected) => {
		const found = diagnose({ status, body: error(code) });
		expect(found?.code).toBe(expected);
		expect(found?.message).toContain(`(the server says ${code}: Some message)`);
		expect(found?.hint).toMatch(/\.$/);
	});

	test("an access key that the header cannot hold, if AWS complains about that", () => {
		const message = "The authorization header is malformed; the Credential is mal-formed; expecting AKID/DATE/REGION";
		const body = `<Error><Code>AuthorizationHeaderMalformed</Code><Message>${message}</Message></Error>`;
		expect(diagnose({ status: 400, body })?.code).toBe("KEY_UNKNOWN");
	});
});

describe("an answer without a code means", () => {
	const html = { "content-type": "text/html; charset=utf-8" };
	test.each([
		["an empty 403", { status: 403 }, "ACCESS_DENIED"],
		["500", { status: 500, body: "oops" }, "BACKEND_FAILING"],
		["a gateway's 502 page", { status: 502, headers: html, body: "<html>" }, "BACKEND_FAILING"],
		["429", { status: 429 }, "BACKEND_FAILING"],
		["501", { status: 501 }, "ENDPOINT_WRONG"],
		["a web page", { status: 200, headers: html, body: "<!doctype html>" }, "ENDPOINT_WRONG"],
		["a web page that mentions a listing", { status: 200, headers: html, body: "ListBucketResult" }, "ENDPOINT_WRONG"],
		["a web page's 403", { status: 403, headers: html, body: "<html><Code>AccessDenied</Code>" }, "ENDPOINT_WRONG"],
		["another program's 403", { status: 403, body: "RBAC: access denied" }, "ENDPOINT_WRONG"],
		["another program's 404", { status: 404, body: "404 page not found" }, "ENDPOINT_WRONG"],
		["an empty 404", { status: 404 }, "ENDPOINT_WRONG"],
		["JSON", { status: 200, body: "{}" }, "ENDPOINT_WRONG"],
		["an empty 200", { status: 200 }, "ENDPOINT_WRONG"],
		["another listing", { status: 200, body: "<ListAllMyBucketsResult>" }, "ENDPOINT_WRONG"],
		["407", { status: 407 }, "ENDPOINT_WRONG"],
		["301 without a place", { status: 301 }, "REGION_WRONG"],
		[
			"301 with a region",
			{ status: 301, headers: { "x-amz-bucket-region": "eu-west-1", location: "/" } },
			"REGION_WRONG",
		],
		["301 to a place", { status: 301, headers: { location: "https://other.example/login?next=x" } }, "ENDPOINT_WRONG"],
		["302", { status: 302, headers: { location: "/ui/" } }, "ENDPOINT_WRONG"],
	])("%s: see the code", (_, answer, expected) => {
		expect(diagnose(answer)?.code).toBe(expected);
	});

	test.each([
		"Client sent an HTTP request to an HTTPS server.\n",
		"<html>The plain HTTP request was sent to HTTPS port</html>",
	])("TLS on the other side: %j", (body) => {
		const found = diagnose({ status: 400, body });
		expect(found?.code).toBe("ENDPOINT_WRONG");
		expect(found?.message).toContain("speaks TLS");
	});

	test("where it redirects to, without the rest of that address", () => {
		const found = diagnose({ status: 301, headers: { location: "https://user:pass@other.example/login?next=x" } });
		expect(found?.message).toContain("it redirects to https://other.example");
		expect(found?.message).not.toMatch(/login|pass/);
	});
});

describe("the region", () => {
	test("of the header goes before the one of the body", () => {
		const headers = { "x-amz-bucket-region": "ap-south-1" };
		const found = diagnose({ status: 301, headers, body: error("PermanentRedirect", "<Region>eu-west-1</Region>") });
		expect(found?.message).toContain("the bucket is in the region ap-south-1, not in us-east-1");
	});

	test("of the body is told", () => {
		const found = diagnose({ body: error("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>") });
		expect(found?.message).toContain("the bucket is in the region eu-west-1, not in us-east-1");
		expect(found?.hint).toContain("region to eu-west-1");
	});

	test.each(["", "<Region>us-east-1</Region>", "<Region></Region>", "<Region>\u0007</Region>"])(
		"is not told if the server tells none or the same: %j",
		(region) => {
			const found = diagnose({ status: 301, body: error("PermanentRedirect", region) });
			expect(found?.message).toContain("the bucket is not in the region us-east-1 of this endpoint");
		},
	);

	test("is not told if the header's is none", () => {
		const found = diagnose({ status: 301, headers: { "x-amz-bucket-region": "<script>" } });
		expect(found?.message).not.toContain("script");
	});
});

describe("the clock", () => {
	const skewed = { date: "Mon, 04 May 2026 12:17:00 GMT" };
	test.each([
		["AccessDenied", skewed, "CLOCK_SKEW"],
		["SignatureDoesNotMatch", skewed, "CLOCK_SKEW"],
		["SomethingNew", skewed, "CLOCK_SKEW"],
		["InvalidAccessKeyId", skewed, "KEY_UNKNOWN"],
		["InvalidTokenId", skewed, "TOKEN_INVALID"],
		["AccessDenied", { date: "Mon, 04 May 2026 12:04:00 GMT" }, "ACCESS_DENIED"],
		["AccessDenied", { date: "yesterday" }, "ACCESS_DENIED"],
		["AccessDenied", {}, "ACCESS_DENIED"],
	])("with 403 %s and the headers %j: %s", (code, headers, expected) => {
		expect(diagnose({ status: 403, headers, body: error(code) })?.code).toBe(expected);
	});

	test("explains an empty 403", () => {
		expect(diagnose({ status: 403, headers: skewed })?.code).toBe("CLOCK_SKEW");
	});

	test("does not explain another status", () => {
		expect(diagnose({ status: 404, headers: skewed, body: error("NoSuchBucket") })?.code).toBe("BUCKET_MISSING");
	});

	test.each([
		["Mon, 04 May 2026 12:17:20 GMT", "17 min behind"],
		["Mon, 04 May 2026 11:53:00 GMT", "7 min ahead of"],
		["Mon, 04 May 2026 17:00:00 GMT", "5 h behind"],
		["Thu, 01 Jan 1970 00:00:00 GMT", "20578 days ahead of"],
	])("of a server that says %s: %s", (date, words) => {
		const found = diagnose({ status: 403, headers: { date }, body: error("RequestTimeTooSkewed") });
		expect(found?.message).toContain(`this node's clock is ${words} the server's`);
	});

	test("is read from the body if there is no header", () => {
		const body = error("RequestTimeTooSkewed", "<ServerTime>2026-05-04T12:30:00Z</ServerTime>");
		expect(diagnose({ status: 403, body })?.message).toContain("30 min behind");
	});

	test("is blamed without a number if the server gives none", () => {
		const found = diagnose({ status: 403, body: error("RequestTimeTooSkewed") });
		expect(found?.code).toBe("CLOCK_SKEW");
		expect(found?.message).toContain("differs too much");
	});
});

describe("a stranger's text", () => {
	test("becomes one short line", () => {
		const message = `a\r\nb\u0000\u001b[2J\u202eevil\u200b &#10;&#x1b;[0m &lt;b&gt; ${"long ".repeat(1000)}`;
		const body = `<Error><Code>Access\nDenied</Code><Message>${message}</Message></Error>`;
		const found = diagnose({ status: 403, body });
		expect(found?.message).toContain("(the server says Access Denied: a b [2J evil [0m <b> long");
		expect(found?.message).not.toMatch(/[\p{C}\n]/u);
		expect(found?.message.length).toBeLessThan(400);
	});

	test("shows no secret that it repeats, however it is written", () => {
		const location = {
			...nowhere,
			credentials: { accessKeyId: "the-key", secretAccessKey: "the<secret", sessionToken: "the token" },
		};
		const repeated = "the-key the&lt;secret th&#101; token the&#x20;token";
		const found = diagnose(
			{ status: 403, body: `<Error><Code>the-key</Code><Message>${repeated}</Message></Error>` },
			location,
		);
		if (found === undefined) throw new Error("no failure");
		expectNoSecrets(found, location);
		expect(found.message).toContain("[redacted]: [redacted] [redacted] [redacted] [redacted]");
	});

	test("is not taken for a code in another document", () => {
		const found = diagnose({ status: 404, body: "<Response><Error><Code>NoSuchBucket</Code></Error></Response>" });
		expect(found?.code).toBe("ENDPOINT_WRONG");
	});

	test.each(["&#x110000;", "&#9999999;", "&unknown;", "&", "&#xd800;", "&constructor;"])(
		"may hold the entity %s",
		(entity) => {
			const body = `<Error><Code>AccessDenied</Code><Message>x${entity}y</Message></Error>`;
			expect(diagnose({ status: 403, body })?.message).toMatch(/: x.*y\)/);
		},
	);
});

test("what is missing is named in the hint", () => {
	const denied = { status: 403, body: error("AccessDenied") };
	expect(diagnose(denied)?.hint).toBe("Allow the key s3:ListBucket on the bucket; s3:GetObject alone is not enough.");
	expect(diagnose(denied, { ...nowhere, prefix: "a/" })?.hint).toContain("for this prefix");
});
