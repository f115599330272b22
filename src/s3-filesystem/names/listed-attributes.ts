import type { ListPage } from "../../s3/object-store.ts";
import { parseMetadata } from "./posix-metadata.ts";

/** So many objects without attributes make it likely that the others of the bucket have none either. */
const enoughObjects = 1000;
/** Of the pages after that, every so many is asked for with metadata all the same. */
const pagesASample = 16;

/**
 * Whether a volume's listings are asked for the metadata of its objects. Only MinIO has it there, and works three times as long for it, since it checks
 * the signature again for each object. Most buckets were filled by programs that store no attributes. SEMANTICS.md says what follows.
 */
export class ListedAttributes {
	#objectsWithout = 0;
	#pages = 0;
	#areThere = false;

	/** Of the page that is asked for next. */
	isWorthAsking(): boolean {
		if (this.#areThere || this.#objectsWithout < enoughObjects) return true;
		this.#pages++;
		return this.#pages % pagesASample === 0;
	}

	/** Takes a page that was asked for with metadata. True when it is the first of which some objects have attributes, after others without. */
	saw({ objects }: ListPage): boolean {
		if (this.#areThere) return false;
		if (!objects.some(({ metadata = {} }) => hasAttributes(metadata))) {
			this.#objectsWithout += objects.length;
			return false;
		}
		this.#areThere = true;
		return this.#pages > 0;
	}

	/** This mount has stored some. */
	stored(): void {
		this.#areThere = true;
	}
}

function hasAttributes(metadata: Readonly<Record<string, string>>): boolean {
	const { others: _, ...attributes } = parseMetadata(metadata);
	return Object.keys(attributes).length > 0;
}
