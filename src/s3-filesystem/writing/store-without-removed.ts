import { changedStore } from "../../s3/changed-store.ts";
import { S3Error, type ListPage, type ListRequest, type ObjectStore } from "../../s3/object-store.ts";
import { pagesOf } from "../../s3/pages-of.ts";

/** What is removed for everybody here, and is in the bucket still. */
export interface RemovedObjects {
	/** Such an object is one of them; with those that go while that is asked for. */
	watch(): { readonly hides: (key: string, etag: string) => boolean; readonly end: () => void };
	/** Resolves when the bucket has nothing at the key that is to go. Throws what is in the way. */
	settle(key: string): Promise<void>;
	/** The same, of all keys that begin so. */
	settleBelow(prefix: string): Promise<void>;
	/** Something below that prefix is to go. */
	isAnyBelow(prefix: string): boolean;
}

/**
 * The same store, as if what was removed were gone: it is not found or listed, and who stores something at such a key waits for the object
 * to go, which could not be told from the new one if both have the same content.
 */
export function withoutRemoved(store: ObjectStore, removed: RemovedObjects): ObjectStore {
	const list = async (request: ListRequest): Promise<ListPage> => {
		// Whether a folder has anything else in it, only the server can say; and some list as a folder what they are just deleting.
		const isSettled = await succeeds(removed.settleBelow(request.prefix));
		const { hides, end } = removed.watch();
		const hasOthers = async (folder: string): Promise<boolean> => {
			if (!removed.isAnyBelow(folder)) return true;
			for await (const { objects } of pagesOf(store, { prefix: folder, metadata: false }))
				if (objects.some(({ key, etag }) => !hides(key, etag))) return true;
			return false;
		};
		try {
			const { startAfter: _, ...further } = request;
			for (let page = await store.list(request); ;) {
				const objects = page.objects.filter(({ key, etag }) => !hides(key, etag));
				const prefixes: string[] = [];
				for (const folder of page.prefixes) if (isSettled || (await hasOthers(folder))) prefixes.push(folder);
				// Who asks for a few wants to know whether there are any.
				if (objects.length + prefixes.length > 0 || page.nextToken === undefined) return { ...page, objects, prefixes };
				page = await store.list({ ...further, continuationToken: page.nextToken });
			}
		} finally {
			end();
		}
	};
	const settled = async <T>(key: string, work: () => Promise<T>): Promise<T> => {
		await removed.settle(key);
		return work();
	};
	return changedStore(store, {
		async head(...wanted) {
			const { hides, end } = removed.watch();
			try {
				const found = await store.head(...wanted);
				if (hides(wanted[0], found.etag)) throw new S3Error("NOT_FOUND", `${wanted[0]} was removed here`);
				return found;
			} finally {
				end();
			}
		},
		list,
		put: async (...wanted) => settled(wanted[0], async () => store.put(...wanted)),
		delete: async (...wanted) => settled(wanted[0], async () => store.delete(...wanted)),
		async deleteMany(...wanted) {
			for (const key of wanted[0]) await removed.settle(key);
			return store.deleteMany(...wanted);
		},
		copy: async (...wanted) => settled(wanted[1], async () => store.copy(...wanted)),
		completeMultipart: async (...wanted) => settled(wanted[0], async () => store.completeMultipart(...wanted)),
	});
}

async function succeeds(work: Promise<void>): Promise<boolean> {
	try {
		await work;
		return true;
	} catch {
		// Whoever waits for it in earnest is told why.
		return false;
	}
}
