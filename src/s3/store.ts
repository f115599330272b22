import type { Ability } from "./abilities.ts";
import { checkKey } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import { Client } from "./client.ts";
import { Copies } from "./copies.ts";
import { Deletions } from "./deletions.ts";
import { encryptionHeaders } from "./encryption.ts";
import { Heads } from "./heads.ts";
import { Listings } from "./listings.ts";
import { MultipartUploads } from "./multipart-uploads.ts";
import { ObjectMaking } from "./object-making.ts";
import type {
	CredentialsSource,
	ListPage,
	ListRequest,
	ObjectHeaders,
	ObjectStore,
	ObjectStoreOptions,
} from "./object-store.ts";
import { Puts } from "./puts.ts";
import { readObject, type ReadOptions } from "./read-object.ts";
import { ServerKnowledge } from "./server-knowledge.ts";
import { tellingFailures } from "./tell-failures.ts";

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
		await knowledge.conceding(used, async (lacking) =>
			readObject(client, key, options, {
				headers: encryption.access,
				isConditional: !lacking.has("conditional-reads"),
				asksChecksum: !lacking.has("read-checksums"),
			}),
		);
	}

	async head(key: string, options: { readonly signal?: AbortSignal } = {}): Promise<ObjectHeaders> {
		return this.#heads.head(key, options);
	}

	async list(request: ListRequest): Promise<ListPage> {
		return this.#listings.list(request);
	}

	async put(...wanted: Parameters<ObjectStore["put"]>): ReturnType<ObjectStore["put"]> {
		return this.#puts.put(...wanted);
	}

	async delete(...wanted: Parameters<ObjectStore["delete"]>): Promise<void> {
		await this.#deletions.delete(...wanted);
	}

	async deleteMany(...wanted: Parameters<ObjectStore["deleteMany"]>): ReturnType<ObjectStore["deleteMany"]> {
		return this.#deletions.deleteMany(...wanted);
	}

	async copy(...wanted: Parameters<ObjectStore["copy"]>): ReturnType<ObjectStore["copy"]> {
		return this.#copies.copy(...wanted);
	}

	async createMultipart(
		...wanted: Parameters<ObjectStore["createMultipart"]>
	): ReturnType<ObjectStore["createMultipart"]> {
		return this.#uploads.createMultipart(...wanted);
	}

	async uploadPart(...wanted: Parameters<ObjectStore["uploadPart"]>): ReturnType<ObjectStore["uploadPart"]> {
		return this.#uploads.uploadPart(...wanted);
	}

	async copyPart(...wanted: Parameters<ObjectStore["copyPart"]>): ReturnType<ObjectStore["copyPart"]> {
		return this.#uploads.copyPart(...wanted);
	}

	async completeMultipart(
		...wanted: Parameters<ObjectStore["completeMultipart"]>
	): ReturnType<ObjectStore["completeMultipart"]> {
		return this.#uploads.completeMultipart(...wanted);
	}

	async abortMultipart(key: string, uploadId: string): Promise<void> {
		await this.#uploads.abortMultipart(key, uploadId);
	}
}
