import type { FarConnections } from "./http/far-connections.ts";
import type { Doubt } from "./doubt.ts";
import type { S3Error, S3ErrorKind } from "./s3-error.ts";
import type { ServerKnowledge } from "./server-knowledge.ts";

export { isReplacedOrGone, S3Error, type S3ErrorKind } from "./s3-error.ts";

/** One bucket, as a filesystem needs it: https://docs.aws.amazon.com/AmazonS3/latest/API/ */
export interface ObjectStore {
	/**
	 * Reads `into.length` bytes from `offset` on, straight into that buffer, of the version `etag` only. `onProgress` is told how many
	 * bytes are there. Throws OBJECT_REPLACED when the object has another version now, and never leaves a short buffer without
	 * throwing. A failed connection goes on where it stopped. A read of the whole object is compared with its checksum, if the
	 * server has one: CHECKSUM_WRONG.
	 */
	get(
		key: string,
		options: {
			readonly offset: number;
			readonly into: Buffer;
			readonly etag: string;
			/** Size of the whole object, in bytes. */
			readonly objectSizeBytes: number;
			/** Nobody has asked for it yet: all other requests go first. */
			readonly isAhead?: boolean;
			readonly signal?: AbortSignal;
			readonly onProgress?: (filledBytes: number) => void;
		},
	): Promise<void>;
	/**
	 * Throws NOT_FOUND. `mayBeHidden`: that the key may not see it is no failure to be told of. `as`: the version that it is looked at for; the
	 * answer has that one if the object still is what was listed so, whatever the server calls it now.
	 */
	head(
		key: string,
		options?: { readonly signal?: AbortSignal; readonly mayBeHidden?: boolean; readonly as?: string },
	): Promise<ObjectHeaders>;
	/** One page, at most 1000 keys and prefixes together, in the order of the keys' UTF-8 bytes. */
	list(request: ListRequest): Promise<ListPage>;
	/** Uploads a whole object with a checksum that the server verifies. */
	put(key: string, body: UploadBody, options?: PutOptions): Promise<Uploaded>;
	/** Idempotent: an object that is not there is no error. With `etag` only that version, where the server can tell: OBJECT_REPLACED. */
	delete(key: string, options?: { readonly etag?: string }): Promise<void>;
	/**
	 * At most 1000. Returns those that could not be deleted. Of the keys in `etags` only that version is deleted, where the server can tell:
	 * OBJECT_REPLACED.
	 */
	deleteMany(
		keys: readonly string[],
		options?: { readonly etags?: ReadonlyMap<string, string> },
	): Promise<readonly { readonly key: string; readonly error: S3Error }[]>;
	/**
	 * A copy inside the bucket by the server. Objects above 5 GiB are copied in parts. `metadata` replaces the source's, and with it
	 * `properties` may be others than the source's. Who does not know them leaves them out, and the source is asked for them.
	 */
	copy(
		from: string,
		to: string,
		options?: {
			readonly etag?: string;
			readonly metadata?: ObjectMetadata;
			readonly properties?: ObjectProperties;
			readonly sizeBytes?: number;
			/** Throws EXISTS when there is an object at `to`, where the server can tell. */
			readonly onlyIfAbsent?: boolean;
		},
	): Promise<Uploaded>;
	createMultipart(key: string, metadata: ObjectMetadata, properties?: ObjectProperties): Promise<string>;
	uploadPart(key: string, uploadId: string, partNumber: number, body: UploadBody): Promise<UploadedPart>;
	/** Bytes of an object that is there become a part; both ends of the range are counted: [offset, offset + lengthBytes). */
	copyPart(
		key: string,
		uploadId: string,
		partNumber: number,
		from: { readonly key: string; readonly etag: string; readonly offset: number; readonly lengthBytes: number },
	): Promise<UploadedPart>;
	/** `parts` in the order of their numbers. `sizeBytes`: of all together, by which the object is known. */
	completeMultipart(
		key: string,
		uploadId: string,
		parts: readonly UploadedPart[],
		options?: { readonly onlyIfAbsent?: boolean; readonly doubt?: Doubt; readonly sizeBytes?: number },
	): Promise<Uploaded>;
	/** Whether each part of an upload has to have a checksum. */
	hasChecksums(uploadId: string): boolean;
	/** A process that has died has begun it. */
	resumeMultipart(uploadId: string, hasChecksums: boolean): void;
	abortMultipart(key: string, uploadId: string): Promise<void>;
	/** Whether listings hold the objects' metadata, which only MinIO does. Known after the first listing. */
	readonly listsMetadata: boolean;
	/** Whether part numbers may be missing, as far as is known: what has been refused for that is UNSUPPORTED. */
	readonly takesGaps: boolean;
	/** The next request is signed with these. */
	setCredentials(credentials: CredentialsSource): void;
	/** Ends all connections; requests under way fail. */
	close(): void;
}

export interface ListRequest {
	readonly prefix: string;
	/** "/" groups what is below; absent: everything. */
	readonly delimiter?: "/";
	/** Keys after this one, itself excluded. Not together with `continuationToken`. */
	readonly startAfter?: string;
	readonly continuationToken?: string;
	readonly maxKeys?: number;
	/** Whether to ask for the objects' metadata where the server lists it, which is three times the work for it. Default: true. */
	readonly metadata?: boolean;
	readonly signal?: AbortSignal;
}

export interface ListPage {
	readonly objects: readonly ListedObject[];
	/** With a delimiter: what is grouped, each ending in it. */
	readonly prefixes: readonly string[];
	/** Undefined: this was the last page. */
	readonly nextToken: string | undefined;
	/** Left out because their bytes are not UTF-8, or their size is none. */
	readonly undecodableKeys?: number;
}

