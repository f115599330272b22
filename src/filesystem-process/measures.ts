import * as z from "zod";
import type { VolumeState } from "../s3-filesystem/index.ts";

/**
 * Everything that the native driver measures, as Prometheus names it after `fluid_fuse_`: docs/metrics.md explains it, and a test compares.
 */
interface Measure {
	readonly type: "counter" | "gauge" | "histogram";
	readonly help: string;
	readonly labels: readonly string[];
}

export const measures = {
	operations_total: {
		type: "counter",
		help: "Operations of applications that were answered; errno is empty where they succeeded.",
		labels: ["operation", "errno"],
	},
	operation_duration_seconds: {
		type: "histogram",
		help: "Time until an operation was answered, in seconds.",
		labels: ["operation"],
	},
	read_bytes_total: { type: "counter", help: "Bytes that applications have read.", labels: [] },
	written_bytes_total: { type: "counter", help: "Bytes that applications have written.", labels: [] },
	open_files: { type: "gauge", help: "Files that applications have open.", labels: [] },
	pending_files: { type: "gauge", help: "Files with changes that are not in the bucket yet.", labels: [] },
	pending_bytes: { type: "gauge", help: "What of those changes is staged.", labels: [] },
	pending_age_seconds: {
		type: "gauge",
		help: "Time since the oldest of those changes; 0 where there are none.",
		labels: [],
	},
	pending_failed_files: {
		type: "gauge",
		help: "Closed files, with write-back, that the server refuses to store; their bytes are kept.",
		labels: [],
	},
	s3_requests_total: {
		type: "counter",
		help: "Requests to the server by S3's operation and what came of them: the status, or the code of the error.",
		labels: ["operation", "code"],
	},
	s3_request_first_byte_seconds: {
		type: "histogram",
		help: "Time from a request to the first byte of its answer, in seconds.",
		labels: ["operation"],
	},
	s3_request_duration_seconds: {
		type: "histogram",
		help: "Time from a request to the end of its answer, in seconds.",
		labels: ["operation"],
	},
	s3_connection_wait_seconds: {
		type: "histogram",
		help: "Time that requests waited for their turn and for a connection, in seconds.",
		labels: [],
	},
	s3_retries_total: {
		type: "counter",
		help: "Requests that were to be tried again, by the reason.",
		labels: ["reason"],
	},
	s3_received_bytes_total: { type: "counter", help: "Bytes of answers of the server, without headers.", labels: [] },
	s3_sent_bytes_total: { type: "counter", help: "Bytes of requests to the server, without headers.", labels: [] },
	cache_reads_total: {
		type: "counter",
		help: "Reads of applications whose bytes were in memory (hit), or had to be waited for (miss).",
		labels: ["result"],
	},
	cache_served_bytes_total: {
		type: "counter",
		help: "Bytes that reads were answered with from memory, however they got there.",
		labels: [],
	},
	cache_fills_total: {
		type: "counter",
		help: "Times that something was brought into memory, from the disk of the cache or from the server.",
		labels: ["from"],
	},
	cache_filled_bytes_total: {
		type: "counter",
		help: "Bytes that were brought into memory, from the disk of the cache or from the server.",
		labels: ["from"],
	},
	cache_unread_bytes_total: {
		type: "counter",
		help: "Bytes that were brought into memory, and that nobody had read when they went.",
		labels: [],
	},
	cache_evictions_total: {
		type: "counter",
		help: "What had to make room for others: parts in memory, blocks on the disk, pages of a thousand names.",
		labels: ["of"],
	},
	cache_guesses_total: {
		type: "counter",
		help: "Small files that were fetched before a program opened them, and what became of those.",
		labels: ["outcome"],
	},
	cache_damaged_blocks_total: {
		type: "counter",
		help: "Blocks on the disk of the cache that were not what they had been, and were fetched again.",
		labels: [],
	},
	budget_used_bytes: {
		type: "gauge",
		help: "What is used of each budget: memory, cache-size, write-buffer and names.",
		labels: ["budget"],
	},
	budget_limit_bytes: { type: "gauge", help: "What each budget may use.", labels: ["budget"] },
	nodes: { type: "gauge", help: "Files and directories that the kernel knows.", labels: [] },
	nodes_limit: {
		type: "gauge",
		help: "How many of those it may know that are neither open nor directories.",
		labels: [],
	},
	hidden_entries_total: {
		type: "counter",
		help: "Entries of lists that were left out: of keys that cannot be names, or of sizes that are none.",
		labels: [],
	},
	event_loop_busy_seconds_total: {
		type: "counter",
		help: "Time in which the filesystem's process was computing.",
		labels: [],
	},
} as const satisfies Readonly<Record<string, Measure>>;

