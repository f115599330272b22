import { readdir } from "node:fs/promises";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { defaultDriversDirectory } from "../config/environment.ts";
import { didYouMean } from "../options/faults.ts";
import type { Driver } from "../drivers/driver.ts";
import { DefinitionError, isVendorDriver } from "./definition.ts";
import * as kit from "./kit.ts";
import { placeIn } from "./place.ts";
import { within } from "../within.ts";

/** A driver file that cannot be used. The others are. */
export interface DriverFileFault {
	/** The file's name without its ending: what its driver would probably be called. */
	readonly name: string;
	/** File, line where it is known, what is wrong, and what to do: one line. */
	readonly message: string;
}

export interface LoadedDrivers {
	/** The built-in ones first: a file never replaces one of them, nor what a scheme gets by default. */
	readonly drivers: readonly Driver[];
	readonly faults: readonly DriverFileFault[];
}

/** For a file that waits for something at its top level. */
const importLimitMs = 10_000;

/** The built-in drivers, and those of the driver files in the folder, in the order of their names. Never rejects. */
export async function loadDrivers(folder: string, builtIn: readonly Driver[]): Promise<LoadedDrivers> {
	let files: string[];
	try {
		files = (await readdir(folder)).filter((name) => /^[^.].*(?<!\.d)\.m?[jt]s$/.test(name)).toSorted();
	} catch (error) {
		const { code, message } = error as NodeJS.ErrnoException;
		if (code === "ENOENT" && folder === defaultDriversDirectory) return { drivers: builtIn, faults: [] };
		return { drivers: builtIn, faults: [{ name: "", message: `${folder}: cannot be read as a folder: ${message}` }] };
	}
	const drivers = [...builtIn];
	const faults: DriverFileFault[] = [];
	const from = new Map<string, string>();
	for (const file of files) {
		const path = join(folder, file);
		const name = file.replace(/\.m?[jt]s$/, "");
		const loaded = await loadFile(path);
		if (typeof loaded === "string") {
			faults.push({ name, message: loaded });
		} else if (drivers.some((driver) => driver.name === loaded.name)) {
			const owner = from.get(loaded.name) ?? "a built-in driver";
			faults.push({
				name,
				message: `${path}: the name ${JSON.stringify(loaded.name)} is that of ${owner}, which is kept; give this driver another name`,
			});
		} else {
			from.set(loaded.name, path);
			drivers.push(loaded);
		}
	}
	return { drivers, faults };
}

async function loadFile(path: string): Promise<Driver | string> {
	provideKit();
	try {
		// Whatever a file exports.
		const imported = import(pathToFileURL(path).href) as Promise<{ default?: unknown }>;
		const module = await within(imported, importLimitMs);
		if (module === undefined)
			return `${path}: is not loaded after ${importLimitMs / 1000} s; remove what it waits for at its top level`;
		if (isVendorDriver(module.default)) return module.default;
		const found = module.default === undefined ? "has no default export" : "its default export is no driver";
		return `${path}: ${found}; write export default defineCommandDriver({ … })`;
	} catch (thrown) {
		return describeFailure(path, thrown);
	}
}

/** One line: where, what, and what to do about it. */
function describeFailure(path: string, thrown: unknown): string {
	if (!(thrown instanceof Error)) return `${path}: throws ${String(thrown)} while it is loaded`;
	const place = placeIn(thrown, (candidate) => candidate === path) ?? path;
	const [message = ""] = thrown.message.split("\n");
	if (thrown instanceof DefinitionError) return `${place}: ${message}`;
	const { code } = thrown as NodeJS.ErrnoException;
	const missing = /does not provide an export named '(.+?)'/.exec(message)?.[1];
	if (missing !== undefined && message.includes("'fluid-fuse'"))
		return `${place}: fluid-fuse exports no ${missing}${didYouMean(missing, Object.keys(kit))}; types/fluid-fuse.d.ts has all that it exports, and a type is imported with "import type"`;
	if (code === "ERR_MODULE_NOT_FOUND" || code === "ERR_PACKAGE_PATH_NOT_EXPORTED")
		return `${place}: ${message}; a driver is one file: import only fluid-fuse and what Node has (node:…)`;
	if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX")
		return `${place}: ${message}; types are removed and nothing is compiled: no enum, namespace or parameter property`;
	if (thrown instanceof SyntaxError) return `${place}: does not parse: ${message}`;
	return `${place}: throws while it is loaded: ${message}`;
}

const kitUrl = "fluid-fuse:kit";
const kitKey = Symbol.for("fluid-fuse.kit");
let provided = false;

/**
 * Lets driver files import `fluid-fuse`. They get this program's own functions, so that nothing has to be installed beside them and
 * what they make is recognized here.
 */
function provideKit(): void {
	if (provided) return;
	provided = true;
	Object.defineProperty(globalThis, kitKey, { value: kit });
	registerHooks({
		resolve(specifier, context, next) {
			if (specifier === "fluid-fuse") return { url: kitUrl, format: "module", shortCircuit: true };
			const resolved = next(specifier, context);
			// Without a package.json beside it, Node would have to guess, and warns.
			const format = /^file:.*\.(m?)([jt])s$/.exec(resolved.url)?.[2];
			if (format === undefined || context.parentURL !== import.meta.url) return resolved;
			return { ...resolved, format: format === "t" ? "module-typescript" : "module" };
		},
		load(url, context, next) {
			if (url !== kitUrl) return next(url, context);
			const source = `export const { ${Object.keys(kit).join(", ")} } = globalThis[Symbol.for("fluid-fuse.kit")];`;
			return { format: "module", source, shortCircuit: true };
		},
	});
}
