import { createHash, hash } from "node:crypto";
import { encodeKey } from "./bucket-address.ts";
import { crc32Of, encodeCrc32 } from "./checksum.ts";
import { Client, type Call, type RequestHeaders } from "./client.ts";
import type { Ability } from "./abilities.ts";
import { concessionFor, isLasting } from "./concession.ts";
import type { Answer, SentBody } from "./http/connection.ts";
import { copyInParts, largestCopyBytes } from "./copy-in-parts.ts";
import { parseDeleteAnswer } from "./delete-answer.ts";
import { Doubt, type Looks } from "./doubt.ts";
import { encodeStrictly } from "./location.ts";
import { encryptionHeaders, type EncryptionHeaders } from "./encryption.ts";
import { multipartEtag, wasMadeSince } from "./made-since.ts";
import { parseListAnswer, withoutQuotes, type ParsedList } from "./list-answer.ts";
import { mayNotBeCopied, metadataHeaders, objectHeaders, serverTimeMs } from "./object-headers.ts";
import {
	S3Error,
	type CredentialsSource,
	type ListPage,
	type ListRequest,
	type ObjectHeaders,
	type ObjectMetadata,
	type ObjectProperties,
	type ObjectStore,
	type ObjectStoreOptions,
	type PutOptions,
	type UploadBody,
	type Uploaded,
	type UploadedPart,
} from "./object-store.ts";
import { printable } from "./printable.ts";
import { readObject, type ReadOptions } from "./read-object.ts";
import { tagsHeader } from "./tags.ts";
import { tellingFailures } from "./tell-failures.ts";
import { kindOfCode } from "./verdict.ts";
import { completionXml, deletionXml } from "./write-xml.ts";
import { elementText, isExpressible, rootName } from "./xml.ts";

type CopyOptions = NonNullable<Parameters<ObjectStore["copy"]>[2]>;
type KeyFailure = Awaited<ReturnType<ObjectStore["deleteMany"]>>[number];
type CopyRange = Parameters<ObjectStore["copyPart"]>[3];
type CompletionOptions = NonNullable<Parameters<ObjectStore["completeMultipart"]>[3]>;

/** Throws a LauncherError if there is no URL for that bucket. Nothing is sent before the first request. */
export function createObjectStore(options: ObjectStoreOptions): ObjectStore {
	const store = new Store(options);
	return options.onEvent === undefined ? store : tellingFailures(store, options.onEvent);
}

/** The headers that make an object, and which of them a server or a key may refuse. */
interface Making {
	readonly used: readonly Ability[];
	readonly headers: (lacking: ReadonlySet<Ability>) => RequestHeaders;
}

/** How many keys at once where the server takes one a request. */
const deletesAtOnce = 16;
const keysPerDelete = 1000;
const maximumEmptyPages = 1000;
/** Of the bytes that a server found to be others than their checksum says. */
const uploadTries = 3;
/** No server closes what was used so recently. */
const freshMs = 1000;

class Store implements ObjectStore {
	readonly #client: Client;
	readonly #encryption: EncryptionHeaders;
	/** What each object of ours gets. */
	readonly #creation: RequestHeaders;
	readonly #storageClass: string | undefined;
	readonly #onEvent: ObjectStoreOptions["onEvent"];
	/** What the server has turned out not to know. */
	readonly #lacking = new Set<Ability>();
	#listing: "unknown" | "plain" | "with-metadata" = "unknown";
	#listsMetadata = false;
	/** Parts may be copied to an upload with a checksum algorithm. */
	#copiesWithChecksums = true;

