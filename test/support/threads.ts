import { setTimeout as delay } from "node:timers/promises";
import { FarConnections } from "../../src/s3/http/far-connections.ts";
import type { ObjectStore, ObjectStoreOptions } from "../../src/s3/object-store.ts";
import { createObjectStore } from "../../src/s3/store.ts";
import { Threads } from "../../src/threads.ts";

/** `THREADS=2 vitest …`: what is read of objects goes through so many threads, however little it is. Otherwise none are used. */
const forced = Number(process.env["THREADS"] ?? 0);

/** Those that are used wherever a test does not say otherwise. */
export const testThreads = forced === 0 ? undefined : await startThreads(forced);
const farConnections = testThreads && new FarConnections(testThreads, 1);

/** Running ones. */
export async function startThreads(maximum: number): Promise<Threads> {
	const fail = (error: Error): never => {
		throw error;
	};
	// In the bundle of global-setup.ts it lies beside.
	const file = import.meta.url.endsWith(".js") ? "thread.js" : "../../src/filesystem-process/thread.ts";
	const program = new URL(file, import.meta.url);
	const threads = new Threads({ maximum, program, died: fail, refused: fail });
	while (!threads.isRunning) await delay(5);
	return threads;
}

/** A store whose reads go through threads if so wanted: whatever memory they are told to fill. */
export function createTestStore(options: ObjectStoreOptions): ObjectStore {
	const store = createObjectStore({ farConnections, ...options });
	const get = store.get.bind(store);
	if (testThreads !== undefined)
		store.get = async (key, wanted) => {
			const { into, onProgress } = wanted;
			if (into.buffer instanceof SharedArrayBuffer) return get(key, wanted);
			const shared = Buffer.from(new SharedArrayBuffer(into.length));
			const take = (filledBytes: number): void => {
				shared.copy(into, 0, 0, filledBytes);
				onProgress?.(filledBytes);
			};
			await get(key, { ...wanted, into: shared, onProgress: take });
			shared.copy(into);
		};
	return store;
}
