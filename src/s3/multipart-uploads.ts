import { checkKey, etagOf, isKind, smallBody } from "./answers.ts";
import { copySource, type Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./client.ts";
import { orGone } from "./deletions.ts";
import { Doubt, type Looks } from "./doubt.ts";
import type { Heads } from "./heads.ts";
import { createIntegrity } from "./integrity.ts";
import { withoutQuotes } from "./list-answer.ts";
import { multipartEtag, wasMadeSince } from "./made-since.ts";
import { metadataHeaders, serverTimeMs } from "./object-headers.ts";
import type { Making, ObjectMaking } from "./object-making.ts";
import {
	S3Error,
	type ObjectMetadata,
	type ObjectProperties,
	type ObjectStore,
	type UploadBody,
	type Uploaded,
	type UploadedPart,
} from "./object-store.ts";
import { upload } from "./upload.ts";
import { completionXml } from "./write-xml.ts";
import { elementText, rootName } from "./xml.ts";

type CopyRange = Parameters<ObjectStore["copyPart"]>[3];
type CompletionOptions = NonNullable<Parameters<ObjectStore["completeMultipart"]>[3]>;

/** Objects that are put together of parts. */
export class MultipartUploads {
	readonly #bucket: Bucket;
	readonly #heads: Heads;
	readonly #making: ObjectMaking;
	/** Parts may be copied to an upload with a checksum algorithm. */
	#copiesWithChecksums = true;

	constructor(bucket: Bucket, heads: Heads, making: ObjectMaking) {
		this.#bucket = bucket;
		this.#heads = heads;
		this.#making = making;
	}

	async createMultipart(
		key: string,
		metadata: ObjectMetadata,
		properties: ObjectProperties = { headers: {} },
	): Promise<string> {
		checkKey(key);
		return this.begin(key, metadataHeaders(metadata), await this.#making.of(properties, key));
	}

	async begin(key: string, own: RequestHeaders, making: Making): Promise<string> {
		return this.#bucket.knowledge.conceding(["checksums", ...making.used], async (lacking) => {
			const headers = { ...own, ...making.headers(lacking) };
			const withChecksums = !lacking.has("checksums") && !this.#isMinio && this.#copiesWithChecksums;
			const uploadId = await this.#begin(key, {
				...headers,
				...(withChecksums && { "x-amz-checksum-algorithm": "CRC32" }),
			});
			if (!withChecksums || !this.#isMinio) return uploadId;
			// Not every key that may write may do that; the bucket's lifecycle may.
			await this.abortMultipart(key, uploadId).catch(() => undefined);
			return this.#begin(key, headers);
		});
	}

	async #begin(key: string, headers: RequestHeaders): Promise<string> {
		let uploadId: string | undefined;
		await this.#bucket.client.call({
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
		return this.#bucket.knowledge.conceding(["checksums"], async (lacking) => {
			const headers = { ...this.#bucket.encryption.access, ...(await integrity.headers(!lacking.has("checksums"))) };
			const query = partQuery(uploadId, partNumber);
			const answer = await upload(this.#bucket, { operation: "UploadPart", key, body, headers, query });
			// If the server does not say it, it does not know it, and would not want to hear of it at the end.
			return { partNumber, etag: etagOf(answer), crc32: answer.headers.get("x-amz-checksum-crc32") };
		});
	}

	async copyPart(key: string, uploadId: string, partNumber: number, from: CopyRange): Promise<UploadedPart> {
		let part: UploadedPart | undefined;
		try {
			await this.#bucket.client.call({
				operation: "UploadPartCopy",
				method: "PUT",
				key,
				query: partQuery(uploadId, partNumber),
				priority: "read",
				workBytes: from.lengthBytes,
				headers: () => ({
					...this.#bucket.encryption.access,
					...copySource(this.#bucket, from.key, from.etag),
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
		const isComputed = wanted !== undefined && Object.keys(this.#bucket.encryption.create).length === 0;
		const looks: Looks = async (answer) => {
			const found = etagOf(answer);
			return found === wanted || (!isComputed && found.endsWith(`-${parts.length}`) && wasMadeSince(answer, doubt));
		};
		doubt.sends(looks);
		return this.#bucket.knowledge.conceding(
			onlyIfAbsent ? ["checksums", "conditions"] : ["checksums"],
			async (lacking) => {
				try {
					if (onlyIfAbsent && lacking.has("conditions")) await this.#heads.refuseIfPresent(key);
					return await this.#complete(key, uploadId, parts, {
						withChecksums: !lacking.has("checksums"),
						withCondition: onlyIfAbsent && !lacking.has("conditions"),
						doubt,
					});
				} catch (error) {
					if (!isKind(error, "NOT_FOUND") && !isKind(error, "EXISTS")) throw error;
					// The upload may be gone because an earlier try, whose answer was lost, has made the object of it.
					const present = await this.#heads.presentIf(
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
			},
		);
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
		const answer = await this.#bucket.client.call({
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
				...this.#bucket.encryption.access,
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
		await orGone(
			this.#bucket.client.call({
				operation: "AbortMultipartUpload",
				method: "DELETE",
				key,
				query: { uploadId },
				priority: "read",
			}),
		);
	}

	/** With a checksum algorithm MinIO refuses parts that are copied; it checks those that are sent also without. */
	get #isMinio(): boolean {
		return this.#bucket.client.server === "MinIO";
	}
}

function partQuery(uploadId: string, partNumber: number): Readonly<Record<string, string>> {
	return { partNumber: String(partNumber), uploadId };
}
