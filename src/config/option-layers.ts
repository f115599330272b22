import { join } from "node:path";
import type { ReadVolume } from "../drivers/csi/volume.ts";
import type { Driver } from "../drivers/driver.ts";
import { below, didYouMean, shown, type Fault } from "../options/faults.ts";
import { optionMeta } from "../options/option.ts";
import type { Environment } from "./environment.ts";
import type { Claimed } from "./persistent-volume.ts";
import type { FluidFile, FileMount } from "./schema.ts";
import { secretReference } from "./secrets.ts";

/** One option as it was given, and where. */
export interface GivenOption {
	readonly value: string;
	/** JSON path, or `MOUNT_OPTIONS.<key>`. */
	readonly from: string;
	/** It stands in a Secret, need not be there, and is no secret. */
	readonly isPlain?: boolean;
}

/** Options by the names under which they were given. */
export type OptionLayer = Map<string, GivenOption>;

/** Options in layers, the lowest first: a profile's, the runtime's, the mount's, the mount's encrypted ones. */
export function optionLayers(file: FluidFile, mount: FileMount, path: string, environment: Environment): OptionLayer[] {
	const layer = (options: ReadonlyMap<string, string>, base: string): OptionLayer => {
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

export function volumeLayer({ pathOf }: Claimed, { options }: ReadVolume): OptionLayer {
	return new Map(options.map(({ name, value, at, isPlain = false }) => [name, { value, from: pathOf(at), isPlain }]));
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
export function takeLauncherOptions(layers: OptionLayer[]): Partial<Record<"driver" | "ro" | "rw", GivenOption>> {
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

/** The options under their canonical names; a higher layer replaces a lower one's, whatever name either used. */
export function chooseOptions(
	driver: Driver,
	layers: readonly OptionLayer[],
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

export function commonOptions(driver: Driver, layers: readonly OptionLayer[]): Map<string, GivenOption> {
	const { chosen } = chooseOptions(driver, layers);
	return new Map([...chosen].filter(([name]) => Object.hasOwn(driver.commonOptions ?? {}, name)));
}

export function secretFilesOf(layers: readonly OptionLayer[], secretsDirectory: string): string[] {
	const values = layers.flatMap((layer) => [...layer.values()].map(({ value }) => value));
	const references = values.flatMap((value) => secretReference(value, secretsDirectory) ?? []);
	return [...new Set(references.map(({ secret, key }) => join(secretsDirectory, secret, key)))];
}
