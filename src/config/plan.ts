import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { LauncherError } from "../errors.ts";
import {
	DriverFaults,
	type Driver,
	type DriverFault,
	type InVolume,
	type PreparedMount,
	type RawOptions,
	type ReadVolume,
	type Volume,
} from "../drivers/driver.ts";
import type { Environment } from "./environment.ts";
import { below, ConfigError, didYouMean, shown, withoutPassword, type Fault } from "../options/faults.ts";
import { FileFault, readNamedFile, realPathOf } from "../named-file.ts";
import { placeMounts, type Layout, type Place } from "./layout.ts";
import type { LoadedFile } from "./load.ts";
import { claimed, isClaim, sourceIn, type Claimed } from "./persistent-volume.ts";
import { readTieredStore, type PlannedPlace } from "./tiered-store.ts";
import { isPath, isSecret, optionMeta, schemaOf } from "../options/option.ts";
import type { FluidFile } from "./schema.ts";
import { Secret } from "../secrets/secret.ts";
import { readSecret, secretReference } from "./secrets.ts";

/** One option as it was given, and where. */
interface GivenOption {
	readonly value: string;
	/** JSON path, or `MOUNT_OPTIONS.<key>`. */
	readonly from: string;
	/** It stands in a Secret, need not be there, and is no secret. */
	readonly isPlain?: boolean;
}

/** One option as it will be used, for `fluid-fuse validate`: a secret only by its name. */
export interface PlannedOption {
	readonly name: string;
	readonly value: string;
	readonly from: string;
}

