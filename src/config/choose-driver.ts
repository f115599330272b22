import { existsSync } from "node:fs";
import type { Volume } from "../drivers/csi/volume.ts";
import type { Driver } from "../drivers/driver.ts";
import { didYouMean, shown, type Fault } from "../options/faults.ts";
import type { Environment } from "./environment.ts";
import type { GivenOption } from "./option-layers.ts";

/** What there is to choose from. */
export interface DriverChoices {
	readonly environment: Environment;
	readonly drivers: readonly Driver[];
	/** Driver files that cannot be used, for whoever misses their drivers. */
	readonly driverFileFaults?: readonly { readonly message: string }[];
}

export function chooseDriver(
	chosen: GivenOption | undefined,
	source: string,
	path: string,
	{ environment, drivers, driverFileFaults = [] }: DriverChoices,
	volume: Volume | undefined,
): { driver: Driver; driverReason: string } | Fault {
	const name = chosen?.value ?? environment.FLUID_FUSE_DRIVER;
	const names = drivers.map((driver) => driver.name);
	const unusable = driverFileFaults.map(({ message }) => `; a driver file cannot be used: ${message}`).join("");
	if (name !== undefined) {
		const driver = drivers.find((candidate) => candidate.name === name);
		const from = chosen?.from ?? "FLUID_FUSE_DRIVER";
		if (driver !== undefined) {
			const fault = volume === undefined || servesVolume(driver, volume) ? undefined : foreignVolume(volume, [driver]);
			return fault === undefined ? { driver, driverReason: from } : { path: `${path}.mountPoint`, message: fault };
		}
		return {
			path: from,
			message: `unknown driver ${shown(name)}, expected one of ${names.join(", ")}${didYouMean(name, names)}${unusable}`,
		};
	}
	// An image has its vendor's script for no other purpose: one of Fluid's dynamic mounts needs another FROM and nothing else.
	const script = drivers.find((candidate) => candidate.name === "script");
	if (script !== undefined && existsSync(environment.FLUID_FUSE_SCRIPT)) {
		return { driver: script, driverReason: `there is ${environment.FLUID_FUSE_SCRIPT}` };
	}
	if (volume !== undefined) {
		const driver = drivers.find((candidate) => servesVolume(candidate, volume) && candidate !== script);
		if (driver !== undefined) return { driver, driverReason: `the first that serves volumes of ${volume.driver}` };
		return { path: `${path}.mountPoint`, message: `${foreignVolume(volume, drivers)}${unusable}` };
	}
	const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(source)?.[1]?.toLowerCase() ?? "";
	const driver = drivers.find((candidate) => candidate.schemes.includes(scheme));
	if (driver !== undefined) {
		const sources = scheme === "" ? "sources without a scheme" : `${scheme}://`;
		return { driver, driverReason: `the first that serves ${sources}` };
	}
	const schemes = [...new Set(drivers.flatMap((candidate) => candidate.schemes))].filter((known) => known !== "");
	return {
		path: `${path}.mountPoint`,
		message: `no driver serves the scheme ${shown(scheme)}, expected one of ${schemes.join(", ")}${didYouMean(scheme, schemes)}${unusable}`,
	};
}

function servesVolume({ csiDrivers = [], schemes }: Driver, { driver }: Volume): boolean {
	return csiDrivers.includes(driver) || csiDrivers.includes("*") || schemes.includes("pvc");
}

function foreignVolume({ driver }: Volume, drivers: readonly Driver[]): string {
	const served = [...new Set(drivers.flatMap(({ csiDrivers = [] }) => csiDrivers))].filter((name) => name !== "*");
	const [one] = drivers;
	const who = drivers.length === 1 && one !== undefined ? `${one.name} serves no volumes` : "no driver serves volumes";
	const expected = served.length === 0 ? "" : `, expected one of ${served.join(", ")}`;
	return `${who} of the CSI driver ${shown(driver)}${expected}: mount its storage under an address of its own, or add a driver that has it in csiDrivers (docs/vendors.md)`;
}
