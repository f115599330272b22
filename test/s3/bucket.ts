import { readFileSync } from "node:fs";

import { S3Error, type ObjectStore, type ObjectStoreOptions, type UploadBody } from "../../src/s3/object-store.ts";
import type { Minio } from "../support/minio.ts";
import { createTestStore } from "../support/threads.ts";

export const MiB = 1024 ** 2;

/** A store of the bucket named `bucket` on that server, or on a proxy in front of it. */
export function storeOn(minio: Minio, options: Partial<ObjectStoreOptions> = {}): ObjectStore {
	return createTestStore({
		endpoint: new URL(minio.endpoint),
		region: minio.region,
		bucket: "bucket",
		pathStyle: true,
		credentials: { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey },
		...(minio.caFile !== undefined && { ca: readFileSync(minio.caFile, "utf8") }),
		...options,
	});
}

export function bodyOf(content: string | Buffer, crc32?: number): UploadBody {
	const bytes = Buffer.from(content);
	return {
		sizeBytes: bytes.length,
		...(crc32 !== undefined && { crc32 }),
		*read() {
			// One buffer for all pieces, as a body may have it.
			const piece = Buffer.alloc(MiB);
			for (let start = 0; start < bytes.length; start += piece.length) {
				yield piece.subarray(0, bytes.copy(piece, 0, start));
				piece.fill(0);
			}
		},
	};
}

/** Bytes of which no two places look alike. */
export function noise(sizeBytes: number, seed = 1): Buffer {
	const bytes = Buffer.alloc(sizeBytes);
	let state = seed;
	for (let index = 0; index + 4 <= sizeBytes; index += 4) {
		state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
		bytes.writeUInt32LE(state, index);
	}
	return bytes;
}

/** A range of an object as it is now. */
export async function read(store: ObjectStore, key: string, offset = 0, lengthBytes?: number): Promise<Buffer> {
	const { etag, sizeBytes } = await store.head(key);
	const into = Buffer.alloc(lengthBytes ?? sizeBytes - offset);
	await store.get(key, { offset, into, etag, objectSizeBytes: sizeBytes });
	return into;
}

export async function failureOf(work: Promise<unknown>): Promise<S3Error> {
	const error: unknown = await work.then(
		() => undefined,
		(thrown: unknown) => thrown,
	);
	if (!(error instanceof S3Error)) throw new Error("not an S3Error", { cause: error });
	return error;
}
