import { mebibyte } from "../bytes.ts";
import type { CachePlace, ReadCachePlaces } from "./driver.ts";

/** As without such a place. */
const maximumWriteBytes = 4096 * mebibyte;

/**
 * The native driver has one folder for its cache: the largest on a disk, or where there is none, the largest in memory. What is written
 * is kept there too and has a quarter of it, since all of it together must not be more than the place holds.
 */
export function chooseCachePlace(places: readonly CachePlace[], given: ReadonlySet<string>): ReadCachePlaces {
	if (given.has("cache-dir")) return { options: [], unused: places.map(() => "cache-dir is given as an option") };
	const usable = [...places.keys()].filter((place) => (places[place]?.bytes ?? 0) > 0);
	const isBetter = (a: CachePlace, b: CachePlace): boolean =>
		a.inMemory === b.inMemory ? a.bytes > b.bytes : b.inMemory;
	const chosen = usable.reduce<number | undefined>((best, place) => {
		const [one, other] = [places[place], best === undefined ? undefined : places[best]];
		return one !== undefined && (other === undefined || isBetter(one, other)) ? place : best;
	}, undefined);
	const place = chosen === undefined ? undefined : places[chosen];
	const unused = places.map(({ bytes, inMemory }, index) => {
		if (index === chosen) return undefined;
		if (bytes === 0) return "it has no quota";
		return inMemory && place?.inMemory === false
			? `the cache is in one folder, and ${place.folder} is on a disk`
			: `the cache is in one folder, and ${place?.folder} is the largest`;
	});
	if (place === undefined || chosen === undefined) return { options: [], unused };
	const writeBytes = Math.min(maximumWriteBytes, place.bytes / 4);
	const option = (name: string, value: string, isSize: boolean) => ({ name, value, place: chosen, isSize });
	const mebibytes = (bytes: number): string => `${Math.floor(bytes / mebibyte)}Mi`;
	return {
		options: [
			option("cache-dir", place.folder, false),
			option("cache-size", mebibytes(place.bytes - writeBytes), true),
			option("write-buffer", mebibytes(writeBytes), true),
		],
		unused,
	};
}
