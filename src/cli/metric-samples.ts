/** One line of Prometheus' text format. */
export interface MetricSample {
	readonly name: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly value: number;
}

/** What our own launcher prints: https://prometheus.io/docs/instrumenting/exposition_formats/ */
export function parseSamples(text: string): MetricSample[] {
	return text.split("\n").flatMap((line) => {
		const found = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
		if (found === null) return [];
		const [, name = "", labels = "", value = ""] = found;
		const pairs = Array.from(labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g), ([, label = "", quoted = ""]) => [
			label,
			quoted.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped)),
		]);
		return [{ name, labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) }];
	});
}
