import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Environment } from "../config/environment.ts";
import { loadFluidFile, parseFluidFile, type LoadedFile } from "../config/load.ts";
import { planMounts } from "../config/plan.ts";
import type { Driver } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import type { Redactor } from "../secrets/redact.ts";
import type { Secret } from "../secrets/secret.ts";
import type { LoadedDrivers } from "../vendor/load.ts";
import { namesOfSecrets, optionsIn } from "./option-words.ts";

/** What `fluid-fuse check` and `upload-pending` are told about a source, in place of a config file. */
export interface SourceFlags {
	readonly endpoint: string | undefined;
	readonly region: string | undefined;
	/** `NAME=VALUE`, any number of them. */
	readonly option: readonly string[];
	/** A folder with a file for each key, such as a mounted Secret. */
	readonly keys: string | undefined;
	readonly write: boolean;
}

export interface Surroundings {
	readonly environment: Environment;
	readonly variables: NodeJS.ProcessEnv;
	readonly drivers: LoadedDrivers;
	readonly signal: AbortSignal;
}

/** The mounts of a config file, or of sources; without words, of the file that `run` would read. Throws USAGE, CONFIG_MISSING and CONFIG_INVALID. */
export async function planOf(
	words: readonly string[],
	flags: SourceFlags,
	{ environment: given, drivers: { drivers, faults: driverFileFaults } }: Surroundings,
	redactor: Redactor,
) {
	const [first] = words;
	const isFile = first === undefined || (words.length === 1 && !first.includes("://"));
	const { loaded, environment } = isFile
		? {
				loaded: await loadFluidFile(first === undefined ? given : { ...given, FLUID_FUSE_CONFIG: first }),
				environment: given,
			}
		: configOf(words, flags, { environment: given, drivers });
	const onSecret = (secret: Secret): void => redactor.add(secret);
	return { plan: planMounts(loaded, { environment, drivers, driverFileFaults, onSecret }), environment };
}

/** The config file that says the same as sources and flags, and the environment in which it is read. Throws USAGE. */
function configOf(
	sources: readonly string[],
	flags: SourceFlags,
	{ environment, drivers }: { readonly environment: Environment; readonly drivers: readonly Driver[] },
): { readonly loaded: LoadedFile; readonly environment: Environment } {
	const folder = flags.keys === undefined ? undefined : resolve(flags.keys);
	const secretsDirectory = folder === undefined ? environment.FLUID_FUSE_SECRETS_DIR : dirname(folder);
	const options = {
		...(flags.endpoint !== undefined && { endpoint: flags.endpoint }),
		...(flags.region !== undefined && { region: flags.region }),
		...(folder !== undefined && keysIn(folder, namesOfSecrets(drivers))),
		...optionsIn(flags.option, drivers, secretsDirectory),
	};
	const file = {
		mounts: sources.map((mountPoint, index) => ({ mountPoint, options, name: String(index + 1) })),
		targetPath: "/check",
		accessModes: [flags.write ? "ReadWriteMany" : "ReadOnlyMany"],
	};
	return {
		loaded: parseFluidFile(JSON.stringify(file), "the command line"),
		environment: { ...environment, FLUID_FUSE_SECRETS_DIR: secretsDirectory },
	};
}

/** The files of the folder that are called like a key, as a config cites them. */
function keysIn(folder: string, secretNames: ReadonlySet<string>): Record<string, string> {
	let names: string[];
	try {
		names = readdirSync(folder);
	} catch (cause) {
		const { code } = cause as NodeJS.ErrnoException;
		throw new LauncherError("USAGE", `--keys ${folder}: cannot be read (${code})`, { cause });
	}
	const found = names.filter((name) => secretNames.has(name));
	if (found.length === 0) {
		throw new LauncherError("USAGE", `--keys ${folder}: there is no key in ${basename(folder)}`, {
			hint: "Each key is a file called as its option is: access-key and secret-key, or another name of theirs (docs/options.md).",
		});
	}
	return Object.fromEntries(found.map((name) => [name, join(folder, name)]));
}
