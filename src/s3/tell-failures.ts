import { S3Error, type ObjectStore, type ObjectStoreOptions, type S3ErrorKind } from "./object-store.ts";

/** What happens without anything being wrong with the server, the key or the way there. */
const usual: ReadonlySet<S3ErrorKind> = new Set(["NOT_FOUND", "OBJECT_REPLACED", "EXISTS", "ABORTED"]);

/** The same store, which tells of everything that could not be done. */
export function tellingFailures(store: ObjectStore, onEvent: NonNullable<ObjectStoreOptions["onEvent"]>): ObjectStore {
	const tell = (operation: string, key: string, error: unknown): void => {
		if (error instanceof S3Error && !usual.has(error.kind)) onEvent({ kind: "failure", operation, key, error });
	};
	const told = async <T>(operation: string, key: string, work: Promise<T>): Promise<T> => {
		try {
			return await work;
		} catch (error) {
			tell(operation, key, error);
			throw error;
		}
	};
	return {
		get: async (key, options) => told("GetObject", key, store.get(key, options)),
		async head(key, options) {
			try {
				return await store.head(key, options);
			} catch (error) {
				const isHidden = error instanceof S3Error && error.kind === "DENIED" && options?.mayBeHidden === true;
				if (!isHidden) tell("HeadObject", key, error);
				throw error;
			}
		},
		list: async (request) => told("ListObjectsV2", request.prefix, store.list(request)),
		put: async (key, body, options) => told("PutObject", key, store.put(key, body, options)),
		delete: async (key, options) => told("DeleteObject", key, store.delete(key, options)),
		async deleteMany(keys, options) {
			const failures = await told("DeleteObjects", keys[0] ?? "", store.deleteMany(keys, options));
			for (const { key, error } of failures) tell("DeleteObjects", key, error);
			return failures;
		},
		copy: async (from, to, options) => told("CopyObject", from, store.copy(from, to, options)),
		createMultipart: async (key, metadata, properties) =>
			told("CreateMultipartUpload", key, store.createMultipart(key, metadata, properties)),
		uploadPart: async (key, uploadId, partNumber, body) =>
			told("UploadPart", key, store.uploadPart(key, uploadId, partNumber, body)),
		async copyPart(key, uploadId, partNumber, from) {
			try {
				return await store.copyPart(key, uploadId, partNumber, from);
			} catch (error) {
				// It is done without.
				if (!(error instanceof S3Error && error.kind === "UNSUPPORTED")) tell("UploadPartCopy", key, error);
				throw error;
			}
		},
		completeMultipart: async (key, uploadId, parts, options) =>
			told("CompleteMultipartUpload", key, store.completeMultipart(key, uploadId, parts, options)),
		abortMultipart: async (key, uploadId) => told("AbortMultipartUpload", key, store.abortMultipart(key, uploadId)),
		get listsMetadata() {
			return store.listsMetadata;
		},
		get takesGaps() {
			return store.takesGaps;
		},
		setCredentials: (credentials) => store.setCredentials(credentials),
		close: () => store.close(),
	};
}
