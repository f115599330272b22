import type { ObjectStore } from "./object-store.ts";

/** The same store, of which some methods are others. */
export function changedStore(store: ObjectStore, changed: Partial<ObjectStore>): ObjectStore {
	// All that a caller gives goes on: what would be left out here no type misses.
	const same: ObjectStore = {
		get: async (...wanted) => store.get(...wanted),
		head: async (...wanted) => store.head(...wanted),
		list: async (...wanted) => store.list(...wanted),
		put: async (...wanted) => store.put(...wanted),
		delete: async (...wanted) => store.delete(...wanted),
		deleteMany: async (...wanted) => store.deleteMany(...wanted),
		copy: async (...wanted) => store.copy(...wanted),
		createMultipart: async (...wanted) => store.createMultipart(...wanted),
		uploadPart: async (...wanted) => store.uploadPart(...wanted),
		copyPart: async (...wanted) => store.copyPart(...wanted),
		completeMultipart: async (...wanted) => store.completeMultipart(...wanted),
		hasChecksums: (uploadId) => store.hasChecksums(uploadId),
		resumeMultipart: (uploadId, hasChecksums) => store.resumeMultipart(uploadId, hasChecksums),
		abortMultipart: async (...wanted) => store.abortMultipart(...wanted),
		get listsMetadata() {
			return store.listsMetadata;
		},
		get takesGaps() {
			return store.takesGaps;
		},
		setCredentials: (credentials) => store.setCredentials(credentials),
		close: () => store.close(),
	};
	return Object.assign(same, changed);
}
