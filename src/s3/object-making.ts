import type { Ability } from "./abilities.ts";
import { isKind } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./call.ts";
import type { ObjectProperties, ObjectStoreOptions } from "./object-store.ts";
import { tagsHeader } from "./tags.ts";
import { rootName } from "./xml.ts";

/** The headers that make an object, and which of them a server or a key may refuse. */
export interface Making {
	readonly used: readonly Ability[];
	readonly headers: (lacking: ReadonlySet<Ability>) => RequestHeaders;
}

/** With what an object is made beside its bytes. */
export class ObjectMaking {
	readonly #bucket: Bucket;
	/** What each object of ours gets. */
	readonly #creation: RequestHeaders;
	readonly #storageClass: string | undefined;

	constructor(bucket: Bucket, { acl, storageClass }: Pick<ObjectStoreOptions, "acl" | "storageClass">) {
		this.#bucket = bucket;
		this.#storageClass = storageClass;
		this.#creation = { ...bucket.encryption.create, ...(acl !== undefined && { "x-amz-acl": acl }) };
	}

	/** What makes an object with these properties, with the tags that the object of that key has. */
	async of(properties: ObjectProperties, tagged: string | undefined): Promise<Making> {
		const { storageClass } = properties;
		const tags = properties.hasTags === true && tagged !== undefined ? await this.#tagsOf(tagged) : undefined;
		const used: Ability[] = storageClass === undefined || storageClass === "STANDARD" ? [] : ["storage-class"];
		return {
			used: tags === undefined ? used : [...used, "tags"],
			headers: (lacking) => {
				const stored = (lacking.has("storage-class") ? undefined : storageClass) ?? this.#storageClass;
				// The server's own has no name that all servers know.
				const isNamed = stored !== undefined && !(stored === "STANDARD" && storageClass !== undefined);
				return {
					...properties.headers,
					...this.#creation,
					...(isNamed && { "x-amz-storage-class": stored }),
					...(tags !== undefined && !lacking.has("tags") && { "x-amz-tagging": tags }),
				};
			},
		};
	}

	/** As the header that gives them to another object. Undefined: there are none that may be read. */
	async #tagsOf(key: string): Promise<string | undefined> {
		try {
			const { body } = await this.#bucket.client.call({
				operation: "GetObjectTagging",
				method: "GET",
				key,
				query: { tagging: "" },
				priority: "read",
				check: ({ body }) => (rootName(body.toString()) === "Tagging" ? undefined : "an answer that is not S3's"),
			});
			return tagsHeader(body.toString());
		} catch (error) {
			const isOpen = isKind(error, "NOT_FOUND") || isKind(error, "DENIED") || isKind(error, "UNSUPPORTED");
			if (!isOpen) throw error;
			if (isKind(error, "DENIED")) this.#bucket.knowledge.concede("tags", error);
			return undefined;
		}
	}
}
