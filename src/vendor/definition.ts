import { isAbsolute, normalize } from "node:path";
import * as z from "zod";
import { didYouMean, shown } from "../options/faults.ts";
import { optionMeta } from "../options/option.ts";
import { inOnePlace } from "../drivers/cache-places.ts";
import { defineCommandDriver } from "../drivers/command.ts";
import { DriverFaults, type Driver } from "../drivers/driver.ts";
import { sourceFault } from "../drivers/faults.ts";
import { LauncherError } from "../errors.ts";
import { placeIn } from "./place.ts";
import type { Command, CommandContext, CommandDriver, Mount, Options, Values } from "./contract.ts";

/** What is wrong with a driver file, for whoever writes it. */
export class DefinitionError extends Error {
	override readonly name = "DefinitionError";
}

/** The launcher takes these from the options before a driver sees them. */
const launcherOptions = new Set(["driver", "ro", "rw"]);

const words = z.array(z.string(), { error: "expected a list of strings" }).min(1, { error: "expected at least one" });
const reasons = z.record(z.string(), z.string(), { error: "expected an object: option to reason" });
// Not z.function(): that would wrap it.
const fn = z.custom<(...args: never[]) => unknown>((value) => typeof value === "function", {
	error: "expected a function",
});

const definition = z.object({
	name: z.string({ error: "expected a string" }).regex(/^[a-z][a-z0-9-]*$/, {
		error: "expected lower case letters, digits and hyphens",
	}),
	schemes: words,
	csiDrivers: words.optional(),
	cachePlace: fn.optional(),
	filesystemTypes: words,
	settleMs: z.number({ error: "expected milliseconds" }).min(0, { error: "expected 0 or more" }).optional(),
	options: z.record(z.string(), z.unknown(), { error: "expected an object: name to option" }),
	refusedOptions: reasons.optional(),
	faults: fn.optional(),
	version: z
		.object(
			{ file: z.string(), args: z.array(z.string()), pattern: z.instanceof(RegExp) },
			{
				error: "expected { file, args, pattern }",
			},
		)
		.optional(),
	command: fn,
	check: fn.optional(),
	diagnose: fn.optional(),
});

/** A driver file may be JavaScript, or not have been compiled: what the types say is looked at again. Throws DefinitionError. */
export function checkDefinition<Declared extends Options>(driver: CommandDriver<Declared>): CommandDriver<Declared> {
	const faults: string[] = [];
	const fields = Object.keys(definition.shape);
	for (const field of Object.keys(driver)) {
		if (!fields.includes(field)) faults.push(`${field}: no field of a driver${didYouMean(field, fields)}`);
	}
	const parsed = definition.safeParse(driver);
	for (const { path, message } of parsed.error?.issues ?? []) faults.push(`${path.join(".")}: ${message}`);
	if (parsed.data !== undefined) {
		for (const scheme of parsed.data.schemes) {
			if (!/^([a-z][a-z0-9+.-]*)?$/.test(scheme))
				faults.push(`schemes: ${shown(scheme)} is none; write "sftp" for sftp://, in lower case`);
		}
		faults.push(...optionFaults(parsed.data.options));
	}
	if (faults.length > 0) throw new DefinitionError(`defineCommandDriver: ${faults.join("; ")}`);
	return driver;
}

function optionFaults(options: Readonly<Record<string, unknown>>): string[] {
	const faults: string[] = [];
	const names = new Set(Object.keys(options));
	for (const [name, option] of Object.entries(options)) {
		if (!(option instanceof z.ZodType) || typeof optionMeta(option)?.type !== "string") {
			faults.push(`options.${name}: not an option; make it with text(), flag(), secret() or another of fluid-fuse`);
			continue;
		}
		if (launcherOptions.has(name)) faults.push(`options.${name}: the launcher has an option of this name`);
		if (typeof optionMeta(option).description !== "string") faults.push(`options.${name}: has no description`);
		for (const alias of optionMeta(option).aliases ?? []) {
			if (names.has(alias) || launcherOptions.has(alias)) faults.push(`options.${name}: its alias ${alias} is taken`);
			names.add(alias);
		}
	}
	return faults;
}

