import { open, readFile } from "node:fs/promises";
import { LauncherError } from "../errors.ts";
import { mountOf, readMountinfo } from "./mountinfo.ts";

const capSysAdmin = 21n;

/** Throws what keeps this container from mounting anything, each cause with its own code. */
export async function checkHost(): Promise<void> {
	await checkCapability();
	await checkDevice();
}

async function checkDevice(): Promise<void> {
	try {
		const device = await open("/dev/fuse", "r+");
		await device.close();
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		throw deviceError(code ?? "unknown", await appArmorProfile(), error);
	}
}

/** What an error of opening /dev/fuse means. */
export function deviceError(code: string, appArmor: string | undefined, cause?: unknown): LauncherError {
	switch (code) {
		case "ENOENT":
			return new LauncherError("FUSE_DEVICE_MISSING", "/dev/fuse does not exist in this container", {
				hint: "Set securityContext.privileged: true, as Fluid does, or mount the device with a device plugin.",
				cause,
			});
		case "ENODEV":
		case "ENXIO":
			return new LauncherError("FUSE_MODULE_MISSING", "/dev/fuse exists, but the node's kernel has no FUSE", {
				hint: "Load the module on the node: modprobe fuse.",
				cause,
			});
		case "EPERM":
		case "EACCES":
			return new LauncherError(
				"FUSE_DEVICE_DENIED",
				appArmor === undefined
					? `/dev/fuse may not be opened (${code}): the container's device rules forbid it`
					: `/dev/fuse may not be opened (${code}), under the AppArmor profile ${appArmor}`,
				{
					hint:
						appArmor === undefined
							? "Set securityContext.privileged: true, or allow the device 10:229 for the container."
							: "Set securityContext.privileged: true, or appArmorProfile.type: Unconfined.",
					cause,
				},
			);
		default:
			return new LauncherError("FUSE_DEVICE_DENIED", `/dev/fuse cannot be opened: ${code}`, { cause });
	}
}

async function checkCapability(): Promise<void> {
	const status = await readFile("/proc/self/status", "utf8");
	const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
	if (effective === undefined || (BigInt(`0x${effective}`) >> capSysAdmin) % 2n === 1n) return;
	throw new LauncherError("CAPABILITY_MISSING", "this container may not mount: CAP_SYS_ADMIN is missing", {
		hint: "Set securityContext.privileged: true, as Fluid does; Bidirectional mount propagation needs it too.",
	});
}

/** The profile that confines this process, or undefined. */
async function appArmorProfile(): Promise<string | undefined> {
	const current = await readFile("/proc/self/attr/current", "utf8").catch(() => "unconfined");
	const profile = current.replaceAll("\0", "").trim();
	return profile === "" || profile.startsWith("unconfined") ? undefined : profile;
}

/** What does not stop the launcher, and what to do about it. */
export interface HostWarning {
	readonly problem: string;
	readonly hint: string;
}

/** The same as sentences, for the log and the status. */
export async function findWarnings(targetPath: string, runDirectory: string): Promise<string[]> {
	const warnings = await findHostWarnings(targetPath, runDirectory);
	return warnings.map(({ problem, hint }) => `${problem}: ${hint}`);
}

/** The folder around targetPath and the run directory must exist. */
export async function findHostWarnings(targetPath: string, runDirectory: string): Promise<HostWarning[]> {
	const entries = await readMountinfo();
	const warnings: HostWarning[] = [];
	// The volume is mounted at targetPath itself, or around it.
	const volume = mountOf(entries, targetPath);
	if (volume?.shared === false) {
		warnings.push({
			problem: `what is mounted at ${targetPath} is not seen outside this container`,
			hint: `set mountPropagation: Bidirectional on the volumeMount ${volume.mountPoint}, as Fluid does, and check that the folder is a shared mount on the node`,
		});
	}
	const type = mountOf(entries, runDirectory)?.type;
	if (type !== "tmpfs" && type !== "ramfs") {
		warnings.push({
			problem: `${runDirectory} is not a tmpfs, so that credentials touch a disk`,
			hint: "mount an emptyDir with medium: Memory there",
		});
	}
	return warnings;
}
