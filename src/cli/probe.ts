import type { Environment } from "../config/environment.ts";
import { didYouMean } from "../options/faults.ts";
import { LauncherError } from "../errors.ts";
import { requestLauncher } from "../probe/client.ts";
import type { Output } from "./output.ts";

const paths = new Map([
	["live", "/livez"],
	["ready", "/readyz"],
	["startup", "/startupz"],
]);

/** With the start of the process this stays below the 2 s that the help promises. */
const timeoutMs = 1500;

/** Asks the running launcher one of Kubernetes' questions. Returns 0 for yes, 1 for no or no answer. Throws USAGE. */
export async function probe(question: string, environment: Environment, output: Output): Promise<number> {
	const path = paths.get(question);
	if (path === undefined) {
		const guess = didYouMean(question, paths.keys());
		throw new LauncherError("USAGE", `unknown probe ${JSON.stringify(question)}${guess}`, {
			hint: `Use ${[...paths.keys()].join(", ")}.`,
		});
	}
	const answer = await requestLauncher(environment.FLUID_FUSE_RUN_DIR, path, { timeoutMs });
	if (answer.kind === "unreachable") {
		output.err(`${answer.reason}\n`);
		return 1;
	}
	if (answer.statusCode === 200) {
		output.out(answer.body);
		return 0;
	}
	output.err(answer.body);
	return 1;
}
