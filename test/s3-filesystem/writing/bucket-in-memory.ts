import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { crc32 } from "node:zlib";

import {
	S3Error,
	type ObjectMetadata,
	type ObjectStore,
	type UploadBody,
	type Uploaded,
	type UploadedPart,
} from "../../../src/s3/object-store.ts";

interface StoredObject {
	readonly bytes: Buffer;
	readonly etag: string;
	readonly metadata: ObjectMetadata;
}

interface Multipart {
	readonly key: string;
	readonly metadata: ObjectMetadata;
	readonly parts: Map<number, { readonly bytes: Buffer; readonly etag: string }>;
}

export interface BucketInMemory extends ObjectStore {
	readonly objects: Map<string, StoredObject>;
	readonly multiparts: Map<string, Multipart>;
	readonly sentBytes: number;
	/** Operations, in the order in which they were begun. */
	readonly calls: string[];
	/** Asked before each operation; throw to make it fail. May wait. */
	intercept: (operation: string, key: string) => void | Promise<void>;
	hasCopyPart: boolean;
}

/**
 * As much of a bucket as drafts need, with S3's rules scaled down, so that thousands of random operations can be played against tiny
 * parts: what no server allows. The same drafts are tried with a real server in the other tests.
 */
export function createBucketInMemory({ smallestPartBytes }: { readonly smallestPartBytes: number }): BucketInMemory {
	const objects = new Map<string, StoredObject>();
	const multiparts = new Map<string, Multipart>();
	const calls: string[] = [];
	let versions = 0;
	let sentBytes = 0;

	const begin = async (operation: string, key: string): Promise<void> => {
		calls.push(operation);
		await delay(0);
		await bucket.intercept(operation, key);
	};
	const receive = async (body: UploadBody): Promise<Buffer> => {
		const pieces: Buffer[] = [];
		// A copy: the piece is only lent.
		for await (const piece of body.read()) pieces.push(Buffer.from(piece));
		const bytes = Buffer.concat(pieces);
		if (bytes.length !== body.sizeBytes) throw new Error(`announced ${body.sizeBytes} bytes, sent ${bytes.length}`);
		if (body.crc32 !== undefined && body.crc32 !== crc32(bytes)) throw new S3Error("CHECKSUM_WRONG", "BadDigest");
		sentBytes += bytes.length;
		return bytes;
	};
	const store = (key: string, bytes: Buffer, metadata: ObjectMetadata, onlyIfAbsent = false): Uploaded => {
		if (onlyIfAbsent && objects.has(key)) throw new S3Error("EXISTS", key);
		const etag = `version-${++versions}`;
		objects.set(key, { bytes, etag, metadata });
		return { etag, modifiedMs: versions };
	};
	const find = (key: string, etag?: string): StoredObject => {
		const object = objects.get(key);
		if (object === undefined) throw new S3Error("NOT_FOUND", key);
		if (etag !== undefined && object.etag !== etag) throw new S3Error("OBJECT_REPLACED", key);
		return object;
	};
	const multipart = (key: string, id: string): Multipart => {
		const found = multiparts.get(id);
		if (found?.key !== key) throw new S3Error("NOT_FOUND", id, { status: 404, code: "NoSuchUpload" });
		return found;
	};
	const addPart = (key: string, id: string, partNumber: number, bytes: Buffer): UploadedPart => {
		const etag = createHash("md5").update(bytes).digest("hex");
		multipart(key, id).parts.set(partNumber, { bytes, etag });
		return { partNumber, etag, crc32: undefined };
	};

	const bucket: BucketInMemory = {
		objects,
		multiparts,
		calls,
		get sentBytes() {
			return sentBytes;
		},
		intercept: () => undefined,
		hasCopyPart: true,
		listsMetadata: false,
		async get(key, { offset, into, etag }) {
			await begin("get", key);
			const object = find(key, etag);
			if (object.bytes.copy(into, 0, offset, offset + into.length) < into.length)
				throw new Error("a range past the end");
		},
		async head(key) {
			await begin("head", key);
			const { bytes, etag, metadata } = find(key);
			return { sizeBytes: bytes.length, modifiedMs: 0, etag, metadata, properties: { headers: {} } };
		},
		async put(key, body, { metadata = {}, onlyIfAbsent } = {}) {
			await begin("put", key);
			return store(key, await receive(body), metadata, onlyIfAbsent);
		},
		async copy(from, to, { etag, metadata, onlyIfAbsent } = {}) {
			await begin("copy", from);
			const source = find(from, etag);
			return store(to, source.bytes, metadata ?? source.metadata, onlyIfAbsent);
		},
		async delete(key) {
			await begin("delete", key);
			objects.delete(key);
		},
		async createMultipart(key, metadata) {
			await begin("createMultipart", key);
			const id = `upload-${++versions}`;
			multiparts.set(id, { key, metadata, parts: new Map() });
			return id;
		},
		async uploadPart(key, id, partNumber, body) {
			await begin("uploadPart", key);
			return addPart(key, id, partNumber, await receive(body));
		},
		async copyPart(key, id, partNumber, from) {
			await begin("copyPart", key);
			if (!bucket.hasCopyPart) throw new S3Error("UNSUPPORTED", "NotImplemented", { status: 501 });
			const { bytes } = find(from.key, from.etag);
			if (from.offset + from.lengthBytes > bytes.length) throw new S3Error("REFUSED", "InvalidRange");
			return addPart(key, id, partNumber, bytes.subarray(from.offset, from.offset + from.lengthBytes));
		},
		async completeMultipart(key, id, parts, { onlyIfAbsent } = {}) {
			await begin("completeMultipart", key);
			const { parts: stored, metadata } = multipart(key, id);
			const pieces = parts.map(({ partNumber, etag }, position) => {
				const part = stored.get(partNumber);
				if (part?.etag !== etag) throw new S3Error("REFUSED", "InvalidPart");
				if (partNumber <= (parts[position - 1]?.partNumber ?? 0)) throw new S3Error("REFUSED", "InvalidPartOrder");
				if (position < parts.length - 1 && part.bytes.length < smallestPartBytes)
					throw new S3Error("REFUSED", "EntityTooSmall");
				return part.bytes;
			});
			if (pieces.length === 0) throw new S3Error("REFUSED", "MalformedXML");
			const uploaded = store(key, Buffer.concat(pieces), metadata, onlyIfAbsent);
			multiparts.delete(id);
			return uploaded;
		},
		hasChecksums: () => false,
		resumeMultipart: () => undefined,
		async abortMultipart(key, id) {
			await begin("abortMultipart", key);
			multipart(key, id);
			multiparts.delete(id);
		},
		list: () => Promise.reject(new Error("not needed")),
		deleteMany: () => Promise.reject(new Error("not needed")),
		setCredentials: () => undefined,
		takesGaps: true,
		close: () => undefined,
	};
	return bucket;
}
