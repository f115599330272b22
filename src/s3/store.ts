import { inParallel } from "../turns.ts";
import type { Ability } from "./abilities.ts";
import { checkKey, isKind } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import { Client } from "./client.ts";
import { Copies } from "./copies.ts";
import { Deletions, type KeyFailure } from "./deletions.ts";
import { encryptionHeaders } from "./encryption.ts";
import { Heads } from "./heads.ts";
import { ListedVersions } from "./listed-versions.ts";
import { Listings } from "./listings.ts";
import { MultipartUploads } from "./multipart-uploads.ts";
import { ObjectMaking } from "./object-making.ts";
import {
	S3Error,
	type CredentialsSource,
	type ListPage,
	type ListRequest,
	type ObjectHeaders,
	type ObjectStore,
	type ObjectStoreOptions,
} from "./object-store.ts";
import { Puts } from "./puts.ts";
import { readObject, type ReadOptions } from "./read-object.ts";
import { ServerKnowledge } from "./server-knowledge.ts";
import { tellingFailures } from "./tell-failures.ts";

const looksAtATime = 16;

/** Throws a LauncherError if there is no URL for that bucket. Nothing is sent before the first request. */
export function createObjectStore(options: ObjectStoreOptions): ObjectStore {
	const store = new Store(options);
	return options.onEvent === undefined ? store : tellingFailures(store, options.onEvent);
}

class Store implements ObjectStore {
	readonly #bucket: Bucket;
	readonly #heads: Heads;
	readonly #puts: Puts;
	readonly #listings: Listings;
	readonly #uploads: MultipartUploads;
	readonly #copies: Copies;
	readonly #deletions: Deletions;
	readonly #versions: ListedVersions;

