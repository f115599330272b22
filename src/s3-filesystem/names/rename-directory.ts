import { FuseError } from "../../fuse/filesystem.ts";
import type { ListedObject, ObjectStore } from "../../s3/object-store.ts";
import { isKeyTooLong } from "./names.ts";
import type { Version } from "./nodes.ts";
import { inParallel } from "../../turns.ts";

/** An object that was copied: which version, and what its copy is. */
export interface Moved {
	readonly fromEtag: string;
	readonly version: Version;
}

const copiesAtATime = 16;
const keysPerDelete = 1000;

/**
 * Moves every object below one prefix below another: first all are copied, then all are deleted, so that a failure leaves the
 * old directory whole; copies that were made by then are removed again. Returns what was moved, by the new keys.
 */
export async function renameDirectory(
	store: ObjectStore,
	from: string,
	to: string,
	beforeDelete: () => Promise<void>,
): Promise<Map<string, Moved>> {
	const moved = new Map<string, Moved>();
	const oldKeys: string[] = [];
	try {
		let token: string | undefined;
		do {
			const page = await store.list({ prefix: from, ...(token !== undefined && { continuationToken: token }) });
			// All have ended when this fails, so that none copies on while the copies are removed.
			await inParallel(page.objects, copiesAtATime, async (object) => {
				const key = to + object.key.slice(from.length);
				if (isKeyTooLong(key)) throw new FuseError("ENAMETOOLONG", `${key} is more than S3 allows`);
				moved.set(key, await copyObject(store, object, key));
				oldKeys.push(object.key);
			});
			token = page.nextToken;
		} while (token !== undefined);
		await beforeDelete();
	} catch (error) {
		// Best effort: what stays behind is a copy, and nothing is lost.
		await deleteAll(store, [...moved.keys()]).catch(() => undefined);
		throw error;
	}
	// The directory's own object goes last: as long as something is left, the directory is.
	await deleteAll(
		store,
		oldKeys.filter((key) => key !== from),
	);
	await store.delete(from);
	return moved;
}

async function copyObject(store: ObjectStore, object: ListedObject, key: string): Promise<Moved> {
	const { etag, sizeBytes, modifiedMs } = object;
	const copied = await store.copy(object.key, key, { etag, sizeBytes });
	return { fromEtag: etag, version: { etag: copied.etag, sizeBytes, modifiedMs: copied.modifiedMs ?? modifiedMs } };
}

async function deleteAll(store: ObjectStore, keys: readonly string[]): Promise<void> {
	for (let start = 0; start < keys.length; start += keysPerDelete) {
		const [failure] = await store.deleteMany(keys.slice(start, start + keysPerDelete));
		if (failure !== undefined) throw failure.error;
	}
}
