import { parseArgs } from "node:util";
import { soak } from "./run.ts";

/* Kills the filesystem's process under applications for as long as it is told, and says what they have noticed. */

const { values } = parseArgs({
	options: {
		minutes: { type: "string", default: "10" },
		kills: { type: "string" },
		ttl: { type: "string" },
		/** After so many kills: the server is started anew, and the process stopped instead of killed. */
		"restart-every": { type: "string" },
		"stop-every": { type: "string" },
	},
});
const number = (value: string | undefined): number => (value === undefined ? Infinity : Number(value));

const startedAt = performance.now();
const say = (line: string): void => console.log(`${Math.round((performance.now() - startedAt) / 1000)} s: ${line}`);
const { kills, waits, counts, faults, left, residentBytes, heapGrownBytes } = await soak({
	minutes: Number(values.minutes),
	kills: number(values.kills),
	restartEvery: number(values["restart-every"]),
	stopEvery: number(values["stop-every"]),
	options: { ...(values.ttl !== undefined && { ttl: values.ttl }) },
	say,
});

const sorted = waits.toSorted((a, b) => a - b);
const quantile = (part: number): string =>
	(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0).toFixed(2);
const mebibytes = (bytes: number | undefined): string => `${Math.round((bytes ?? 0) / 1024 ** 2)} MiB`;
const within = waits.filter((seconds) => seconds <= 1).length;
const largest = Math.max(...residentBytes);
console.log(`
kills       ${kills}, continued ${waits.length} times
waits       median ${quantile(0.5)} s, 95 % ${quantile(0.95)} s, longest ${quantile(1)} s; within 1 s: ${Math.round((100 * within) / waits.length)} %
work        ${Object.entries(counts)
	.map(([name, count]) => `${name} ${count}`)
	.join(", ")}
memory      of the first process ${mebibytes(residentBytes[0])}, the last ${mebibytes(residentBytes.at(-1))}, the largest ${mebibytes(largest)}; of who starts them ${mebibytes(heapGrownBytes)} more
faults      ${faults.length === 0 ? "none" : `\n  ${faults.join("\n  ")}`}
left over   ${left.length === 0 ? "nothing" : left.join(", ")}`);
process.exitCode = faults.length + left.length > 0 ? 1 : 0;