export interface ListedObject {
	readonly key: string;
	readonly sizeBytes: number;
	readonly modifiedMs: number;
	readonly etag: string;
	/** Only where the server lists it. */
	readonly metadata?: ObjectMetadata;
}

/** User metadata, without `x-amz-meta-`, in lower case. */
export type ObjectMetadata = Readonly<Record<string, string>>;

export interface ObjectHeaders {
	readonly sizeBytes: number;
	readonly modifiedMs: number;
	readonly etag: string;
	readonly metadata: ObjectMetadata;
	readonly properties: ObjectProperties;
}

/** What an object has beside its bytes and its metadata, for another one to get, at its key or as its copy. */
export interface ObjectProperties {
	/** Content-Type, Cache-Control and their like, by their names in lower case. */
	readonly headers: Readonly<Record<string, string>>;
	/** Undefined: what the options say. */
	readonly storageClass?: string;
	/** It has some, which are read from it when they are needed. */
	readonly hasTags?: boolean;
}

/** Bytes to send, again from the start when a request is tried again. */
export interface UploadBody {
	readonly sizeBytes: number;
	/** A file that begins with the same bytes, for another thread to read them there. Whoever calls it closes the descriptor. */
	readonly open?: () => number;
	/** CRC-32 of all bytes, if it is known already. */
	readonly crc32?: number;
	/** Pieces in order. Each is only used until the next one is asked for. */
	read(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface PutOptions {
	readonly metadata?: ObjectMetadata;
	readonly properties?: ObjectProperties;
	/** Throws EXISTS when there is an object, where the server can tell (If-None-Match: *). */
	readonly onlyIfAbsent?: boolean;
	/** Of who tries again after a call has failed: what that may have stored after all is not another's. */
	readonly doubt?: Doubt;
}

export interface Uploaded {
	readonly etag: string;
	/** The server's clock, when it tells. */
	readonly modifiedMs: number | undefined;
}

export interface UploadedPart {
	readonly partNumber: number;
	readonly etag: string;
	readonly crc32: string | undefined;
}

export interface StaticCredentials {
	readonly accessKeyId: string;
	readonly secretAccessKey: string;
	readonly sessionToken?: string;
}

/**
 * Keys, a function that has the current ones (called before each request; it caches by itself, is told which ones the server refused, and
 * knows the region where the options name none), or undefined for anonymous. A LauncherError of it is for people.
 */
export type CredentialsSource =
	| StaticCredentials
	| ((options: {
			readonly refused: StaticCredentials | undefined;
	  }) => Promise<StaticCredentials & { readonly region?: string }>)
	| undefined;

export interface ObjectStoreOptions {
	/** Undefined: Amazon's, for the region. */
	readonly endpoint: URL | undefined;
	/** Undefined: us-east-1, or the one that the server names. */
	readonly region: string | undefined;
	readonly bucket: string;
	readonly pathStyle: boolean;
	readonly credentials: CredentialsSource;
	/** PEM text of the authorities to trust; undefined: the system's. */
	readonly ca?: string;
	/** Any certificate will do. */
	readonly insecureSkipVerify?: boolean;
	/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY are read from here. */
	readonly proxyEnv?: NodeJS.ProcessEnv;
	readonly encryption?:
		| { readonly kind: "s3" }
		| { readonly kind: "kms"; readonly keyId?: string }
		| { readonly kind: "customer"; readonly key: Buffer };
	readonly storageClass?: string;
	readonly acl?: string;
	readonly requesterPays?: boolean;
	/** Limits in milliseconds. Defaults: connect 5000, first byte 30000, idle 20000. */
	readonly timeouts?: { readonly connectMs?: number; readonly firstByteMs?: number; readonly idleMs?: number };
	/** A request that fails for a reason that may pass is tried again for this long. Default: 60000. */
	readonly retryForMs?: number;
	/** Requests under way at most; fewer when the server throttles. Default: 32. */
	readonly maximumRequests?: number;
	/** Of the server, shared with other stores; tells what it lacks. Default: none yet. */
	readonly knowledge?: ServerKnowledge;
	/** Of other threads, for what is read into memory that they see, or sent from a file. Default: this one does all. */
	readonly farConnections?: FarConnections | undefined;
	readonly onEvent?: (event: StoreEvent) => void;
}

/** One version of an object. */
export interface ObjectVersion {
	readonly key: string;
	readonly etag: string;
	readonly sizeBytes: number;
}

/** For logs and metrics. */
export type StoreEvent =
	| {
			readonly kind: "request";
			readonly operation: string;
			/** Of an object; undefined: the request is about the bucket. */
			readonly key: string | undefined;
			/** 0: there was no answer. */
			readonly status: number;
			/** Of an error: the server's own, or that of the connection, such as ECONNRESET. */
			readonly code: string | undefined;
			/** From the request to the end of its answer; undefined: there was no connection for it. */
			readonly seconds: number | undefined;
			/** From the request to the first byte of its answer; undefined: there was none. */
			readonly firstByteSeconds: number | undefined;
			/** Before that, for its turn and for a connection. */
			readonly waitedSeconds: number;
			readonly receivedBytes: number;
			readonly sentBytes: number;
	  }
	| {
			readonly kind: "retry";
			readonly operation: string;
			readonly key: string | undefined;
			readonly reason: S3ErrorKind;
			readonly waitMs: number;
	  }
	/** Refused for good, or failing for too long; not what is usual, such as an object that is not there. */
	| { readonly kind: "failure"; readonly operation: string; readonly key: string; readonly error: S3Error };
