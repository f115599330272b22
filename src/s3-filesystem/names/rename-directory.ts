import { FuseError } from "../../fuse/filesystem.ts";
import { isReplacedOrGone, type ListedObject, type ObjectStore } from "../../s3/object-store.ts";
import { pagesOf } from "../../s3/pages-of.ts";
import { CopiedObjects, flat } from "./copied-objects.ts";
import { isKeyTooLong } from "./names.ts";
import { inParallel } from "../../turns.ts";

const copiesAtATime = 16;
const keysPerDelete = 1000;
/** What took longer is looked through again for what others have changed meanwhile, so many times at most. */
const briefMs = 1000;
const maximumPasses = 4;

/**
 * Every object below one prefix on its way below another. First all are copied, then all are deleted, so that a failure leaves the old
 * directory whole. In between, whoever reads can go over to the copies.
 *
 * Others may write to the bucket meanwhile. What they change while it is copied is copied again. What they change later stays where they
 * put it: only versions that were copied are deleted, and only copies are taken back.
 */
export class DirectoryMove {
	/** What was copied, by the new keys. */
	readonly moved = new CopiedObjects();
	readonly #store: ObjectStore;
	readonly #from: string;
	readonly #to: string;
	/** The directory's own object. */
	#marker: ListedObject | undefined;

	constructor(store: ObjectStore, from: string, to: string) {
		this.#store = store;
		this.#from = from;
		this.#to = to;
	}

	/**
	 * Copies everything, and takes the copies back when that fails or is given up. `beforeLast` is called before the directory's own object
	 * replaces one that may be there; `confirm`, which may throw, in the moment when all is there.
	 */
	async copy(options: {
		readonly beforeLast: () => Promise<void>;
		readonly confirm: () => void;
		readonly signal: AbortSignal;
	}): Promise<void> {
		const { beforeLast, confirm, signal } = options;
		try {
			for (let pass = 1; pass <= maximumPasses; pass++) {
				const startedAt = performance.now();
				const isStill = await this.#copyAll(signal);
				if (isStill && performance.now() - startedAt < briefMs) break;
			}
			await beforeLast();
			if (this.#marker !== undefined) await this.#copyObject(this.#marker);
			confirm();
		} catch (error) {
			// Best effort: what stays behind is a copy, and nothing is lost.
			await this.#takeBack().catch(() => undefined);
			throw error;
		}
	}

	/** Whether nobody has changed anything of it meanwhile, as far as can be seen. */
	async #copyAll(signal: AbortSignal): Promise<boolean> {
		const gone = new Set(this.moved.keys());
		let isStill = true;
		this.#marker = undefined;
		for await (const { objects } of pagesOf(this.#store, { prefix: this.#from })) {
			// All have ended when this fails, so that none copies on while the copies are taken back.
			await inParallel(objects, copiesAtATime, async (object) => {
				signal.throwIfAborted();
				gone.delete(this.#newKeyOf(object));
				if (object.key === this.#from) this.#marker = object;
				else if (!this.#isCopied(object) && !(await this.#copyObject(object))) isStill = false;
			});
		}
		await this.#deleteCopies([...gone]);
		for (const key of gone) this.moved.delete(key);
		return isStill;
	}

	/** False when somebody else was faster: it has another version now, or is gone. */
	async #copyObject(object: ListedObject): Promise<boolean> {
		const { etag, sizeBytes, modifiedMs } = object;
		const key = this.#newKeyOf(object);
		if (isKeyTooLong(key)) throw new FuseError("ENAMETOOLONG", `${key} is more than S3 allows`);
		try {
			const copied = await this.#store.copy(object.key, key, { etag, sizeBytes });
			const version = { etag: copied.etag, sizeBytes, modifiedMs: copied.modifiedMs ?? modifiedMs };
			this.moved.set(key, { fromEtag: etag, fromModifiedMs: modifiedMs, version });
			return true;
		} catch (error) {
			if (isReplacedOrGone(error)) return false;
			throw error;
		}
	}

	/** Deletes what was copied; the directory's own object goes last: as long as something is left, the directory is. */
	async deleteOld(): Promise<void> {
		await deleteBelow(this.#store, this.#from, (object) => object.key !== this.#from && this.#isCopied(object));
		if (this.#marker !== undefined) await deleteVersions(this.#store, [this.#marker]);
	}

	/** Only what is still what was put there. */
	async #takeBack(): Promise<void> {
		await deleteBelow(this.#store, this.#to, ({ key, etag }) => this.moved.get(key)?.version.etag === etag);
	}

	async #deleteCopies(keys: readonly string[]): Promise<void> {
		await deleteVersions(
			this.#store,
			keys.map((key) => ({ key, etag: this.moved.get(key)?.version.etag ?? "" })),
		);
	}

	#newKeyOf({ key }: ListedObject): string {
		return this.#to + key.slice(this.#from.length);
	}

	#isCopied(object: ListedObject): boolean {
		const moved = this.moved.get(this.#newKeyOf(object));
		return moved?.fromEtag === object.etag && moved.fromModifiedMs === object.modifiedMs;
	}
}

/** Deletes below `from` what is below `to`, too, as another process has left it in the middle of that. */
export async function deleteCopied(store: ObjectStore, from: string, to: string): Promise<void> {
	const copies = new Map<string, number>();
	for await (const { objects } of pagesOf(store, { prefix: to }))
		for (const { key, modifiedMs } of objects) copies.set(flat(key.slice(to.length)), modifiedMs);
	// What is newer than its copy is somebody else's.
	await deleteBelow(
		store,
		from,
		({ key, modifiedMs }) => modifiedMs <= (copies.get(key.slice(from.length)) ?? -Infinity),
	);
}

/** The objects of directories go after what is in them, since some servers refuse it otherwise. */
async function deleteBelow(
	store: ObjectStore,
	prefix: string,
	isToGo: (object: ListedObject) => boolean,
): Promise<void> {
	const markers: { readonly key: string; readonly etag: string }[] = [];
	for await (const { objects } of pagesOf(store, { prefix })) {
		const going = objects.filter(isToGo);
		markers.push(...going.filter(isMarker).map(({ key, etag }) => ({ key: flat(key), etag: flat(etag) })));
		await deleteVersions(
			store,
			going.filter((object) => !isMarker(object)),
		);
	}
	await deleteVersions(store, markers.toReversed());
}

/** Leaves what somebody else has replaced, where the server can tell. */
async function deleteVersions(
	store: ObjectStore,
	objects: readonly { readonly key: string; readonly etag: string }[],
): Promise<void> {
	for (let start = 0; start < objects.length; start += keysPerDelete) {
		const some = objects.slice(start, start + keysPerDelete);
		const etags = new Map(some.filter(({ etag }) => etag !== "").map(({ key, etag }) => [key, etag]));
		const failures = await store.deleteMany(
			some.map(({ key }) => key),
			{ etags },
		);
		for (const { error } of failures) if (error.kind !== "OBJECT_REPLACED") throw error;
	}
}

function isMarker({ key }: ListedObject): boolean {
	return key.endsWith("/");
}
