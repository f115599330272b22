import type { Environment } from "../config/environment.ts";
import { errorKinds } from "../errors.ts";
import { requestLauncher } from "../probe/client.ts";
import type { Output } from "./output.ts";

/** Has the launcher and its drivers log more, or less. Returns 0, 64 when there is no such level, or 69 when no launcher answers. */
export async function setLogLevel(level: string, environment: Environment, output: Output): Promise<number> {
	const path = `/log-level?level=${encodeURIComponent(level)}`;
	const answer = await requestLauncher(environment.FLUID_FUSE_RUN_DIR, path, { method: "POST" });
	if (answer.kind === "unreachable") {
		output.err(`${answer.reason}\n`);
		return errorKinds.BACKEND_REFUSED.exitCode;
	}
	if (answer.statusCode === 200) return 0;
	output.err(answer.body);
	return errorKinds.USAGE.exitCode;
}
