import type { Time } from "./time.ts";

/**
 * What a filesystem does, one function for each operation of the kernel, as fuse(4) and the kernel's
 * include/uapi/linux/fuse.h describe them. It never sees a message, and the transport never sees what is behind it.
 *
 * Nodes are numbers that the filesystem hands out; 1 is the root. Each reply that holds an Entry raises the kernel's count of
 * the node by one, and `forget` lowers it. A function may answer at once or with a promise; it fails by throwing a FuseError,
 * and anything else that it throws is answered with EIO.
 */
export interface Filesystem {
	/** Called once, before everything else, with what was agreed on. */
	init?(kernel: KernelLink, connection?: KernelConnection): void;
	/** Called before a request is carried out that a process had which has died. Throws when this one had better not. */
	repeated?(context: RequestContext): void;
	/** Called before each answer is sent: what it says may be promised to an application from then on. */
	beforeAnswer?(): void;
	/** Throws ENOENT when there is no such name. */
	lookup(parent: number, name: string, context: RequestContext): Reply<Entry>;
	/** The kernel dropped `count` of its references to the node. */
	forget(node: number, count: number): void;
	getattr(node: number, handle: number | undefined, context: RequestContext): Reply<Timed<Attributes>>;
	setattr(
		node: number,
		changes: AttributeChanges,
		handle: number | undefined,
		context: RequestContext,
	): Reply<Timed<Attributes>>;
	readlink?(node: number, context: RequestContext): Reply<string>;
	symlink?(parent: number, name: string, target: string, context: RequestContext): Reply<Entry>;
	/** `mode` with the file type's bits. */
	mknod?(parent: number, name: string, mode: number, context: RequestContext): Reply<Entry>;
	mkdir?(parent: number, name: string, mode: number, context: RequestContext): Reply<Entry>;
	unlink?(parent: number, name: string, context: RequestContext): Reply<void>;
	rmdir?(parent: number, name: string, context: RequestContext): Reply<void>;
	/** `flags` are those of renameat2(2). */
	rename?(
		parent: number,
		name: string,
		newParent: number,
		newName: string,
		flags: number,
		context: RequestContext,
	): Reply<void>;
	link?(node: number, newParent: number, newName: string, context: RequestContext): Reply<Entry>;
	/** `flags` are those of open(2). */
	open(node: number, flags: number, context: RequestContext): Reply<Opened>;
	create?(parent: number, name: string, mode: number, flags: number, context: RequestContext): Reply<Created>;
	/** Fewer bytes than asked for mean the end of the file. */
	read(node: number, handle: number, offset: number, sizeBytes: number, context: RequestContext): Reply<ReadResult>;
	/** `data` is only valid until the reply. Returns how many bytes were written. */
	write?(node: number, handle: number, offset: number, data: Buffer, context: RequestContext): Reply<number>;
	/** A descriptor was closed; its error is what close(2) returns. */
	flush?(node: number, handle: number, context: RequestContext): Reply<void>;
	/** The last descriptor of the handle is gone. */
	release(node: number, handle: number): Reply<void>;
	fsync?(node: number, handle: number, dataOnly: boolean, context: RequestContext): Reply<void>;
	fsyncdir?(node: number, handle: number, dataOnly: boolean, context: RequestContext): Reply<void>;
	opendir(node: number, flags: number, context: RequestContext): Reply<Opened>;
	/**
	 * Adds entries to the page until it is full (`add` returns false: that entry was not taken) or there are none left. `offset` is
	 * 0 or the `nextOffset` of the entry after which to go on.
	 */
	readdir(node: number, handle: number, offset: number, page: DirectoryPage, context: RequestContext): Reply<void>;
	releasedir(node: number, handle: number): Reply<void>;
	statfs(node: number, context: RequestContext): Reply<FilesystemStatistics>;
	getxattr?(node: number, name: string, context: RequestContext): Reply<Buffer>;
	setxattr?(node: number, name: string, value: Buffer, flags: number, context: RequestContext): Reply<void>;
	listxattr?(node: number, context: RequestContext): Reply<readonly string[]>;
	removexattr?(node: number, name: string, context: RequestContext): Reply<void>;
	fallocate?(
		node: number,
		handle: number,
		offset: number,
		lengthBytes: number,
		mode: number,
		context: RequestContext,
	): Reply<void>;
	/** The mount is gone. */
	destroy?(): Reply<void>;
}

/** What the kernel and we have agreed on. Plain data that JSON can hold: the mount keeps it for as long as it lives. */
export interface KernelConnection {
	readonly minor: number;
	readonly maxReadAheadBytes: number;
	readonly maxWriteBytes: number;
	/** In hexadecimal. */
	readonly flags: string;
}

export type Reply<T> = T | Promise<T>;

