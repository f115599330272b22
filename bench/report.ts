import type { Summary } from "./summary.ts";
import type { Workload } from "./workloads/workload.ts";

/** The tables that are printed. */
export function report({ figures, failures, aims }: Summary, workloads: readonly Workload[]): string {
	const lines: string[] = [];
	for (const workload of workloads) {
		const own = figures.filter((figure) => figure.workload === workload.name);
		if (own.length === 0) continue;
		const rows = own.map((figure) => [
			figure.driver,
			formatSeconds(figure.seconds),
			`${formatSeconds(figure.fastestSeconds)} to ${formatSeconds(figure.slowestSeconds)}`,
			`${formatNumber(figure.speed)} ${figure.unit}`,
			formatTimes(figure.timesGoofys),
			formatTimes(figure.timesCeiling),
			figure.cpuSeconds.toFixed(2),
			figure.cpuSecondsPerGib?.toFixed(2) ?? "",
			figure.busiestThreadPerGib?.toFixed(2) ?? "",
			`${(figure.peakMemoryBytes / 1e6).toFixed(0)} MB`,
		]);
		lines.push(
			`${workload.title}  (${workload.name})`,
			...table(
				[
					"",
					"median",
					"range",
					"speed",
					"x goofys",
					"x ceiling",
					"CPU s",
					"CPU s/GiB",
					"busiest thread",
					"peak memory",
				],
				rows,
			).map((line) => `  ${line}`),
			"",
		);
	}
	if (aims.length > 0) {
		const rows = aims.map(({ text, against, wanted, bound, measured, met }) => [
			text,
			`${bound} ${wanted} x ${against ?? "best peer"}`,
			formatTimes(measured),
			met === undefined ? "not measured" : met ? "met" : "MISSED",
		]);
		lines.push("aims", ...table(["", "aim", "measured", ""], rows).map((line) => `  ${line}`), "");
	}
	if (failures.length > 0) {
		lines.push("failed");
		for (const { driver, workload, round, reason } of failures)
			lines.push(`  ${driver}, ${workload}, round ${round + 1}: ${reason}`);
		lines.push("");
	}
	return lines.join("\n");
}

/** The first column to the left, the others to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
	const all = [head, ...rows];
	const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
	return all.map((row) =>
		row
			.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
			.join("  ")
			.trimEnd(),
	);
}

export function formatSeconds(seconds: number): string {
	return seconds < 1 ? `${(seconds * 1000).toPrecision(3)} ms` : `${seconds.toFixed(2)} s`;
}

/** Three digits that count. */
export function formatNumber(number: number): string {
	return number >= 100 ? Math.round(number).toLocaleString("en") : number.toPrecision(3);
}

function formatTimes(times: number | undefined): string {
	return times === undefined ? "" : times.toFixed(2);
}
