import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { Draft } from "../../../src/s3-filesystem/writing/draft.ts";
import type { DraftOptions } from "../../../src/s3-filesystem/writing/draft-options.ts";
import type { Staging, StagingOptions } from "../../../src/s3-filesystem/writing/staging.ts";
import type { ObjectStore, ObjectVersion, StoreEvent } from "../../../src/s3/object-store.ts";
import { startMinio, type Minio } from "../../support/minio.ts";
import { stagingDirectory } from "./drafts.ts";
import { MeasuredStaging } from "./measured-staging.ts";
import { createTestStore } from "../../support/threads.ts";

export const MiB = 1024 ** 2;

/** A bucket of a real server, and drafts for its objects. */
export interface RealBucket {
	readonly minio: Minio;
	readonly store: ObjectStore;
	/** What the store has sent since `forgetRequests`. */
	readonly requests: (StoreEvent & { readonly kind: "request" })[];
	/** Another client of the bucket, through that endpoint. */
	storeAt(endpoint: string, retryForMs: number): ObjectStore;
	staging(limitBytes: number, directory?: string, more?: Partial<StagingOptions>): MeasuredStaging;
	draft(key: string, options: { readonly staging: Staging } & Partial<DraftOptions>): Draft;
	/** Makes an object, and is what a draft may start from. */
	put(key: string, bytes: Buffer): Promise<ObjectVersion>;
	/** Ids of multipart uploads of that key that were neither completed nor aborted. */
	multiparts(key: string): Promise<string[]>;
	stop(): Promise<void>;
}

export async function startRealBucket(): Promise<RealBucket> {
	const minio = await startMinio();
	await minio.createBucket("writing");
	const directory = stagingDirectory();
	const stores: ObjectStore[] = [];
	const requests: RealBucket["requests"] = [];
	const storeAt = (endpoint: string, retryForMs: number): ObjectStore => {
		const store = createTestStore({
			endpoint: new URL(endpoint),
			region: minio.region,
			bucket: "writing",
			pathStyle: true,
			credentials: { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey },
			retryForMs,
			onEvent: (event) => event.kind === "request" && requests.push(event),
		});
		stores.push(store);
		return store;
	};
	const store = storeAt(minio.endpoint, 60_000);
	let stagings = 0;
	return {
		minio,
		store,
		requests,
		storeAt,
		staging: (limitBytes, path = `${directory.path}/${stagings++}`, more = {}) =>
			new MeasuredStaging({ directory: path, limitBytes, ...more }),
		draft: (key, options) =>
			new Draft({
				store,
				key: () => key,
				base: undefined,
				sizeBytes: options.base?.sizeBytes ?? 0,
				metadata: () => ({}),
				...options,
			}),
		async put(key, bytes) {
			const { etag } = await store.put(key, { sizeBytes: bytes.length, read: () => [bytes] });
			return { key, etag, sizeBytes: bytes.length };
		},
		async multiparts(key) {
			// MinIO lists those of one key only.
			const { Uploads = [] } = await minio.client.send(
				new ListMultipartUploadsCommand({ Bucket: "writing", Prefix: key }),
			);
			return Uploads.flatMap(({ UploadId }) => UploadId ?? []);
		},
		async stop() {
			for (const open of stores) open.close();
			await minio.stop();
			directory.remove();
		},
	};
}

/** Bytes sent with requests of this kind, bodies only. */
export function sentBytes(requests: RealBucket["requests"], operation: string): number {
	return requests
		.filter((request) => request.operation === operation)
		.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
}
