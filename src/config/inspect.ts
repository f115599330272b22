import { createHash } from "node:crypto";
import { join } from "node:path";
import type { SecretCheck, Volume } from "../drivers/csi/volume.ts";
import { DriverFaults, type Driver, type DriverFault, type PreparedMount, type RawOptions } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import { below, ConfigError, shown, withoutPassword, type Fault } from "../options/faults.ts";
import { isPath, isSecret, schemaOf } from "../options/option.ts";
import { Secret } from "../secrets/secret.ts";
import { fileHint, fileProblem, namedPaths, pathsIn, readNamedFiles } from "./named-paths.ts";
import { chooseOptions, type GivenOption, type OptionLayer } from "./option-layers.ts";
import { readSecret, secretReference } from "./secrets.ts";

/** One option as it will be used, for `fluid-fuse validate`: a secret only by its name. */
export interface PlannedOption {
	readonly name: string;
	readonly value: string;
	readonly from: string;
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

export interface InspectContext {
	readonly targetPath: string;
	readonly secretsDirectory: string;
	/** Each with its JSON path. */
	readonly secretChecks: readonly (SecretCheck & { readonly path: string })[];
	/** Told of every secret before anything else sees it, so that it can be redacted. */
	readonly onSecret: (secret: Secret) => void;
}

/** Reads what the options of a mount cite, and has its driver check all of it. Throws ConfigError with all faults. */
export async function inspect(
	driver: Driver,
	mount: { source: string; readOnly: boolean; name: string; volume?: Volume },
	path: string,
	layers: readonly OptionLayer[],
	{ targetPath, secretsDirectory, secretChecks, onSecret }: InspectContext,
): Promise<Inspection> {
	const { chosen, faults } = chooseOptions(driver, layers);
	// One may be called __proto__.
	const raw = Object.create(null) as Record<string, string | Secret>;
	const planned: PlannedOption[] = [];
	const unread: UnreadFile[] = [];
	// In Fluid's secret mode values stand in the file itself, and nothing but an option's type tells which are secret.
	let hasLiteralSecrets = false;
	const settings: [name: string, value: string][] = [];
	const values: [name: string, value: string][] = [];
	const notRead =
		(from: string) =>
		(error: unknown): undefined => {
			if (!(error instanceof LauncherError)) throw error;
			unread.push({ path: from, error });
		};
	for (const { path: from, file, faultOf } of secretChecks) {
		const reference = secretReference(file, secretsDirectory);
		const content = reference && (await readIfThere(reference, secretsDirectory).catch(notRead(from)));
		const message = content && faultOf(content);
		if (message) faults.push({ path: from, message });
	}
	for (const [name, { value, from, isPlain = false }] of chosen) {
		const schema = schemaOf(driver.options, name);
		const secretWanted = schema !== undefined && isSecret(schema);
		const reference = secretReference(value, secretsDirectory);
		const isEncrypted = from.startsWith(below(path, "encryptOptions"));
		if (isPlain && reference !== undefined) {
			const plain = await readIfThere(reference, secretsDirectory).catch(notRead(from));
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
				: await readSecret(reference, secretsDirectory).catch(notRead(from));
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
		onSecret(secret);
		raw[name] = secret;
	}
	const named = namedPaths(driver, raw);
	const inTarget = await pathsIn(targetPath, named);
	for (const { option } of inTarget) {
		const message = `lies in ${targetPath}, where this pod mounts, and would wait for itself: name a place elsewhere`;
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

function byName(pairs: readonly [name: string, value: string][]): readonly [name: string, value: string][] {
	return pairs.toSorted(([a], [b]) => (a < b ? -1 : 1));
}

export function fingerprint(value: unknown): string {
	return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

export function withAllFiles({ unread, mount, options }: Inspection): Prepared {
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
