import { posix } from "node:path";
import type { PlannedMount, Prepared } from "../config/plan.ts";
import type { CheckContext, PreparedMount } from "../drivers/driver.ts";
import { toLauncherError, type LauncherError } from "../errors.ts";

/** Several mounts of the config that one driver serves as folders of one mount at targetPath. */
export interface MountGroup extends PlannedMount {
	readonly members: readonly GroupMember[];
}

export interface GroupMember {
	readonly mount: PlannedMount;
	/** What the last check of its own backend said. */
	health: { readonly ok: boolean; readonly checkedAt: Date; readonly error?: LauncherError } | undefined;
}

/**
 * Makes one mount of several, if their driver can: a mount inside another one is not seen through the bind by which Fluid's CSI
 * plugin publishes targetPath. Undefined when they cannot be one; then each is a mount of its own.
 */
export function groupMounts(mounts: readonly PlannedMount[], targetPath: string): MountGroup | undefined {
	const [first] = mounts;
	const driver = first?.driver;
	const isSeparate = mounts.length < 2 && first?.target === targetPath;
	if (driver?.prepareAll === undefined || isSeparate || mounts.some((mount) => mount.driver !== driver))
		return undefined;
	const members: GroupMember[] = mounts.map((mount) => ({ mount, health: undefined }));
	const names = mounts.map(({ name }) => name);
	const prepare = async (): Promise<Prepared> => {
		const prepared = await Promise.all(mounts.map(async (mount) => mount.prepare()));
		const together = driver.prepareAll?.(
			mounts.map((mount, index) => ({
				mount: { source: mount.source, readOnly: mount.readOnly },
				options: prepared[index]?.raw ?? {},
				folder: posix.relative(targetPath, mount.target),
			})),
		);
		if (together === undefined) throw new Error(`${driver.name} does not serve several mounts`);
		const checks = prepared.map(({ mount }) => mount.check);
		const check = async (context: CheckContext): Promise<void> => checkMembers(members, checks, context);
		return { mount: { ...together, check }, options: [], raw: {} };
	};
	return {
		name: names.join(", "),
		// No name of a mount is encoded to this one: a comma would be %2C.
		id: "all,",
		target: targetPath,
		path: "mounts",
		source: "",
		readOnly: mounts.every(({ readOnly }) => readOnly),
		driver,
		driverReason: "all mounts have it",
		modeReason: "each mount has its own",
		members,
		inspect: async () => ({ ...(await prepare()), unread: [] }),
		prepare,
	};
}

/** A backend that fails is its own member's trouble; only when all do, the group has it too. */
async function checkMembers(
	members: readonly GroupMember[],
	checks: readonly PreparedMount["check"][],
	context: CheckContext,
): Promise<void> {
	const errors = await Promise.all(
		members.map(async (member, index) => {
			try {
				await checks[index]?.(context);
				member.health = { ok: true, checkedAt: new Date() };
				return undefined;
			} catch (thrown) {
				context.signal.throwIfAborted();
				const error = toLauncherError(thrown);
				member.health = { ok: false, checkedAt: new Date(), error };
				return error;
			}
		}),
	);
	const [first] = errors;
	if (first === undefined || errors.includes(undefined)) return;
	throw errors.find((error) => error?.permanent === false) ?? first;
}

export function isGroup(mount: PlannedMount): mount is MountGroup {
	return "members" in mount;
}
