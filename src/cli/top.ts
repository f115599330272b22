import { setTimeout as sleep } from "node:timers/promises";
import type { Environment } from "../config/environment.ts";
import { errorKinds, LauncherError } from "../errors.ts";
import { durationBounds, quantileOf } from "../filesystem-process/measures.ts";
import { isAbsentName, isOfApplications } from "../filesystem-process/operation-names.ts";
import { requestLauncher } from "../probe/client.ts";
import type { Output } from "./output.ts";
import { parseSamples, type MetricSample } from "./metric-samples.ts";
import { terminalText } from "./terminal.ts";

export interface TopFlags {
	readonly count: string | undefined;
	readonly json: boolean;
}

const everyMs = 1000;

/** One mount in the last second; rates are for a second. What its driver does not measure is absent. */
interface Activity {
	readonly mount: string;
	readonly driver: string;
	readonly state: string;
	readonly operationsPerSecond?: number;
	readonly errorsPerSecond?: number;
	/** Names that were looked for and are not there. */
	readonly absentPerSecond?: number;
	/** Of ten operations nine took no longer. */
	readonly latencySeconds?: number;
	readonly readBytesPerSecond?: number;
	readonly writtenBytesPerSecond?: number;
	readonly requestsPerSecond?: number;
	readonly firstByteSeconds?: number;
	readonly retriesPerSecond?: number;
	/** Of most of those. */
	readonly retryReason?: string;
	/** Of reads, those that were answered from memory at once. */
	readonly cacheHits?: number;
	readonly pendingBytes?: number;
	readonly openFiles?: number;
	readonly memoryBytes?: number;
	readonly cpus?: number;
}

/** Shows what is going on until the signal is aborted. Returns 0, or 69 when no launcher answers. Throws USAGE. */
export async function top(
	{ count, json }: TopFlags,
	environment: Environment,
	signal: AbortSignal,
	output: Output & { readonly isTerminal: boolean },
): Promise<number> {
	const times = count === undefined ? Number.POSITIVE_INFINITY : Number(count);
	if (!(times >= 1))
		throw new LauncherError("USAGE", "--count: expected a number from 1", { hint: "See fluid-fuse top --help." });
	let before: Look | undefined;
	for (let shown = 0; shown < times && !signal.aborted;) {
		const answer = await requestLauncher(environment.FLUID_FUSE_RUN_DIR, "/metrics");
		if (answer.kind === "unreachable" || answer.statusCode !== 200) {
			const reason = answer.kind === "unreachable" ? answer.reason : `the launcher answers ${answer.statusCode}`;
			output.err(`${reason}\n`);
			return errorKinds.BACKEND_REFUSED.exitCode;
		}
		const now = { at: performance.now(), samples: parseSamples(answer.body) };
		if (before !== undefined) {
			const mounts = activities(before, now);
			const text = json ? `${JSON.stringify({ at: new Date().toISOString(), mounts })}\n` : table(mounts);
			output.out(json || !output.isTerminal ? text : clearScreen + text);
			shown++;
		}
		before = now;
		if (shown < times) await sleep(everyMs, undefined, { signal }).catch(() => undefined);
	}
	return 0;
}

const clearScreen = "\u001B[H\u001B[2J";

interface Look {
	readonly at: number;
	readonly samples: readonly MetricSample[];
}

