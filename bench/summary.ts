import type { Sample } from "./measure.ts";
import type { Workload } from "./workloads/workload.ts";

type Success = Extract<Sample, { seconds: number }>;

/** Medians of one workload by one driver. */
export interface Figure {
	readonly workload: string;
	readonly driver: string;
	readonly rounds: number;
	readonly seconds: number;
	readonly fastestSeconds: number;
	readonly slowestSeconds: number;
	readonly speed: number;
	readonly unit: string;
	readonly cpuSeconds: number;
	/** Only where content is moved in bulk. */
	readonly cpuSecondsPerGib?: number;
	/** The same of the thread that has used most. */
	readonly busiestThreadPerGib?: number;
	/** The highest of all rounds. */
	readonly peakMemoryBytes: number;
	/** How many times as fast as goofys and the ceiling, if they were measured, too. */
	readonly timesGoofys?: number;
	readonly timesCeiling?: number;
}

export interface Failure {
	readonly workload: string;
	readonly driver: string;
	readonly round: number;
	readonly reason: string;
}

export interface Aim {
	readonly text: string;
	readonly workload: string;
	/** Whom it is compared with; undefined when nobody was measured. */
	readonly against: string | undefined;
	readonly wanted: number;
	/** At least: higher is better; at most: lower is better. */
	readonly bound: "at least" | "at most";
	readonly measured: number | undefined;
	readonly met: boolean | undefined;
}

export interface Summary {
	readonly figures: readonly Figure[];
	readonly failures: readonly Failure[];
	readonly aims: readonly Aim[];
}

const gibibyte = 1024 ** 3;
const peers = new Set(["goofys", "s3fs", "rclone"]);

/** `subject` is the driver that the aims are about. */
export function summarize(
	samples: readonly Sample[],
	workloads: readonly Workload[],
	drivers: readonly string[],
	subject: string,
): Summary {
	const of = (workload: string, driver: string): Success[] =>
		samples.filter(
			(sample): sample is Success => "seconds" in sample && sample.workload === workload && sample.driver === driver,
		);
	/** Median of the rounds' ratios, of the rounds that both ended. Rounds are compared with themselves: the machine's mood passes. */
	const ratio = (
		workload: string,
		one: string,
		other: string,
		value: (sample: Success) => number,
	): number | undefined => {
		const others = of(workload, other);
		const ratios = of(workload, one).flatMap((sample) => {
			const pair = others.find(({ round }) => round === sample.round);
			return pair === undefined || value(pair) === 0 ? [] : [value(sample) / value(pair)];
		});
		return ratios.length === 0 ? undefined : median(ratios);
	};
	const timesAsFast = (workload: string, one: string, other: string) =>
		ratio(workload, one, other, ({ seconds }) => 1 / seconds);

	const figures = workloads.flatMap((workload) =>
		drivers.flatMap((driver): Figure[] => {
			const done = of(workload.name, driver);
			if (done.length === 0) return [];
			const seconds = done.map((sample) => sample.seconds);
			const used = median(done.map((sample) => sample.cpuSeconds));
			const timesGoofys = timesAsFast(workload.name, driver, "goofys");
			const timesCeiling = timesAsFast(workload.name, driver, "ceiling");
			return [
				{
					workload: workload.name,
					driver,
					rounds: done.length,
					seconds: median(seconds),
					fastestSeconds: Math.min(...seconds),
					slowestSeconds: Math.max(...seconds),
					speed: workload.amount.count / median(seconds),
					unit: workload.amount.unit,
					cpuSeconds: used,
					...(isBulk(workload) && {
						cpuSecondsPerGib: used / (workload.bytes / gibibyte),
						busiestThreadPerGib:
							median(done.map((sample) => sample.busiestThreadSeconds)) / (workload.bytes / gibibyte),
					}),
					peakMemoryBytes: Math.max(...done.map((sample) => sample.peakMemoryBytes)),
					...(timesGoofys !== undefined && { timesGoofys }),
					...(timesCeiling !== undefined && { timesCeiling }),
				},
			];
		}),
	);

	const aim = (
		text: string,
		workload: string,
		against: string | undefined,
		bound: Aim["bound"],
		wanted: number,
		measured: number | undefined,
	): Aim => {
		const met = measured === undefined ? undefined : bound === "at least" ? measured >= wanted : measured <= wanted;
		return { text, workload, against, wanted, bound, measured, met };
	};
	const speedAim = ({ name, title }: Workload, against: string | undefined, wanted: number): Aim =>
		aim(
			title,
			name,
			against,
			"at least",
			wanted,
			against === undefined ? undefined : timesAsFast(name, subject, against),
		);
	const bestPeer = ({ name }: Workload): string | undefined =>
		figures
			.filter(({ workload, driver }) => workload === name && peers.has(driver) && driver !== subject)
			.toSorted((a, b) => a.seconds - b.seconds)[0]?.driver;
	/** Ratios of medians are enough here: memory and CPU time hardly depend on the machine's mood. */
	const peak = (driver: string): number | undefined => {
		const peaks = figures.filter((figure) => figure.driver === driver).map(({ peakMemoryBytes }) => peakMemoryBytes);
		return peaks.length === 0 ? undefined : Math.max(...peaks);
	};
	const [subjectPeak, goofysPeak] = [peak(subject), peak("goofys")];

	const aims = [
		...workloads.flatMap((workload) => {
			switch (workload.group) {
				case "sequential read":
					return [speedAim(workload, "goofys", 1.2), speedAim(workload, "ceiling", 0.8)];
				case "sequential write":
					return [speedAim(workload, "goofys", 1)];
				case "small files":
					return [speedAim(workload, bestPeer(workload), 2)];
				case "listing":
					return [speedAim(workload, bestPeer(workload), 3)];
				case "random reads":
				case "first byte":
				case "changes":
					return [];
				default:
					return workload.group satisfies never;
			}
		}),
		...workloads.filter(isSequential).flatMap(({ name, title }) => [
			aim(
				`CPU-seconds a GiB, ${title}`,
				name,
				"goofys",
				"at most",
				1,
				ratio(name, subject, "goofys", (sample) => sample.cpuSeconds),
			),
			aim(
				`peak memory, ${title}`,
				name,
				"goofys",
				"at most",
				1,
				ratio(name, subject, "goofys", (sample) => sample.peakMemoryBytes),
			),
		]),
		aim(
			"peak memory, highest of what was measured",
			"all",
			"goofys",
			"at most",
			1,
			subjectPeak === undefined || goofysPeak === undefined ? undefined : subjectPeak / goofysPeak,
		),
	];
	const failures = samples.flatMap((sample) =>
		"failed" in sample
			? [{ workload: sample.workload, driver: sample.driver, round: sample.round, reason: sample.failed }]
			: [],
	);
	return { figures, failures, aims };
}

function isSequential({ group }: Workload): boolean {
	return group === "sequential read" || group === "sequential write";
}

function isBulk(workload: Workload): boolean {
	return isSequential(workload) || (workload.group === "small files" && workload.bytes > 50 * 1024 ** 2);
}

export function median(numbers: readonly number[]): number {
	const sorted = numbers.toSorted((a, b) => a - b);
	const middle = Math.floor(sorted.length / 2);
	const upper = sorted[middle] ?? Number.NaN;
	return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}
