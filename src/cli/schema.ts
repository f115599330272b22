import * as z from "zod";
import { optionMeta } from "../options/option.ts";
import { persistentVolumeFields } from "../config/persistent-volume.ts";
import { fluidFile } from "../config/schema.ts";
import type { Driver } from "../drivers/driver.ts";
import type { LoadedDrivers } from "../vendor/load.ts";
import type { Output } from "./output.ts";
import { terminalText } from "./terminal.ts";

type JsonSchema = z.core.JSONSchema.JSONSchema;

/** Prints the JSON Schema of the config file, with every driver's options. Returns 0; driver files that cannot be used are named on stderr. */
export function printSchema({ drivers, faults }: LoadedDrivers, output: Output): number {
	for (const { message } of faults) output.err(`${terminalText(message)}\n`);
	output.out(`${JSON.stringify(configSchema(drivers), undefined, 2)}\n`);
	return 0;
}

/**
 * The JSON Schema of what `run` accepts. It refuses no file of Fluid's that `run` takes; some faults it cannot see, such
 * as a secret that is missing. A driver that takes any option has to be named in the options: FLUID_FUSE_DRIVER is not known here.
 */
export function configSchema(all: readonly Driver[]): JsonSchema {
	// The volumes of a file are read one by one, when a mount needs them.
	const file = z.toJSONSchema(fluidFile.extend(persistentVolumeFields), {
		io: "input",
		// What zod checks in code it cannot describe: `override` does.
		unrepresentable: "any",
		override({ jsonSchema }) {
			if (jsonSchema["optionMap"] !== true) return;
			delete jsonSchema["optionMap"];
			delete jsonSchema.anyOf;
			jsonSchema.$ref = "#/$defs/options";
		},
	}) as JsonSchema;
	return {
		...file,
		title: "Config file of fluid-fuse",
		$defs: {
			options: {
				type: ["object", "null"],
				anyOf: all.map(({ name }) => ({ $ref: `#/$defs/${name}` })),
			},
			"secret-path": {
				description: "The path of a secret file; an empty key is an error.",
				type: "string",
				pattern: "^/etc/fluid/secrets/[^/]+/[^/]+$",
			},
			...Object.fromEntries(all.map((driver) => [driver.name, optionsOf(driver)])),
		},
	};
}

/** What an option map may hold when this driver reads it. */
function optionsOf({ name: driver, options, takesAnyOption = false }: Driver): JsonSchema {
	const properties: Record<string, JsonSchema> = {
		driver: { description: "The driver, instead of the source's default.", type: "string", const: driver },
		ro: { description: "Read-only. Read-only wins over everything that says otherwise.", type: "string" },
		rw: { description: "Has no effect but in messages: the access modes decide.", type: "string" },
	};
	for (const [name, schema] of Object.entries(options.shape)) {
		const option = schema as Parameters<typeof optionMeta>[0];
		properties[name] = optionSchema(option);
		for (const alias of optionMeta(option).aliases ?? []) {
			properties[alias] = { ...properties[name], description: `The same as ${name}.` };
		}
	}
	return {
		description: `Options of ${driver}.`,
		type: ["object", "null"],
		properties,
		patternProperties: { [String.raw`^fluid\.fuse\.`]: { description: "Fluid's own: ignored.", type: "string" } },
		// Without the driver's name nothing would tell a misspelt option of another one.
		...(takesAnyOption
			? { additionalProperties: { type: "string" }, required: ["driver"] }
			: { additionalProperties: false }),
	};
}

/** Every value is a string, and any may be the path of a secret file instead. */
function optionSchema(option: Parameters<typeof optionMeta>[0]): JsonSchema {
	const { type, description } = optionMeta(option);
	const { pattern, enum: values } = z.toJSONSchema(option, { io: "input", unrepresentable: "any" });
	const documented: JsonSchema = { description: `${description} (${type})`, type: "string" };
	const own: JsonSchema = { ...(pattern !== undefined && { pattern }), ...(values !== undefined && { enum: values }) };
	if (Object.keys(own).length === 0) return documented;
	return { ...documented, anyOf: [{ type: "string", ...own }, { $ref: "#/$defs/secret-path" }] };
}
