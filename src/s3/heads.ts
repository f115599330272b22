import { checkKey, etagOf, hasEtag, isKind, contentLengthOf } from "./answers.ts";
import { isOfServer } from "./of-server.ts";
import type { Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./call.ts";
import type { Doubt, Looks } from "./doubt.ts";
import type { Answer } from "./http/connection.ts";
import { objectHeaders } from "./object-headers.ts";
import { S3Error, type ObjectHeaders, type Uploaded } from "./object-store.ts";
import { printable } from "./printable.ts";

/** What is there, without its bytes. */
export class Heads {
	readonly #bucket: Bucket;

	constructor(bucket: Bucket) {
		this.#bucket = bucket;
	}

	async head(key: string, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<ObjectHeaders> {
		const answer = await this.ask(key, { signal });
		return objectHeaders(answer, contentLengthOf(answer) ?? 0);
	}

	async ask(
		key: string,
		{ signal, headers = {} }: { readonly signal?: AbortSignal | undefined; readonly headers?: RequestHeaders } = {},
	): Promise<Answer> {
		checkKey(key);
		return this.#bucket.client.call({
			operation: "HeadObject",
			method: "HEAD",
			key,
			priority: "read",
			signal,
			headers: () => ({ ...this.#bucket.encryption.access, ...headers }),
			check: (answer) => {
				const sizeBytes = contentLengthOf(answer);
				// Directories' objects have no version with some servers, and need none.
				const isMarker = sizeBytes === 0 && isOfServer(answer);
				return sizeBytes !== undefined && (hasEtag(answer) || isMarker) ? undefined : "an answer that is not S3's";
			},
		});
	}

	/** With its checksum, if the server has one and tells. */
	async askWithChecksum(key: string): Promise<Answer> {
		return this.#bucket.knowledge.conceding(["read-checksums"], async (lacking) =>
			this.ask(key, { headers: lacking.has("read-checksums") ? {} : { "x-amz-checksum-mode": "ENABLED" } }),
		);
	}

	/** `mayBeHidden`: who may not look does without. */
	async refuseIfPresent(key: string, { mayBeHidden = false }: { readonly mayBeHidden?: boolean } = {}): Promise<void> {
		try {
			await this.ask(key);
		} catch (error) {
			if (isKind(error, "NOT_FOUND") || (mayBeHidden && isKind(error, "DENIED"))) return;
			throw error;
		}
		throw new S3Error("EXISTS", `${printable(key, 300)} is there already`, { status: 412 });
	}

	/**
	 * What was just made of that key, as a server that did not tell its version, or not the one that it tells later, says now. Throws
	 * OBJECT_REPLACED when it does not look like that, and what was made is gone again.
	 */
	async made(key: string, looks: Looks): Promise<Uploaded> {
		let answer: Answer;
		try {
			answer = await this.ask(key);
		} catch (error) {
			if (!isKind(error, "NOT_FOUND")) throw error;
			// Of another object than that which may be missing before something is made.
			throw new S3Error("UNAVAILABLE", `HeadObject ${printable(key, 300)}: what was just stored is not there`, {
				status: 404,
				cause: error,
			});
		}
		if (await looks(answer)) return uploadedOf(answer);
		throw new S3Error("OBJECT_REPLACED", `HeadObject ${printable(key, 300)}: what was just stored was replaced`, {
			status: 200,
		});
	}

	/** The object, if an earlier try may have made it and it looks like that. */
	async presentIf(
		key: string,
		doubt: Doubt,
		isOurs: (answer: Answer) => Promise<boolean>,
	): Promise<{ readonly answer: Answer; readonly uploaded: Uploaded } | undefined> {
		if (!doubt.exists) return undefined;
		try {
			const answer = await this.askWithChecksum(key);
			if (!(await isOurs(answer))) return undefined;
			return { answer, uploaded: uploadedOf(answer) };
		} catch (error) {
			// Asked for later it may tell. Otherwise why the request itself was refused says more.
			if (isKind(error, "UNAVAILABLE") || isKind(error, "THROTTLED") || isKind(error, "ABORTED")) throw error;
			return undefined;
		}
	}
}

function uploadedOf(answer: Answer): Uploaded {
	return { etag: etagOf(answer), modifiedMs: objectHeaders(answer, 0).modifiedMs };
}
