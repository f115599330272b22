import { didYouMean } from "../options/faults.ts";
import { optionMeta } from "../options/option.ts";
import type { Driver } from "../drivers/driver.ts";
import { errorKinds, LauncherError } from "../errors.ts";
import type { LoadedDrivers } from "../vendor/load.ts";
import type { Output } from "./output.ts";
import { terminalText } from "./terminal.ts";

export interface DescribedDriver {
	readonly name: string;
	/** `""` is a source without a scheme. */
	readonly schemes: readonly string[];
	/** Whose volumes it serves as `pvc://` sources; `*`: any. */
	readonly csiDrivers: readonly string[];
	readonly filesystemTypes: readonly string[];
	/** It takes options of any other name as well. */
	readonly takesAnyOption: boolean;
	readonly options: readonly DescribedOption[];
	readonly refusedOptions: readonly { readonly name: string; readonly reason: string }[];
}

export interface DescribedOption {
	readonly name: string;
	readonly type: string;
	readonly description: string;
	readonly aliases: readonly string[];
}

/**
 * Lists the drivers, or the one called `name`, with all that they accept. Returns 0, or 78 when a driver file cannot be used.
 * Throws USAGE for an unknown name.
 */
export function listDrivers(
	{ drivers, faults }: LoadedDrivers,
	name: string | undefined,
	{ json }: { json: boolean },
	output: Output,
): number {
	for (const { message } of faults) output.err(`${terminalText(message)}\n`);
	const names = drivers.map((driver) => driver.name);
	const chosen = drivers.filter((driver) => name === undefined || driver.name === name);
	if (name !== undefined && chosen.length === 0) {
		throw new LauncherError("USAGE", `unknown driver ${JSON.stringify(name)}${didYouMean(name, names)}`, {
			hint: `There are ${names.join(", ")}.`,
		});
	}
	const described = chosen.map(describeDriver);
	output.out(json ? `${JSON.stringify(described, undefined, 2)}\n` : described.map(renderDriver).join("\n"));
	return faults.length === 0 ? 0 : errorKinds.CONFIG_INVALID.exitCode;
}

/** A driver as data. */
export function describeDriver(driver: Driver): DescribedDriver {
	const { name, schemes, csiDrivers = [], filesystemTypes, takesAnyOption = false, options, refusedOptions } = driver;
	return {
		name,
		schemes,
		csiDrivers,
		filesystemTypes,
		takesAnyOption,
		options: Object.entries(options.shape).map(([option, schema]) => {
			const { type, description, aliases = [] } = optionMeta(schema as Parameters<typeof optionMeta>[0]);
			return { name: option, type, description, aliases };
		}),
		refusedOptions: Object.entries(refusedOptions).map(([option, reason]) => ({ name: option, reason })),
	};
}

function renderDriver(driver: DescribedDriver): string {
	const { name, schemes, csiDrivers, filesystemTypes, takesAnyOption, options, refusedOptions } = driver;
	const sources = schemes.map((scheme) => (scheme === "" ? "a bare bucket name" : `${scheme}://`));
	const lines = [
		name,
		`  serves ${sources.length === 0 ? "what it is chosen for by name" : sources.join(", ")}`,
		...(csiDrivers.length === 0
			? []
			: [`  serves volumes of ${csiDrivers.includes("*") ? "any CSI driver" : csiDrivers.join(", ")}`]),
		`  mounts as ${filesystemTypes.includes("*") ? "whatever it mounts" : filesystemTypes.join(" or ")}`,
		"",
		takesAnyOption ? "  Options: any." : "  Options:",
	];
	for (const option of options) {
		lines.push(`    ${option.name} (${option.type})`, `      ${option.description}`);
		if (option.aliases.length > 0) lines.push(`      Also: ${option.aliases.join(", ")}`);
	}
	if (options.length === 0) lines.push("    none");
	if (refusedOptions.length > 0)
		lines.push("", "  Refused:", ...refusedOptions.map((refused) => `    ${refused.name}: ${refused.reason}`));
	return lines.map((line) => `${line}\n`).join("");
}
