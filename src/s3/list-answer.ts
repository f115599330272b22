import { tokenAfterLast } from "./list-position.ts";
import type { ListedObject, ListPage, ObjectMetadata } from "./object-store.ts";
import { decodeEntities, rootName } from "./xml.ts";

export interface ParsedList extends ListPage {
	/** Some object came with its metadata. */
	readonly hasMetadata: boolean;
	/** It is an answer to ListObjects, which knows no `start-after`. */
	readonly isVersion1: boolean;
	/** There is more, and nothing says where to go on. */
	readonly isCut: boolean;
}

/**
 * Reads the answer to ListObjectsV2; undefined if it is something else, or has an element without its end. Scans for the few elements that matter, since a general
 * parser takes ten times as long, and MinIO's metadata are not even well-formed: a header's name may have `&` in it.
 */
export function parseListAnswer(xml: string): ParsedList | undefined {
	if (rootName(xml) !== "ListBucketResult" || !xml.includes("</ListBucketResult>")) return undefined;
	const scan = new Scan(xml);
	return scan.run();
}

class Scan {
	readonly #xml: string;
	readonly #objects: ListedObject[] = [];
	readonly #prefixes: string[] = [];
	#isEncoded = false;
	/** Undefined: it does not say. */
	#isTruncated: boolean | undefined;
	#nextToken: string | undefined;
	#undecodableKeys = 0;
	#hasMetadata = false;
	#isVersion1 = false;
	/** An element does not end: what is in it, and after it, cannot be told. */
	#isBroken = false;
	#position = 0;

	constructor(xml: string) {
		this.#xml = xml;
	}

	run(): ParsedList | undefined {
		// It may come last, and all keys depend on it.
		this.#isEncoded = this.#xml.includes("<EncodingType>url</EncodingType>");
		this.#position = this.#xml.indexOf("<ListBucketResult") + 1;
		for (let name = this.#nextTag(); name !== ""; name = this.#nextTag()) {
			if (name === "Contents") this.#object();
			else if (name === "CommonPrefixes") this.#prefix();
			else if (name === "IsTruncated") this.#isTruncated = parseTruncated(this.#text());
			else if (name === "NextContinuationToken") this.#nextToken = decodeEntities(this.#text());
			else if (name === "Marker" || name === "Marker/") this.#isVersion1 = true;
		}
		if (this.#isBroken) return undefined;
		const isTruncated = this.#isTruncated ?? (this.#nextToken ?? "") !== "";
		const nextToken = isTruncated ? this.#tokenOfNext() : undefined;
		return {
			objects: this.#objects,
			prefixes: this.#prefixes,
			nextToken,
			undecodableKeys: this.#undecodableKeys,
			hasMetadata: this.#hasMetadata,
			isVersion1: this.#isVersion1,
			isCut: isTruncated && nextToken === undefined,
		};
	}

	#tokenOfNext(): string | undefined {
		const token = this.#nextToken === "" ? undefined : this.#nextToken;
		return token ?? tokenAfterLast(this.#objects.at(-1)?.key, this.#prefixes.at(-1));
	}

	/** The name of the next tag, with a slash before it if it closes; the position is after it. */
	#nextTag(): string {
		const start = this.#xml.indexOf("<", this.#position);
		if (start === -1) return "";
		const end = this.#xml.indexOf(">", start);
		if (end === -1) return "";
		this.#position = end + 1;
		return this.#xml.slice(start + 1, end);
	}

	/** Up to the next tag. */
	#text(): string {
		const end = this.#xml.indexOf("<", this.#position);
		return this.#xml.slice(this.#position, end === -1 ? this.#xml.length : end);
	}

	#object(): void {
		let key: string | undefined;
		let sizeBytes = Number.NaN;
		let modifiedMs = 0;
		let etag = "";
		let metadata: ObjectMetadata | undefined;
		for (let name = this.#nextTag(); name !== "/Contents"; name = this.#nextTag()) {
			switch (name) {
				case "":
				case "Contents":
					this.#breakOff();
					return;
				case "Key":
					key = this.#name();
					break;
				case "Size":
					sizeBytes = parseSize(this.#text());
					break;
				case "LastModified":
					modifiedMs = Date.parse(this.#text()) || 0;
					break;
				case "ETag":
					etag = withoutQuotes(decodeEntities(this.#text()));
					break;
				case "UserMetadata":
					metadata = this.#metadata();
					this.#hasMetadata = true;
					break;
				// Has an <ID> that is not the object's.
				case "Owner":
					this.#skip("</Owner>");
					break;
				default:
			}
		}
		if (key === undefined || !(sizeBytes >= 0)) this.#undecodableKeys++;
		else this.#objects.push({ key, sizeBytes, modifiedMs, etag, ...(metadata !== undefined && { metadata }) });
	}

	#prefix(): void {
		for (let name = this.#nextTag(); name !== "/CommonPrefixes"; name = this.#nextTag()) {
			if (name === "" || name === "CommonPrefixes") return this.#breakOff();
			if (name !== "Prefix") continue;
			const prefix = this.#name();
			if (prefix === undefined) this.#undecodableKeys++;
			else this.#prefixes.push(prefix);
		}
	}

	#metadata(): ObjectMetadata {
		const metadata: [name: string, value: string][] = [];
		for (let name = this.#nextTag(); name !== "/UserMetadata"; name = this.#nextTag()) {
			if (name === "") {
				this.#breakOff();
				break;
			}
			if (name.length <= metadataPrefix.length || !isMetadataName(name)) continue;
			const value = this.#text();
			metadata.push([name.slice(metadataPrefix.length).toLowerCase(), decodeEntities(value)]);
		}
		// Whatever their names are.
		return Object.fromEntries(metadata);
	}

	/** To the end of an element; one without an end is looked for once, or a page of them would be searched through for each. */
	#skip(closing: string): void {
		const end = this.#xml.indexOf(closing, this.#position);
		if (end === -1) this.#breakOff();
		else this.#position = end + closing.length;
	}

	#breakOff(): void {
		this.#isBroken = true;
		this.#position = this.#xml.length;
	}

	/** A key; undefined if it is not UTF-8, which no string of ours can say. */
	#name(): string | undefined {
		const text = decodeEntities(this.#text());
		if (!this.#isEncoded) return text.includes("\ufffd") ? undefined : text;
		return decodeUrl(text);
	}
}

/** Whatever does not say that this is all means that there is more. */
function parseTruncated(text: string): boolean | undefined {
	const said = text.trim().toLowerCase();
	return said === "" ? undefined : said !== "false" && said !== "0";
}

function parseSize(text: string): number {
	const size = /^\s*\d{1,16}\s*$/.test(text) ? Number(text) : Number.NaN;
	return Number.isSafeInteger(size) ? size : Number.NaN;
}

const metadataPrefix = "x-amz-meta-";

function isMetadataName(name: string): boolean {
	return name.slice(0, metadataPrefix.length).toLowerCase() === metadataPrefix;
}

function decodeUrl(text: string): string | undefined {
	const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
	if (!spaced.includes("%")) return spaced;
	try {
		return decodeURIComponent(spaced);
	} catch {
		// Its bytes are not UTF-8.
		return undefined;
	}
}

/** As we keep it; also of a weak one, which compressing proxies make. */
export function withoutQuotes(etag: string): string {
	return etag.replaceAll(/^(?:W\/)?"|"$/g, "");
}
