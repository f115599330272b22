import { isReplacedOrGone, type ObjectStore } from "../../s3/object-store.ts";

/** Deletes the object if it still is this version, where the server can tell: another one is somebody else's. */
export async function deleteVersion(store: ObjectStore, key: string, etag: string): Promise<void> {
	await unlessReplaced(async () => store.delete(key, { etag }));
}

/** The same, long after that version was seen: not every server compares when it deletes, so it is looked at before. */
export async function deleteOldVersion(store: ObjectStore, key: string, etag: string): Promise<void> {
	await unlessReplaced(async () => {
		if ((await store.head(key, { as: etag })).etag === etag) await store.delete(key, { etag });
	});
}

async function unlessReplaced(work: () => Promise<void>): Promise<void> {
	try {
		await work();
	} catch (error) {
		if (!isReplacedOrGone(error)) throw error;
	}
}