/** What is known of a mount before its secrets are read. */
export interface PlannedMount extends Place {
	/** JSON path: `mounts[0]`. */
	readonly path: string;
	/** For people: without a password, should somebody have put one there. */
	readonly source: string;
	/** What a pvc:// source stands for. */
	readonly volume?: PlannedVolume;
	/** The places for a cache that the runtime gives, and what the driver uses of them. */
	readonly tieredStore: readonly PlannedPlace[];
	readonly readOnly: boolean;
	readonly driver: Driver;
	/** Why this driver: a phrase for `validate`. */
	readonly driverReason: string;
	/** Why it is read-only, or that it is not: a phrase for `validate`. */
	readonly modeReason: string;
	/** What the config asks for and the pod cannot be given while it is as Fluid made it, with what to do; absent when there is nothing. */
	readonly withoutEffect?: string;
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

export interface Prepared {
	readonly mount: PreparedMount;
	readonly options: readonly PlannedOption[];
}

export interface Inspection extends Prepared {
	/** Equal for two mounts that serve the same in the same way. Says nothing about the secrets that are in it. */
	readonly content: string;
	/** The same without the values of secrets: equal when nothing but those differs. */
	readonly settings: string;
	/** What cannot be read: SECRET_MISSING, SECRET_UNREADABLE or FILE_UNREADABLE, each at its JSON path. */
	readonly unread: readonly UnreadFile[];
}

export interface UnreadFile {
	readonly path: string;
	readonly error: LauncherError;
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

export interface PlanContext {
	readonly environment: Environment;
	readonly drivers: readonly Driver[];
	/** Driver files that cannot be used, for whoever misses their drivers. */
	readonly driverFileFaults?: readonly { readonly message: string }[];
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

type FileMount = FluidFile["mounts"][number];

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
	const { readOnly, modeReason, withoutEffect } = mode(file, mount, given, readOnlyVolume(claim, read));
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
	const inspectMount = async (): Promise<Inspection> => inspect(driver, served, path, layers, context);
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
		secretFiles: secretFilesOf(layers, context.environment.FLUID_FUSE_SECRETS_DIR),
		inspect: inspectMount,
		prepare: async () => withAllFiles(await inspectMount()),
	};
}

/** What says that the volume is read-only. */
function readOnlyVolume(claim: Claimed | undefined, read: ReadVolume | undefined): string | undefined {
	return (
		claim?.readOnly ?? (claim !== undefined && read?.readOnly !== undefined ? claim.pathOf(read.readOnly) : undefined)
	);
}

function placed(
	claim: Claimed | undefined,
	found: readonly { readonly at: InVolume; readonly message: string }[] = [],
): Fault[] {
	return claim === undefined ? [] : found.map(({ at, message }) => ({ path: claim.pathOf(at), message }));
}

function volumeLayer({ pathOf }: Claimed, { options }: ReadVolume): Map<string, GivenOption> {
	return new Map(options.map(({ name, value, at, isPlain = false }) => [name, { value, from: pathOf(at), isPlain }]));
}

function commonOptions(driver: Driver, layers: readonly Map<string, GivenOption>[]): Map<string, GivenOption> {
	const { chosen } = chooseOptions(driver, layers);
	return new Map([...chosen].filter(([name]) => Object.hasOwn(driver.commonOptions ?? {}, name)));
}

/** Options in layers, the lowest first: a profile's, the runtime's, the mount's, the mount's encrypted ones. */
function optionLayers(
	file: FluidFile,
	mount: FileMount,
	path: string,
	environment: Environment,
): Map<string, GivenOption>[] {
	const layer = (options: ReadonlyMap<string, string>, base: string): Map<string, GivenOption> => {
		// fluid.fuse.* are Fluid's own.
		const entries = [...options].filter(([key]) => !key.startsWith("fluid.fuse."));
		return new Map(entries.map(([key, value]) => [key, { value, from: below(base, key) }]));
	};
	return [
		layer(parseMountOptions(environment.MOUNT_OPTIONS ?? ""), "MOUNT_OPTIONS"),
		layer(file.client?.options ?? new Map(), "client.options"),
		layer(file.runtimeOptions, "runtimeOptions"),
		layer(mount.options, below(path, "options")),
		layer(mount.encryptOptions, below(path, "encryptOptions")),
	];
}

function secretFilesOf(layers: readonly Map<string, GivenOption>[], secretsDirectory: string): string[] {
	const values = layers.flatMap((layer) => [...layer.values()].map(({ value }) => value));
	const references = values.flatMap((value) => secretReference(value, secretsDirectory) ?? []);
	return [...new Set(references.map(({ secret, key }) => join(secretsDirectory, secret, key)))];
}

/** `k=v,flag,…` in random order and without escaping, as Fluid writes MOUNT_OPTIONS. */
export function parseMountOptions(text: string): Map<string, string> {
	const options = new Map<string, string>();
	for (const part of text.split(",")) {
		const equals = part.indexOf("=");
		const key = (equals === -1 ? part : part.slice(0, equals)).trim();
		if (key !== "") options.set(key, equals === -1 ? "" : part.slice(equals + 1));
	}
	return options;
}

/** Takes out of the layers what is the launcher's: the driver's name, `ro` and `rw`. The highest layer wins; `ro=false` says nothing. */
function takeLauncherOptions(layers: Map<string, GivenOption>[]): Partial<Record<"driver" | "ro" | "rw", GivenOption>> {
	const taken: Partial<Record<"driver" | "ro" | "rw", GivenOption>> = {};
	for (const layer of layers) {
		for (const name of ["driver", "ro", "rw"] as const) {
			const option = layer.get(name);
			if (option !== undefined && !(name === "ro" && isNo.test(option.value))) taken[name] = option;
			layer.delete(name);
		}
	}
	return taken;
}

const isNo = /^(false|0|no|off)$/i;

function chooseDriver(
	chosen: GivenOption | undefined,
	source: string,
	path: string,
	{ environment, drivers, driverFileFaults = [] }: PlanContext,
	volume: Volume | undefined,
): { driver: Driver; driverReason: string } | Fault {
	const name = chosen?.value ?? environment.FLUID_FUSE_DRIVER;
	const names = drivers.map((driver) => driver.name);
	const unusable = driverFileFaults.map(({ message }) => `; a driver file cannot be used: ${message}`).join("");
	if (name !== undefined) {
		const driver = drivers.find((candidate) => candidate.name === name);
		const from = chosen?.from ?? "FLUID_FUSE_DRIVER";
		if (driver !== undefined) {
			const fault = volume === undefined || servesVolume(driver, volume) ? undefined : foreignVolume(volume, [driver]);
			return fault === undefined ? { driver, driverReason: from } : { path: `${path}.mountPoint`, message: fault };
		}
		return {
			path: from,
			message: `unknown driver ${shown(name)}, expected one of ${names.join(", ")}${didYouMean(name, names)}${unusable}`,
		};
	}
	// An image has its vendor's script for no other purpose: one of Fluid's dynamic mounts needs another FROM and nothing else.
	const script = drivers.find((candidate) => candidate.name === "script");
	if (script !== undefined && existsSync(environment.FLUID_FUSE_SCRIPT)) {
		return { driver: script, driverReason: `there is ${environment.FLUID_FUSE_SCRIPT}` };
	}
	if (volume !== undefined) {
		const driver = drivers.find((candidate) => servesVolume(candidate, volume) && candidate !== script);
		if (driver !== undefined) return { driver, driverReason: `the first that serves volumes of ${volume.driver}` };
		return { path: `${path}.mountPoint`, message: `${foreignVolume(volume, drivers)}${unusable}` };
	}
	const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(source)?.[1]?.toLowerCase() ?? "";
	const driver = drivers.find((candidate) => candidate.schemes.includes(scheme));
	if (driver !== undefined) {
		const sources = scheme === "" ? "sources without a scheme" : `${scheme}://`;
		return { driver, driverReason: `the first that serves ${sources}` };
	}
	const schemes = [...new Set(drivers.flatMap((candidate) => candidate.schemes))].filter((known) => known !== "");
	return {
		path: `${path}.mountPoint`,
		message: `no driver serves the scheme ${shown(scheme)}, expected one of ${schemes.join(", ")}${didYouMean(scheme, schemes)}${unusable}`,
	};
}

/** Fluid writes ro into MOUNT_OPTIONS, and the access modes into the PersistentVolume, when it makes them, and changes neither later. */
function stayedReadOnly(modes: readonly string[]): string {
	return `accessModes is ${modes.join(", ")} now, and the DaemonSet's MOUNT_OPTIONS still has ro: Fluid writes it once, from the access modes of then or the profile's options, and keeps the PersistentVolume as it was too. Delete the applications, the Dataset and its ThinRuntime, and create them again, without ro in the profile`;
}

function servesVolume({ csiDrivers = [], schemes }: Driver, { driver }: Volume): boolean {
	return csiDrivers.includes(driver) || csiDrivers.includes("*") || schemes.includes("pvc");
}

function foreignVolume({ driver }: Volume, drivers: readonly Driver[]): string {
	const served = [...new Set(drivers.flatMap(({ csiDrivers = [] }) => csiDrivers))].filter((name) => name !== "*");
	const [one] = drivers;
	const who = drivers.length === 1 && one !== undefined ? `${one.name} serves no volumes` : "no driver serves volumes";
	const expected = served.length === 0 ? "" : `, expected one of ${served.join(", ")}`;
	return `${who} of the CSI driver ${shown(driver)}${expected}: mount its storage under an address of its own, or add a driver that has it in csiDrivers (docs/vendors.md)`;
}

/** Read-only wins: whoever says so, the mount's readOnly, its volume, the option ro, or ReadOnlyMany among the access modes. */
function mode(
	file: FluidFile,
	mount: FileMount,
	{ ro, rw }: Partial<Record<"ro" | "rw", GivenOption>>,
	volume: string | undefined,
): Pick<PlannedMount, "readOnly" | "modeReason" | "withoutEffect"> {
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

async function inspect(
	driver: Driver,
	mount: { source: string; readOnly: boolean; name: string; volume?: Volume },
	path: string,
	layers: readonly Map<string, GivenOption>[],
	context: Planning,
): Promise<Inspection> {
	const { chosen, faults } = chooseOptions(driver, layers);
	// One may be called __proto__.
	const raw = Object.create(null) as Record<string, string | Secret>;
	const planned: PlannedOption[] = [];
	const unread: UnreadFile[] = [];
	const secretsDirectory = context.environment.FLUID_FUSE_SECRETS_DIR;
	// In Fluid's secret mode values stand in the file itself, and nothing but an option's type tells which are secret.
	let hasLiteralSecrets = false;
	const settings: [name: string, value: string][] = [];
	const values: [name: string, value: string][] = [];
	for (const [name, { value, from, isPlain = false }] of chosen) {
		const schema = schemaOf(driver.options, name);
		const secretWanted = schema !== undefined && isSecret(schema);
		const reference = secretReference(value, secretsDirectory);
		const isEncrypted = from.startsWith(below(path, "encryptOptions"));
		if (isPlain && reference !== undefined) {
			const plain = await readIfThere(reference, secretsDirectory).catch((error: unknown) => {
				if (!(error instanceof LauncherError)) throw error;
				unread.push({ path: from, error });
			});
			if (plain === undefined || plain === "") continue;
			raw[name] = plain;
			planned.push({ name, value: plain, from });
			settings.push([name, `${reference.secret}/${reference.key}`]);
			values.push([name, plain]);
			continue;
		}
		if (reference === undefined && !secretWanted && !isEncrypted) {
			raw[name] = value;
			planned.push({ name, value, from });
			settings.push([name, value]);
			continue;
		}
		const secret =
			reference === undefined
				? new Secret(value.replace(/\r?\n$/, ""), from)
				: await readSecret(reference, secretsDirectory).catch((error: unknown) => {
						if (!(error instanceof LauncherError)) throw error;
						unread.push({ path: from, error });
					});
		hasLiteralSecrets ||= reference === undefined;
		settings.push([name, reference === undefined ? "" : `${reference.secret}/${reference.key}`]);
		if (secret !== undefined) values.push([name, secret.reveal()]);
		planned.push({ name, value: secret?.toString() ?? `secret ${reference?.secret}/${reference?.key}`, from });
		const isOpen = schema === undefined && driver.takesAnyOption === true;
		if (reference !== undefined && (isOpen || (schema !== undefined && isPath(schema, value)))) {
			// The program reads the file itself: a certificate, for one.
			raw[name] = join(secretsDirectory, reference.secret, reference.key);
			continue;
		}
		if (secret === undefined) {
			// Stands in for what is not there, so that the other options are still looked at.
			if (secretWanted) raw[name] = new Secret("unread", from);
			continue;
		}
		context.onSecret(secret);
		raw[name] = secret;
	}
	const named = namedPaths(driver, raw);
	const inTarget = await pathsIn(context.targetPath, named);
	for (const { option } of inTarget) {
		const message = `lies in ${context.targetPath}, where this pod mounts, and would wait for itself: name a place elsewhere`;
		faults.push({ path: chosen.get(option)?.from ?? "", message });
	}
	const files = new Map<string, Buffer>();
	for (const [name, file] of await readNamedFiles(named.filter((each) => !inTarget.includes(each)))) {
		const from = chosen.get(name)?.from ?? "";
		if (file.content !== undefined) files.set(file.path, file.content);
		else if (file.fault.isFinal) faults.push({ path: from, message: fileProblem(file, raw[name]) });
		// A secret that is not there is said to be that.
		else if (!unread.some(({ path }) => path === from)) {
			const message = fileProblem(file, raw[name]);
			unread.push({ path: from, error: new LauncherError("FILE_UNREADABLE", message, { hint: fileHint }) });
		}
	}
	let prepared: PreparedMount | undefined;
	try {
		prepared = driver.prepare(mount, raw, files);
	} catch (error) {
		if (!(error instanceof DriverFaults)) throw error;
		faults.push(...error.faults.map((fault) => located(fault, path, chosen, hasLiteralSecrets ? {} : raw)));
	}
	if (prepared === undefined || faults.length > 0) {
		faults.push(...unread.map(({ path, error }) => ({ path, message: error.message })));
		throw new ConfigError(faults, path);
	}
	const told = fingerprint([driver.name, mount.source, mount.readOnly, mount.volume, byName(settings)]);
	return { mount: prepared, options: planned, unread, settings: told, content: fingerprint([told, byName(values)]) };
}

async function readIfThere(
	reference: { secret: string; key: string },
	secretsDirectory: string,
): Promise<string | undefined> {
	try {
		return (await readSecret(reference, secretsDirectory)).reveal();
	} catch (error) {
		if (error instanceof LauncherError && error.code === "SECRET_MISSING") return undefined;
		throw error;
	}
}

type NamedFile = { readonly path: string } & (
	| { readonly content: Buffer }
	| { readonly content?: never; readonly fault: FileFault }
);

interface NamedPath {
	readonly option: string;
	readonly path: string;
	/** Else a folder, or a file that need not be there. */
	readonly isFile: boolean;
}

/** The files and folders that options name. */
function namedPaths(driver: Driver, raw: RawOptions): NamedPath[] {
	return Object.entries(raw).flatMap(([option, given]) => {
		const schema = schemaOf(driver.options, option);
		const value = given instanceof Secret ? given.reveal() : given;
		// What is no path is a fault of another kind.
		if (schema === undefined || isSecret(schema) || !schema.safeParse(value).success) return [];
		const files = optionMeta(schema).filesIn?.(value);
		const paths = files ?? (isPath(schema, value) ? [value] : []);
		return paths.map((path) => ({ option, path, isFile: files !== undefined }));
	});
}

async function pathsIn(folder: string, named: readonly NamedPath[]): Promise<NamedPath[]> {
	const isIn = (path: string): boolean => path === folder || path.startsWith(`${folder}/`);
	// What hangs there is not touched.
	const found = named.map(async ({ path }) => isIn(posix.normalize(path)) || isIn(await realPathOf(path)));
	const verdicts = await Promise.all(found);
	return named.filter((_, index) => verdicts[index]);
}

async function readNamedFiles(named: readonly NamedPath[]): Promise<[option: string, file: NamedFile][]> {
	return Promise.all(
		named
			.filter(({ isFile }) => isFile)
			.map(async ({ option, path }): Promise<[string, NamedFile]> => {
				try {
					return [option, { path, content: await readNamedFile(path) }];
				} catch (error) {
					if (!(error instanceof FileFault)) throw error;
					return [option, { path, fault: error }];
				}
			}),
	);
}

function fileProblem(
	{ path, fault }: Extract<NamedFile, { fault: FileFault }>,
	given: string | Secret | undefined,
): string {
	return given instanceof Secret ? `the file ${fault.message}` : `the file ${shown(path)} ${fault.message}`;
}

const fileHint = "Check that it is mounted in this container, at this path.";

function byName(pairs: readonly [name: string, value: string][]): readonly [name: string, value: string][] {
	return pairs.toSorted(([a], [b]) => (a < b ? -1 : 1));
}

export function fingerprint(value: unknown): string {
	return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

function withAllFiles({ unread, mount, options }: Inspection): Prepared {
	const error = unreadError(unread);
	if (error !== undefined) throw error;
	return { mount, options };
}

/** What keeps a mount from being served without these. */
export function unreadError(unread: readonly UnreadFile[]): LauncherError | undefined {
	// One that stays unreadable says more than one that may still come.
	const worst = unread.find(({ error }) => error.permanent) ?? unread[0];
	if (worst === undefined) return undefined;
	const { path, error } = worst;
	return new LauncherError(error.code, `${path}: ${error.message}`, {
		cause: error,
		...(error.hint !== undefined && { hint: error.hint }),
	});
}

/** The options under their canonical names; a higher layer replaces a lower one's, whatever name either used. */
function chooseOptions(
	driver: Driver,
	layers: readonly Map<string, GivenOption>[],
): { chosen: Map<string, GivenOption>; faults: Fault[] } {
	const canonical = new Map<string, string>();
	for (const [name, schema] of Object.entries(driver.options.shape)) {
		canonical.set(name, name);
		for (const alias of optionMeta(schema as Parameters<typeof optionMeta>[0]).aliases ?? [])
			canonical.set(alias, name);
	}
	const chosen = new Map<string, GivenOption>();
	const faults: Fault[] = [];
	for (const layer of layers) {
		const inLayer = new Map<string, string>();
		for (const [key, option] of layer) {
			const refusal = Object.hasOwn(driver.refusedOptions, key) ? driver.refusedOptions[key] : undefined;
			const isAny = driver.takesAnyOption === true && refusal === undefined;
			const name = canonical.get(key) ?? (isAny ? key : undefined);
			if (name === undefined) {
				const message =
					refusal === undefined
						? `unknown option of ${driver.name}${didYouMean(key, canonical.keys())}`
						: `refused: ${refusal}`;
				faults.push({ path: option.from, message });
				continue;
			}
			const given = inLayer.get(name);
			if (given !== undefined) {
				faults.push({
					path: option.from,
					message: `means the same as ${shown(given)}, which is given too: keep one`,
				});
			} else {
				inLayer.set(name, key);
				chosen.set(name, option);
			}
		}
	}
	return { chosen, faults };
}

function located(
	{ at, message }: DriverFault,
	path: string,
	chosen: ReadonlyMap<string, GivenOption>,
	raw: RawOptions,
): Fault {
	if (at.kind === "source") return { path: `${path}.mountPoint`, message };
	const option = chosen.get(at.name);
	const value = raw[at.name];
	// What came from a secret file is not shown, whatever the option's type is.
	const found = option !== undefined && value === option.value ? `, found ${shown(withoutPassword(value))}` : "";
	return { path: option?.from ?? below(`${path}.options`, at.name), message: message + found };
}
