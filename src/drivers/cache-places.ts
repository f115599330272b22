import { mebibyte } from "../bytes.ts";
import type { CachePlace, Driver } from "./driver.ts";

/** As without such a place. */
const maximumWriteBytes = 4096 * mebibyte;

type OptionsOfPlace = (place: CachePlace) => Readonly<Record<string, string>>;

/**
 * For a driver that has one folder for its cache: the largest on a disk, or where there is none, the largest in memory. `optionsOf`: the
 * options that it gets for that, one of them the folder itself.
 */
export function inOnePlace(optionsOf: OptionsOfPlace): NonNullable<Driver["readCachePlaces"]> {
	return (places, given) => {
		const chosen = largest(places);
		const place = chosen === undefined ? undefined : places[chosen];
		const options = Object.entries(place === undefined ? {} : optionsOf(place));
		const [folderOption] = options.find(([, value]) => value === place?.folder) ?? [];
		if (folderOption !== undefined && given.has(folderOption))
			return { options: [], unused: places.map(() => `${folderOption} is given as an option`) };
		const unused = places.map(({ bytes, inMemory }, index) => {
			if (index === chosen) return undefined;
			if (bytes === 0) return "it has no quota";
			return inMemory && place?.inMemory === false
				? `the cache is in one folder, and ${place.folder} is on a disk`
				: `the cache is in one folder, and ${place?.folder} is the largest`;
		});
		if (chosen === undefined) return { options: [], unused };
		return {
			options: options.map(([name, value]) => ({ name, value, place: chosen, isSize: name !== folderOption })),
			unused,
		};
	};
}

function largest(places: readonly CachePlace[]): number | undefined {
	const usable = [...places.keys()].filter((place) => (places[place]?.bytes ?? 0) > 0);
	const isBetter = (a: CachePlace, b: CachePlace): boolean =>
		a.inMemory === b.inMemory ? a.bytes > b.bytes : b.inMemory;
	return usable.reduce<number | undefined>((best, place) => {
		const [one, other] = [places[place], best === undefined ? undefined : places[best]];
		return one !== undefined && (other === undefined || isBetter(one, other)) ? place : best;
	}, undefined);
}

/** What is written is kept there too and has a quarter of it, since all of it together must not be more than the place holds. */
export const nativeCache: OptionsOfPlace = ({ folder, bytes }) => {
	const writeBytes = Math.min(maximumWriteBytes, bytes / 4);
	const mebibytes = (size: number): string => `${Math.floor(size / mebibyte)}Mi`;
	return {
		"cache-dir": folder,
		"cache-size": mebibytes(bytes - writeBytes),
		"write-buffer": mebibytes(writeBytes),
	};
};
