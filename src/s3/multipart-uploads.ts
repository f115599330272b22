import { checkKey, etagOf, isKind, contentLengthOf } from "./answers.ts";
import { isOfServer } from "./of-server.ts";
import { copySource, type Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./call.ts";
import { copyVersion } from "./copy-condition.ts";
import { orGone } from "./deletions.ts";
import { Doubt, type Looks } from "./doubt.ts";
import type { Heads } from "./heads.ts";
import type { Answer } from "./http/connection.ts";
import { createIntegrity } from "./integrity.ts";
import { withoutQuotes } from "./list-answer.ts";
import { mayBeMadeSince, multipartEtag, wasMadeSince } from "./made-since.ts";
import { meaningOfFailures, metadataHeaders, serverTimeMs } from "./object-headers.ts";
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
import { printable } from "./printable.ts";
import { smallBody, upload } from "./upload.ts";
import { completionXml } from "./write-xml.ts";
import { elementText, rootName } from "./xml.ts";

type CopyRange = Parameters<ObjectStore["copyPart"]>[3];
type CompletionOptions = NonNullable<Parameters<ObjectStore["completeMultipart"]>[3]>;

/** Objects that are put together of parts. */
export class MultipartUploads {
	readonly #bucket: Bucket;
	readonly #heads: Heads;
	readonly #making: ObjectMaking;
	/** Uploads that were begun with a checksum algorithm: each part has to have its own. */
	readonly #withChecksums = new Set<string>();

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
		return this.begin(key, metadataHeaders(metadata), await this.#making.of(properties, key), { sendsBytes: true });
	}

	/** `sendsBytes`: not all parts are copied. */
	async begin(
		key: string,
		own: RequestHeaders,
		making: Making,
		{ sendsBytes }: { readonly sendsBytes: boolean },
	): Promise<string> {
		return this.#bucket.knowledge.conceding(["checksums", ...making.used], async (lacking) => {
			const headers = { ...own, ...making.headers(lacking) };
			const withChecksums =
				sendsBytes && !lacking.has("checksums") && !this.#isMinio && !this.#bucket.knowledge.lacks("copied-checksums");
			const uploadId = await this.#begin(key, {
				...headers,
				...(withChecksums && { "x-amz-checksum-algorithm": "CRC32" }),
			});
			if (!withChecksums || !this.#isMinio) {
				if (withChecksums) this.#withChecksums.add(uploadId);
				return uploadId;
			}
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
			...meaningOfFailures(headers),
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
			const answer = await upload(this.#bucket, {
				operation: "UploadPart",
				key,
				body,
				headers,
				query,
				needsEtag: true,
			});
			// If the server does not say it, it does not know it, and would not want to hear of it at the end.
			return { partNumber, etag: etagOf(answer), crc32: answer.headers.get("x-amz-checksum-crc32") };
		});
	}

	async copyPart(key: string, uploadId: string, partNumber: number, from: CopyRange): Promise<UploadedPart> {
		const { knowledge } = this.#bucket;
		let part: UploadedPart;
		try {
			part = await copyVersion(
				this.#bucket,
				this.#heads,
				{ ...from, isReplaced: false },
				{
					copy: async (etag) => this.#copyPart(key, uploadId, partNumber, { ...from, etag }),
					undo: async () => undefined,
				},
			);
		} catch (error) {
			if (!(error instanceof S3Error)) throw error;
			if (error.kind === "REFUSED" && /checksum missing/i.test(error.message)) throw this.#lacksChecksum(error);
			// Also when nothing of its answer says which part it has made.
			const isOdd = error.kind === "UNAVAILABLE" && error.status === 200;
			if (error.kind !== "UNSUPPORTED" && !isOdd) throw error;
			knowledge.concede("part-copies", error);
			throw unsupported(error);
		}
		if (!this.#withChecksums.has(uploadId)) return part;
		const problem = await this.#checksumProblem(part, from);
		if (problem === undefined) return part;
		const text = `UploadPartCopy ${printable(key, 300)}: ${problem}`;
		throw this.#lacksChecksum(new S3Error("UNSUPPORTED", text, { status: 200 }));
	}

	/** This upload gets no part that is copied; the next one is begun without an algorithm. */
	#lacksChecksum(error: S3Error): S3Error {
		this.#bucket.knowledge.concede("copied-checksums", error);
		return unsupported(error);
	}

	/** What is wrong with the checksum of a copied part; undefined: nothing. */
	async #checksumProblem({ crc32 }: UploadedPart, from: CopyRange): Promise<string | undefined> {
		const { knowledge } = this.#bucket;
		if (crc32 === undefined || !/^[\w+/]{6}==$/.test(crc32)) return "a copied part without its checksum";
		if (knowledge.isProven("copied-checksums")) return undefined;
		// Some servers say that of the whole object.
		const whole = await this.#heads.askWithChecksum(from.key);
		const wholeCrc32 = whole.headers.get("x-amz-checksum-crc32");
		if (wholeCrc32 === undefined || contentLengthOf(whole) === from.lengthBytes) return undefined;
		if (wholeCrc32 === crc32) return "a copied part with the checksum of the whole object";
		knowledge.proves("copied-checksums");
		return undefined;
	}

	async #copyPart(
		key: string,
		uploadId: string,
		partNumber: number,
		from: Omit<CopyRange, "etag"> & { readonly etag: string | undefined },
	): Promise<UploadedPart> {
		let part: UploadedPart | undefined;
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
				// Some servers call it as that of a whole object.
				const isResult = /^Copy(?:Part|Object)Result$/.test(rootName(text) ?? "");
				const etag = withoutQuotes((isResult ? elementText(text, "ETag") : undefined) ?? "");
				if (etag === "") return "an answer that is not S3's";
				part = { partNumber, etag, crc32: elementText(text, "ChecksumCRC32") };
				return undefined;
			},
		});
		return part ?? { partNumber, etag: "", crc32: undefined };
	}

	async completeMultipart(
		key: string,
		uploadId: string,
		parts: readonly UploadedPart[],
		options: CompletionOptions = {},
	): Promise<Uploaded> {
		const { onlyIfAbsent = false, doubt = new Doubt(), sizeBytes } = options;
		const { knowledge, encryption } = this.#bucket;
		// An object of parts has the version that S3 computes of the parts' versions; where those are no MD5 sums, because of encryption, it
		// is at least of as many parts, and was made since then.
		const wanted = multipartEtag(parts);
		const isComputed = wanted !== undefined && Object.keys(encryption.create).length === 0;
		const isOfSize = (answer: Answer): boolean => sizeBytes === undefined || contentLengthOf(answer) === sizeBytes;
		const looks: Looks = async (answer) => {
			const found = etagOf(answer);
			if (found === wanted) return true;
			const isOther = knowledge.lacks("completed-versions") || (!isComputed && found.endsWith(`-${parts.length}`));
			return isOther && wasMadeSince(answer, doubt) && isOfSize(answer);
		};
		doubt.sends(looks);
		return knowledge.conceding(onlyIfAbsent ? ["checksums", "conditions"] : ["checksums"], async (lacking) => {
			try {
				const withCondition = onlyIfAbsent && !lacking.has("conditions");
				// Not every server that knows the condition knows it here, and they do not tell.
				if (onlyIfAbsent) await this.#heads.refuseIfPresent(key, { mayBeHidden: withCondition });
				const told = await this.#complete(key, uploadId, parts, {
					// Of an upload without an algorithm no server needs them, and some refuse those that they themselves have told.
					withChecksums: !lacking.has("checksums") && this.#withChecksums.has(uploadId),
					withCondition,
					doubt,
				});
				this.#withChecksums.delete(uploadId);
				return await this.#versionOf(key, told, async (found) => mayBeMadeSince(found, doubt) && isOfSize(found));
			} catch (error) {
				if (!isKind(error, "NOT_FOUND") && !isKind(error, "EXISTS")) throw this.#orGaps(error, parts);
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
				return this.completeMultipart(key, uploadId, parts, { ...(sizeBytes !== undefined && { sizeBytes }) });
			}
		});
	}

	/** UNSUPPORTED, if it may be that part numbers are missing. */
	#orGaps(error: unknown, parts: readonly UploadedPart[]): unknown {
		const { knowledge } = this.#bucket;
		const hasGaps = parts.some(({ partNumber }, index) => partNumber !== index + 1);
		const isRefused = error instanceof S3Error && /^InvalidPart(Order|Number)?$/.test(error.code ?? "");
		if (!hasGaps || !isRefused || knowledge.lacks("part-gaps")) return error;
		knowledge.concede("part-gaps", error);
		return new S3Error("UNSUPPORTED", error.message, { status: 200, code: error.code, cause: error });
	}

	/** What was made of the parts: its version is what the answer says, or what the server says when it is asked for it. */
	async #versionOf(key: string, told: Uploaded, looks: Looks): Promise<Uploaded> {
		const { knowledge } = this.#bucket;
		const isUseless = told.etag === "" || knowledge.lacks("completed-versions");
		// Whether it is the one that it says later, a look at the first one shows.
		if (!isUseless && knowledge.isProven("completed-versions")) return told;
		try {
			const made = await this.#heads.made(key, looks);
			if (made.etag === told.etag) knowledge.proves("completed-versions");
			else {
				const problem = `the version is told as "${printable(told.etag, 64)}", and is "${printable(made.etag, 64)}"`;
				const text = `CompleteMultipartUpload ${printable(key, 300)}: ${problem}`;
				knowledge.concede("completed-versions", new S3Error("UNSUPPORTED", text, { status: 200 }));
			}
			return made;
		} catch (error) {
			if (isUseless) throw error;
			return told;
		}
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
			check: (answer) => {
				const text = answer.body.toString();
				etag = rootName(text) === "CompleteMultipartUploadResult" ? elementText(text, "ETag") : undefined;
				// The object tells the rest.
				return etag === undefined && !isOfServer(answer) ? "an answer that is not S3's" : undefined;
			},
		});
		return { etag: withoutQuotes(etag ?? ""), modifiedMs: serverTimeMs(answer) };
	}

	hasChecksums(uploadId: string): boolean {
		return this.#withChecksums.has(uploadId);
	}

	resumeMultipart(uploadId: string, hasChecksums: boolean): void {
		if (hasChecksums) this.#withChecksums.add(uploadId);
	}

	async abortMultipart(key: string, uploadId: string): Promise<void> {
		this.#withChecksums.delete(uploadId);
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

/** The same, for whoever can do without. */
function unsupported(error: S3Error): S3Error {
	return new S3Error("UNSUPPORTED", error.message, { status: error.status, code: error.code, cause: error });
}

function partQuery(uploadId: string, partNumber: number): Readonly<Record<string, string>> {
	return { partNumber: String(partNumber), uploadId };
}
