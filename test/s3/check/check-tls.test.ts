import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { createCertificate } from "../../support/certificates.ts";
import { listen } from "../../support/listen.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { check, failureOf, locationOf, nowhere } from "../failure-of.ts";

let minio: Minio;
let directory: string;

beforeAll(async () => {
	directory = await mkdtemp(join(tmpdir(), "check-tls-"));
	minio = await startMinio({ tls: true });
	await minio.createBucket("bucket");
}, 60_000);

afterAll(async () => {
	await minio?.stop();
	await rm(directory, { recursive: true });
}, 30_000);

const trusted = () => ({ ...locationOf(minio), caBundle: String(minio.caFile) });

describe("passes", () => {
	test("with the authority in the CA bundle, by address and by name", async () => {
		await expect(check(trusted())).resolves.toBeUndefined();
		await expect(
			check({ ...trusted(), endpoint: new URL(minio.endpoint.replace("127.0.0.1", "localhost")) }),
		).resolves.toBeUndefined();
	});

	test("with any certificate, if verifying is switched off", async () => {
		await expect(check({ ...locationOf(minio), insecureSkipVerify: true })).resolves.toBeUndefined();
	});
});

describe("BACKEND_TLS says", () => {
	test("that the authority is unknown", async () => {
		const failure = await failureOf(locationOf(minio));
		expect(failure.code).toBe("BACKEND_TLS");
		expect(failure.message).toContain("unknown authority");
		expect(failure.hint).toContain("ca-bundle");
	});

	test("that the CA bundle is one of another authority", async () => {
		const { caFile } = await createCertificate(directory);
		const failure = await failureOf({ ...locationOf(minio), caBundle: caFile });
		expect(failure.code).toBe("BACKEND_TLS");
		expect(failure.message).toContain("unknown authority");
		expect(failure.hint).toContain(caFile);
	});

	test("that the certificate is self-signed", async () => {
		const { caFile, caKeyFile } = await createCertificate(directory);
		await withServer({ certificateFile: caFile, keyFile: caKeyFile }, async (url) => {
			const failure = await failureOf({ ...nowhere, endpoint: url });
			expect(failure.code).toBe("BACKEND_TLS");
			expect(failure.message).toContain("is self-signed");
			expect(failure.hint).toContain("ca-bundle");
		});
	});

	test("that the certificate is for another name", async () => {
		const certificate = await createCertificate(directory, { names: ["DNS:s3.example.com", "IP:10.0.0.1"] });
		await withServer(certificate, async (url) => {
			const failure = await failureOf({ ...nowhere, endpoint: url, caBundle: certificate.caFile });
			expect(failure.code).toBe("BACKEND_TLS");
			expect(failure.message).toContain("the certificate is not for 127.0.0.1");
			expect(failure.message).toContain("10.0.0.1");
		});
	});

	test("that the certificate has expired", async () => {
		const certificate = await createCertificate(directory, { expired: true });
		await withServer(certificate, async (url) => {
			const failure = await failureOf({ ...nowhere, endpoint: url, caBundle: certificate.caFile });
			expect(failure.code).toBe("BACKEND_TLS");
			expect(failure.message).toContain("has expired");
		});
	});

	test("that the handshake fails, and why", async () => {
		const certificate = await createCertificate(directory);
		await withServer({ ...certificate, ciphers: "PSK", maxVersion: "TLSv1.2" }, async (url) => {
			const failure = await failureOf({ ...nowhere, endpoint: url, caBundle: certificate.caFile });
			expect(failure.code).toBe("BACKEND_TLS");
			expect(failure.message).toContain("handshake failure");
		});
	});

	test("that the server wants a client's certificate", async () => {
		const certificate = await createCertificate(directory);
		await withServer({ ...certificate, requestCert: true }, async (url) => {
			const failure = await failureOf({ ...nowhere, endpoint: url, caBundle: certificate.caFile });
			expect(failure.code).toBe("BACKEND_TLS");
			expect(failure.message).toContain("certificate required");
		});
	});

	test("that the CA bundle cannot be read", async () => {
		const failure = await failureOf({ ...locationOf(minio), caBundle: "/nonexistent/ca.crt" });
		expect(failure.code).toBe("BACKEND_TLS");
		expect(failure.message).toContain("the CA bundle /nonexistent/ca.crt cannot be read: No such file");
	});

	test("that the CA bundle holds no certificate", async () => {
		const file = join(directory, "empty.crt");
		await writeFile(file, "TODO\n");
		const failure = await failureOf({ ...locationOf(minio), caBundle: file });
		expect(failure.code).toBe("BACKEND_TLS");
		expect(failure.message).toContain("no certificate in the CA bundle");
	});
});

test("ENDPOINT_WRONG says that the server speaks TLS where the endpoint says http", async () => {
	const failure = await failureOf({ ...trusted(), endpoint: new URL(minio.endpoint.replace("https:", "http:")) });
	expect(failure.code).toBe("ENDPOINT_WRONG");
	expect(failure.message).toContain("the server speaks TLS");
	expect(failure.hint).toContain("https://");
});

/** Runs the body while an https server with that certificate answers 404. */
async function withServer(
	{ certificateFile, keyFile, ...options }: { certificateFile: string; keyFile: string } & https.ServerOptions,
	body: (url: URL) => Promise<void>,
): Promise<void> {
	const [cert, key] = await Promise.all([readFile(certificateFile), readFile(keyFile)]);
	const server = https.createServer({ cert, key, ...options }, (_, response) => response.writeHead(404).end());
	try {
		await body(new URL(`https://127.0.0.1:${await listen(server)}`));
	} finally {
		server.close();
		server.closeAllConnections();
	}
}
