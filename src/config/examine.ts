import type { PreparedMount } from "../drivers/driver.ts";
import { LauncherError, toLauncherError } from "../errors.ts";
import type { FluidFile } from "./schema.ts";
import { ConfigError, type Fault } from "../options/faults.ts";
import { fingerprint, unreadError } from "./inspect.ts";
import type { Plan, PlannedMount } from "./plan.ts";
import { FluidFileError, type LoadedFile } from "./load.ts";

/** A mount that the config wants, looked at. */
export interface WantedMount {
	readonly planned: PlannedMount;
	/** Or what keeps it from being served: faults of its options, or a file that is not there yet. */
	readonly prepared: PreparedMount | LauncherError;
	/** Equal for two that serve the same in the same way. */
	readonly content: string;
	/** The same without the values of secrets. */
	readonly settings: string;
}

/** Reads a mount's secrets and has its driver check its options. */
export async function examine(planned: PlannedMount): Promise<WantedMount> {
	try {
		const { mount, unread, content, settings } = await planned.inspect();
		return { planned, prepared: unreadError(unread) ?? mount, content, settings };
	} catch (thrown) {
		const error = toLauncherError(thrown);
		const told = fingerprint(error.message);
		return { planned, prepared: error, content: told, settings: told };
	}
}

/** An error of the file, with what is wrong with its mounts as far as they can be looked at: all faults come at once. Never rejects. */
export async function withFaultsOfMounts(error: unknown, plan: (rest: LoadedFile) => Plan): Promise<unknown> {
	if (!(error instanceof FluidFileError) || error.rest === undefined) return error;
	const { mounts, refused } = plan(error.rest);
	const faults = [...error.faults, ...refused.flatMap((mount) => mount.faults)];
	for (const mount of mounts) {
		try {
			await mount.inspect();
		} catch (thrown) {
			if (thrown instanceof ConfigError) faults.push(...thrown.faults);
		}
	}
	return new ConfigError(unique(faults), error.where);
}

/** What is wrong with MOUNT_OPTIONS, for one, is found again for every mount. */
export function unique(faults: readonly Fault[]): Fault[] {
	return [...new Map(faults.map((fault) => [`${fault.path}\n${fault.message}`, fault])).values()];
}

/** Tells apart what two configs want, and nothing about the values of their secrets. */
export function hashOf(targetPath: string, mounts: readonly WantedMount[]): string {
	return fingerprint([
		targetPath,
		...mounts.map(({ planned: { name, target }, settings }) => [name, target, settings]),
	]);
}

/** What a config cannot change while the launcher runs. */
export interface Fixed {
	readonly targetPath: string;
	readonly hasTargetPath: boolean;
	/** Undefined while nothing is mounted that could move. */
	readonly layout: "root" | "named" | undefined;
}

/** Throws CHANGE_REFUSED for a file that would move data to another path, or that Fluid cannot have written. */
export function refuseMoves({ path, file, targetPath }: LoadedFile, fixed: Fixed): void {
	if (fixed.hasTargetPath && !hasTargetPath(file)) {
		throw refusal(
			`${path}: targetPath is missing, which Fluid always writes`,
			"The file is read again when it changes.",
		);
	}
	if (targetPath !== fixed.targetPath) {
		throw refusal(
			`${path}: targetPath has become ${targetPath}, and applications have ${fixed.targetPath}`,
			"Start the pods of the runtime again for another targetPath.",
		);
	}
	if (fixed.layout === "root" && file.mounts.length > 1) {
		throw refusal(
			`${path}: there are ${file.mounts.length} mounts now, and the one that runs is at ${targetPath} itself: as one of several it would move to a folder below`,
			"Set FLUID_FUSE_LAYOUT to named in the environment of the DaemonSet's fuse container (Fluid brings no later change of the profile to it) and start its pods again, and point the applications to the folder; or give the new mount a Dataset of its own.",
		);
	}
}

export function hasTargetPath({ targetPath }: FluidFile): boolean {
	return targetPath !== undefined && targetPath !== null;
}

function refusal(message: string, hint: string): LauncherError {
	return new LauncherError("CHANGE_REFUSED", message, { hint });
}
