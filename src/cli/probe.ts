import { didYouMean } from "../options/faults.ts";
import { LauncherError } from "../errors.ts";

const questions = ["live", "ready", "startup"];

/** What is asked with one of these words never comes here: bin/fluid-fuse does it without Node. Throws USAGE. */
export function refuseQuestion(question: string): never {
	throw new LauncherError("USAGE", `unknown probe ${JSON.stringify(question)}${didYouMean(question, questions)}`, {
		hint: `Use ${questions.join(", ")}.`,
	});
}
