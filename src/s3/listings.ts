import type { Bucket } from "./bucket.ts";
import { thousandKeysBytes } from "./answers.ts";
import { parseListAnswer, type ParsedList } from "./list-answer.ts";
import { keyOfToken } from "./list-position.ts";
import { S3Error, type ListPage, type ListRequest } from "./object-store.ts";

const maximumEmptyPages = 1000;

/** The names in a bucket. */
export class Listings {
	readonly #bucket: Bucket;
	#listing: "unknown" | "plain" | "with-metadata" = "unknown";
	#listsMetadata = false;
	#answersVersion1 = false;

	constructor(bucket: Bucket) {
		this.#bucket = bucket;
	}

	get listsMetadata(): boolean {
		return this.#listsMetadata;
	}

	/** Pages without a name, as servers make them of what was deleted, are nobody else's business. */
	async list(request: ListRequest): Promise<ListPage> {
		const { startAfter: _, ...rest } = request;
		let asked = request;
		for (let emptyPages = 0; ; emptyPages++) {
			const page = await this.#list(asked);
			const { nextToken, objects, prefixes, undecodableKeys = 0 } = page;
			if (nextToken === undefined && !page.isCut) return page;
			const goesOn = nextToken !== undefined && nextToken !== asked.continuationToken && emptyPages < maximumEmptyPages;
			if (!goesOn) throw new S3Error("UNAVAILABLE", "ListObjectsV2: a listing that does not go on", { status: 200 });
			if (objects.length + prefixes.length + undecodableKeys > 0) return page;
			asked = { ...rest, continuationToken: nextToken };
		}
	}

	async #list(request: ListRequest): Promise<ParsedList> {
		const { metadata: isWanted = true } = request;
		if (!isWanted || this.#listing !== "with-metadata") {
			const page = await this.#listPage(request, false);
			// Nobody else is asked: what it is for is MinIO's own, and another server may take it for an error.
			if (this.#listing === "unknown")
				this.#listing = this.#bucket.client.server === "MinIO" ? "with-metadata" : "plain";
			if (!isWanted || this.#listing === "plain") return page;
		}
		try {
			const page = await this.#listPage(request, true);
			if (page.hasMetadata) this.#listsMetadata = true;
			return page;
		} catch (error) {
			const mayBeMetadata =
				error instanceof S3Error && ["DENIED", "REFUSED", "UNSUPPORTED"].includes(error.kind) && !this.#listsMetadata;
			if (!mayBeMetadata) throw error;
			const page = await this.#listPage(request, false);
			this.#listing = "plain";
			return page;
		}
	}

	async #listPage(request: ListRequest, withMetadata: boolean): Promise<ParsedList> {
		const { prefix, delimiter, startAfter, continuationToken, maxKeys = 1000, signal } = request;
		const query: Record<string, string> = {
			"encoding-type": "url",
			"list-type": "2",
			"max-keys": String(maxKeys),
			prefix,
		};
		if (delimiter !== undefined) query["delimiter"] = delimiter;
		const after = continuationToken === undefined ? startAfter : keyOfToken(continuationToken);
		// For those that answer in version 1, whatever they are asked for: old Ceph, and gateways.
		const isMarked = after !== undefined && this.#answersVersion1;
		if (isMarked) query["marker"] = after;
		if (after !== undefined) query["start-after"] = after;
		else if (continuationToken !== undefined) query["continuation-token"] = continuationToken;
		if (withMetadata) query["metadata"] = "true";
		let page: ParsedList | undefined;
		await this.#bucket.client.call({
			operation: "ListObjectsV2",
			maximumAnswerBytes: thousandKeysBytes,
			method: "GET",
			query,
			priority: "read",
			signal,
			check: ({ body }) => {
				page = parseListAnswer(body.toString());
				return page === undefined ? "an answer that is no list" : undefined;
			},
		});
		if (page === undefined) throw new Error("a list that was not read");
		this.#answersVersion1 ||= page.isVersion1;
		return page.isVersion1 && after !== undefined && !isMarked ? this.#listPage(request, withMetadata) : page;
	}
}
