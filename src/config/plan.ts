import type { InVolume } from "../drivers/csi/volume.ts";
import type { Driver } from "../drivers/driver.ts";
import { below, shown, withoutPassword, type Fault } from "../options/faults.ts";
import { schemaOf } from "../options/option.ts";
import type { Secret } from "../secrets/secret.ts";
import { accessMode, readOnlyVolume, type AccessMode } from "./access-mode.ts";
import { chooseDriver, type DriverChoices } from "./choose-driver.ts";
import type { Environment } from "./environment.ts";
import { inspect, withAllFiles, type Inspection, type Prepared } from "./inspect.ts";
import { placeMounts, type Layout, type Place } from "./layout.ts";
import type { LoadedFile } from "./load.ts";
import {
	chooseOptions,
	commonOptions,
	optionLayers,
	secretFilesOf,
	takeLauncherOptions,
	volumeLayer,
	type GivenOption,
} from "./option-layers.ts";
import { claimed, isClaim, sourceIn, type Claimed } from "./persistent-volume.ts";
import type { FluidFile, FileMount } from "./schema.ts";
import { readTieredStore, type PlannedPlace } from "./tiered-store.ts";

/** What is known of a mount before its secrets are read. */
export interface PlannedMount extends Place, AccessMode {
	/** JSON path: `mounts[0]`. */
	readonly path: string;
	/** For people: without a password, should somebody have put one there. */
	readonly source: string;
	/** What a pvc:// source stands for. */
	readonly volume?: PlannedVolume;
	/** The places for a cache that the runtime gives, and what the driver uses of them. */
	readonly tieredStore: readonly PlannedPlace[];
	readonly driver: Driver;
	/** Why this driver: a phrase for `validate`. */
	readonly driverReason: string;
	/** What it says of the driver's `commonOptions`. */
	readonly common: ReadonlyMap<string, GivenOption>;
	/** Absolute paths of the secret files that its options cite. */
	readonly secretFiles: readonly string[];
	/** Looks at everything, and goes on without the secrets that cannot be read. Throws ConfigError with all faults. */
	inspect(): Promise<Inspection>;
	/**
	 * Reads the secrets and has the driver check everything. To be called before each start, because secrets rotate.
	 * Throws ConfigError with all faults, SECRET_MISSING or SECRET_UNREADABLE.
	 */
	prepare(): Promise<Prepared>;
}

export interface PlannedVolume {
	/** The CSI driver's name. */
	readonly driver: string;
	readonly handle: string;
	/** Parts of the volume that have no effect, each with the reason. */
	readonly unused: readonly Fault[];
}

/** A mount that cannot be served, with the reason. Others go on. */
export interface RefusedMount {
	readonly path: string;
	readonly name: string;
	readonly source: string;
	readonly faults: readonly Fault[];
}

export interface Plan {
	readonly configFile: string;
	readonly targetPath: string;
	readonly layout: "root" | "named";
	/** The mounts are folders of one mount at targetPath: their driver can serve them so. */
	readonly together: boolean;
	readonly mounts: readonly PlannedMount[];
	readonly refused: readonly RefusedMount[];
}

export interface PlanContext extends DriverChoices {
	/** Told of every secret before anything else sees it, so that it can be redacted. */
	readonly onSecret: (secret: Secret) => void;
}

/** With where everything is mounted. */
interface Planning extends PlanContext {
	readonly targetPath: string;
}

/** Decides what to mount where with which driver. Faults of one mount never touch another. */
export function planMounts({ path: configFile, file, targetPath }: LoadedFile, context: PlanContext): Plan {
	const planning = { ...context, targetPath };
	const { layout, places, faults } = placeMounts(file.mounts, targetPath, wantedLayout(file, context.environment));
	const mounts: PlannedMount[] = [];
	const refused: RefusedMount[] = [];
	const faultsOf = Map.groupBy(faults, ({ path }) => /^mounts\[\d+\]/.exec(path)?.[0] ?? path);
	for (const [index, mount] of file.mounts.entries()) {
		const path = `mounts[${index}]`;
		const place = places[index];
		const own = [...(faultsOf.get("mounts") ?? []), ...(faultsOf.get(path) ?? [])];
		const planned = place === undefined ? own : planMount(file, mount, path, place, planning);
		if ("prepare" in planned) mounts.push(planned);
		else
			refused.push({
				path,
				name: place?.name ?? (mount.name || path),
				source: withoutPassword(mount.mountPoint),
				faults: planned,
			});
	}
	const together = canBeOne(mounts, targetPath);
	const disagreeing = together ? refuseDisagreement(mounts) : [];
	const paths = new Set(disagreeing.map(({ path }) => path));
	const agreeing = mounts.filter(({ path }) => !paths.has(path));
	return { configFile, targetPath, layout, together, mounts: agreeing, refused: [...refused, ...disagreeing] };
}