export interface RequestContext {
	readonly uid: number;
	readonly gid: number;
	readonly pid: number;
	/**
	 * Aborted when the caller is killed, who has EINTR for an answer then. What has changed nothing yet had better stop; what has, must end or
	 * be undone: nobody asks for it again.
	 */
	readonly signal: AbortSignal;
	/** Of a write and of an open that truncates: the file loses its set-ID bits by it, see `withoutSetId`. */
	readonly clearsSetId?: boolean;
	/** Of the request: the same when it comes once more. Absent: it does not. */
	readonly unique?: number;
	/** A process that died has had the request, and may have carried it out. */
	readonly isRepeated?: boolean;
}

export type Timed<T> = T & {
	/** How long the kernel may keep the attributes, in milliseconds. */
	readonly attributesValidMs: number;
};

export interface Attributes {
	/** What stat(2) shows. */
	readonly ino: number;
	/** File type and permission bits. */
	readonly mode: number;
	readonly nlink: number;
	readonly uid: number;
	readonly gid: number;
	readonly sizeBytes: number;
	readonly atime: Time;
	readonly mtime: Time;
	readonly ctime: Time;
	readonly rdev?: number;
	readonly blockSizeBytes?: number;
}

export interface Entry {
	/** 0 in a directory page: the kernel learns the name only, and counts nothing. */
	readonly node: number;
	readonly attributes: Attributes;
	/** How long the kernel may keep that this name is this node, in milliseconds. */
	readonly entryValidMs: number;
	readonly attributesValidMs: number;
}

export interface Opened {
	/** Given back with every operation on the open file. */
	readonly handle: number;
	/** Pages that the kernel has of the file are still right. */
	readonly keepCache?: boolean;
	/** Every read and write comes here, with its own offset and size. */
	readonly directIo?: boolean;
	readonly nonSeekable?: boolean;
	/** There is nothing to flush when it is closed; kernels before Linux 5.16 flush it nevertheless. */
	readonly noFlush?: boolean;
}

export interface Created extends Entry, Opened {}

export interface AttributeChanges {
	readonly mode?: number;
	readonly uid?: number;
	readonly gid?: number;
	readonly sizeBytes?: number;
	readonly atime?: Time | "now";
	readonly mtime?: Time | "now";
	/** A file loses its set-ID bits by it, see `withoutSetId`. */
	readonly clearsSetId?: true;
}

/** The mode of a file that somebody without the right to keep them has changed: without set-user-ID, and set-group-ID if the group may execute it. */
export function withoutSetId(mode: number): number {
	return mode & ~((mode & 0o010) === 0 ? 0o4000 : 0o6000);
}

export interface ReadResult {
	/** In order; sent to the kernel without a copy. */
	readonly views: readonly Uint8Array[];
	/** Called when the views are not needed any more. */
	release?(): void;
}

export interface DirectoryPage {
	/** Whether attributes are wanted (READDIRPLUS): then `add` is given an Entry, which is counted unless its node is 0. */
	readonly plus: boolean;
	add(name: string, entry: Pick<Attributes, "ino" | "mode">, nextOffset: number, plus?: Entry): boolean;
}

export interface FilesystemStatistics {
	readonly blockSizeBytes: number;
	readonly blocks: number;
	readonly freeBlocks: number;
	readonly files: number;
	readonly freeFiles: number;
	readonly maximumNameLength: number;
}

/** What the filesystem may tell the kernel by itself. All are harmless when the kernel knows nothing of the node. */
export interface KernelLink {
	/** Drop the attributes, and the pages from `offset` on; a negative `offset` drops the attributes only. */
	invalidateNode(node: number, offset?: number, lengthBytes?: number): void;
	/** Drop what is known of a name, that it is absent too. */
	invalidateEntry(parent: number, name: string): void;
	/** Whether the kernel has the node at this moment; the attributes that it had of it are dropped. */
	isKnown?(node: number): Promise<boolean>;
}

/** The errors that a filesystem answers with, by their names in errno(3). */
export type ErrnoName =
	| "EPERM"
	| "ENOENT"
	| "EINTR"
	| "EIO"
	| "EAGAIN"
	| "ENOMEM"
	| "EACCES"
	| "EBUSY"
	| "EEXIST"
	| "EXDEV"
	| "ENODEV"
	| "ENOTDIR"
	| "EISDIR"
	| "EINVAL"
	| "EFBIG"
	| "ENOSPC"
	| "EROFS"
	| "EMLINK"
	| "ERANGE"
	| "ENAMETOOLONG"
	| "ENOSYS"
	| "ENOTEMPTY"
	| "ENODATA"
	| "EILSEQ"
	| "ENOTSUP"
	| "ETIMEDOUT"
	| "ESTALE"
	| "EDQUOT"
	| "ECANCELED"
	| "EBADF"
	| "ENOTCONN";

/** An answer to the kernel that is an error. */
export class FuseError extends Error {
	override readonly name = "FuseError";
	readonly errno: ErrnoName;

	constructor(errno: ErrnoName, message: string = errno, cause?: unknown) {
		// Most are plain answers, such as that a name is absent: where they come from takes longer to find out than to give them.
		const { stackTraceLimit } = Error;
		Error.stackTraceLimit = 0;
		super(message, { cause });
		Error.stackTraceLimit = stackTraceLimit;
		this.errno = errno;
	}
}