	constructor(options: ObjectStoreOptions) {
		this.#client = new Client(options);
		this.#encryption = encryptionHeaders(options.encryption);
		const { storageClass, acl } = options;
		this.#storageClass = storageClass;
		this.#onEvent = options.onEvent;
		this.#creation = {
			...this.#encryption.create,
			...(acl !== undefined && { "x-amz-acl": acl }),
		};
	}

	get listsMetadata(): boolean {
		return this.#listsMetadata;
	}

	setCredentials(credentials: CredentialsSource): void {
		this.#client.setCredentials(credentials);
	}

	close(): void {
		this.#client.close();
	}

	async get(key: string, options: ReadOptions): Promise<void> {
		checkKey(key);
		await this.#conceding(["conditional-reads"], async (lacking) =>
			readObject(this.#client, key, options, {
				headers: this.#encryption.access,
				isConditional: !lacking.has("conditional-reads"),
			}),
		);
	}

	async head(key: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<ObjectHeaders> {
		const answer = await this.#head(key, { signal });
		return objectHeaders(answer, sizeOf(answer) ?? 0);
	}

	async #head(
		key: string,
		{ signal, headers = {} }: { readonly signal?: AbortSignal | undefined; readonly headers?: RequestHeaders } = {},
	): Promise<Answer> {
		checkKey(key);
		return this.#client.call({
			operation: "HeadObject",
			method: "HEAD",
			key,
			priority: "read",
			signal,
			headers: () => ({ ...this.#encryption.access, ...headers }),
			check: (answer) => (hasEtag(answer) && sizeOf(answer) !== undefined ? undefined : "an answer that is not S3's"),
		});
	}

	/** Pages without a name, as servers make them of what was deleted, are nobody else's business. */
	async list(request: ListRequest): Promise<ListPage> {
		const { startAfter: _, ...rest } = request;
		let asked = request;
		for (let emptyPages = 0; ; emptyPages++) {
			const page = await this.#list(asked);
			const { nextToken, objects, prefixes, undecodableKeys = 0 } = page;
			if (nextToken === undefined) return page;
			const goesOn = nextToken !== asked.continuationToken && emptyPages < maximumEmptyPages;
			if (!goesOn) throw new S3Error("UNAVAILABLE", "ListObjectsV2: a listing that does not go on", { status: 200 });
			if (objects.length + prefixes.length + undecodableKeys > 0) return page;
			asked = { ...rest, continuationToken: nextToken };
		}
	}

	async #list(request: ListRequest): Promise<ListPage> {
		const { metadata: isWanted = true } = request;
		if (!isWanted || this.#listing !== "with-metadata") {
			const page = await this.#listPage(request, false);
			// Nobody else is asked: what it is for is MinIO's own, and another server may take it for an error.
			if (this.#listing === "unknown") this.#listing = this.#client.server === "MinIO" ? "with-metadata" : "plain";
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
		if (continuationToken !== undefined) query["continuation-token"] = continuationToken;
		else if (startAfter !== undefined) query["start-after"] = startAfter;
		if (withMetadata) query["metadata"] = "true";
		let page: ParsedList | undefined;
		await this.#client.call({
			operation: "ListObjectsV2",
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
		return page;
	}

	async put(
		key: string,
		body: UploadBody,
		{ metadata = {}, properties = { headers: {} }, onlyIfAbsent = false, doubt = new Doubt() }: PutOptions = {},
	): Promise<Uploaded> {
		checkKey(key);
		const own = metadataHeaders(metadata);
		const making = await this.#making(properties, key);
		const integrity = createIntegrity(body);
		doubt.sends(async (answer) => hasMetadata(answer, metadata) && integrity.wasOf(answer));
		const used: Ability[] = onlyIfAbsent ? ["checksums", "conditions"] : ["checksums"];
		return this.#conceding([...used, ...making.used], async (lacking) => {
			const headers = {
				...own,
				...making.headers(lacking),
				...(await integrity.headers(!lacking.has("checksums"))),
				...(onlyIfAbsent && !lacking.has("conditions") && { "if-none-match": "*" }),
			};
			try {
				if (onlyIfAbsent && lacking.has("conditions")) await this.#refuseIfPresent(key);
				const answer = await this.#upload({
					operation: "PutObject",
					key,
					body,
					headers,
					doubt,
					preconditionMeans: "EXISTS",
					// On a connection that the server closed while nobody used it, the request looks like one whose answer was lost.
					...(onlyIfAbsent && { maximumIdleMs: freshMs }),
				});
				return { etag: etagOf(answer), modifiedMs: serverTimeMs(answer) };
			} catch (error) {
				if (!isKind(error, "EXISTS")) throw error;
				// It may be there because of an earlier try, whose answer was lost.
				const present = await this.#presentIf(key, doubt, async (answer) => wasMadeSince(answer, doubt));
				if (present === undefined) throw error;
				const isThis = hasMetadata(present.answer, metadata) && (await integrity.isOf(present.answer));
				if (isThis) return present.uploaded;
				if (!(await doubt.hasSent(present.answer))) throw error;
				// With what it was to hold when an earlier call failed.
				return this.put(key, body, { metadata, properties });
			}
		});
	}

	/** Sends bytes; a body that arrived as another one is sent again. */
	async #upload(call: {
		readonly operation: string;
		readonly key: string;
		readonly body: SentBody;
		readonly headers: RequestHeaders;
		readonly query?: Readonly<Record<string, string>>;
		readonly doubt?: Doubt;
		readonly preconditionMeans?: "EXISTS";
		readonly maximumIdleMs?: number;
	}): Promise<Answer> {
		const { operation, key, body, headers, query, doubt, preconditionMeans } = call;
		const { maximumIdleMs = Number.POSITIVE_INFINITY } = call;
		for (let tries = 1; ; tries++) {
			try {
				return await this.#client.call({
					operation,
					method: "PUT",
					key,
					body,
					priority: "write",
					headers: () => headers,
					check: (answer) => (hasEtag(answer) ? undefined : "an answer that is not S3's"),
					onDoubt: () => doubt?.begin(),
					maximumIdleMs: tries > 1 ? 0 : maximumIdleMs,
					...(query !== undefined && { query }),
					...(preconditionMeans !== undefined && { preconditionMeans }),
				});
			} catch (error) {
				if (!isKind(error, "CHECKSUM_WRONG") || tries === uploadTries) throw error;
			}
		}
	}

	async delete(key: string): Promise<void> {
		await this.#delete(key, undefined);
	}

	async #delete(key: string, etag: string | undefined): Promise<void> {
		checkKey(key);
		const condition: RequestHeaders = etag === undefined ? {} : { "if-match": `"${etag}"` };
		await this.#conceding(etag === undefined ? [] : ["conditional-deletes"], async (lacking) =>
			this.#orGone(
				this.#client.call({
					operation: "DeleteObject",
					method: "DELETE",
					key,
					priority: "read",
					headers: () => (lacking.has("conditional-deletes") ? {} : condition),
					check: ({ body }) => (body.length === 0 ? undefined : "an answer that is not S3's"),
				}),
			),
		);
	}

	async #orGone(work: Promise<unknown>): Promise<void> {
		try {
			await work;
		} catch (error) {
			// Some servers say it of what is gone already, and what they do not keep is not there.
			if (!isKind(error, "NOT_FOUND") && !isKind(error, "NAME_TOO_LONG")) throw error;
		}
	}

	async deleteMany(
		keys: readonly string[],
		{ etags = new Map() }: { readonly etags?: ReadonlyMap<string, string> } = {},
	): Promise<KeyFailure[]> {
		if (keys.length > keysPerDelete) throw new S3Error("REFUSED", `more than ${keysPerDelete} keys at once`);
		for (const key of keys) checkKey(key);
		const canTogether = !this.#lacking.has("multi-delete");
		const together = canTogether ? keys.filter(isExpressible) : [];
		const alone = canTogether ? keys.filter((key) => !isExpressible(key)) : keys;
		return [...(await this.#deleteTogether(together, etags)), ...(await this.#deleteEach(alone, etags))];
	}

	async #deleteTogether(keys: readonly string[], etags: ReadonlyMap<string, string>): Promise<KeyFailure[]> {
		if (keys.length === 0) return [];
		let answer: Answer;
		try {
			answer = await this.#conceding(etags.size === 0 ? [] : ["conditional-deletes"], async (lacking) =>
				this.#deleteObjects(deletionXml(keys, lacking.has("conditional-deletes") ? new Map() : etags)),
			);
		} catch (error) {
			if (!(error instanceof S3Error && error.kind === "UNSUPPORTED")) throw error;
			this.#concede("multi-delete", error);
			return this.#deleteEach(keys, etags);
		}
		const failures: KeyFailure[] = [];
		const again: string[] = [];
		for (const { key, code, message } of parseDeleteAnswer(answer.body.toString())) {
			const kind = code === "PreconditionFailed" ? "OBJECT_REPLACED" : kindOfCode(code);
			if (kind === "NOT_FOUND") continue;
			// One by one they are tried again for as long as anything is.
			if (kind === "UNAVAILABLE" || kind === "THROTTLED") again.push(key);
			else {
				const text = `DeleteObjects ${printable(key, 300)}: ${printable(code, 64)} (${printable(message, 200)})`;
				failures.push({ key, error: new S3Error(kind, text, { status: answer.status, code }) });
			}
		}
		return [...failures, ...(await this.#deleteEach(again, etags))];
	}

	async #deleteObjects(bytes: Buffer): Promise<Answer> {
		return this.#client.call({
			operation: "DeleteObjects",
			method: "POST",
			query: { delete: "" },
			priority: "read",
			...smallBody(bytes),
			// Of all servers: the only checksum that each of them knows.
			headers: () => ({ "content-type": "application/xml", "content-md5": hash("md5", bytes, "base64") }),
			check: ({ body }) => (rootName(body.toString()) === "DeleteResult" ? undefined : "an answer that is not S3's"),
		});
	}

	async #deleteEach(keys: readonly string[], etags: ReadonlyMap<string, string>): Promise<KeyFailure[]> {
		const failures: KeyFailure[] = [];
		const left = keys.values();
		const worker = async (): Promise<void> => {
			for (const key of left) {
				try {
					await this.#delete(key, etags.get(key));
				} catch (error) {
					if (!(error instanceof S3Error)) throw error;
					failures.push({ key, error });
				}
			}
		};
		await Promise.all(Array.from({ length: Math.min(deletesAtOnce, keys.length) }, worker));
		return failures;
	}

	async copy(from: string, to: string, options: CopyOptions = {}): Promise<Uploaded> {
		checkKey(from);
		checkKey(to);
		const { etag, metadata, onlyIfAbsent = false } = options;
		// Not every server that knows the condition knows it for copies, and they do not tell.
		if (onlyIfAbsent) await this.#refuseIfPresent(to);
		const isKnown = options.properties !== undefined && (metadata !== undefined || !mayNotBeCopied(options.properties));
		const source = isKnown ? undefined : await this.#headOf(from, etag);
		const { sizeBytes = source?.sizeBytes ?? 0, properties = source?.properties ?? { headers: {} } } = options;
		if (sizeBytes > largestCopyBytes) return this.#copyLarge(from, to, options, source);
		const replacing = metadata ?? (mayNotBeCopied(properties) ? source?.metadata : undefined);
		const own: RequestHeaders =
			replacing === undefined ? {} : { "x-amz-metadata-directive": "REPLACE", ...metadataHeaders(replacing) };
		// Tags are copied in any case, and with the metadata the headers.
		const making = await this.#making(replacing === undefined ? { ...properties, headers: {} } : properties, undefined);
		const used: Ability[] = onlyIfAbsent ? ["conditions"] : [];
		try {
			return await this.#conceding([...used, ...making.used], async (lacking) =>
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

	async #headOf(from: string, etag: string | undefined): Promise<ObjectHeaders> {
		const source = await this.head(from);
		if (etag !== undefined && source.etag !== etag)
			throw new S3Error("OBJECT_REPLACED", `CopyObject ${printable(from, 300)}: the object has another version now`);
		return source;
	}

	async #copyObject(from: string, to: string, options: CopyOptions, headers: RequestHeaders): Promise<Uploaded> {
		const { etag, metadata, sizeBytes } = options;
		const doubt = new Doubt();
		let copied: Uploaded | undefined;
		try {
			const answer = await this.#client.call({
				operation: "CopyObject",
				method: "PUT",
				key: to,
				priority: "read",
				workBytes: sizeBytes ?? 0,
				...(headers["if-none-match"] !== undefined && etag === undefined && { preconditionMeans: "EXISTS" as const }),
				onDoubt: () => doubt.begin(),
				headers: () => ({ ...headers, ...this.#source(from, etag) }),
				check: ({ body }) => {
					const text = body.toString();
					const found = rootName(text) === "CopyObjectResult" ? elementText(text, "ETag") : undefined;
					if (found === undefined) return "an answer that is not S3's";
					const modifiedMs = Date.parse(elementText(text, "LastModified") ?? "");
					copied = { etag: withoutQuotes(found), modifiedMs: Number.isNaN(modifiedMs) ? undefined : modifiedMs };
					return undefined;
				},
			});
			return { etag: copied?.etag ?? "", modifiedMs: copied?.modifiedMs ?? serverTimeMs(answer) };
		} catch (error) {
			if (!isKind(error, "OBJECT_REPLACED") && !isKind(error, "EXISTS")) throw error;
			// A copy onto itself gives the object another version, and an earlier try may have done that.
			const present = await this.#presentIf(to, doubt, async (answer) => wasMadeSince(answer, doubt));
			const isOurs =
				present !== undefined &&
				(sizeBytes === undefined || sizeOf(present.answer) === sizeBytes) &&
				(metadata === undefined || hasMetadata(present.answer, metadata));
			if (isOurs) return present.uploaded;
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
		const making = await this.#making(options.properties ?? properties, from);
		const create = async (): Promise<string> => this.#createMultipart(to, own, making);
		const { onlyIfAbsent = false } = options;
		return copyInParts(this, { from: { key: from, etag, sizeBytes }, to, create, onlyIfAbsent });
	}

	async createMultipart(
		key: string,
		metadata: ObjectMetadata,
		properties: ObjectProperties = { headers: {} },
	): Promise<string> {
		checkKey(key);
		return this.#createMultipart(key, metadataHeaders(metadata), await this.#making(properties, key));
	}

	async #createMultipart(key: string, own: RequestHeaders, making: Making): Promise<string> {
		return this.#conceding(["checksums", ...making.used], async (lacking) => {
			const headers = { ...own, ...making.headers(lacking) };
			const withChecksums = !lacking.has("checksums") && !this.#isMinio && this.#copiesWithChecksums;
			const uploadId = await this.#beginMultipart(key, {
				...headers,
				...(withChecksums && { "x-amz-checksum-algorithm": "CRC32" }),
			});
			if (!withChecksums || !this.#isMinio) return uploadId;
			// Not every key that may write may do that; the bucket's lifecycle may.
			await this.abortMultipart(key, uploadId).catch(() => undefined);
			return this.#beginMultipart(key, headers);
		});
	}

	/** What makes an object with these properties, with the tags that the object of that key has. */
	async #making(properties: ObjectProperties, tagged: string | undefined): Promise<Making> {
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
			const { body } = await this.#client.call({
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
			if (error instanceof S3Error && error.kind === "DENIED") this.#concede("tags", error);
			return undefined;
		}
	}

	/** With a checksum algorithm MinIO refuses parts that are copied; it checks those that are sent also without. */
	get #isMinio(): boolean {
		return this.#client.server === "MinIO";
	}

	async #beginMultipart(key: string, headers: RequestHeaders): Promise<string> {
		let uploadId: string | undefined;
		await this.#client.call({
			operation: "CreateMultipartUpload",
			method: "POST",
			key,
			query: { uploads: "" },
			priority: "read",
			headers: () => headers,
			check: ({ body }) => {
				uploadId = elementText(body.toString(), "UploadId");
				return uploadId === undefined ? "an answer that is not S3's" : undefined;
			},
		});
		return uploadId ?? "";
	}

	async uploadPart(key: string, uploadId: string, partNumber: number, body: UploadBody): Promise<UploadedPart> {
		const integrity = createIntegrity(body);
		return this.#conceding(["checksums"], async (lacking) => {
			const headers = { ...this.#encryption.access, ...(await integrity.headers(!lacking.has("checksums"))) };
			const query = partQuery(uploadId, partNumber);
			const answer = await this.#upload({ operation: "UploadPart", key, body, headers, query });
			// If the server does not say it, it does not know it, and would not want to hear of it at the end.
			return { partNumber, etag: etagOf(answer), crc32: answer.headers.get("x-amz-checksum-crc32") };
		});
	}

	async copyPart(key: string, uploadId: string, partNumber: number, from: CopyRange): Promise<UploadedPart> {
		let part: UploadedPart | undefined;
		try {
			await this.#client.call({
				operation: "UploadPartCopy",
				method: "PUT",
				key,
				query: partQuery(uploadId, partNumber),
				priority: "read",
				workBytes: from.lengthBytes,
				headers: () => ({
					...this.#encryption.access,
					...this.#source(from.key, from.etag),
					"x-amz-copy-source-range": `bytes=${from.offset}-${from.offset + from.lengthBytes - 1}`,
				}),
				check: ({ body }) => {
					const text = body.toString();
					const etag = rootName(text) === "CopyPartResult" ? elementText(text, "ETag") : undefined;
					if (etag === undefined) return "an answer that is not S3's";
					part = { partNumber, etag: withoutQuotes(etag), crc32: elementText(text, "ChecksumCRC32") };
					return undefined;
				},
			});
		} catch (error) {
			// A server like MinIO under another name: the next upload is made without.
			if (error instanceof S3Error && error.kind === "REFUSED" && /checksum missing/i.test(error.message)) {
				this.#copiesWithChecksums = false;
				throw new S3Error("UNSUPPORTED", error.message, { status: error.status, code: error.code, cause: error });
			}
			throw error;
		}
		return part ?? { partNumber, etag: "", crc32: undefined };
	}

	async completeMultipart(
		key: string,
		uploadId: string,
		parts: readonly UploadedPart[],
		{ onlyIfAbsent = false, doubt = new Doubt() }: CompletionOptions = {},
	): Promise<Uploaded> {
		// An object of parts has the version that S3 computes of the parts' versions; where those are no MD5 sums, because of encryption, it
		// is at least of as many parts, and was made since then.
		const wanted = multipartEtag(parts);
		const isComputed = wanted !== undefined && Object.keys(this.#encryption.create).length === 0;
		const looks: Looks = async (answer) => {
			const found = etagOf(answer);
			return found === wanted || (!isComputed && found.endsWith(`-${parts.length}`) && wasMadeSince(answer, doubt));
		};
		doubt.sends(looks);
		return this.#conceding(onlyIfAbsent ? ["checksums", "conditions"] : ["checksums"], async (lacking) => {
			try {
				if (onlyIfAbsent && lacking.has("conditions")) await this.#refuseIfPresent(key);
				return await this.#complete(key, uploadId, parts, {
					withChecksums: !lacking.has("checksums"),
					withCondition: onlyIfAbsent && !lacking.has("conditions"),
					doubt,
				});
			} catch (error) {
				if (!isKind(error, "NOT_FOUND") && !isKind(error, "EXISTS")) throw error;
				// The upload may be gone because an earlier try, whose answer was lost, has made the object of it.
				const present = await this.#presentIf(
					key,
					doubt,
					async (answer) => (await looks(answer)) || doubt.hasSent(answer),
				);
				if (present === undefined) throw error;
				if (await looks(present.answer)) return present.uploaded;
				if (isKind(error, "NOT_FOUND")) throw error;
				// With what it was to hold when an earlier call failed.
				return this.completeMultipart(key, uploadId, parts);
			}
		});
	}

	async #complete(
		key: string,
		uploadId: string,
		parts: readonly UploadedPart[],
		options: { readonly withChecksums: boolean; readonly withCondition: boolean; readonly doubt: Doubt },
	): Promise<Uploaded> {
		const { withChecksums, withCondition, doubt } = options;
		const bytes = completionXml(parts, withChecksums);
		let etag: string | undefined;
		const answer = await this.#client.call({
			operation: "CompleteMultipartUpload",
			method: "POST",
			key,
			query: { uploadId },
			priority: "read",
			workBytes: 0,
			preconditionMeans: "EXISTS",
			...smallBody(bytes),
			headers: () => ({
				"content-type": "application/xml",
				...this.#encryption.access,
				...(withCondition && { "if-none-match": "*" }),
			}),
			onDoubt: () => doubt.begin(),
			check: ({ body }) => {
				const text = body.toString();
				etag = rootName(text) === "CompleteMultipartUploadResult" ? elementText(text, "ETag") : undefined;
				return etag === undefined ? "an answer that is not S3's" : undefined;
			},
		});
		return { etag: withoutQuotes(etag ?? ""), modifiedMs: serverTimeMs(answer) };
	}

	async abortMultipart(key: string, uploadId: string): Promise<void> {
		await this.#orGone(
			this.#client.call({
				operation: "AbortMultipartUpload",
				method: "DELETE",
				key,
				query: { uploadId },
				priority: "read",
			}),
		);
	}

	#source(key: string, etag: string | undefined): RequestHeaders {
		return {
			...this.#encryption.copySource,
			"x-amz-copy-source": `/${encodeStrictly(this.#client.bucket)}/${encodeKey(key)}`,
			...(etag !== undefined && { "x-amz-copy-source-if-match": `"${etag}"` }),
		};
	}

	/** Runs it with everything that the server may know, then with less, and remembers what it did not know. */
	async #conceding<T>(used: readonly Ability[], attempt: (lacking: ReadonlySet<Ability>) => Promise<T>): Promise<T> {
		const lacking = new Set(this.#lacking);
		const conceded = new Map<Ability, S3Error>();
		for (;;) {
			try {
				const result = await attempt(lacking);
				for (const [ability, error] of conceded) this.#concede(ability, error);
				return result;
			} catch (error) {
				const concession = concessionFor(
					error,
					used.filter((ability) => !lacking.has(ability)),
				);
				if (concession === undefined || !(error instanceof S3Error)) {
					const [first] = conceded.values();
					// Without it, it failed as well: it was not that.
					throw first !== undefined && isKind(error, "UNSUPPORTED") ? first : error;
				}
				conceded.set(concession, error);
				lacking.add(concession);
			}
		}
	}

	#concede(ability: Ability, error: S3Error): void {
		if (this.#lacking.has(ability)) return;
		if (isLasting(ability)) this.#lacking.add(ability);
		this.#onEvent?.({ kind: "concession", ability, error });
	}

	async #refuseIfPresent(key: string): Promise<void> {
		try {
			await this.#head(key);
		} catch (error) {
			if (isKind(error, "NOT_FOUND")) return;
			throw error;
		}
		throw new S3Error("EXISTS", `${printable(key, 300)} is there already`, { status: 412 });
	}

	/** The object, if an earlier try may have made it and it looks like that. */
	async #presentIf(
		key: string,
		doubt: Doubt,
		isOurs: (answer: Answer) => Promise<boolean>,
	): Promise<{ readonly answer: Answer; readonly uploaded: Uploaded } | undefined> {
		if (!doubt.exists) return undefined;
		try {
			const answer = await this.#head(key, { headers: { "x-amz-checksum-mode": "ENABLED" } });
			if (!(await isOurs(answer))) return undefined;
			return { answer, uploaded: { etag: etagOf(answer), modifiedMs: objectHeaders(answer, 0).modifiedMs } };
		} catch (error) {
			// Asked for later it may tell. Otherwise why the request itself was refused says more.
			if (isKind(error, "UNAVAILABLE") || isKind(error, "THROTTLED") || isKind(error, "ABORTED")) throw error;
			return undefined;
		}
	}
}

