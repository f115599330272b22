/**
 * Numbers of the kernel's include/uapi/linux/fuse.h. All fields are in the byte order of the machine; the platforms that Node
 * supports and that run containers are little-endian.
 */

/** The protocol's version that we know, and the oldest that we speak: Linux 3.15, the first with today's sizes of all structures. */
export const protocol = { major: 7, minor: 41, oldestMinor: 23 } as const;

export const opcodes = {
	lookup: 1,
	forget: 2,
	getattr: 3,
	setattr: 4,
	readlink: 5,
	symlink: 6,
	mknod: 8,
	mkdir: 9,
	unlink: 10,
	rmdir: 11,
	rename: 12,
	link: 13,
	open: 14,
	read: 15,
	write: 16,
	statfs: 17,
	release: 18,
	fsync: 20,
	setxattr: 21,
	getxattr: 22,
	listxattr: 23,
	removexattr: 24,
	flush: 25,
	init: 26,
	opendir: 27,
	readdir: 28,
	releasedir: 29,
	fsyncdir: 30,
	create: 35,
	interrupt: 36,
	destroy: 38,
	batchForget: 42,
	fallocate: 43,
	readdirplus: 44,
	rename2: 45,
} as const;

/** What INIT negotiates. From bit 32 on it is sent apart, and only to a kernel that offers `extended`. */
export const initFlags = {
	/** Several reads of one file at a time. */
	asyncRead: 1n << 0n,
	/** O_TRUNC comes with open, not as a SETATTR before it. */
	atomicTruncate: 1n << 3n,
	/** Writes of more than a page. */
	bigWrites: 1n << 5n,
	/** Pages are dropped when a GETATTR shows another time of change. */
	autoInvalidateData: 1n << 12n,
	readdirplus: 1n << 13n,
	/** The kernel stops READDIRPLUS for whoever does not ask for attributes. */
	readdirplusAuto: 1n << 14n,
	asyncDirectIo: 1n << 15n,
	/** LOOKUP and READDIR of one directory at a time. */
	parallelDirectoryOperations: 1n << 18n,
	/** Requests of more than 128 KiB. */
	maxPages: 1n << 22n,
	cacheSymlinks: 1n << 23n,
	/** Only the filesystem, or an open without keepCache, drops pages. */
	explicitInvalidateData: 1n << 25n,
	/** The filesystem takes the set-ID bits of who writes or changes the owner: the kernel need not ask for capabilities before each write. */
	clearsSetId: 1n << 28n,
	extendedSetxattr: 1n << 29n,
	extended: 1n << 30n,
	/** Lets a file with direct I/O be mapped shared. */
	directIoMmap: 1n << 36n,
	/** Requests that were read and not answered can be asked for once more, by another process. */
	resend: 1n << 39n,
} as const;

export const openReplyFlags = { directIo: 1, keepCache: 2, nonSeekable: 4, noFlush: 32 } as const;

export const setattrValid = {
	mode: 1,
	uid: 2,
	gid: 4,
	size: 8,
	atime: 16,
	mtime: 32,
	handle: 64,
	atimeNow: 128,
	mtimeNow: 256,
	clearsSetId: 2048,
} as const;

export const getattrFlags = { handle: 1 } as const;
export const openFlags = { clearsSetId: 1 } as const;
export const writeFlags = { fromCache: 1, clearsSetId: 4 } as const;
export const fsyncFlags = { dataOnly: 1 } as const;
export const notifyCodes = { invalidateInode: 2, invalidateEntry: 3, resend: 7 } as const;

/** In the upper half of what identifies a request: it was read before, by a process that has not answered it. */
export const repeatedBit = 0x80_00_00_00;

/** Sizes of structures in bytes. */
export const sizes = {
	requestHeader: 40,
	replyHeader: 16,
	attributes: 88,
	entry: 128,
	open: 16,
	statfs: 80,
	init: 64,
	direntHeader: 24,
} as const;

export const pageBytes = 4096;
