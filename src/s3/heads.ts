import { checkKey, etagOf, hasEtag, isKind, sizeOf } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./client.ts";
import type { Doubt } from "./doubt.ts";
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

	async head(key: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<ObjectHeaders> {
		const answer = await this.ask(key, { signal });
		return objectHeaders(answer, sizeOf(answer) ?? 0);
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
			check: (answer) => (hasEtag(answer) && sizeOf(answer) !== undefined ? undefined : "an answer that is not S3's"),
		});
	}

	async refuseIfPresent(key: string): Promise<void> {
		try {
			await this.ask(key);
		} catch (error) {
			if (isKind(error, "NOT_FOUND")) return;
			throw error;
		}
		throw new S3Error("EXISTS", `${printable(key, 300)} is there already`, { status: 412 });
	}

	/** The object, if an earlier try may have made it and it looks like that. */
	async presentIf(
		key: string,
		doubt: Doubt,
		isOurs: (answer: Answer) => Promise<boolean>,
	): Promise<{ readonly answer: Answer; readonly uploaded: Uploaded } | undefined> {
		if (!doubt.exists) return undefined;
		try {
			const answer = await this.ask(key, { headers: { "x-amz-checksum-mode": "ENABLED" } });
			if (!(await isOurs(answer))) return undefined;
			return { answer, uploaded: { etag: etagOf(answer), modifiedMs: objectHeaders(answer, 0).modifiedMs } };
		} catch (error) {
			// Asked for later it may tell. Otherwise why the request itself was refused says more.
			if (isKind(error, "UNAVAILABLE") || isKind(error, "THROTTLED") || isKind(error, "ABORTED")) throw error;
			return undefined;
		}
	}
}
