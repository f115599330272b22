import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, type TestContext } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { MountedBucket, type BucketOptions } from "./mounted-bucket.ts";

/** What the tests of one file share, and what each of them has for itself. */
export interface Buckets {
	readonly minio: Minio;
	/** In front of the server; nothing goes through it unless a mount is told to. */
	readonly proxy: FaultProxy;
	/** Of this test alone. */
	readonly name: string;
	/** Mounts this test's bucket; after the test the mount is gone, whatever happened. */
	mount(options?: Partial<BucketOptions>): Promise<MountedBucket>;
	/** The same through the proxy. */
	mountThroughProxy(options?: Partial<BucketOptions>): Promise<MountedBucket>;
}

/** Starts a server for the tests of this file or group, and makes a bucket for each of them. `dataDir`: where the server keeps its objects. */
export function useBuckets(prefix: string, dataDir?: () => Promise<string>): Buckets {
	let minio: Minio | undefined;
	let proxy: FaultProxy | undefined;
	let name = "";
	let count = 0;
	let mounted: MountedBucket[] = [];
	const started = <T>(server: T | undefined): T => {
		if (server === undefined) throw new Error("only tests and their hooks have a server");
		return server;
	};

	beforeAll(async () => {
		minio = await startMinio(dataDir === undefined ? {} : { dataDir: await dataDir() });
		proxy = await startFaultProxy(minio.endpoint);
	});
	afterAll(async () => {
		await proxy?.stop();
		await minio?.stop();
	});
	beforeEach(async () => {
		name = `${prefix}-${++count}`;
		await minio?.createBucket(name);
	});
	afterEach(async ({ task }: TestContext) => {
		await proxy?.mode("pass");
		const failed = task.result?.state === "fail";
		for (const one of mounted.splice(0)) {
			// What the filesystem itself said is most of what there is to learn.
			if (failed) process.stderr.write(`${one.log.join("\n")}\n`);
			await one.abort();
		}
		mounted = [];
	});

	const mount = async (options: Partial<BucketOptions> = {}): Promise<MountedBucket> => {
		const server = started(minio);
		const one = await MountedBucket.mount({ minio: server, endpoint: server.endpoint, bucket: name, ...options });
		mounted.push(one);
		return one;
	};
	return {
		get minio() {
			return started(minio);
		},
		get proxy() {
			return started(proxy);
		},
		get name() {
			return name;
		},
		mount,
		mountThroughProxy: async (options) => mount({ endpoint: started(proxy).endpoint, ...options }),
	};
}

/** What a shell's script in the mount prints; fails if it fails. */
export async function sh(here: MountedBucket, script: string): Promise<string> {
	const { stdout } = await execa("bash", ["-c", `cd "$M" && ${script}`], {
		env: { M: here.target, LC_ALL: "C" },
		cwd: "/",
		timeout: 40_000,
	});
	return stdout;
}

/** What a script prints, errors too; it is not waited for longer than its limit. */
export async function tell(here: MountedBucket, script: string): Promise<string> {
	const { all } = await execa("bash", ["-c", `cd "$M" && ${script}`], {
		env: { M: here.target, LC_ALL: "C" },
		cwd: "/",
		timeout: 40_000,
		reject: false,
		all: true,
	});
	return all;
}

/** Prints the name of the error that close(2) gives. */
export const writeAndClose = (path: string): string => `python3 -c '
import os
file = os.open("${path}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
os.write(file, b"new")
try: os.close(file)
except OSError as error: print(type(error).__name__)'`;
