import { setTimeout as sleep } from "node:timers/promises";
import type { DriverSession, Ending } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import { remountReadOnly } from "../mounts/mount.ts";
import { layersAt, readMountinfo } from "../mounts/mountinfo.ts";
import { statfs } from "../mounts/statfs.ts";
import { firstOf, within } from "../within.ts";
import type { Supervised } from "./supervised.ts";
import { stagingOf } from "./take-down.ts";
import type { Timing } from "./timing.ts";

interface Starting {
	readonly session: DriverSession;
	readonly mount: Pick<Supervised, "driver" | "readOnly">;
	/** RUN_DIR/mounts/<id>. */
	readonly directory: string;
	/** Of performance.now. */
	readonly deadline: number;
	readonly timing: Timing;
}

/** Waits until the driver's own mount is there and answers. */
export async function untilStaged(starting: Starting, signal: AbortSignal): Promise<void> {
	const { session, mount, directory, deadline, timing } = starting;
	const { filesystemTypes, name, settleMs = 0, isTrustedWithReadOnly = true } = mount.driver;
	const staging = stagingOf(directory);
	let ending: Ending | undefined;
	void session.ended.then((value) => {
		ending = value;
	});
	const failIfEnded = (): void => {
		if (ending === undefined) return;
		throw ending.kind === "failed"
			? ending.cause
			: new LauncherError("DRIVER_FAILED", `${name} ended before it had mounted`);
	};
	for (;;) {
		signal.throwIfAborted();
		failIfEnded();
		if (performance.now() > deadline)
			throw new LauncherError("DRIVER_FAILED", `${name} has not mounted within ${timing.startTimeoutMs / 1000} s`);
		const top = layersAt(await readMountinfo(), staging).at(-1);
		if (top !== undefined && (filesystemTypes.includes(top.type) || filesystemTypes.includes("*"))) {
			const answer = await statfs(staging, timing.statfsTimeoutMs);
			if (answer.kind === "answered") break;
			// A hung child ends when the driver is ended; a next one would only hang beside it.
			if (answer.kind === "hung")
				await within(firstOf([answer.gone, session.ended]), Math.max(0, deadline - performance.now()));
		}
		await sleep(5);
	}
	await within(session.ended, settleMs);
	failIfEnded();
	if (mount.readOnly && !isTrustedWithReadOnly && !(await remountReadOnly(staging)))
		throw new LauncherError("DRIVER_FAILED", `what ${name} has mounted cannot be made read-only`);
}
