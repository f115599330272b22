import { join } from "node:path";

import { execa } from "execa";

export interface Certificate {
	/** The CA that signed, to be trusted by a client: a PEM file. */
	readonly caFile: string;
	readonly caKeyFile: string;
	readonly certificateFile: string;
	readonly keyFile: string;
}

/**
 * Makes a CA and a server certificate of it in a folder. `names` are subject alternative names such as `IP:127.0.0.1`;
 * an expired certificate ended yesterday.
 */
export async function createCertificate(
	directory: string,
	{ names = ["IP:127.0.0.1", "DNS:localhost"], expired = false }: { names?: readonly string[]; expired?: boolean } = {},
): Promise<Certificate> {
	const caFile = join(directory, "ca.crt");
	const caKeyFile = join(directory, "ca.key");
	const certificateFile = join(directory, "public.crt");
	const keyFile = join(directory, "private.key");
	const openssl = (...args: string[]) => execa("openssl", args, { cwd: directory });
	const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

	// prettier-ignore
	await openssl("req", "-x509", ...newKey, "-keyout", caKeyFile, "-out", caFile, "-days", "2",
		"-subj", "/CN=fluid-fuse test CA", "-addext", "basicConstraints=critical,CA:TRUE");
	// prettier-ignore
	await openssl("req", ...newKey, "-keyout", keyFile, "-out", "server.csr", "-subj", "/CN=fluid-fuse test server",
		"-addext", `subjectAltName=${names.join(",")}`);
	// prettier-ignore
	await openssl("x509", "-req", "-in", "server.csr", "-copy_extensions", "copy", "-CA", caFile, "-CAkey", caKeyFile,
		"-days", expired ? "-1" : "2", "-out", certificateFile);
	return { caFile, caKeyFile, certificateFile, keyFile };
}
