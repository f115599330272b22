import type { Doubt } from "../../s3/doubt.ts";
import {
	S3Error,
	type ObjectStore,
	type ObjectVersion,
	type UploadBody,
	type Uploaded,
	type UploadedPart,
} from "../../s3/object-store.ts";
import type { Description, KeptUpload } from "./draft-options.ts";

/** The multipart upload of one draft, created with its first part. It is the only one that is ever completed or aborted. */
export class DraftUpload {
	readonly key: string;
	/** Whether the metadata was asked for when all was written. */
	readonly isFinal: boolean;
	/** Until the server says that it cannot; another upload may be of a kind that it can copy to. */
	canCopy = true;
	readonly #store: ObjectStore;
	readonly #describe: () => Promise<Description>;
	readonly #onCreated: (() => void) | undefined;
	#id: Promise<string> | undefined;
	#idNow: string | undefined;
	#description: Description | undefined;

	constructor(options: {
		readonly store: ObjectStore;
		readonly key: string;
		readonly describe: () => Promise<Description>;
		readonly isFinal: boolean;
		/** Told when the server has begun it. */
		readonly onCreated?: () => void;
		/** By a process that has died. */
		readonly kept?: KeptUpload;
	}) {
		this.#store = options.store;
		this.key = options.key;
		this.isFinal = options.isFinal;
		this.#describe = options.describe;
		this.#onCreated = options.onCreated;
		const { kept } = options;
		if (kept === undefined) return;
		this.canCopy = kept.canCopy;
		this.#description = kept.description;
		this.#idNow = kept.id;
		this.#id = Promise.resolve(kept.id);
		this.#store.resumeMultipart(kept.id, kept.hasChecksums);
	}

	/** Undefined: the server has not begun it yet. */
	keep(): KeptUpload | undefined {
		if (this.#idNow === undefined) return undefined;
		const { key, isFinal, canCopy, description } = this;
		const hasChecksums = this.#store.hasChecksums(this.#idNow);
		return { id: this.#idNow, key, isFinal, canCopy, hasChecksums, description };
	}

	/** What the object will have; known when there is a part. */
	get description(): Description {
		if (this.#description === undefined) throw new Error("an upload that was not created yet");
		return this.#description;
	}

	async send(index: number, body: UploadBody): Promise<UploadedPart> {
		return this.#store.uploadPart(this.key, await this.#created(), index + 1, body);
	}

	async copy(index: number, base: ObjectVersion, offset: number, lengthBytes: number): Promise<UploadedPart> {
		const { key, etag } = base;
		return this.#store.copyPart(this.key, await this.#created(), index + 1, { key, etag, offset, lengthBytes });
	}

	async complete(
		parts: readonly UploadedPart[],
		options: { readonly onlyIfAbsent: boolean; readonly doubt: Doubt; readonly sizeBytes: number },
	): Promise<Uploaded> {
		return this.#store.completeMultipart(this.key, await this.#created(), parts, options);
	}

	/** Parts on their way must have ended. */
	async abort(): Promise<void> {
		// Without an id there is nothing to abort.
		const id = await this.#id?.catch(() => undefined);
		if (id !== undefined) await this.#store.abortMultipart(this.key, id);
	}

	async #created(): Promise<string> {
		this.#id ??= this.#create();
		return this.#id;
	}

	async #create(): Promise<string> {
		try {
			const description = await this.#describe();
			this.#description = description;
			const id = await this.#store.createMultipart(this.key, description.metadata, description.properties);
			this.#idNow = id;
			this.#onCreated?.();
			return id;
		} catch (error) {
			// The next part tries again.
			this.#id = undefined;
			throw error;
		}
	}
}

/** Completed or aborted, by whomever. The only other thing that can be missing is the object that a part is copied from. */
export function isUploadGone(thrown: unknown): boolean {
	return thrown instanceof S3Error && thrown.kind === "NOT_FOUND" && !/^NoSuch(Key|Version)$/.test(thrown.code ?? "");
}
