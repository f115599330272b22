import { secretReference } from "../config/secrets.ts";
import type { Driver } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import { isSecret, optionMeta } from "../options/option.ts";

/**
 * Options given as `NAME=VALUE`. Throws USAGE: a key's value has to stand in a file or in the environment, since every process of the
 * machine may read the arguments of others.
 */
export function optionsIn(
	words: readonly string[],
	drivers: readonly Driver[],
	secretsDirectory: string,
): Record<string, string> {
	const secretNames = namesOfSecrets(drivers);
	return Object.fromEntries(
		words.map((word) => {
			const equals = word.indexOf("=");
			const [name, value] = equals === -1 ? [word, ""] : [word.slice(0, equals), word.slice(equals + 1)];
			if (!secretNames.has(name) || secretReference(value, secretsDirectory) !== undefined) return [name, value];
			throw new LauncherError("USAGE", `--option ${name}: every process of this machine could read its value`, {
				hint: "See the command's --help for where keys may stand.",
			});
		}),
	);
}

/** Each name of an option that is a secret, of any driver. */
export function namesOfSecrets(drivers: readonly Driver[]): ReadonlySet<string> {
	const schemas = drivers.flatMap(({ options }) => Object.entries(options.shape));
	return new Set(
		schemas.flatMap(([name, given]) => {
			const schema = given as Parameters<typeof optionMeta>[0];
			return isSecret(schema) ? [name, ...(optionMeta(schema).aliases ?? [])] : [];
		}),
	);
}
