import { checkKey, hasMetadata, isKind, contentLengthOf } from "./answers.ts";
import { isOfServer } from "./of-server.ts";
import type { Ability } from "./abilities.ts";
import { copySource, type Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./call.ts";
import { copyVersion, otherVersion } from "./copy-condition.ts";
import { copyInParts, largestCopyBytes } from "./copy-in-parts.ts";
import type { Deletions } from "./deletions.ts";
import { Doubt, type Looks } from "./doubt.ts";
import type { Heads } from "./heads.ts";
import { withoutQuotes } from "./list-answer.ts";
import { mayBeMadeSince, wasMadeSince } from "./made-since.ts";
import type { MultipartUploads } from "./multipart-uploads.ts";
import { mayNotBeCopied, meaningOfFailures, metadataHeaders, serverTimeMs } from "./object-headers.ts";
import type { ObjectMaking } from "./object-making.ts";
import type { ObjectHeaders, ObjectStore, Uploaded } from "./object-store.ts";
import type { Puts } from "./puts.ts";
import { emptyBody } from "./upload.ts";
import { elementText, rootName } from "./xml.ts";

type CopyOptions = NonNullable<Parameters<ObjectStore["copy"]>[2]>;

/** Objects that the server copies. */
export class Copies {
	readonly #bucket: Bucket;
	readonly #heads: Heads;
	readonly #making: ObjectMaking;
	readonly #puts: Puts;
	readonly #deletions: Deletions;
	readonly #uploads: MultipartUploads;

	constructor(
		bucket: Bucket,
		parts: {
			readonly heads: Heads;
			readonly making: ObjectMaking;
			readonly puts: Puts;
			readonly deletions: Deletions;
			readonly uploads: MultipartUploads;
		},
	) {
		this.#bucket = bucket;
		this.#heads = parts.heads;
		this.#making = parts.making;
		this.#puts = parts.puts;
		this.#deletions = parts.deletions;
		this.#uploads = parts.uploads;
	}

	async copy(from: string, to: string, options: CopyOptions = {}): Promise<Uploaded> {
		checkKey(from);
		checkKey(to);
		const { etag, metadata, onlyIfAbsent = false } = options;
		if (from.endsWith("/") && (options.sizeBytes ?? 0) === 0) return this.#copyMarker(from, to, options);
		// Not every server that knows the condition knows it for copies, and they do not tell.
		if (onlyIfAbsent) await this.#heads.refuseIfPresent(to);
		const isKnown = options.properties !== undefined && (metadata !== undefined || !mayNotBeCopied(options.properties));
		const source = isKnown ? undefined : await this.#headOf(from, etag);
		const { sizeBytes = source?.sizeBytes ?? 0, properties = source?.properties ?? { headers: {} } } = options;
		if (sizeBytes > largestCopyBytes) return this.#copyLarge(from, to, options, source);
		const replacing = metadata ?? (mayNotBeCopied(properties) ? source?.metadata : undefined);
		const own: RequestHeaders =
			replacing === undefined ? {} : { "x-amz-metadata-directive": "REPLACE", ...metadataHeaders(replacing) };
		// Tags are copied in any case, and with the metadata the headers.
		const making = await this.#making.of(
			replacing === undefined ? { ...properties, headers: {} } : properties,
			undefined,
		);
		const used: Ability[] = onlyIfAbsent ? ["conditions"] : [];
		try {
			return await this.#bucket.knowledge.conceding([...used, ...making.used], async (lacking) =>
				this.#copyObject(from, to, options, {
					...own,
					...making.headers(lacking),
					...(onlyIfAbsent && !lacking.has("conditions") && { "if-none-match": "*" }),
				}),
			);
		} catch (error) {
			if (!isTooLargeToCopy(error)) throw error;
			return this.#copyLarge(from, to, options, source);
		}
	}

	/** Not every server has an object for a directory that it could copy: it is made anew. */
	async #copyMarker(from: string, to: string, options: CopyOptions): Promise<Uploaded> {
		const source = await this.#headOf(from, options.etag);
		if (source.sizeBytes > 0) return this.copy(from, to, { ...options, sizeBytes: source.sizeBytes });
		const { metadata = source.metadata, properties = source.properties, onlyIfAbsent = false } = options;
		return this.#puts.put(to, emptyBody, { metadata, properties, tagged: from, onlyIfAbsent });
	}

	async #headOf(from: string, etag: string | undefined): Promise<ObjectHeaders> {
		const source = await this.#heads.head(from);
		if (etag !== undefined && source.etag !== etag && source.etag !== "") throw otherVersion(from);
		return source;
	}

	async #copyObject(from: string, to: string, options: CopyOptions, headers: RequestHeaders): Promise<Uploaded> {
		const { etag } = options;
		if (etag === undefined) return this.#copyOnce(from, to, options, headers);
		return copyVersion(
			this.#bucket,
			this.#heads,
			{ key: from, etag, isReplaced: from === to },
			{
				copy: async (compared) => this.#copyOnce(from, to, { ...options, etag: compared }, headers),
				undo: async (copied) => this.#deletions.delete(to, { etag: copied.etag }),
			},
		);
	}

	async #copyOnce(
		from: string,
		to: string,
		options: Omit<CopyOptions, "etag"> & { readonly etag?: string | undefined },
		headers: RequestHeaders,
	): Promise<Uploaded> {
		const { etag, metadata, sizeBytes } = options;
		const doubt = new Doubt();
		const isCopy: Looks = async (answer) =>
			(sizeBytes === undefined || contentLengthOf(answer) === sizeBytes) &&
			(metadata === undefined || hasMetadata(answer, metadata));
		let copied: Uploaded | undefined;
		try {
			const answer = await this.#bucket.client.call({
				operation: "CopyObject",
				method: "PUT",
				key: to,
				priority: "read",
				workBytes: sizeBytes ?? 0,
				...meaningOfFailures(headers),
				...(headers["if-none-match"] !== undefined && etag === undefined && { preconditionMeans: "EXISTS" as const }),
				onDoubt: () => doubt.begin(),
				headers: () => ({ ...headers, ...copySource(this.#bucket, from, etag) }),
				check: (answer) => {
					const text = answer.body.toString();
					if (!isOfServer(answer)) return "an answer that is not S3's";
					const found = rootName(text) === "CopyObjectResult" ? withoutQuotes(elementText(text, "ETag") ?? "") : "";
					const modifiedMs = Date.parse(elementText(text, "LastModified") ?? "");
					copied = { etag: found, modifiedMs: Number.isNaN(modifiedMs) ? undefined : modifiedMs };
					return undefined;
				},
			});
			if (copied === undefined || copied.etag === "") {
				return await this.#heads.made(to, async (found) => mayBeMadeSince(found, doubt) && isCopy(found));
			}
			return { etag: copied.etag, modifiedMs: copied.modifiedMs ?? serverTimeMs(answer) };
		} catch (error) {
			if (!isKind(error, "OBJECT_REPLACED") && !isKind(error, "EXISTS")) throw error;
			// A copy onto itself gives the object another version, and an earlier try may have done that.
			const present = await this.#heads.presentIf(
				to,
				doubt,
				async (found) => wasMadeSince(found, doubt) && isCopy(found),
			);
			if (present !== undefined) return present.uploaded;
			throw error;
		}
	}

	async #copyLarge(
		from: string,
		to: string,
		options: CopyOptions,
		source: ObjectHeaders | undefined,
	): Promise<Uploaded> {
		const { etag, sizeBytes, metadata, properties } = source ?? (await this.#headOf(from, options.etag));
		const own = metadataHeaders(options.metadata ?? metadata);
		const making = await this.#making.of(options.properties ?? properties, from);
		const create = async (): Promise<string> => this.#uploads.begin(to, own, making, { sendsBytes: false });
		const { onlyIfAbsent = false } = options;
		return copyInParts(this.#uploads, { from: { key: from, etag, sizeBytes }, to, create, onlyIfAbsent });
	}
}

function isTooLargeToCopy(error: unknown): boolean {
	if (!isKind(error, "REFUSED")) return false;
	return error.code === "EntityTooLarge" || /maximum allowable size for a copy source/i.test(error.message);
}
