import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Environment } from "../config/environment.ts";
import { parseFluidFile, type LoadedFile } from "../config/load.ts";
import type { Driver } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import { namesOfSecrets, optionsIn } from "./option-words.ts";

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

/** The config file that says the same as sources and flags, and the environment in which it is read. Throws USAGE. */
export function configOf(
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
