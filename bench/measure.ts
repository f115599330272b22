import { setTimeout as sleep } from "node:timers/promises";
import type { ObjectStore } from "../src/s3/object-store.ts";
import { compareWithSource, deleteFolder, listFiles, uploadObjects, type Source } from "./data.ts";
import type { Driver, Place, Served } from "./drivers.ts";
import {
	busiestSeconds,
	cpuSeconds,
	dropCaches,
	peakMemoryBytes,
	resetPeakMemory,
	threadSeconds,
	warmMemory,
} from "./machine.ts";
import type { Job, ObjectSet, Workload } from "./workloads/workload.ts";

/** One workload by one driver in one round. */
export type Sample = { readonly round: number; readonly workload: string; readonly driver: string } & (
	| {
			readonly seconds: number;
			readonly cpuSeconds: number;
			readonly peakMemoryBytes: number;
			readonly busiestThreadSeconds: number;
	  }
	| { readonly failed: string }
);

export interface Setting extends Place {
	readonly store: ObjectStore;
	readonly source: Source;
	readonly scratch: string;
	readonly limitSeconds: number;
	/** Ends the measurement under way. */
	readonly signal: AbortSignal;
	/** Whether what was written is compared with the source. */
	readonly compare: boolean;
}

/** Starts the driver, measures, ends it. Its failure is a result, too; only an interruption is thrown. */
export async function measure(driver: Driver, workload: Workload, round: number, setting: Setting): Promise<Sample> {
	const sample = { round, workload: workload.name, driver: driver.name };
	const written = writtenObjects(workload.job, `written-${driver.name}-${round}-${workload.name}`);
	let served: Served | undefined;
	try {
		const { job } = workload;
		if (job.kind === "remove" && written !== undefined)
			await uploadObjects(setting.store, { ...written, count: job.count }, setting.source);
		served = await driver.start(setting);
		// A start that goes on behind the mount, such as a prober's first round, is not measured.
		await sleep(300);
		return { ...sample, ...(await limited(served, workload, written, setting)) };
	} catch (error) {
		setting.signal.throwIfAborted();
		return { ...sample, failed: (error instanceof Error ? error.message : String(error)).slice(0, 300) };
	} finally {
		await served?.stop();
		if (written !== undefined) await deleteFolder(setting.store, written.folder);
	}
}

async function limited(served: Served, workload: Workload, written: ObjectSet | undefined, setting: Setting) {
	const limit = AbortSignal.any([setting.signal, AbortSignal.timeout(setting.limitSeconds * 1000)]);
	const reached = Promise.withResolvers<never>();
	limit.addEventListener("abort", () => reached.reject(new Error(`no end within ${setting.limitSeconds} s`)), {
		once: true,
	});
	const running = run(served, workload, written, limit, setting);
	try {
		return await Promise.race([running, reached.promise]);
	} catch (error) {
		if (limit.aborted) {
			// A process that waits for a hung mount is only freed by the end of the mount.
			await served.stop();
			await Promise.race([running.catch(() => undefined), sleep(10_000, undefined, { ref: false })]);
		}
		throw error;
	}
}

async function run(
	served: Served,
	workload: Workload,
	written: ObjectSet | undefined,
	signal: AbortSignal,
	{ scratch, source, store, compare }: Setting,
) {
	let usedBefore = 0;
	let threadsBefore: ReturnType<typeof threadSeconds> = new Map();
	let startedAt = 0;
	const request = {
		job: workload.job,
		newFolder: written?.folder ?? "",
		source: source.path,
		sourceBytes: source.sizeBytes,
	};
	let seconds = await served.run(request, {
		signal,
		scratch,
		dropCaches() {
			dropCaches();
			warmMemory(workload.bytes + 2 ** 30);
		},
		begin() {
			const pids = served.processes();
			resetPeakMemory(pids);
			usedBefore = cpuSeconds(pids);
			threadsBefore = threadSeconds(pids);
			startedAt = performance.now();
		},
	});
	if (written !== undefined && !(await isStored(store, written))) {
		// The driver said that it was done, and was not: it ends when the last object is there.
		do {
			await sleep(20, undefined, { signal });
		} while (!(await isStored(store, written)));
		seconds = (performance.now() - startedAt) / 1000;
	}
	const pids = served.processes();
	if (pids.length === 0) throw new Error("the driver has ended");
	const used = {
		cpuSeconds: cpuSeconds(pids) - usedBefore,
		busiestThreadSeconds: busiestSeconds(threadsBefore, threadSeconds(pids)),
		peakMemoryBytes: peakMemoryBytes(pids),
	};
	if (written !== undefined && compare) await compareWithSource(store, written, source);
	return { seconds, ...used };
}

async function isStored(store: ObjectStore, { folder, count, sizeBytes }: ObjectSet): Promise<boolean> {
	const objects = await listFiles(store, `${folder}/`);
	return objects.length === count && objects.every((object) => object.sizeBytes === sizeBytes);
}

/** What the job leaves in the bucket. */
function writtenObjects(job: Job, folder: string): ObjectSet | undefined {
	if (job.kind === "stream-write") return { folder, count: 1, sizeBytes: job.sizeBytes };
	if (job.kind === "write-files") return { folder, count: job.count, sizeBytes: job.sizeBytes };
	if (job.kind === "append") return { folder, count: 1, sizeBytes: job.count * job.sizeBytes };
	if (job.kind === "remove") return { folder, count: 0, sizeBytes: job.sizeBytes };
	return undefined;
}
