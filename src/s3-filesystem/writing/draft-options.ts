import type {
	ObjectMetadata,
	ObjectProperties,
	ObjectStore,
	ObjectVersion,
	UploadedPart,
} from "../../s3/object-store.ts";
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
	/** No write is told that a part could not be sent meanwhile, as long as there is room to keep it for the commit. Default: the next one is. */
	readonly isPatient?: () => boolean;
	/** Told of what a process in place of this one has to know. Default: nobody. */
	readonly watcher?: DraftWatcher;
	/** Goes on where a process that has died has left it; `base` and `sizeBytes` are those that it had. */
	readonly kept?: KeptDraft;
	/** Told of each new version before `commit` resolves, also when staging had to be freed and nobody called `commit`. */
	readonly onCommit?: (version: Committed) => void;
}

/** A draft tells what has changed of it, before what is not needed any more goes. */
export interface DraftWatcher {
	/** All but the parts. */
	changed(): void;
	partChanged(index: number): void;
	/** Nothing but this has changed of a part, and that the file may be longer. */
	written(index: number, start: number, end: number): void;
	/** From here on something is not there any more that was told to be. */
	flush(): void;
}

/** What of a draft outlives its process: plain data. */
export interface KeptDraft {
	/** Unlike that of any other draft. */
	readonly id: string;
	/** The grid is that of this limit. */
	readonly limitBytes: number;
	readonly base: ObjectVersion | undefined;
	readonly baseModifiedMs: number | undefined;
	readonly baseBytes: number;
	readonly sizeBytes: number;
	readonly isChanged: boolean;
	readonly onlyIfAbsent: boolean;
	readonly upload: KeptUpload | undefined;
	readonly committing: Committing | undefined;
	readonly parts: readonly KeptPart[];
}

export interface KeptPart {
	readonly index: number;
	/** Of its staged bytes. */
	readonly path: string;
	readonly edges: readonly number[];
	readonly uploaded: { readonly part: UploadedPart; readonly sizeBytes: number } | undefined;
}

export interface KeptUpload {
	readonly id: string;
	readonly key: string;
	readonly isFinal: boolean;
	readonly canCopy: boolean;
	readonly hasChecksums: boolean;
	readonly description: Description;
}

/** The object may be there already, though nobody has heard so. */
export interface Committing {
	/** In milliseconds since 1970. */
	readonly sinceMs: number;
	/** Of an upload that was to be completed with these. */
	readonly parts?: readonly UploadedPart[];
}

/** What an object has beside its bytes. */
export interface Description {
	readonly metadata: ObjectMetadata;
	readonly properties: ObjectProperties;
}

export interface KeyLock {
	readonly isTaken: boolean;
	/** Runs what stores something when nobody else changes the key, which does not change until that ends. */
	shared<T>(work: () => Promise<T>): Promise<T>;
}
