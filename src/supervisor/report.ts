import type { DriverConcession, DriverSession, Refusals } from "../drivers/driver.ts";
import type { LauncherError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { MountStatus, ReportedError } from "../probe/status.ts";

export interface Reporting {
	readonly log: Logger;
	readonly redact: (text: string) => string;
}

/** Logs a failure and returns it as `/status` shows it. */
export function reportError(
	error: LauncherError,
	message: string,
	{ log, redact }: Reporting,
	facts: object = {},
): ReportedError {
	const { code, hint } = error;
	const unexpected = code === "INTERNAL" ? { err: error.cause } : {};
	log.error({ code, error: error.message, hint, ...facts, ...unexpected }, message);
	return {
		code,
		class: error.class,
		message: redact(error.message),
		...(hint !== undefined && { hint: redact(hint) }),
		at: new Date().toISOString(),
	};
}

/** As `/status` shows them. */
export function reportedRefusals(
	refusals: Refusals | undefined,
	redact: Reporting["redact"],
): Pick<MountStatus, "refusals"> {
	if (refusals === undefined) return {};
	const { counts, last } = refusals;
	return { refusals: { counts, last: { ...last, message: redact(last.message) } } };
}

export function reportedConcessions(
	concessions: readonly DriverConcession[] | undefined,
	redact: Reporting["redact"],
): Pick<MountStatus, "concessions"> {
	if (concessions === undefined || concessions.length === 0) return {};
	return { concessions: concessions.map((each) => ({ ...each, noticed: redact(each.noticed) })) };
}

/** What the process that serves a mount says of itself. */
export function reportedSession(
	session: DriverSession | undefined,
	redact: Reporting["redact"],
): Pick<MountStatus, "pid" | "refusals" | "concessions" | "troubles" | "driverStats" | "measured"> {
	if (session === undefined) return {};
	const troubles = session.troubles?.() ?? [];
	const driverStats = session.stats?.();
	const measured = session.measured && { ...session.measured(""), ...session.measuredTogether?.() };
	return {
		pid: session.pid,
		...reportedRefusals(session.refusals?.(""), redact),
		...reportedConcessions(session.concessions?.(""), redact),
		...(troubles.length > 0 && {
			troubles: troubles.map((trouble) => ({ ...trouble, message: redact(trouble.message) })),
		}),
		...(driverStats !== undefined && { driverStats }),
		...(measured !== undefined && { measured }),
	};
}