export type MeasureName = keyof typeof measures;

/** Upper bounds of all histograms, in seconds: from what is in memory to what nobody waits for any longer. */
export const durationBounds = [0.000_05, 0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60] as const;

/**
 * What such a share of a histogram took no longer than: the upper bound of its bucket, of the last bucket the bound of the one before. By bucket, of
 * `now` all that were counted and of `before` those that do not matter. Undefined: nothing was.
 */
export function quantileOf(before: readonly number[], now: readonly number[], share: number): number | undefined {
	const counts = now.map((count, bucket) => Math.max(0, count - (before[bucket] ?? 0)));
	const all = counts.reduce((total, count) => total + count, 0);
	if (all === 0) return undefined;
	let below = 0;
	const bucket = counts.findIndex((count) => (below += count) >= share * all);
	return durationBounds[bucket] ?? durationBounds.at(-1);
}

const sample = z.strictObject({
	/** Values of the measure's labels, in their order. */
	labels: z.array(z.string()),
	value: z.number(),
	/** Of a histogram, whose sum is the value: how many were in each bucket, the one without a bound last. */
	counts: z.array(z.number()).optional(),
});

/** By measure; what was not seen is absent. */
export const measured = z.partialRecord(z.enum(Object.keys(measures) as MeasureName[]), z.array(sample));

/** What is true of one volume at the moment. */
export function stateMeasures(
	state: VolumeState = { openFiles: 0, pendingFiles: 0, pendingBytes: 0, pendingSeconds: 0, failedFiles: 0 },
): Measured {
	return {
		open_files: [one(state.openFiles)],
		pending_files: [one(state.pendingFiles)],
		pending_bytes: [one(state.pendingBytes)],
		pending_age_seconds: [one(state.pendingSeconds)],
		pending_failed_files: [one(state.failedFiles)],
	};
}

/** What is true of the process, from the filesystem's own numbers. */
export function sharedMeasures(stats: Readonly<Record<string, number>>): Measured {
	const of = (name: string, ...labels: string[]): Sample => one(stats[name] ?? 0, ...labels);
	return {
		cache_reads_total: [of("read_hits", "hit"), of("read_waits", "miss")],
		cache_served_bytes_total: [of("served_bytes")],
		cache_fills_total: [of("disk_cache_fills", "disk"), of("server_fills", "server")],
		cache_filled_bytes_total: [of("disk_cache_read_bytes", "disk"), of("fetched_bytes", "server")],
		cache_unread_bytes_total: [of("read_ahead_wasted_bytes")],
		cache_evictions_total: [
			of("evicted_parts", "parts"),
			of("disk_cache_evicted_blocks", "blocks"),
			of("names_forgotten_pages", "names"),
		],
		cache_guesses_total: [
			of("guessed_files", "fetched"),
			of("guessed_files_used", "used"),
			of("guessed_files_lost", "lost"),
			of("guesses_stopped", "stopped"),
		],
		cache_damaged_blocks_total: [of("disk_cache_damaged_blocks")],
		budget_used_bytes: [
			of("memory_used_bytes", "memory"),
			of("names_bytes", "names"),
			of("dirty_bytes", "write-buffer"),
			of("disk_cache_used_bytes", "cache-size"),
		],
		budget_limit_bytes: [
			of("memory_limit_bytes", "memory"),
			of("names_limit_bytes", "names"),
			of("dirty_limit_bytes", "write-buffer"),
			of("disk_cache_limit_bytes", "cache-size"),
		],
		nodes: [of("nodes")],
		nodes_limit: [of("nodes_limit")],
		hidden_entries_total: [of("hidden_keys")],
		event_loop_busy_seconds_total: [one(performance.eventLoopUtilization().active / 1000)],
	};
}

/** Of several volumes. */
export function addMeasured(a: Measured, b: Measured): Measured {
	const sum: Measured = { ...a };
	for (const name of Object.keys(b) as MeasureName[]) {
		const samples = new Map((a[name] ?? []).map((sample) => [sample.labels.join("\0"), sample]));
		for (const sample of b[name] ?? []) {
			const key = sample.labels.join("\0");
			const known = samples.get(key);
			samples.set(key, known === undefined ? sample : addSample(known, sample));
		}
		sum[name] = [...samples.values()];
	}
	return sum;
}

function addSample({ labels, value, counts }: Sample, other: Sample): Sample {
	return {
		labels,
		value: value + other.value,
		...(counts !== undefined && { counts: counts.map((count, bucket) => count + (other.counts?.[bucket] ?? 0)) }),
	};
}

function one(value: number, ...labels: string[]): Sample {
	return { labels, value };
}

export type Sample = z.output<typeof sample>;
export type Measured = z.output<typeof measured>;
