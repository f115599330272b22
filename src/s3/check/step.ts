import type { ErrorCode, LauncherError } from "../../errors.ts";

/** One line of what `fluid-fuse check` tells. */
export interface Step {
	readonly name: string;
	readonly outcome: "passed" | "warning" | "failed" | "skipped";
	/** What was found, or why it was not looked at. */
	readonly message: string;
	readonly ms?: number;
	/** Of one that failed. */
	readonly code?: ErrorCode;
	/** What to do. */
	readonly hint?: string;
}

export function passed(name: string, message: string, ms?: number): Step {
	return { name, outcome: "passed", message, ...timed(ms) };
}

export function warning(name: string, message: string, hint: string, ms?: number): Step {
	return { name, outcome: "warning", message, hint, ...timed(ms) };
}

export function skipped(name: string, message: string): Step {
	return { name, outcome: "skipped", message };
}

export function failed(name: string, { code, message, hint }: LauncherError, ms?: number): Step {
	return { name, outcome: "failed", message, code, ...(hint !== undefined && { hint }), ...timed(ms) };
}

/** To a tenth of a millisecond. */
function timed(ms: number | undefined): { readonly ms?: number } {
	return ms === undefined ? {} : { ms: Math.round(ms * 10) / 10 };
}
