import type { Environment } from "../config/environment.ts";
import { errorKinds } from "../errors.ts";
import { requestLauncher } from "../probe/client.ts";
import type { ExchangeOutcome } from "../probe/status.ts";
import type { Output } from "./output.ts";
import { terminalText } from "./terminal.ts";

/** Longer than the launcher takes for some mounts of which each is given up. */
const limitMs = 600_000;

/** Has the launcher exchange the processes of its mounts. Returns 0, 75 when one is as it was, or 69 when no launcher answers. */
export async function reload(
	environment: Environment,
	{ json }: { readonly json: boolean },
	output: Output,
): Promise<number> {
	const answer = await requestLauncher(environment.FLUID_FUSE_RUN_DIR, "/reload", {
		method: "POST",
		timeoutMs: limitMs,
	});
	if (answer.kind === "unreachable" || answer.statusCode !== 200) {
		const reason =
			answer.kind === "unreachable" ? answer.reason : `the launcher answers ${answer.statusCode} to /reload`;
		output.err(`${reason}\n`);
		return errorKinds.BACKEND_REFUSED.exitCode;
	}
	// The launcher is this same program, so that its answer needs no check.
	const outcomes = JSON.parse(answer.body) as readonly ExchangeOutcome[];
	if (json) output.out(`${JSON.stringify(outcomes, undefined, 2)}\n`);
	else output.out(outcomes.map((outcome) => `${terminalText(rendered(outcome))}\n`).join("") || "nothing is mounted\n");
	return outcomes.every(({ kind }) => kind === "done") ? 0 : errorKinds.EXCHANGE_REFUSED.exitCode;
}

function rendered(outcome: ExchangeOutcome): string {
	if (outcome.kind === "done")
		return `${outcome.mount}: has another process; who uses it waited ${outcome.waitedMs / 1000} s`;
	const { code, message, hint = "" } = outcome.error;
	return `${outcome.mount}: ${code}: ${message}. ${hint}`.trimEnd();
}
