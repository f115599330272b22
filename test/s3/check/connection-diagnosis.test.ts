import { expect, test } from "vitest";

import { diagnoseFailure, diagnoseTimeout } from "../../../src/s3/check/connection-diagnosis.ts";
import { nowhere } from "../failure-of.ts";

const https = { ...nowhere, endpoint: new URL("https://s3.example:9000") };
const context = { location: https, url: new URL("https://s3.example:9000/bucket"), proxy: undefined };
const failure = (fields: object, message = "") => Object.assign(new Error(message), fields);

/** What check-connections and check-tls cannot bring about with a real server. */
test.each([
	["BACKEND_DNS", "lookup", { code: "EAI_AGAIN", syscall: "getaddrinfo" }, "cannot be resolved (EAI_AGAIN)"],
	[
		"BACKEND_REFUSED",
		"connect",
		{ code: "EHOSTUNREACH", address: "10.0.0.1", port: 9000 },
		"10.0.0.1:9000 (EHOSTUNREACH)",
	],
	[
		"BACKEND_REFUSED",
		"connect",
		{ code: "ENETUNREACH", address: "fd00::1", port: 9000 },
		"[fd00::1]:9000 (ENETUNREACH)",
	],
	["BACKEND_REFUSED", "connect", { code: "EADDRNOTAVAIL" }, "no connection to s3.example:9000 (EADDRNOTAVAIL)"],
	["BACKEND_TIMEOUT", "connect", { code: "ETIMEDOUT" }, "no connection to s3.example:9000 came about"],
	["BACKEND_TLS", "tls", { code: "CERT_NOT_YET_VALID" }, "not valid yet"],
	["BACKEND_TLS", "tls", { code: "SELF_SIGNED_CERT_IN_CHAIN" }, "unknown authority"],
	["BACKEND_TLS", "tls", { code: "CERT_REVOKED" }, "is not accepted (CERT_REVOKED)"],
	["BACKEND_TLS", "tls", { code: "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION" }, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"],
	["ENDPOINT_WRONG", "answer", { code: "HPE_HEADER_OVERFLOW" }, "does not speak"],
] as const)("%s in the phase %s: %j", (code, phase, fields, words) => {
	const found = diagnoseFailure(failure(fields), phase, context);
	expect(found.code).toBe(code);
	expect(found.message).toContain(words);
	expect(found.hint).toMatch(/\.$/);
});

test("the errors for each address of a name are one failure", () => {
	const errors = ["10.0.0.1", "10.0.0.2"].map((address) => failure({ code: "ECONNREFUSED", address, port: 9000 }));
	const found = diagnoseFailure(failure({ code: "ECONNREFUSED", errors }), "connect", context);
	expect(found.message).toContain("no connection to 10.0.0.1:9000 (ECONNREFUSED)");
});

test("a certificate that does not cover the bucket's host name calls for path-style", () => {
	const location = { ...https, pathStyle: false };
	const error = failure({ code: "ERR_TLS_CERT_ALTNAME_INVALID", reason: "Host: is not\nin the cert's altnames" });
	const found = diagnoseFailure(error, "tls", {
		...context,
		location,
		url: new URL("https://bucket.s3.example:9000/"),
	});
	expect(found.message).toContain("the certificate is not for bucket.s3.example (Host: is not in the cert's altnames)");
	expect(found.hint).toContain("path-style");
});

test("the bytes and the certificate that Node hangs on an error are not kept", () => {
	const parserError = failure({ code: "HPE_INVALID_CONSTANT", rawPacket: Buffer.from("SSH-2.0") });
	expect(diagnoseFailure(parserError, "answer", context).cause).toBeUndefined();
	const nameError = failure({ code: "ERR_TLS_CERT_ALTNAME_INVALID", cert: {} });
	expect(diagnoseFailure(nameError, "tls", context).cause).toBeUndefined();
	const refusal = failure({ code: "ECONNREFUSED" });
	expect(diagnoseFailure(refusal, "connect", context).cause).toBe(refusal);
});

test("a time limit is told in the unit that suits it", () => {
	expect(diagnoseTimeout("answer", 300, context).message).toMatch(/within 300 ms$/);
	expect(diagnoseTimeout("answer", 5000, context).message).toMatch(/within 5 s$/);
	expect(diagnoseTimeout("answer", 2500, context).message).toMatch(/within 2\.5 s$/);
});