/** A CacheRuntime's unified namespace has each mount at its path, however many there are: `/<name>`, or `/` for targetPath itself. */
function wantedLayout({ client }: FluidFile, { FLUID_FUSE_LAYOUT: wanted }: Environment): Layout {
	const isCacheRuntime = client !== null && client !== undefined;
	return isCacheRuntime && wanted === "auto" ? "named" : wanted;
}

/** Those that are folders of one mount have to want the same of it. What the first of them says holds. */
function refuseDisagreement(mounts: readonly PlannedMount[]): RefusedMount[] {
	const [first] = mounts;
	const common = Object.entries(first?.driver.commonOptions ?? {});
	const faults = new Map(mounts.map((mount) => [mount, [] as Fault[]]));
	for (const [name, byDefault] of common) {
		const says = (mount: PlannedMount): string => mount.common.get(name)?.value ?? byDefault;
		// A value that is none is a fault of its own.
		const schema = first && schemaOf(first.driver.options, name);
		const [leader, ...others] = mounts.filter((mount) => schema?.safeParse(says(mount)).success === true);
		for (const mount of others) {
			if (leader === undefined || says(mount) === says(leader)) continue;
			const message = `found ${shown(says(mount))}, but ${leader.path} has ${shown(says(leader))}, and both are folders of one mount: give it at the runtime`;
			faults.get(mount)?.push({ path: mount.common.get(name)?.from ?? below(`${mount.path}.options`, name), message });
		}
	}
	return mounts.flatMap((mount) => {
		const own = faults.get(mount) ?? [];
		return own.length === 0 ? [] : [{ path: mount.path, name: mount.name, source: mount.source, faults: own }];
	});
}

/** What is mounted inside another mount is not seen through the bind by which Fluid's CSI plugin publishes targetPath. */
function canBeOne(mounts: readonly PlannedMount[], targetPath: string): boolean {
	const [first] = mounts;
	if (first?.driver.startTogether === undefined || mounts.some(({ driver }) => driver !== first.driver)) return false;
	return mounts.length > 1 || first.target !== targetPath;
}

function planMount(
	file: FluidFile,
	mount: FileMount,
	path: string,
	place: Place,
	context: Planning,
): PlannedMount | Fault[] {
	const layers = optionLayers(file, mount, path, context.environment);
	const { driver: driverName, ...given } = takeLauncherOptions(layers);
	const secretsDirectory = context.environment.FLUID_FUSE_SECRETS_DIR;
	const claim = isClaim(mount.mountPoint) ? claimed(mount.mountPoint, path, file, secretsDirectory) : undefined;
	if (Array.isArray(claim)) return claim;
	const choice = chooseDriver(driverName, mount.mountPoint, path, context, claim?.volume);
	if (!("driver" in choice)) return [choice];
	const { driver, driverReason } = choice;
	const read = claim === undefined ? undefined : driver.readVolume?.(claim.volume);
	const { readOnly, modeReason, withoutEffect } = accessMode(file, mount, given, readOnlyVolume(claim, read));
	const unused = placed(
		claim,
		read?.unused.map(({ at, why }) => ({ at, message: why })),
	);
	if (claim !== undefined && read !== undefined) {
		const faults = placed(claim, [...read.faults, ...(readOnly ? [] : read.writeFaults)]);
		if (faults.length > 0) return faults;
		// Below what the mount says itself, above what is said for all mounts.
		layers.splice(-2, 0, volumeLayer(claim, read));
	}
	const tieredStore = readTieredStore(file, driver, new Set(chooseOptions(driver, layers).chosen.keys()));
	layers.unshift(new Map(tieredStore.options.map(({ name, value, from }) => [name, { value, from }])));
	const served = {
		source: claim === undefined || read === undefined ? mount.mountPoint : sourceIn(read, claim.folder),
		readOnly,
		name: place.name,
		...(claim !== undefined && { volume: claim.volume }),
	};
	const secretChecks =
		claim === undefined ? [] : (read?.secretChecks ?? []).map((check) => ({ ...check, path: claim.pathOf(check.at) }));
	const inspectMount = async (): Promise<Inspection> =>
		inspect(driver, served, path, layers, { ...context, secretsDirectory, secretChecks });
	return {
		...place,
		path,
		source: withoutPassword(mount.mountPoint),
		...(claim !== undefined && { volume: { driver: claim.volume.driver, handle: claim.volume.handle, unused } }),
		tieredStore: tieredStore.places,
		readOnly,
		driver,
		driverReason,
		modeReason,
		...(withoutEffect !== undefined && { withoutEffect }),
		common: commonOptions(driver, layers),
		secretFiles: secretFilesOf(layers, secretsDirectory),
		inspect: inspectMount,
		prepare: async () => withAllFiles(await inspectMount()),
	};
}

function placed(
	claim: Claimed | undefined,
	found: readonly { readonly at: InVolume; readonly message: string }[] = [],
): Fault[] {
	return claim === undefined ? [] : found.map(({ at, message }) => ({ path: claim.pathOf(at), message }));
}
