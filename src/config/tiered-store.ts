import type { CachePlace, Driver } from "../drivers/driver.ts";
import type { FluidFile } from "./schema.ts";

/** A place of the tiered store, and what becomes of it. */
export interface PlannedPlace {
	/** JSON path. */
	readonly path: string;
	/** In the container. */
	readonly folder: string;
	/** The options that it gives, such as `cache-size=768Mi`; empty: it is not used. */
	readonly gives: readonly string[];
	/** Why it is not used. */
	readonly unused?: string;
}

interface PlaceOption {
	readonly name: string;
	readonly value: string;
	/** JSON path. */
	readonly from: string;
}

export interface TieredStore {
	readonly options: readonly PlaceOption[];
	readonly places: readonly PlannedPlace[];
}

interface PlaceOfFile extends CachePlace {
	readonly path: string;
	readonly quotaPath: string;
}

/** What a driver makes of the places that a CacheRuntime gives its client. `given`: the options that somebody has given. */
export function readTieredStore({ client }: FluidFile, driver: Driver, given: ReadonlySet<string>): TieredStore {
	const places = (client?.tieredStoreLevels ?? []).flatMap(
		({ mountPaths, quotas, mediumType, high }, level): PlaceOfFile[] =>
			mountPaths.map((folder, index) => ({
				folder,
				inMemory: mediumType === "MEM",
				bytes: Math.floor((quotas[index] ?? 0) * high),
				path: `client.tieredStoreLevels[${level}].mountPaths[${index}]`,
				quotaPath: `client.tieredStoreLevels[${level}].quotas[${index}]`,
			})),
	);
	const read = driver.readCachePlaces?.(places, given) ?? {
		options: [],
		unused: places.map(() => `${driver.name} keeps no cache that it could be given a place for`),
	};
	const options = read.options.filter(({ name }) => !given.has(name));
	return {
		options: options.flatMap(({ name, value, place, isSize }): PlaceOption[] => {
			const from = places[place];
			return from === undefined ? [] : [{ name, value, from: isSize ? from.quotaPath : from.path }];
		}),
		places: places.map(({ path, folder }, index) => {
			const gives = options.filter(({ place }) => place === index).map(({ name, value }) => `${name}=${value}`);
			const unused = read.unused[index];
			return { path, folder, gives, ...(unused !== undefined && { unused }) };
		}),
	};
}
