import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Environment } from "../config/environment.ts";
import { parseFluidFile, type LoadedFile } from "../config/load.ts";
import { secretReference } from "../config/secrets.ts";
import type { Driver } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import { isSecret, optionMeta } from "../options/option.ts";

/** What `fluid-fuse check` is told about a source, in place of a config file. */
export interface SourceFlags {
	readonly endpoint: string | undefined;
	readonly region: string | undefined;
	/** `NAME=VALUE`, any number of them. */
	readonly option: readonly string[];
	/** A folder with a file for each key, such as a mounted Secret. */
	readonly keys: string | undefined;
	readonly write: boolean;
}

/**
 * The config file that says the same as sources and flags, and the environment in which it is read. Throws USAGE: a key's value has to
 * stand in a file or in the environment, since every process of the machine may read the arguments of others.
 */
export function configOf(
	sources: readonly string[],
	flags: SourceFlags,
	{ environment, drivers }: { readonly environment: Environment; readonly drivers: readonly Driver[] },
): { readonly loaded: LoadedFile; readonly environment: Environment } {
	const secretNames = namesOfSecrets(drivers);
	const folder = flags.keys === undefined ? undefined : resolve(flags.keys);
	const secretsDirectory = folder === undefined ? environment.FLUID_FUSE_SECRETS_DIR : dirname(folder);
	const options: Record<string, string> = {
		...(flags.endpoint !== undefined && { endpoint: flags.endpoint }),
		...(flags.region !== undefined && { region: flags.region }),
		...(folder !== undefined && keysIn(folder, secretNames)),
	};
	for (const word of flags.option) {
		const equals = word.indexOf("=");
		const [name, value] = equals === -1 ? [word, ""] : [word.slice(0, equals), word.slice(equals + 1)];
		if (secretNames.has(name) && secretReference(value, secretsDirectory) === undefined) {
			throw new LauncherError("USAGE", `--option ${name}: every process of this machine could read its value`, {
				hint: "Put the keys into files of a folder and name that with --keys, or into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
			});
		}
		options[name] = value;
	}
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

/** Each name of an option that is a secret, of any driver. */
function namesOfSecrets(drivers: readonly Driver[]): ReadonlySet<string> {
	const schemas = drivers.flatMap(({ options }) => Object.entries(options.shape));
	return new Set(
		schemas.flatMap(([name, given]) => {
			const schema = given as Parameters<typeof optionMeta>[0];
			return isSecret(schema) ? [name, ...(optionMeta(schema).aliases ?? [])] : [];
		}),
	);
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
