/** Numbers and layouts of include/uapi/linux/fuse.h. All are in the byte order of the machine; Node's platforms are little-endian. */

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
	access: 34,
	create: 35,
	interrupt: 36,
	destroy: 38,
	batchForget: 42,
	fallocate: 43,
	readdirplus: 44,
	rename2: 45,
} as const;

export const initFlags = {
	asyncRead: 1 << 0,
	atomicTruncate: 1 << 3,
	exportSupport: 1 << 4,
	bigWrites: 1 << 5,
	autoInvalidateData: 1 << 12,
	readdirplus: 1 << 13,
	readdirplusAuto: 1 << 14,
	asyncDirectIo: 1 << 15,
	parallelDirectoryOperations: 1 << 18,
	handleKillPrivileges: 1 << 19,
	maxPages: 1 << 22,
	cacheSymlinks: 1 << 23,
	explicitInvalidateData: 1 << 25,
} as const;

export const openReplyFlags = { directIo: 1, keepCache: 2, nonSeekable: 4 } as const;
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
} as const;
export const notifyCodes = { invalidateInode: 2, invalidateEntry: 3 } as const;

export const requestHeaderBytes = 40;
export const replyHeaderBytes = 16;
export const attributesBytes = 88;
export const entryBytes = 40 + attributesBytes;
