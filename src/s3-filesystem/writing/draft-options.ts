import type { ObjectMetadata, ObjectProperties, ObjectStore, ObjectVersion } from "../../s3/object-store.ts";
import type { Staging } from "./staging.ts";
import type { Tails } from "./tails.ts";

export interface Committed extends ObjectVersion {
	/** The server's clock, when it told. */
	readonly modifiedMs: number | undefined;
	/** What the object has; undefined: nothing was to be committed. */
	readonly metadata: ObjectMetadata | undefined;
	readonly properties: ObjectProperties | undefined;
}

export interface DraftOptions {
	readonly store: ObjectStore;
	/** Where a commit goes. May change between commits, see `uploadKey`. */
	readonly key: () => string;
	/**
	 * Who may be about to change the key. Whoever calls `commit`, `truncate`, `hold` or `discard` sees to that himself; what is written is
	 * sent by itself, and must not be sent to a key that goes. Default: nobody.
	 */
	readonly keyLock?: KeyLock;
	/** What is in the bucket now; undefined: nothing. */
	readonly base: ObjectVersion | undefined;
	/** Of the file: the base's size, or 0 when it was opened with O_TRUNC. */
	readonly sizeBytes: number;
	readonly staging: Staging;
	/** Where what will be needed to append again is kept. Default: nowhere. */
	readonly tails?: Tails;
	/**
	 * What the object gets. A multipart upload asks for it when its first part is sent, with `isFinal` false: leave out then what
	 * further writes change, such as a time of modification that is only that of the last write. When the answer to that is another at
	 * the commit, the server has to copy the object onto itself to change it.
	 */
	readonly metadata: (isFinal: boolean) => ObjectMetadata;
	/** What else it gets; asked for before the metadata. Default: nothing. */
	readonly properties?: () => Promise<ObjectProperties>;
	/** The first commit throws EXISTS when the bucket has an object of that key by then (O_EXCL). */
	readonly onlyIfAbsent?: boolean;
	/** Told of each new version before `commit` resolves, also when staging had to be freed and nobody called `commit`. */
	readonly onCommit?: (version: Committed) => void;
}

export interface KeyLock {
	readonly isTaken: boolean;
	/** Runs what stores something when nobody else changes the key, which does not change until that ends. */
	shared<T>(work: () => Promise<T>): Promise<T>;
}
