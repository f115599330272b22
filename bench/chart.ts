import { formatNumber, formatSeconds } from "./report.ts";
import type { Figure, Summary } from "./summary.ts";
import type { Workload } from "./workloads/workload.ts";

const columns = 2;
const panel = { width: 540, labelWidth: 62, valueWidth: 156, rowHeight: 20, headHeight: 44, footHeight: 26 };
const margin = 24;
const headHeight = 96;

/** Colours that keep apart for colour-blind people too, and stand out from white and from near-black. */
const colours: Readonly<Record<string, string>> = {
	native: "#0f9d75",
	goofys: "#d9782d",
	s3fs: "#8a7fd1",
	rclone: "#3f8fd2",
	ceiling: "#8b949e",
};

/**
 * One panel for each workload and one bar for each driver; a longer bar is better. A dashed line is where the bar of `subject` has
 * to reach. Every panel has a scale of its own that starts at zero.
 */
export function chart(
	{ figures, aims }: Summary,
	workloads: readonly Workload[],
	{
		drivers,
		subject,
		subtitle,
	}: { readonly drivers: readonly string[]; readonly subject: string; readonly subtitle: string },
): string {
	const shown = workloads.filter(({ name }) => figures.some(({ workload }) => workload === name));
	const panelHeight = panel.headHeight + drivers.length * panel.rowHeight + panel.footHeight;
	const width = 2 * margin + columns * panel.width;
	const height = headHeight + Math.ceil(shown.length / columns) * panelHeight + margin;
	const panels = shown.map((workload, index) => {
		const own = figures.filter((figure) => figure.workload === workload.name);
		const goals = aims
			.filter((aim) => aim.workload === workload.name && aim.bound === "at least" && aim.against !== undefined)
			.flatMap(({ against, wanted }) =>
				own.filter(({ driver }) => driver === against).map(({ speed }) => speed * wanted),
			);
		const x = margin + (index % columns) * panel.width;
		const y = headHeight + Math.floor(index / columns) * panelHeight;
		const content = drawPanel(workload, drivers, own, goals.length === 0 ? undefined : Math.max(...goals));
		return `<g transform="translate(${x} ${y})">${content}</g>`;
	});
	const legend = `A longer bar is better. Dashed: what ${subject} has to reach. Every scale starts at zero.`;
	return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title">
<title id="title">Filesystems on the same bucket, compared</title>
<style>
svg { color-scheme: light dark; font: 12px system-ui, sans-serif; }
.back { fill: #ffffff; } text { fill: #1f2328; } .quiet { fill: #59636e; } .axis { stroke: #afb8c1; } .aim { stroke: #b3261e; }
.large { font-size: 20px; font-weight: 600; } .head { font-size: 13px; font-weight: 600; }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117; } text { fill: #e6edf3; } .quiet { fill: #9198a1; } .axis { stroke: #3d444d; } .aim { stroke: #ff7b72; }
}
</style>
<rect class="back" width="100%" height="100%"/>
<text class="large" x="${margin}" y="38">Filesystems on the same bucket</text>
<text class="quiet" x="${margin}" y="60">${escape(subtitle)}</text>
<text class="quiet" x="${margin}" y="78">${escape(legend)}</text>
${panels.join("\n")}
</svg>
`;
}

function drawPanel(
	workload: Workload,
	drivers: readonly string[],
	figures: readonly Figure[],
	goal: number | undefined,
): string {
	const barsWidth = panel.width - panel.labelWidth - panel.valueWidth;
	const top = Math.max(goal ?? 0, ...figures.map(({ speed }) => speed));
	const { end, step } = niceScale(top);
	const toX = (speed: number) => panel.labelWidth + (speed / end) * barsWidth;
	const bottom = panel.headHeight + drivers.length * panel.rowHeight;
	const parts = [`<text class="head" x="0" y="30">${escape(workload.title)}</text>`];
	for (let tick = 0; tick <= end + step / 2; tick += step) {
		const x = toX(tick).toFixed(1);
		parts.push(
			`<line class="axis" x1="${x}" x2="${x}" y1="${panel.headHeight - 4}" y2="${bottom}"/>`,
			`<text class="quiet" x="${x}" y="${bottom + 14}" text-anchor="middle">${formatTick(tick)}</text>`,
		);
	}
	parts.push(
		`<text class="quiet" x="${panel.labelWidth + barsWidth + 32}" y="${bottom + 14}">${escape(workload.amount.unit)}</text>`,
	);
	drivers.forEach((driver, row) => {
		const y = panel.headHeight + row * panel.rowHeight;
		parts.push(`<text x="${panel.labelWidth - 8}" y="${y + 12}" text-anchor="end">${escape(driver)}</text>`);
		const figure = figures.find((candidate) => candidate.driver === driver);
		if (figure === undefined) {
			parts.push(`<text class="quiet" x="${panel.labelWidth + 6}" y="${y + 12}">failed</text>`);
			return;
		}
		const length = Math.max(1, toX(figure.speed) - panel.labelWidth).toFixed(1);
		const label = `${formatNumber(figure.speed)} · ${formatSeconds(figure.seconds)}`;
		parts.push(
			`<rect x="${panel.labelWidth}" y="${y}" width="${length}" height="${panel.rowHeight - 5}" rx="2" fill="${colours[driver] ?? "#888888"}"/>`,
			`<text x="${panel.labelWidth + barsWidth + 32}" y="${y + 12}">${escape(label)}</text>`,
		);
	});
	if (goal !== undefined) {
		const x = toX(goal).toFixed(1);
		parts.push(
			`<line class="aim" x1="${x}" x2="${x}" y1="${panel.headHeight - 6}" y2="${bottom}" stroke-width="2" stroke-dasharray="5 3"/>`,
		);
	}
	return parts.join("\n");
}

/** Three to five steps of 1, 2 or 5 times a power of ten. */
function niceScale(top: number): { end: number; step: number } {
	const rough = top / 4;
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
	return { end: Math.ceil(top / step - 1e-9) * step, step };
}

function formatTick(number: number): string {
	return Number(number.toPrecision(6)).toLocaleString("en");
}

function escape(text: string): string {
	return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