/** What proves on the other side that a body has arrived as it was sent; computed when it is first needed. */
interface Integrity {
	headers(withChecksums: boolean): Promise<RequestHeaders>;
	/** Whether an object is this body. */
	isOf(answer: Answer): Promise<boolean>;
	/** The same by what is computed already, when the body may be another one by now. */
	wasOf(answer: Answer): Promise<boolean>;
}

function createIntegrity(body: UploadBody): Integrity {
	let crc: Promise<string> | undefined;
	let md5: Promise<Buffer> | undefined;
	const crcText = async (): Promise<string> => {
		crc ??= body.crc32 === undefined ? crc32Of(body).then(encodeCrc32) : Promise.resolve(encodeCrc32(body.crc32));
		return crc;
	};
	const md5Sum = async (): Promise<Buffer> => {
		md5 ??= md5Of(body);
		return md5;
	};
	return {
		async headers(withChecksums) {
			if (withChecksums) return { "x-amz-checksum-crc32": await crcText() };
			return { "content-md5": (await md5Sum()).toString("base64") };
		},
		async isOf(answer) {
			if (sizeOf(answer) !== body.sizeBytes) return false;
			const found = answer.headers.get("x-amz-checksum-crc32");
			return found === undefined ? etagOf(answer) === (await md5Sum()).toString("hex") : found === (await crcText());
		},
		async wasOf(answer) {
			if (sizeOf(answer) !== body.sizeBytes) return false;
			const found = answer.headers.get("x-amz-checksum-crc32");
			if (found === undefined) return md5 !== undefined && etagOf(answer) === (await md5).toString("hex");
			return crc !== undefined && found === (await crc);
		},
	};
}

