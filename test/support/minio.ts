import { createHash, randomBytes } from "node:crypto";
import { access, constants, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";

import {
	CreateBucketCommand,
	DeleteObjectCommand,
	GetObjectCommand,
	ListBucketsCommand,
	ListObjectsV2Command,
	PutObjectCommand,
	S3Client,
	S3ServiceException,
} from "@aws-sdk/client-s3";
import { execa } from "execa";

import { createCertificate } from "./certificates.ts";
import { signedHeaders } from "../../src/s3/sign.ts";
import { freePort } from "./listen.ts";

export interface MinioOptions {
	/** Serve https, with a certificate for 127.0.0.1 and localhost by the CA in `caFile`. */
	readonly tls?: boolean;
	/** Buckets have host names below this one, too; with `tls` the certificate is for those. */
	readonly domain?: string;
	/** Where the objects are. If given, it outlives the server; otherwise a temporary folder that `stop` removes. */
	readonly dataDir?: string;
	/** Default: any free port. With the port and `dataDir` of a stopped server, "the same" server comes back. */
	readonly port?: number;
	/** The one region that the server accepts. Default: us-east-1. */
	readonly region?: string;
	readonly rootUser?: string;
	readonly rootPassword?: string;
}

/** What signs a request: for the SDK, for `checkBucket`, for a driver's environment. */
export interface TemporaryCredentials {
	readonly accessKeyId: string;
	readonly secretAccessKey: string;
	readonly sessionToken: string;
}

/** A real MinIO that belongs to one test file. */
export interface Minio {
	/** Such as `http://127.0.0.1:34567`. Buckets are addressed by path. */
	readonly endpoint: string;
	readonly port: number;
	readonly region: string;
	/** The root user. It may do everything, and MinIO cannot limit it: see `temporaryCredentials`. */
	readonly accessKey: string;
	readonly secretKey: string;
	/** With `tls`: PEM file of the CA to trust. */
	readonly caFile?: string;
	readonly pid: number;
	/** The SDK's client, signing as root. */
	readonly client: S3Client;
	createBucket(name: string): Promise<void>;
	put(bucket: string, key: string, body: string | Uint8Array): Promise<void>;
	get(bucket: string, key: string): Promise<Buffer>;
	delete(bucket: string, key: string): Promise<void>;
	/** All keys of the bucket, in the server's order. */
	list(bucket: string): Promise<string[]>;
	/**
	 * A key with a session token, from STS: it may do what the policy document allows, or all that root may without one.
	 * It lives at least 900 seconds, the shortest that MinIO grants.
	 */
	temporaryCredentials(options?: { policy?: object; durationSeconds?: number }): Promise<TemporaryCredentials>;
	/** Freezes the server: connections are still accepted, but nothing is answered until `resume`. */
	pause(): void;
	resume(): void;
	/** Kills the server, paused or not, and removes what it left on disk. Calling it twice is fine. */
	stop(): Promise<void>;
}

const startLimitMs = 30_000;

/**
 * Starts a MinIO on 127.0.0.1 and waits until it is ready. Whoever starts it stops it; if that never happens, it dies
 * with this process. The binary is what `npm run setup` built, or else the one on PATH.
 */
export async function startMinio(options: MinioOptions = {}): Promise<Minio> {
	for (let attempt = 1; ; attempt++) {
		const home = await mkdtemp(join(tmpdir(), "minio-"));
		const removeHome = () => rm(home, { recursive: true, force: true, maxRetries: 5 });
		try {
			return await startIn(home, removeHome, options);
		} catch (error) {
			await removeHome();
			// Somebody took the free port in the moment before MinIO did.
			const isTaken = options.port === undefined && String(error).includes("already in use");
			if (!isTaken || attempt === 3) throw error;
		}
	}
}

async function startIn(home: string, removeHome: () => Promise<void>, options: MinioOptions): Promise<Minio> {
	const { region = "us-east-1", rootUser = "fluid-fuse-root" } = options;
	// Random, so that no test ever works on another's server unnoticed.
	const { rootPassword = randomBytes(20).toString("base64url") } = options;
	const binary = await findBinary();
	const certificates = join(home, "certificates");
	const dataDir = options.dataDir ?? join(home, "data");
	await mkdir(certificates);
	await mkdir(dataDir, { recursive: true });
	const names = ["IP:127.0.0.1", "DNS:localhost"];
	if (options.domain !== undefined) names.push(`DNS:${options.domain}`, `DNS:*.${options.domain}`);
	const caFile = options.tls ? (await createCertificate(certificates, { names })).caFile : undefined;
	const agent = caFile === undefined ? undefined : new https.Agent({ ca: await readFile(caFile) });

	const port = options.port ?? (await freePort());
	const endpoint = `${caFile === undefined ? "http" : "https"}://127.0.0.1:${port}`;
	const serverArgs = ["server", "--quiet", "--address", `127.0.0.1:${port}`, "--certs-dir", certificates, dataDir];
	// --pdeathsig: not even a test runner that was killed leaves a server behind.
	const server = execa("setpriv", ["--pdeathsig", "KILL", binary, ...serverArgs], {
		// Nothing of the developer's shell: no proxy, no MINIO_ variable.
		extendEnv: false,
		env: {
			PATH: process.env["PATH"] ?? "",
			HOME: home,
			MINIO_ROOT_USER: rootUser,
			MINIO_ROOT_PASSWORD: rootPassword,
			MINIO_SITE_REGION: region,
			MINIO_BROWSER: "off",
			...(options.domain !== undefined && { MINIO_DOMAIN: options.domain }),
			// Never looks outside for a newer version.
			MINIO_UPDATE: "off",
		},
		all: true,
		reject: false,
	});
	const stopServer = () => {
		server.kill("SIGKILL");
		return server;
	};

	const client = new S3Client({
		endpoint,
		region,
		forcePathStyle: true,
		credentials: { accessKeyId: rootUser, secretAccessKey: rootPassword },
		...(agent !== undefined && { requestHandler: { httpsAgent: agent } }),
	});
	const { pid } = server;
	try {
		const ended = new AbortController();
		void server.then(() => ended.abort());
		const isReady = await untilReady(`${endpoint}/minio/health/ready`, agent, ended.signal);
		if (!isReady || pid === undefined)
			throw new Error(`minio did not get ready at ${endpoint}: ${(await stopServer()).all}`);
		if (!(await isOurs(client))) throw new Error(`port ${port} is already in use by another server`);
	} catch (error) {
		client.destroy();
		await stopServer();
		throw error;
	}
	return {
		endpoint,
		port,
		region,
		accessKey: rootUser,
		secretKey: rootPassword,
		...(caFile !== undefined && { caFile }),
		pid,
		client,
		async createBucket(name) {
			await client.send(new CreateBucketCommand({ Bucket: name }));
		},
		async put(bucket, key, body) {
			await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
		},
		async get(bucket, key) {
			const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
			return Buffer.from((await Body?.transformToByteArray()) ?? []);
		},
		async delete(bucket, key) {
			await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
		},
		async list(bucket) {
			const keys: string[] = [];
			let token: string | undefined;
			do {
				const page = await client.send(new ListObjectsV2Command({ Bucket: bucket, ContinuationToken: token }));
				for (const { Key } of page.Contents ?? []) if (Key !== undefined) keys.push(Key);
				token = page.NextContinuationToken;
			} while (token !== undefined);
			return keys;
		},
		async temporaryCredentials({ policy, durationSeconds = 900 } = {}) {
			const form = new URLSearchParams({ Action: "AssumeRole", Version: "2011-06-15" });
			form.set("DurationSeconds", String(durationSeconds));
			if (policy !== undefined) form.set("Policy", JSON.stringify(policy));
			const url = new URL(`${endpoint}/`);
			const body = form.toString();
			const headers = signedHeaders(
				url,
				{ "content-type": "application/x-www-form-urlencoded" },
				{
					method: "POST",
					region,
					service: "sts",
					credentials: { accessKeyId: rootUser, secretAccessKey: rootPassword },
					now: new Date(),
					bodyHash: createHash("sha256").update(body).digest("hex"),
				},
			);
			const answer = await fetchText(url.href, { method: "POST", headers, body, agent });
			const read = (name: string) => {
				const value = new RegExp(`<${name}>([^<]+)</${name}>`).exec(answer.body)?.[1];
				if (value === undefined) throw new Error(`minio gave no ${name} (status ${answer.status}): ${answer.body}`);
				return value;
			};
			return {
				accessKeyId: read("AccessKeyId"),
				secretAccessKey: read("SecretAccessKey"),
				sessionToken: read("SessionToken"),
			};
		},
		pause: () => void process.kill(pid, "SIGSTOP"),
		resume: () => void process.kill(pid, "SIGCONT"),
		async stop() {
			client.destroy();
			agent?.destroy();
			await stopServer();
			await removeHome();
		},
	};
}

async function findBinary(): Promise<string> {
	const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
	const folders = [join(cache, "fluid-fuse", "bin"), ...(process.env["PATH"] ?? "").split(delimiter)];
	for (const folder of folders) {
		const file = join(folder, "minio");
		try {
			await access(file, constants.X_OK);
			return file;
		} catch {
			// Not in this folder: look in the next.
		}
	}
	throw new Error("minio is not installed: run `npm run setup`");
}

/** Another MinIO that has the port says that it is ready, too, but it does not know our password. */
async function isOurs(client: S3Client): Promise<boolean> {
	try {
		await client.send(new ListBucketsCommand({}));
		return true;
	} catch (error) {
		if (error instanceof S3ServiceException && error.$metadata.httpStatusCode === 403) return false;
		throw error;
	}
}

async function untilReady(url: string, agent: https.Agent | undefined, ended: AbortSignal): Promise<boolean> {
	const deadline = Date.now() + startLimitMs;
	while (!ended.aborted && Date.now() < deadline) {
		try {
			if ((await fetchText(url, { agent })).status === 200) return true;
		} catch {
			// It does not listen yet.
		}
		await delay(20);
	}
	return false;
}

/** One request with the test's own CA, which the global fetch cannot be given. */
async function fetchText(
	url: string,
	options: { method?: string; headers?: Record<string, string>; body?: string; agent: https.Agent | undefined },
): Promise<{ status: number | undefined; body: string }> {
	const { body = "", agent, ...rest } = options;
	const { request } = url.startsWith("https:") ? https : http;
	const sent = request(url, { ...rest, agent, timeout: 5000 });
	sent.on("timeout", () => sent.destroy(new Error(`${url} does not answer`)));
	const answered = Promise.withResolvers<http.IncomingMessage>();
	sent.on("response", answered.resolve);
	sent.on("error", answered.reject);
	sent.end(body);
	const response = await answered.promise;
	return { status: response.statusCode, body: await text(response) };
}
