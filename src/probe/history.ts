import { durationBounds, quantileOf, type Measured, type Sample } from "../filesystem-process/measures.ts";
import { isAbsentName, isOfApplications } from "../filesystem-process/operation-names.ts";
import type { LauncherStatus } from "./status.ts";

/** One mount in the last quarter of an hour, the latest last; rates are for a second, and null is what nobody knows. */
export interface MountHistory {
	readonly mount: string;
	readonly readBytesPerSecond: readonly (number | null)[];
	readonly writtenBytesPerSecond: readonly (number | null)[];
	readonly operationsPerSecond: readonly (number | null)[];
	/** Of those, names that were looked for and are not there. */
	readonly absentPerSecond: readonly (number | null)[];
	/** Of ten operations nine took no longer; of requests to the server, until their first byte. */
	readonly operationSeconds: readonly (number | null)[];
	readonly firstByteSeconds: readonly (number | null)[];
	/** To the server, and those that were to be tried again. */
	readonly requestsPerSecond: readonly (number | null)[];
	readonly retriesPerSecond: readonly (number | null)[];
	/** Share of reads that were answered from memory at once. Several mounts of one process: at the first. */
	readonly cacheHits: readonly (number | null)[];
	/** What is written and not in the bucket yet. */
	readonly pendingBytes: readonly (number | null)[];
	readonly openFiles: readonly (number | null)[];
}

/** What `/history` answers. */
export interface History {
	readonly everySeconds: number;
	/** Mounts that measure themselves. */
	readonly mounts: readonly MountHistory[];
}

type Point = { readonly [Name in Exclude<keyof MountHistory, "mount">]: number | null };
type Name = keyof Point;

const everyMs = 15_000;
const points = (15 * 60_000) / everyMs;

/** What points are made of: all that was counted since the process began, and what is now. */
interface Totals {
	readonly readBytes: number;
	readonly writtenBytes: number;
	readonly operations: number;
	readonly absent: number;
	readonly requests: number;
	readonly retries: number;
	readonly reads: number;
	readonly hits: number;
	/** By buckets. */
	readonly durations: readonly number[];
	readonly firstBytes: readonly number[];
	readonly pendingBytes: number;
	readonly openFiles: number;
}

interface Past {
	/** Undefined: it could not be asked. */
	totals: Totals | undefined;
	at: number;
	/** Undefined: nobody knows. */
	readonly points: (Point | undefined)[];
}

/** Looks at what mounts measure now and then, so that there is a past when somebody wants to see it. */
export class HistoryKeeper {
	readonly #pasts = new Map<string, Past>();
	readonly #timer: NodeJS.Timeout;

	/** `status` with what is measured now. */
	constructor(status: () => Promise<LauncherStatus>, intervalMs: number = everyMs) {
		let isLooking = false;
		this.#timer = setInterval(() => {
			// A driver that hangs is asked once.
			if (isLooking) return;
			isLooking = true;
			status()
				.then((now) => this.#look(now))
				// Whoever asks for metrics is told.
				.catch(() => undefined)
				.finally(() => (isLooking = false));
		}, intervalMs).unref();
	}

	#look({ mounts }: LauncherStatus): void {
		const at = performance.now();
		for (const { name, measured, leaving } of mounts) {
			// One that moves is there twice.
			if (leaving === true) continue;
			const past = this.#pasts.get(name);
			const totals = measured && totalsOf(measured);
			if (past === undefined) {
				if (totals !== undefined) this.#pasts.set(name, { totals, at, points: [] });
				continue;
			}
			const { totals: before, at: since } = past;
			const isKnown = before !== undefined && totals !== undefined;
			past.points.push(isKnown ? pointOf(before, totals, (at - since) / 1000) : undefined);
			if (past.points.length > points) past.points.shift();
			Object.assign(past, { totals, at });
		}
		const names = new Set(mounts.map(({ name }) => name));
		for (const name of this.#pasts.keys()) if (!names.has(name)) this.#pasts.delete(name);
	}

	history(): History {
		const mounts = Array.from(this.#pasts, ([mount, past]): MountHistory => {
			const of = (name: Name): (number | null)[] => past.points.map((point) => rounded(point?.[name] ?? null));
			return {
				mount,
				readBytesPerSecond: of("readBytesPerSecond"),
				writtenBytesPerSecond: of("writtenBytesPerSecond"),
				operationsPerSecond: of("operationsPerSecond"),
				absentPerSecond: of("absentPerSecond"),
				operationSeconds: of("operationSeconds"),
				firstByteSeconds: of("firstByteSeconds"),
				requestsPerSecond: of("requestsPerSecond"),
				retriesPerSecond: of("retriesPerSecond"),
				cacheHits: of("cacheHits"),
				pendingBytes: of("pendingBytes"),
				openFiles: of("openFiles"),
			};
		});
		return { everySeconds: everyMs / 1000, mounts };
	}

	end(): void {
		clearInterval(this.#timer);
	}
}

