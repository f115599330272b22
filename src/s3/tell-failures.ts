import { changedStore } from "./changed-store.ts";
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
	return changedStore(store, {
		get: async (...wanted) => told("GetObject", wanted[0], store.get(...wanted)),
		async head(...wanted) {
			try {
				return await store.head(...wanted);
			} catch (error) {
				const [key, options] = wanted;
				const isHidden = error instanceof S3Error && error.kind === "DENIED" && options?.mayBeHidden === true;
				if (!isHidden) tell("HeadObject", key, error);
				throw error;
			}
		},
		list: async (request) => told("ListObjectsV2", request.prefix, store.list(request)),
		put: async (...wanted) => told("PutObject", wanted[0], store.put(...wanted)),
		delete: async (...wanted) => told("DeleteObject", wanted[0], store.delete(...wanted)),
		async deleteMany(...wanted) {
			const failures = await told("DeleteObjects", wanted[0][0] ?? "", store.deleteMany(...wanted));
			for (const { key, error } of failures) tell("DeleteObjects", key, error);
			return failures;
		},
		copy: async (...wanted) => told("CopyObject", wanted[0], store.copy(...wanted)),
		createMultipart: async (...wanted) => told("CreateMultipartUpload", wanted[0], store.createMultipart(...wanted)),
		uploadPart: async (...wanted) => told("UploadPart", wanted[0], store.uploadPart(...wanted)),
		async copyPart(...wanted) {
			try {
				return await store.copyPart(...wanted);
			} catch (error) {
				// It is done without.
				if (!(error instanceof S3Error && error.kind === "UNSUPPORTED")) tell("UploadPartCopy", wanted[0], error);
				throw error;
			}
		},
		completeMultipart: async (...wanted) =>
			told("CompleteMultipartUpload", wanted[0], store.completeMultipart(...wanted)),
		abortMultipart: async (...wanted) => told("AbortMultipartUpload", wanted[0], store.abortMultipart(...wanted)),
	});
}
