import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
	CreateBucketCommand,
	DeleteObjectCommand,
	GetObjectCommand,
	ListObjectsV2Command,
	PutObjectCommand,
	S3Client,
} from "@aws-sdk/client-s3";
import { execa } from "execa";
import { freePort } from "../support/listen.ts";

export interface Keys {
	readonly accessKey: string;
	readonly secretKey: string;
}

/** An S3 server of somebody, as it is installed by `test/setup.sh servers`. */
export interface ServerKind {
	/** As `npm run test:servers` calls it. */
	readonly name: string;
	/** For the page. */
	readonly title: string;
	/** Programs and folders without which it cannot be run. */
	readonly needs: readonly string[];
	/** Whether every change has to pass its telling steps: of what is small and quickly built. */
	readonly everyChange?: boolean;
	/** What it cannot do, by the name of a step, and why: found by hand, in the wire's exchange. */
	readonly cannot?: Readonly<Record<string, string>>;
	version(): Promise<string>;
	/** Starts it at that port of 127.0.0.1, with all that it keeps below `folder`. */
	start(options: StartOptions): Promise<Started>;
}

export interface StartOptions {
	readonly port: number;
	readonly folder: string;
	readonly keys: Keys;
	/** A second pair, which may only read the buckets: for servers that know such keys. */
	readonly readerKeys: Keys;
	/** The one bucket that is used, which the caller makes afterwards. */
	readonly bucket: string;
	/** Starts a program that dies with this process and with `stop`. */
	readonly spawn: (file: string, args: readonly string[], env?: Readonly<Record<string, string>>) => void;
}

export interface Started {
	/** Default: us-east-1. */
	readonly region?: string;
	/** Default: those that it was given. */
	readonly keys?: Keys;
	/** Makes a pair of keys that may only read the bucket, once that is there. Absent: the server has none. */
	readonly reader?: () => Promise<Keys>;
	/** Ends what `spawn` does not know of. */
	readonly stop?: () => Promise<void>;
}

/** A server that runs, with one empty bucket. */
export interface RunningServer {
	readonly kind: ServerKind;
	readonly version: string;
	readonly endpoint: string;
	readonly region: string;
	readonly keys: Keys;
	readonly bucket: string;
	readonly readerKeys: Keys | undefined;
	readonly client: S3Client;
	clientWith(other: { readonly keys?: Keys; readonly region?: string }): S3Client;
	put(key: string, body: string | Uint8Array): Promise<void>;
	get(key: string): Promise<Buffer>;
	delete(key: string): Promise<void>;
	/** All keys that begin so. */
	list(prefix: string): Promise<string[]>;
	/** What its programs have printed. */
	readonly output: string;
	stop(): Promise<void>;
}

const startLimitMs = 90_000;

export async function startServer(kind: ServerKind, { bucket = "steps" } = {}): Promise<RunningServer> {
	const folder = await mkdtemp(join(tmpdir(), `fluid-fuse-server-${kind.name}-`));
	const port = await freePort();
	const endpoint = `http://127.0.0.1:${port}`;
	const programs: { kill(signal: "SIGKILL"): boolean; readonly ended: Promise<unknown> }[] = [];
	let output = "";
	let started: Started = {};
	const clients: S3Client[] = [];
	const stop = async (): Promise<void> => {
		for (const client of clients) client.destroy();
		await started.stop?.();
		for (const program of programs.toReversed()) program.kill("SIGKILL");
		await Promise.all(programs.map(async ({ ended }) => ended));
		await rm(folder, { recursive: true, force: true, maxRetries: 5 });
	};
	// Nothing of the developer's shell: no proxy, no AWS_ variable.
	const base = { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, HOME: folder, LANG: "C.UTF-8" };
	try {
		const version = await kind.version();
		started = await kind.start({
			port,
			folder,
			bucket,
			keys: { accessKey: "fluid-fuse-steps", secretKey: "secret-of-the-steps" },
			readerKeys: { accessKey: "fluid-fuse-reader", secretKey: "secret-of-the-reader" },
			spawn(file, args, env = {}) {
				// --pdeathsig: not even a test runner that was killed leaves a server behind.
				const program = execa("setpriv", ["--pdeathsig", "KILL", file, ...args], {
					cwd: folder,
					extendEnv: false,
					env: { ...base, ...env },
					stdin: "ignore",
					all: true,
					buffer: false,
					reject: false,
				});
				program.all.on("data", (chunk: Buffer) => {
					output = (output + chunk.toString()).slice(-100_000);
				});
				programs.push({ kill: (signal) => program.kill(signal), ended: program });
			},
		});
		const { region = "us-east-1", keys = { accessKey: "fluid-fuse-steps", secretKey: "secret-of-the-steps" } } =
			started;
		const clientWith: RunningServer["clientWith"] = (other) => {
			const { accessKey, secretKey } = other.keys ?? keys;
			const made = new S3Client({
				endpoint,
				region: other.region ?? region,
				forcePathStyle: true,
				credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
				// Some do not know what it would add otherwise.
				requestChecksumCalculation: "WHEN_REQUIRED",
				responseChecksumValidation: "WHEN_REQUIRED",
			});
			clients.push(made);
			return made;
		};
		const client = clientWith({});
		await untilItMakes(client, bucket, () => output);
		const readerKeys = await started.reader?.();
		return {
			kind,
			version,
			endpoint,
			region,
			keys,
			bucket,
			readerKeys,
			client,
			clientWith,
			async put(Key, Body) {
				await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
			},
			async get(Key) {
				const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
				return Buffer.from((await Body?.transformToByteArray()) ?? []);
			},
			async delete(Key) {
				await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
			},
			async list(Prefix) {
				const found: string[] = [];
				let token: string | undefined;
				do {
					const page = await client.send(
						new ListObjectsV2Command({ Bucket: bucket, Prefix, ContinuationToken: token, EncodingType: "url" }),
					);
					for (const { Key } of page.Contents ?? [])
						if (Key !== undefined)
							// Not all do as they are asked to.
							found.push(page.EncodingType === "url" ? decodeURIComponent(Key.replaceAll("+", " ")) : Key);
					token = page.NextContinuationToken;
				} while (token !== undefined);
				return found;
			},
			get output() {
				return output;
			},
			stop,
		};
	} catch (error) {
		await stop();
		throw new Error(`${kind.name} did not start: ${String(error)}\n${output.slice(-3000)}`, { cause: error });
	}
}

/** Waits until the server makes the bucket. */
async function untilItMakes(client: S3Client, bucket: string, output: () => string): Promise<void> {
	const deadline = Date.now() + startLimitMs;
	for (;;) {
		try {
			await client.send(new CreateBucketCommand({ Bucket: bucket }), { abortSignal: AbortSignal.timeout(10_000) });
			return;
		} catch (error) {
			if (/BucketAlready/.test(String(error))) return;
			if (Date.now() > deadline) throw new Error(`it makes no bucket: ${String(error)}\n${output()}`, { cause: error });
			await sleep(200);
		}
	}
}