function totalsOf(measured: Measured): Totals {
	return {
		readBytes: sum(measured.read_bytes_total),
		writtenBytes: sum(measured.written_bytes_total),
		operations: sum(measured.operations_total, isDoneByApplications),
		absent: sum(measured.operations_total, ([operation, errno]) => isAbsentName(operation, errno)),
		requests: sum(measured.s3_requests_total),
		retries: sum(measured.s3_retries_total),
		reads: sum(measured.cache_reads_total),
		hits: sum(measured.cache_reads_total, ([result]) => result === "hit"),
		durations: countsOf(measured.operation_duration_seconds, isDoneByApplications),
		firstBytes: countsOf(measured.s3_request_first_byte_seconds),
		pendingBytes: sum(measured.pending_bytes),
		openFiles: sum(measured.open_files),
	};
}

function pointOf(before: Totals, now: Totals, seconds: number): Point {
	// A process that was started again counts anew.
	const isAnew = now.operations < before.operations || now.reads < before.reads || now.readBytes < before.readBytes;
	const since = isAnew ? nothing : before;
	const reads = now.reads - since.reads;
	return {
		readBytesPerSecond: (now.readBytes - since.readBytes) / seconds,
		writtenBytesPerSecond: Math.max(0, now.writtenBytes - since.writtenBytes) / seconds,
		operationsPerSecond: (now.operations - since.operations) / seconds,
		absentPerSecond: Math.max(0, now.absent - since.absent) / seconds,
		operationSeconds: quantileOf(since.durations, now.durations, 0.9) ?? null,
		firstByteSeconds: quantileOf(since.firstBytes, now.firstBytes, 0.9) ?? null,
		requestsPerSecond: Math.max(0, now.requests - since.requests) / seconds,
		retriesPerSecond: Math.max(0, now.retries - since.retries) / seconds,
		cacheHits: reads > 0 ? Math.max(0, now.hits - since.hits) / reads : null,
		pendingBytes: now.pendingBytes,
		openFiles: now.openFiles,
	};
}

function rounded(value: number | null): number | null {
	return value === null ? null : Number(value.toPrecision(4));
}

type Meant = (labels: readonly string[]) => boolean;

const isDoneByApplications: Meant = ([operation]) => isOfApplications(operation);

const nothing = totalsOf({});

function sum(samples: readonly Sample[] = [], isMeant: Meant = () => true): number {
	return samples.reduce((total, { labels, value }) => (isMeant(labels) ? total + value : total), 0);
}

function countsOf(samples: readonly Sample[] = [], isMeant: Meant = () => true): number[] {
	const all = Array.from({ length: durationBounds.length + 1 }, () => 0);
	for (const { labels, counts = [] } of samples)
		if (isMeant(labels)) for (const [bucket, count] of counts.entries()) all[bucket]! += count;
	return all;
}