/** Of this file in a checkout, of the bundle elsewhere. */
const ownFolder = `${import.meta.dirname}/`;

const drivers = new WeakSet<object>();

/** The launcher's driver for it; what its functions throw stays with the mount. */
export function toDriver<Declared extends Options>(vendor: CommandDriver<Declared>): Driver {
	const { name, faults, check, diagnose, options, command, cachePlace, ...rest } = vendor;
	type Parsed = Values<Declared>;
	const driver = defineCommandDriver({
		...rest,
		name,
		options: z.strictObject(options as unknown as z.core.$ZodLooseShape),
		command: (mount, values, context) => checkedCommand(command, mount, values as Parsed, context),
		...(faults !== undefined && { faults: (mount, values) => [...faults(mount, values as Parsed)] }),
		...(check !== undefined && {
			check: async (mount, values, context) => {
				try {
					await check(mount, values as Parsed, context);
				} catch (thrown) {
					throw thrown instanceof LauncherError ? thrown : brokenDriver(name, "check", thrown);
				}
			},
		}),
		...(diagnose !== undefined && {
			diagnose(line) {
				const error = diagnose(line);
				return error === undefined || error instanceof LauncherError
					? error
					: new LauncherError("DRIVER_FAILED", error.message, { cause: error });
			},
		}),
	});
	const guarded: Driver = {
		...driver,
		...(cachePlace !== undefined && {
			readCachePlaces(places, given) {
				try {
					return inOnePlace(cachePlace)(places, given);
				} catch (thrown) {
					return { options: [], unused: places.map(() => brokenDriver(name, "cachePlace", thrown).message) };
				}
			},
		}),
		prepare(mount, raw, files) {
			try {
				const prepared = driver.prepare(mount, raw, files);
				return {
					...prepared,
					async start(context) {
						try {
							return await prepared.start(context);
						} catch (thrown) {
							if (thrown instanceof LauncherError || context.signal.aborted) throw thrown;
							throw brokenDriver(name, "start", thrown);
						}
					},
				};
			} catch (thrown) {
				if (thrown instanceof DriverFaults) throw thrown;
				const { message } = thrown instanceof LauncherError ? thrown : brokenDriver(name, "command", thrown);
				throw new DriverFaults([sourceFault(message)]);
			}
		},
	};
	drivers.add(guarded);
	return guarded;
}

/** Whether defineCommandDriver made it. */
export function isVendorDriver(value: unknown): value is Driver {
	return typeof value === "object" && value !== null && drivers.has(value);
}

const commandShape = z.object({
	file: z.string().min(1),
	args: z.array(z.string()),
	env: z.record(z.string(), z.string()).optional(),
	files: z.record(z.string(), z.string()).optional(),
	inherit: z.instanceof(RegExp).optional(),
});

function checkedCommand<Declared extends Options>(
	build: CommandDriver<Declared>["command"],
	mount: Mount,
	values: Values<Declared>,
	context: CommandContext,
): Command {
	const command = build(mount, values, context);
	const issue = commandShape.safeParse(command).error?.issues[0];
	if (issue !== undefined)
		throw new DefinitionError(`command() returned no command: ${issue.path.join(".")}: ${issue.message}`);
	for (const file of Object.keys(command.files ?? {})) {
		if (file === "" || isAbsolute(file) || normalize(file).startsWith(".."))
			throw new DefinitionError(
				`command() returned the file ${shown(file)}: expected a path below the private directory`,
			);
	}
	return command;
}

function brokenDriver(name: string, where: string, thrown: unknown): LauncherError {
	const message = thrown instanceof Error ? thrown.message : String(thrown);
	const isTheirs = (path: string): boolean => !path.startsWith(ownFolder) && !path.includes("/node_modules/");
	const place = thrown instanceof Error ? placeIn(thrown, isTheirs) : undefined;
	return new LauncherError(
		"DRIVER_FAILED",
		`the driver ${name} fails in ${where}${place === undefined ? "" : `, at ${place}`}: ${message}`,
		{ cause: thrown, hint: "This is a bug of the driver's file: tell whoever made this image." },
	);
}
