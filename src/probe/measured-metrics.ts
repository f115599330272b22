import {
	durationBounds,
	measures,
	type Measured,
	type MeasureName,
	type Sample,
} from "../filesystem-process/measures.ts";

/** What drivers measure themselves, in Prometheus' text format: prom-client's histograms can only count what they see. */
export function renderMeasured(mounts: ReadonlyMap<string, Measured>): string {
	const families = (Object.keys(measures) as MeasureName[]).map((name) => {
		const { type, help, labels: labelNames } = measures[name];
		const metric = `fluid_fuse_${name}`;
		const lines = [`# HELP ${metric} ${help}`, `# TYPE ${metric} ${type}`];
		for (const [mount, measured] of mounts) {
			for (const sample of measured[name] ?? []) {
				const labels = [["mount", mount], ...labelNames.map((label, index) => [label, sample.labels[index] ?? ""])]
					.map(([label = "", value = ""]) => `${label}="${escaped(value)}"`)
					.join(",");
				lines.push(
					...(type === "histogram" ? histogram(metric, labels, sample) : [`${metric}{${labels}} ${sample.value}`]),
				);
			}
		}
		return lines.join("\n");
	});
	return `${families.join("\n\n")}\n`;
}

function histogram(metric: string, labels: string, { value, counts = [] }: Sample): string[] {
	let sum = 0;
	const buckets = [...durationBounds, "+Inf"].map((bound, index) => {
		sum += counts[index] ?? 0;
		return `${metric}_bucket{le="${bound}",${labels}} ${sum}`;
	});
	return [...buckets, `${metric}_sum{${labels}} ${value}`, `${metric}_count{${labels}} ${sum}`];
}

/** https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information */
function escaped(value: string): string {
	return value
		.replaceAll("\\", String.raw`\\`)
		.replaceAll("\n", String.raw`\n`)
		.replaceAll('"', String.raw`\"`);
}
