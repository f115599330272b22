import { inParallel } from "../turns.ts";
import { isKind } from "./answers.ts";
import type { Heads } from "./heads.ts";
import type { Listings } from "./listings.ts";
import { S3Error, type ListedObject, type ListPage, type ObjectHeaders, type Uploaded } from "./object-store.ts";
import { printable } from "./printable.ts";
import type { ServerKnowledge } from "./server-knowledge.ts";

/** Who has more of them asks again. */
const maximumKept = 4096;
const headsAtATime = 16;

/** A version that an answer other than a listing has told, and what listings have for it, as soon as one has been seen. */
interface Told {
	readonly etag: string;
	readonly listed?: ListedObject;
}

/**
 * Listings of some servers have another version of an object than all other answers, or none: Swift, of what was put together and then copied.
 * What was listed is known by that version, and what was made here by the one that its answer told: each goes on to be called as whoever has
 * it knows it, and the server is asked for the one that it compares.
 */
export class ListedVersions {
	readonly #knowledge: ServerKnowledge;
	readonly #heads: Heads;
	readonly #listings: Listings;
	/** What the server compares, by key and listed version. */
	readonly #compared = new Map<string, string>();
	readonly #told = new Map<string, Told>();

	constructor(knowledge: ServerKnowledge, heads: Heads, listings: Listings) {
		this.#knowledge = knowledge;
		this.#heads = heads;
		this.#listings = listings;
	}

	/** The version that the server compares, as far as it is known to be another one. */
	compared(key: string, etag: string): string {
		return this.#compared.get(pair(key, etag)) ?? etag;
	}

	/** Runs what is about that version with the one that the server compares. */
	async comparing<T>(
		{ key, etag, sizeBytes }: { readonly key: string; readonly etag: string; readonly sizeBytes?: number | undefined },
		work: (etag: string) => Promise<T>,
	): Promise<T> {
		const compared = this.compared(key, etag);
		let refusal: unknown = new S3Error("OBJECT_REPLACED", `${printable(key, 300)} has another version now`);
		if (compared !== etag || !isMadeUp(etag)) {
			try {
				return await work(compared);
			} catch (error) {
				if (!isKind(error, "OBJECT_REPLACED") || compared !== etag) throw error;
				refusal = error;
			}
		}
		const found = await this.#look(key, etag, sizeBytes);
		if (found === undefined) throw refusal;
		return work(found);
	}

	/** The object, under the version that it is looked at for if it still is that. */
	async head(key: string, etag: string, signal: AbortSignal | undefined): Promise<ObjectHeaders> {
		const found = await this.#heads.head(key, { signal });
		if (found.etag === etag) return found;
		const compared = this.compared(key, etag);
		const isThis = compared === etag ? (await this.#looked(key, etag, found)) !== undefined : compared === found.etag;
		return isThis ? { ...found, etag } : found;
	}

	/** An answer has told the version of what this store has made. */
	made(key: string, { etag }: Uploaded, { isCopy = false }: { readonly isCopy?: boolean } = {}): void {
		if (isCopy || this.#knowledge.lacks("listed-versions")) keep(this.#told, key, { etag });
		else this.#told.delete(key);
	}

	/** The same page, with the versions that other answers have told. */
	async listed(page: ListPage): Promise<ListPage> {
		const differing = page.objects.filter(({ key, etag }) => {
			const told = this.#told.get(key);
			return etag === "" || (told !== undefined && told.etag !== etag);
		});
		if (differing.length === 0) return page;
		const others = new Map<ListedObject, ListedObject>();
		await inParallel(differing, headsAtATime, async (object) => {
			others.set(object, { ...object, etag: (await this.#toldOf(named(object))) ?? named(object).etag });
		});
		return { ...page, objects: page.objects.map((object) => others.get(object) ?? object) };
	}

	/** What was told of it here, if it still is that. */
	async #toldOf(object: ListedObject): Promise<string | undefined> {
		const { key, etag } = object;
		const told = this.#told.get(key);
		if (told === undefined) return undefined;
		if (told.listed !== undefined && isSame(told.listed, object)) return told.etag;
		const found = await this.#heads.head(key).catch(() => undefined);
		const isThis =
			found?.etag === told.etag &&
			(this.#knowledge.lacks("listed-versions") || (await this.#looked(key, etag, found)) !== undefined);
		if (this.#told.get(key) !== told) return undefined;
		if (isThis) keep(this.#told, key, { ...told, listed: object });
		else this.#told.delete(key);
		return isThis ? told.etag : undefined;
	}

	/** The version that the server compares of an object that is still listed with that one. */
	async #look(key: string, etag: string, sizeBytes: number | undefined): Promise<string | undefined> {
		try {
			const found = await this.#heads.head(key);
			return sizeBytes === undefined || found.sizeBytes === sizeBytes
				? await this.#looked(key, etag, found)
				: undefined;
		} catch (error) {
			// What was refused before says more.
			if (error instanceof S3Error && error.kind !== "ABORTED") return undefined;
			throw error;
		}
	}

	async #looked(key: string, etag: string, found: ObjectHeaders): Promise<string | undefined> {
		if (found.etag === "" || found.etag === etag) return undefined;
		const { objects } = await this.#listings.list({ prefix: key, maxKeys: 1, metadata: false });
		const listed = objects.find((object) => object.key === key);
		if (listed === undefined || named(listed).etag !== etag || !isOfObject(listed, found)) return undefined;
		const versions = `is listed as "${printable(listed.etag, 64)}", and is "${printable(found.etag, 64)}"`;
		const text = `ListObjectsV2: the version of ${printable(key, 300)} ${versions}`;
		this.#knowledge.concede("listed-versions", new S3Error("UNSUPPORTED", text, { status: 200 }));
		keep(this.#compared, pair(key, etag), found.etag);
		return found.etag;
	}
}

/** Where listings tell no version at all, size and time are all that tells one from the other. */
function named(object: ListedObject): ListedObject {
	const { key, etag, sizeBytes, modifiedMs } = object;
	if (etag !== "" || key.endsWith("/")) return object;
	return { ...object, etag: `${madeUp}${modifiedMs}-${sizeBytes}` };
}

const madeUp = "listed-";

function isMadeUp(etag: string): boolean {
	return /^listed-\d+-\d+$/.test(etag);
}

function isSame(one: ListedObject, other: ListedObject): boolean {
	return one.etag === other.etag && one.sizeBytes === other.sizeBytes && one.modifiedMs === other.modifiedMs;
}

/** Answers say the time in seconds. */
function isOfObject(listed: ListedObject, { sizeBytes, modifiedMs }: ObjectHeaders): boolean {
	return listed.sizeBytes === sizeBytes && Math.abs(listed.modifiedMs - modifiedMs) < 1000;
}

function pair(key: string, etag: string): string {
	return `${etag}\0${key}`;
}

function keep<T>(map: Map<string, T>, key: string, value: T): void {
	map.delete(key);
	map.set(key, value);
	const [oldest] = map.keys();
	if (map.size > maximumKept && oldest !== undefined) map.delete(oldest);
}