function activities(before: Look, now: Look): Activity[] {
	const seconds = (now.at - before.at) / 1000;
	return now.samples
		.filter(({ name, value }) => name === "fluid_fuse_mount_state" && value === 1)
		.map(({ labels: { mount = "", driver = "", state = "" } }) => {
			const of = ({ samples }: Look, name: string, isMeant: Meant = () => true): readonly MetricSample[] =>
				samples.filter(
					(sample) =>
						sample.name === `fluid_fuse_${name}` && sample.labels["mount"] === mount && isMeant(sample.labels),
				);
			const value = (name: string): number | undefined => of(now, name)[0]?.value;
			const more = (name: string, isMeant?: Meant): number =>
				// A process that was started again counts anew.
				Math.max(0, sum(of(now, name, isMeant)) - sum(of(before, name, isMeant)));
			const rate = (name: string, isMeant?: Meant): number => more(name, isMeant) / seconds;
			const quantile = (name: string, isMeant?: Meant): number | undefined =>
				quantileOf(
					bucketsOf(of(before, `${name}_bucket`, isMeant)),
					bucketsOf(of(now, `${name}_bucket`, isMeant)),
					0.9,
				);
			const memoryBytes = value("driver_resident_memory_bytes");
			const process = memoryBytes === undefined ? {} : { memoryBytes, cpus: rate("driver_cpu_seconds_total") };
			const common = { mount, driver, state, ...process };
			if (value("read_bytes_total") === undefined) return common;
			const reads = more("cache_reads_total");
			const latencySeconds = quantile("operation_duration_seconds", isDoneByApplications);
			const firstByteSeconds = quantile("s3_request_first_byte_seconds");
			const retryReason = of(now, "s3_retries_total")
				.map(({ labels: { reason = "" } }) => ({
					reason,
					times: more("s3_retries_total", (other) => other["reason"] === reason),
				}))
				.filter(({ times }) => times > 0)
				.toSorted((a, b) => b.times - a.times)[0]?.reason;
			return {
				...common,
				operationsPerSecond: rate("operations_total", isDoneByApplications),
				errorsPerSecond: rate("operations_total", isError),
				absentPerSecond: rate("operations_total", ({ operation, errno }) => isAbsentName(operation, errno)),
				...(latencySeconds !== undefined && { latencySeconds }),
				readBytesPerSecond: rate("read_bytes_total"),
				writtenBytesPerSecond: rate("written_bytes_total"),
				requestsPerSecond: rate("s3_requests_total"),
				...(firstByteSeconds !== undefined && { firstByteSeconds }),
				retriesPerSecond: rate("s3_retries_total"),
				...(retryReason !== undefined && { retryReason }),
				...(reads > 0 && { cacheHits: more("cache_reads_total", ({ result }) => result === "hit") / reads }),
				pendingBytes: value("pending_bytes") ?? 0,
				openFiles: value("open_files") ?? 0,
			};
		});
}

type Meant = (labels: MetricSample["labels"]) => boolean;

const isDoneByApplications: Meant = ({ operation }) => isOfApplications(operation);
/** That something is not there, or cannot be had, is an ordinary answer. */
const isError: Meant = ({ errno = "" }) => !["", "ENOENT", "ENODATA", "ENOTSUP", "ENOSYS"].includes(errno);

function sum(samples: readonly MetricSample[]): number {
	return samples.reduce((total, { value }) => total + value, 0);
}

/** Of a histogram, all series together, how many were in each bucket: what Prometheus is told counts those below, too. */
function bucketsOf(samples: readonly MetricSample[]): number[] {
	const below = [...durationBounds, "+Inf"].map((bound) =>
		sum(samples.filter(({ labels }) => labels["le"] === `${bound}`)),
	);
	return below.map((count, bucket) => count - (below[bucket - 1] ?? 0));
}

function table(mounts: readonly Activity[]): string {
	const none = "-";
	const cell = (value: number | undefined, render: (known: number) => string): string =>
		value === undefined ? none : render(value);
	const header = [
		"mount",
		"state",
		"ops/s",
		"err/s",
		"absent/s",
		"90% in",
		"read/s",
		"write/s",
		"S3/s",
		"1st byte",
		"retry/s",
		"why",
		"hits",
		"pending",
		"open",
		"memory",
		"CPU",
	];
	const lines = mounts.map((mount) => [
		mount.mount,
		mount.state,
		cell(mount.operationsPerSecond, number),
		cell(mount.errorsPerSecond, number),
		cell(mount.absentPerSecond, number),
		cell(mount.latencySeconds, time),
		cell(mount.readBytesPerSecond, bytes),
		cell(mount.writtenBytesPerSecond, bytes),
		cell(mount.requestsPerSecond, number),
		cell(mount.firstByteSeconds, time),
		cell(mount.retriesPerSecond, number),
		mount.retryReason ?? none,
		cell(mount.cacheHits, (share) => `${Math.round(share * 100)}%`),
		cell(mount.pendingBytes, bytes),
		cell(mount.openFiles, (files) => `${files}`),
		cell(mount.memoryBytes, bytes),
		cell(mount.cpus, (cpus) => cpus.toFixed(2)),
	]);
	const all = [header, ...lines].map((row) => row.map((text) => terminalText(text)));
	const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
	const rendered = all.map((row) =>
		row
			.map((text, column) => (column < 2 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0)))
			.join("  ")
			.trimEnd(),
	);
	return `${rendered.join("\n")}\n`;
}

function number(value: number): string {
	return value >= 10 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

/** Of a bucket's bound. */
function time(seconds: number): string {
	return seconds >= 1
		? `${seconds}s`
		: seconds >= 0.001
			? `${Math.round(seconds * 1000)}ms`
			: `${Math.round(seconds * 1e6)}us`;
}

function bytes(value: number): string {
	const units = ["", "Ki", "Mi", "Gi", "Ti"];
	let unit = 0;
	while (value >= 1024 && unit < units.length - 1) {
		value /= 1024;
		unit++;
	}
	return `${unit > 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)}${units[unit]}`;
}