async function md5Of(body: SentBody): Promise<Buffer> {
	const sum = createHash("md5");
	for await (const piece of body.read()) sum.update(piece);
	return sum.digest();
}

/** A body that is signed, since that costs nothing. */
function smallBody(bytes: Buffer): Pick<Call, "body" | "bodyHash"> {
	return { body: { sizeBytes: bytes.length, read: () => [bytes] }, bodyHash: hash("sha256", bytes) };
}

function partQuery(uploadId: string, partNumber: number): Readonly<Record<string, string>> {
	return { partNumber: String(partNumber), uploadId };
}

function checkKey(key: string): void {
	if (key === "") throw new S3Error("REFUSED", "a key must not be empty");
	// Encoding it would make another key of it.
	if (!key.isWellFormed()) throw new S3Error("REFUSED", "a key has half of a surrogate pair");
}

function hasEtag({ headers }: Answer): boolean {
	return withoutQuotes(headers.get("etag") ?? "") !== "";
}

function etagOf({ headers }: Answer): string {
	return withoutQuotes(headers.get("etag") ?? "");
}

function sizeOf({ headers }: Answer): number | undefined {
	const length = headers.get("content-length");
	return length === undefined ? undefined : Number(length);
}

function hasMetadata(answer: Answer, metadata: ObjectMetadata): boolean {
	const found = objectHeaders(answer, 0).metadata;
	const names = Object.keys(metadata);
	return names.length === Object.keys(found).length && names.every((name) => found[name] === metadata[name]);
}

function isKind(error: unknown, kind: S3Error["kind"]): boolean {
	return error instanceof S3Error && error.kind === kind;
}

function isTooLargeToCopy(error: unknown): boolean {
	if (!(error instanceof S3Error) || error.kind !== "REFUSED") return false;
	return error.code === "EntityTooLarge" || /maximum allowable size for a copy source/i.test(error.message);
}
