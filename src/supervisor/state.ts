import type { MountState } from "../probe/status.ts";

/** What can happen to a mount. */
export type MountEvent =
	/** A start is due: the first one, or one after a wait. */
	| { readonly kind: "try" }
	/** Config, secrets and backend are in order. */
	| { readonly kind: "checked" }
	/** The kernel lists it at its target and it answered a statfs. */
	| { readonly kind: "mounted" }
	/** It answers late or not, is hidden, or the backend check fails. */
	| { readonly kind: "ailing" }
	/** It answers and the backend check passes again. */
	| { readonly kind: "well" }
	/** A start failed, the driver ended, or the mount hung past the limit. */
	| { readonly kind: "broken"; readonly permanent: boolean; readonly everReady: boolean }
	/** Removed from the config, SIGTERM, prestop, or unmounted by somebody. */
	| { readonly kind: "unwanted" }
	/** Nothing of it is left: no process, no mount. */
	| { readonly kind: "released" };

/**
 * The next state of a mount. An event that means nothing in a state leaves it as it is; from draining there is no way
 * back, and stopped is the end.
 */
export function nextState(state: MountState, event: MountEvent): MountState {
	if (state === "stopped") return "stopped";
	if (state === "draining") return event.kind === "released" ? "stopped" : "draining";
	switch (event.kind) {
		case "unwanted":
			return "draining";
		case "try":
			return state === "pending" || state === "recovering" || state === "failed" ? "checking" : state;
		case "checked":
			return state === "checking" ? "starting" : state;
		case "mounted":
			return state === "starting" ? "ready" : state;
		case "ailing":
			return state === "ready" ? "degraded" : state;
		case "well":
			return state === "degraded" ? "ready" : state;
		case "broken":
			if (event.permanent) return "failed";
			return event.everReady ? "recovering" : "pending";
		case "released":
			return state;
		default:
			return event satisfies never;
	}
}