	constructor(options: ObjectStoreOptions) {
		this.#bucket = {
			client: new Client(options),
			encryption: encryptionHeaders(options.encryption),
			knowledge: options.knowledge ?? new ServerKnowledge(),
		};
		this.#heads = new Heads(this.#bucket);
		const making = new ObjectMaking(this.#bucket, options);
		this.#puts = new Puts(this.#bucket, this.#heads, making);
		this.#listings = new Listings(this.#bucket);
		this.#uploads = new MultipartUploads(this.#bucket, this.#heads, making);
		this.#deletions = new Deletions(this.#bucket, this.#heads);
		this.#copies = new Copies(this.#bucket, {
			heads: this.#heads,
			making,
			puts: this.#puts,
			deletions: this.#deletions,
			uploads: this.#uploads,
		});
		this.#versions = new ListedVersions(this.#bucket.knowledge, this.#heads, this.#listings);
	}

	get listsMetadata(): boolean {
		return this.#listings.listsMetadata;
	}

	get takesGaps(): boolean {
		return !this.#bucket.knowledge.lacks("part-gaps");
	}

	setCredentials(credentials: CredentialsSource): void {
		this.#bucket.client.setCredentials(credentials);
	}

	close(): void {
		this.#bucket.client.close();
	}

	async get(key: string, options: ReadOptions): Promise<void> {
		checkKey(key);
		const { client, encryption, knowledge } = this.#bucket;
		const isWhole = options.offset === 0 && options.into.length === options.objectSizeBytes;
		const used: Ability[] = isWhole ? ["conditional-reads", "read-checksums"] : ["conditional-reads"];
		await this.#versions.comparing({ key, etag: options.etag, sizeBytes: options.objectSizeBytes }, async (etag) =>
			knowledge.conceding(used, async (lacking) =>
				readObject(
					client,
					key,
					{ ...options, etag },
					{
						headers: encryption.access,
						isConditional: !lacking.has("conditional-reads"),
						asksChecksum: !lacking.has("read-checksums"),
					},
				),
			),
		);
	}

	async head(
		key: string,
		{ signal, as }: { readonly signal?: AbortSignal; readonly as?: string } = {},
	): Promise<ObjectHeaders> {
		return as === undefined ? this.#heads.head(key, { signal }) : this.#versions.head(key, as, signal);
	}

	async list(request: ListRequest): Promise<ListPage> {
		return this.#versions.listed(await this.#listings.list(request));
	}

	async put(...wanted: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
		const uploaded = await this.#puts.put(...wanted);
		this.#versions.made(wanted[0], uploaded);
		return uploaded;
	}

	async delete(key: string, { etag }: { readonly etag?: string } = {}): Promise<void> {
		if (etag === undefined) await this.#deletions.delete(key);
		else
			await this.#versions.comparing({ key, etag }, async (compared) =>
				this.#deletions.delete(key, { etag: compared }),
			);
	}

	async deleteMany(
		keys: readonly string[],
		{ etags = new Map() }: { readonly etags?: ReadonlyMap<string, string> } = {},
	): ReturnType<ObjectStore["deleteMany"]> {
		const compared = new Map(etags.entries().map(([key, etag]) => [key, this.#versions.compared(key, etag)]));
		const failures = await this.#deletions.deleteMany(keys, { etags: compared });
		const left: KeyFailure[] = [];
		await inParallel(failures, looksAtATime, async (failure) => {
			const etag = etags.get(failure.key);
			const isOther = etag !== undefined && isKind(failure.error, "OBJECT_REPLACED");
			const still = isOther ? await this.#deleteAgain(failure.key, etag) : failure;
			if (still !== undefined) left.push(still);
		});
		return left;
	}

	/** What was refused for its version may be listed with another one than it is compared by, which nobody has noticed yet. */
	async #deleteAgain(key: string, etag: string): Promise<KeyFailure | undefined> {
		try {
			await this.delete(key, { etag });
			return undefined;
		} catch (error) {
			if (error instanceof S3Error) return { key, error };
			throw error;
		}
	}

	async copy(
		from: string,
		to: string,
		options: Parameters<ObjectStore["copy"]>[2] = {},
	): ReturnType<ObjectStore["copy"]> {
		const { etag, sizeBytes } = options;
		const copied = await (etag === undefined
			? this.#copies.copy(from, to, options)
			: this.#versions.comparing({ key: from, etag, sizeBytes }, async (compared) =>
					this.#copies.copy(from, to, { ...options, etag: compared }),
				));
		this.#versions.made(to, copied, { isCopy: true });
		return copied;
	}

	async createMultipart(
		...wanted: Parameters<ObjectStore["createMultipart"]>
	): ReturnType<ObjectStore["createMultipart"]> {
		return this.#uploads.createMultipart(...wanted);
	}

	async uploadPart(...wanted: Parameters<ObjectStore["uploadPart"]>): ReturnType<ObjectStore["uploadPart"]> {
		return this.#uploads.uploadPart(...wanted);
	}

	async copyPart(
		key: string,
		uploadId: string,
		partNumber: number,
		from: Parameters<ObjectStore["copyPart"]>[3],
	): ReturnType<ObjectStore["copyPart"]> {
		return this.#versions.comparing(from, async (etag) =>
			this.#uploads.copyPart(key, uploadId, partNumber, { ...from, etag }),
		);
	}

	async completeMultipart(
		...wanted: Parameters<ObjectStore["completeMultipart"]>
	): ReturnType<ObjectStore["completeMultipart"]> {
		const uploaded = await this.#uploads.completeMultipart(...wanted);
		this.#versions.made(wanted[0], uploaded);
		return uploaded;
	}

	hasChecksums(uploadId: string): boolean {
		return this.#uploads.hasChecksums(uploadId);
	}

	resumeMultipart(uploadId: string, hasChecksums: boolean): void {
		this.#uploads.resumeMultipart(uploadId, hasChecksums);
	}

	async abortMultipart(key: string, uploadId: string): Promise<void> {
		await this.#uploads.abortMultipart(key, uploadId);
	}
}
