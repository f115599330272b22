import type { ReadVolume } from "../drivers/csi/volume.ts";
import type { GivenOption } from "./option-layers.ts";
import type { Claimed } from "./persistent-volume.ts";
import type { FluidFile, FileMount } from "./schema.ts";

export interface AccessMode {
	readonly readOnly: boolean;
	/** Why it is read-only, or that it is not: a phrase for `validate`. */
	readonly modeReason: string;
	/** What the config asks for and the pod cannot be given while it is as Fluid made it, with what to do; absent when there is nothing. */
	readonly withoutEffect?: string;
}

/** Read-only wins: whoever says so, the mount's readOnly, its volume, the option ro, or ReadOnlyMany among the access modes. */
export function accessMode(
	file: FluidFile,
	mount: FileMount,
	{ ro, rw }: Partial<Record<"ro" | "rw", GivenOption>>,
	volume: string | undefined,
): AccessMode {
	if (mount.readOnly) return { readOnly: true, modeReason: "readOnly of the mount" };
	if (volume !== undefined) return { readOnly: true, modeReason: volume };
	const isOfDaemonSet = ro?.from === "MOUNT_OPTIONS.ro";
	if (ro !== undefined && !isOfDaemonSet) return { readOnly: true, modeReason: ro.from };
	const modes = file.accessModes as readonly string[];
	if (modes.includes("ReadOnlyMany")) {
		return {
			readOnly: true,
			modeReason: `accessModes has ReadOnlyMany${rw === undefined ? "" : ", which wins over rw"}`,
		};
	}
	if (isOfDaemonSet)
		return { readOnly: true, modeReason: "ro in the DaemonSet's MOUNT_OPTIONS", withoutEffect: stayedReadOnly(modes) };
	return { readOnly: false, modeReason: `accessModes has ${modes.join(", ")}` };
}

/** What says that the volume is read-only. */
export function readOnlyVolume(claim: Claimed | undefined, read: ReadVolume | undefined): string | undefined {
	return (
		claim?.readOnly ?? (claim !== undefined && read?.readOnly !== undefined ? claim.pathOf(read.readOnly) : undefined)
	);
}

/** Fluid writes ro into MOUNT_OPTIONS, and the access modes into the PersistentVolume, when it makes them, and changes neither later. */
function stayedReadOnly(modes: readonly string[]): string {
	return `accessModes is ${modes.join(", ")} now, and the DaemonSet's MOUNT_OPTIONS still has ro: Fluid writes it once, from the access modes of then or the profile's options, and keeps the PersistentVolume as it was too. Delete the applications, the Dataset and its ThinRuntime, and create them again, without ro in the profile`;
}
