import { checkKey, etagOf, hasMetadata, isKind } from "./answers.ts";
import type { Ability } from "./abilities.ts";
import type { Bucket } from "./bucket.ts";
import { Client } from "./client.ts";
import { Copies } from "./copies.ts";
import { Deletions } from "./deletions.ts";
import { Doubt } from "./doubt.ts";
import { encryptionHeaders } from "./encryption.ts";
import { Heads } from "./heads.ts";
import { createIntegrity } from "./integrity.ts";
import { Listings } from "./listings.ts";
import { wasMadeSince } from "./made-since.ts";
import { MultipartUploads } from "./multipart-uploads.ts";
import { metadataHeaders, serverTimeMs } from "./object-headers.ts";
import { ObjectMaking } from "./object-making.ts";
import type {
	CredentialsSource,
	ListPage,
	ListRequest,
	ObjectHeaders,
	ObjectStore,
	ObjectStoreOptions,
	PutOptions,
	UploadBody,
	Uploaded,
} from "./object-store.ts";
import { readObject, type ReadOptions } from "./read-object.ts";
import { ServerKnowledge } from "./server-knowledge.ts";
import { tellingFailures } from "./tell-failures.ts";
import { upload } from "./upload.ts";

/** Throws a LauncherError if there is no URL for that bucket. Nothing is sent before the first request. */
export function createObjectStore(options: ObjectStoreOptions): ObjectStore {
	const store = new Store(options);
	return options.onEvent === undefined ? store : tellingFailures(store, options.onEvent);
}

/** No server closes what was used so recently. */
const freshMs = 1000;

class Store implements ObjectStore {
	readonly #bucket: Bucket;
	readonly #heads: Heads;
	readonly #making: ObjectMaking;
	readonly #listings: Listings;
	readonly #uploads: MultipartUploads;
	readonly #copies: Copies;
	readonly #deletions: Deletions;

	constructor(options: ObjectStoreOptions) {
		this.#bucket = {
			client: new Client(options),
			encryption: encryptionHeaders(options.encryption),
			knowledge: new ServerKnowledge(options.onEvent),
		};
		this.#heads = new Heads(this.#bucket);
		this.#making = new ObjectMaking(this.#bucket, options);
		this.#listings = new Listings(this.#bucket);
		this.#uploads = new MultipartUploads(this.#bucket, this.#heads, this.#making);
		this.#copies = new Copies(this.#bucket, { heads: this.#heads, making: this.#making, uploads: this.#uploads });
		this.#deletions = new Deletions(this.#bucket);
	}

	get listsMetadata(): boolean {
		return this.#listings.listsMetadata;
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
		await knowledge.conceding(["conditional-reads"], async (lacking) =>
			readObject(client, key, options, {
				headers: encryption.access,
				isConditional: !lacking.has("conditional-reads"),
			}),
		);
	}

	async head(key: string, options: { readonly signal?: AbortSignal } = {}): Promise<ObjectHeaders> {
		return this.#heads.head(key, options);
	}

	async list(request: ListRequest): Promise<ListPage> {
		return this.#listings.list(request);
	}

	async put(
		key: string,
		body: UploadBody,
		{ metadata = {}, properties = { headers: {} }, onlyIfAbsent = false, doubt = new Doubt() }: PutOptions = {},
	): Promise<Uploaded> {
		checkKey(key);
		const own = metadataHeaders(metadata);
		const making = await this.#making.of(properties, key);
		const integrity = createIntegrity(body);
		doubt.sends(async (answer) => hasMetadata(answer, metadata) && integrity.wasOf(answer));
		const used: Ability[] = onlyIfAbsent ? ["checksums", "conditions"] : ["checksums"];
		return this.#bucket.knowledge.conceding([...used, ...making.used], async (lacking) => {
			const headers = {
				...own,
				...making.headers(lacking),
				...(await integrity.headers(!lacking.has("checksums"))),
				...(onlyIfAbsent && !lacking.has("conditions") && { "if-none-match": "*" }),
			};
			try {
				if (onlyIfAbsent && lacking.has("conditions")) await this.#heads.refuseIfPresent(key);
				const answer = await upload(this.#bucket, {
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
				const present = await this.#heads.presentIf(key, doubt, async (answer) => wasMadeSince(answer, doubt));
				if (present === undefined) throw error;
				const isThis = hasMetadata(present.answer, metadata) && (await integrity.isOf(present.answer));
				if (isThis) return present.uploaded;
				if (!(await doubt.hasSent(present.answer))) throw error;
				// With what it was to hold when an earlier call failed.
				return this.put(key, body, { metadata, properties });
			}
		});
	}

	async delete(key: string): Promise<void> {
		await this.#deletions.delete(key);
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
