import { LauncherError } from "../errors.ts";
import { SharedMount } from "./shared-mount.ts";
import type { MountSupervisor } from "./supervise.ts";
import type { Supervised } from "./supervised.ts";

/** Why no mount can be served: each has failed for good, and none was ever ready. Undefined: one may yet be. */
export function hopeless(supervisors: readonly MountSupervisor[]): LauncherError | undefined {
	const errors = supervisors.map((supervisor) => supervisor.hopeless);
	const [first] = errors;
	if (first === undefined || errors.includes(undefined)) return undefined;
	const hint = first.hint === undefined ? {} : { hint: first.hint };
	const message = supervisors.map(({ mount }, index) => explained(mount, errors[index]?.message)).join("\n");
	return new LauncherError(first.code, message, hint);
}

/** Several mounts that share one say each by its name what is wrong. */
function explained(mount: Supervised, message = ""): string {
	return mount instanceof SharedMount ? message : `${mount.name}: ${message}`;
}
