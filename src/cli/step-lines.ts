import type { Step } from "../s3/check/step.ts";
import { rows } from "./terminal.ts";

const marks = { passed: "ok", warning: "WARNING", failed: "FAILED", skipped: "skipped" } as const;

/** A line for each, and below it what to do. */
export function renderSteps(steps: readonly Step[]): string {
	return rows(
		steps.map(({ name, outcome, message, ms, code, hint }) => {
			const time = ms === undefined ? "" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
			const text = code === undefined ? message : `${message}; ${code}`;
			const label = `${marks[outcome].padEnd(8)}${name.padEnd(9)} ${time.padStart(8)}`;
			return [label, hint === undefined ? text : `${text}\n${hint}`] as const;
		}),
	);
}
