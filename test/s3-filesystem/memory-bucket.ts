import { afterEach, beforeEach, type TestContext } from "vitest";
import { memoryServerKeys, startMemoryServer, type MemoryServer } from "../support/memory-server.ts";
import { MountedBucket, type BucketOptions } from "./mounted-bucket.ts";

export interface MemoryBucket {
	/** Of this test alone. */
	readonly server: MemoryServer;
	/** After the test the mount is gone, whatever happened. */
	mount(options?: Partial<BucketOptions>): Promise<MountedBucket>;
}

/** Starts a server in memory for each test of this file. */
export function useMemoryBucket(): MemoryBucket {
	let server: MemoryServer | undefined;
	let mounted: MountedBucket[] = [];
	const started = (): MemoryServer => {
		if (server === undefined) throw new Error("only tests and their hooks have a server");
		return server;
	};
	beforeEach(async () => {
		server = await startMemoryServer();
	});
	afterEach(async ({ task }: TestContext) => {
		for (const one of mounted) {
			if (task.result?.state === "fail") process.stderr.write(`${one.log.join("\n")}\n`);
			await one.abort();
		}
		mounted = [];
		await server?.stop();
	});
	return {
		get server() {
			return started();
		},
		async mount(options = {}) {
			const { endpoint } = started();
			const one = await MountedBucket.mount({ minio: memoryServerKeys, endpoint, bucket: "bucket", ...options });
			mounted.push(one);
			return one;
		},
	};
}
