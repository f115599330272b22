import { constants } from "node:fs";
import { fsyncFlags, getattrFlags, opcodes, openFlags, writeFlags } from "./abi.ts";
import type { Call } from "./call.ts";
import { decodeChanges, decodeChangesHandle, type Request } from "./decode.ts";
import type { Page } from "./directory-page.ts";
import {
	encodeAttributes,
	encodeCount,
	encodeCreated,
	encodeEntry,
	encodeNothing,
	encodeOpened,
	encodeStatistics,
} from "./encode.ts";
import { FuseError, type Entry, type Filesystem, type KernelLink, type Opened, type Reply } from "./filesystem.ts";
import type { Replies } from "./replies.ts";

/** Sends one kind of answer. */
export type Send<T> = (replies: Replies, call: Call, value: T) => void;

/**
 * What is left to do when the caller was killed, and has its answer, before the operation ended: the kernel does not know of what the
 * result holds, nor that something changed since. Undefined: it failed.
 */
export type TakeBack<T> = (result: T | undefined) => Reply<void>;

/** Where operations leave their results. */
export interface Answers {
	/**
	 * Sends the value at once or, if it is a promise, when it is there, unless the caller is killed before. Then the returned promise, which
	 * never rejects, says when all is over.
	 */
	settle<T>(call: Call, value: Reply<T>, send: Send<T>, takeBack?: TakeBack<T>): Promise<void> | undefined;
	readonly kernel: KernelLink;
	/** An empty page for replies of at most `sizeBytes`. */
	takePage(sizeBytes: number, plus: boolean): Page;
	givePage(page: Page): void;
	/** Bytes of a request that the filesystem may keep until it has answered. */
	keepUntilAnswered(request: Request, offset: number, lengthBytes: number): Buffer;
}

/**
 * Does what a request asks for; throws what the filesystem throws at once. A function that the filesystem does not have fails as the
 * system call's manual says where it says so. Elsewhere with ENOSYS: then the kernel finds another way, and does not ask again.
 */
export function perform(
	filesystem: Filesystem,
	request: Request,
	call: Call,
	answers: Answers,
): Promise<void> | undefined {
	const { node } = request;
	switch (call.opcode) {
		case opcodes.lookup:
			return answers.settle(call, filesystem.lookup(node, request.name(0, "ENOENT"), call), sendEntry, (entry) =>
				forget(filesystem, entry),
			);
		case opcodes.getattr: {
			const handle = (request.uint32(0) & getattrFlags.handle) === 0 ? undefined : request.uint64(8);
			return answers.settle(call, filesystem.getattr(node, handle, call), sendAttributes);
		}
		case opcodes.setattr: {
			const [changes, handle] = [decodeChanges(request), decodeChangesHandle(request)];
			return answers.settle(call, filesystem.setattr(node, changes, handle, call), sendAttributes, () =>
				answers.kernel.invalidateNode(node),
			);
		}
		case opcodes.readlink: {
			if (filesystem.readlink === undefined) throw new FuseError("EINVAL");
			return answers.settle(call, filesystem.readlink(node, call), sendText);
		}
		case opcodes.symlink: {
			if (filesystem.symlink === undefined) throw new FuseError("EPERM");
			const [name, target] = request.names(0);
			return settleNew(filesystem, answers, call, node, name, filesystem.symlink(node, name, target, call));
		}
		case opcodes.mknod: {
			if (filesystem.mknod === undefined) throw new FuseError("EPERM");
			const name = request.name(16);
			return settleNew(filesystem, answers, call, node, name, filesystem.mknod(node, name, request.uint32(0), call));
		}
		case opcodes.mkdir: {
			if (filesystem.mkdir === undefined) throw new FuseError("EPERM");
			const name = request.name(8);
			return settleNew(filesystem, answers, call, node, name, filesystem.mkdir(node, name, request.uint32(0), call));
		}
		case opcodes.unlink: {
			if (filesystem.unlink === undefined) throw new FuseError("EPERM");
			const name = request.name(0);
			return answers.settle(call, filesystem.unlink(node, name, call), sendNothing, () =>
				forgetName(answers.kernel, node, name),
			);
		}
		case opcodes.rmdir: {
			if (filesystem.rmdir === undefined) throw new FuseError("EPERM");
			const name = request.name(0);
			return answers.settle(call, filesystem.rmdir(node, name, call), sendNothing, () =>
				forgetName(answers.kernel, node, name),
			);
		}
		case opcodes.rename:
			return performRename(filesystem, request, call, answers, 8, 0);
		case opcodes.rename2:
			return performRename(filesystem, request, call, answers, 16, request.uint32(8));
		case opcodes.link: {
			if (filesystem.link === undefined) throw new FuseError("EPERM");
			const name = request.name(8);
			return settleNew(filesystem, answers, call, node, name, filesystem.link(request.uint64(0), node, name, call));
		}
		case opcodes.open:
			call.clearsSetId = (request.uint32(4) & openFlags.clearsSetId) !== 0;
			return answers.settle(call, filesystem.open(node, request.uint32(0), call), sendOpened, (opened) =>
				release(filesystem, node, opened),
			);
		case opcodes.create: {
			// ENOSYS: the kernel uses mknod and open.
			if (filesystem.create === undefined) throw new FuseError("ENOSYS");
			const [flags, mode] = [request.uint32(0), request.uint32(4)];
			call.clearsSetId = (request.uint32(12) & openFlags.clearsSetId) !== 0;
			const name = request.name(16);
			return answers.settle(call, filesystem.create(node, name, mode, flags, call), sendCreated, async (created) => {
				if (created !== undefined) await release(filesystem, created.node, created);
				forget(filesystem, created);
				forgetName(answers.kernel, node, name);
			});
		}
		case opcodes.read: {
			const read = filesystem.read(node, request.uint64(0), request.uint64(8), request.uint32(16), call);
			return answers.settle(call, read, sendData, (result) => result?.release?.());
		}
		case opcodes.write: {
			if (filesystem.write === undefined) throw new FuseError("EBADF");
			const data = answers.keepUntilAnswered(request, 40, request.uint32(16));
			call.clearsSetId = (request.uint32(20) & writeFlags.clearsSetId) !== 0;
			const offset = request.uint64(8);
			const written = filesystem.write(node, request.uint64(0), offset, data, call);
			const isDirect = (request.uint32(32) & constants.O_DIRECT) !== 0;
			const isFromCache = (request.uint32(20) & writeFlags.fromCache) !== 0;
			const settled = isDirect && !isFromCache ? droppingPages(answers.kernel, node, offset, written) : written;
			return answers.settle(call, settled, sendCount, () => answers.kernel.invalidateNode(node));
		}
		case opcodes.flush: {
			if (filesystem.flush === undefined) throw new FuseError("ENOSYS");
			return answers.settle(call, filesystem.flush(node, request.uint64(0), call), sendNothing);
		}
		case opcodes.release:
			return answers.settle(call, filesystem.release(node, request.uint64(0)), sendNothing);
		case opcodes.fsync: {
			if (filesystem.fsync === undefined) throw new FuseError("ENOSYS");
			const synced = filesystem.fsync(node, request.uint64(0), isDataOnly(request), call);
			return answers.settle(call, synced, sendNothing);
		}
		case opcodes.fsyncdir: {
			if (filesystem.fsyncdir === undefined) throw new FuseError("ENOSYS");
			const synced = filesystem.fsyncdir(node, request.uint64(0), isDataOnly(request), call);
			return answers.settle(call, synced, sendNothing);
		}
		case opcodes.opendir:
			return answers.settle(call, filesystem.opendir(node, request.uint32(0), call), sendOpened, async (opened) => {
				if (opened !== undefined) await filesystem.releasedir(node, opened.handle);
			});
		case opcodes.readdir:
			return performReaddir(filesystem, request, call, answers, false);
		case opcodes.readdirplus:
			return performReaddir(filesystem, request, call, answers, true);
		case opcodes.releasedir:
			return answers.settle(call, filesystem.releasedir(node, request.uint64(0)), sendNothing);
		case opcodes.statfs:
			return answers.settle(call, filesystem.statfs(node, call), sendStatistics);
		case opcodes.getxattr: {
			if (filesystem.getxattr === undefined) throw new FuseError("ENOSYS");
			const limit = request.uint32(0);
			return answers.settle(call, filesystem.getxattr(node, request.name(8), call), sendAtMost(limit));
		}
		case opcodes.listxattr: {
			if (filesystem.listxattr === undefined) throw new FuseError("ENOSYS");
			const send = sendAtMost(request.uint32(0));
			return answers.settle(call, filesystem.listxattr(node, call), (replies, to, list) =>
				send(replies, to, Buffer.from(list.map((name) => `${name}\0`).join(""))),
			);
		}
		case opcodes.setxattr: {
			// The longer form of the structure comes only to those that ask for it in INIT, and we do not.
			if (filesystem.setxattr === undefined) throw new FuseError("ENOSYS");
			const [lengthBytes, flags] = [request.uint32(0), request.uint32(4)];
			const value = Buffer.from(request.data(request.afterName(8), lengthBytes));
			return answers.settle(call, filesystem.setxattr(node, request.name(8), value, flags, call), sendNothing);
		}
		case opcodes.removexattr: {
			if (filesystem.removexattr === undefined) throw new FuseError("ENOSYS");
			return answers.settle(call, filesystem.removexattr(node, request.name(0), call), sendNothing);
		}
		case opcodes.fallocate: {
			if (filesystem.fallocate === undefined) throw new FuseError("ENOSYS");
			const [handle, offset, lengthBytes] = [request.uint64(0), request.uint64(8), request.uint64(16)];
			return answers.settle(
				call,
				filesystem.fallocate(node, handle, offset, lengthBytes, request.uint32(24), call),
				sendNothing,
				() => answers.kernel.invalidateNode(node),
			);
		}
		default:
			throw new FuseError("ENOSYS");
	}
}

/**
 * What somebody has read meanwhile is of before: the kernel drops it at the end of a direct write that a program waits for, but not of one that it
 * does not wait for (AIO), and tells neither from the other. Nobody waits for the drop: it waits for reads of the same pages.
 */
function droppingPages(kernel: KernelLink, node: number, offset: number, written: Reply<number>): Reply<number> {
	const drop = (bytes: number): number => {
		kernel.invalidateNode(node, offset, bytes);
		return bytes;
	};
	return written instanceof Promise ? written.then(drop) : drop(written);
}

function performRename(
	filesystem: Filesystem,
	request: Request,
	call: Call,
	answers: Answers,
	namesAt: number,
	flags: number,
): Promise<void> | undefined {
	if (filesystem.rename === undefined) throw new FuseError("EPERM");
	const [from, to] = request.names(namesAt);
	const [node, newParent] = [request.node, request.uint64(0)];
	return answers.settle(call, filesystem.rename(node, from, newParent, to, flags, call), sendNothing, () => {
		forgetName(answers.kernel, node, from);
		forgetName(answers.kernel, newParent, to);
	});
}

/** A name that the operation makes. */
function settleNew(
	filesystem: Filesystem,
	answers: Answers,
	call: Call,
	parent: number,
	name: string,
	made: Reply<Entry>,
): Promise<void> | undefined {
	return answers.settle(call, made, sendEntry, (entry) => {
		forget(filesystem, entry);
		forgetName(answers.kernel, parent, name);
	});
}

function forget(filesystem: Filesystem, entry: Entry | undefined): void {
	if (entry !== undefined) filesystem.forget(entry.node, 1);
}

async function release(filesystem: Filesystem, node: number, opened: Opened | undefined): Promise<void> {
	if (opened !== undefined) await filesystem.release(node, opened.handle);
}

/** Somebody may have looked it up while the operation went on. */
function forgetName(kernel: KernelLink, parent: number, name: string): void {
	kernel.invalidateEntry(parent, name);
	kernel.invalidateNode(parent, -1);
}

function performReaddir(
	filesystem: Filesystem,
	request: Request,
	call: Call,
	answers: Answers,
	plus: boolean,
): Promise<void> | undefined {
	const page = answers.takePage(request.uint32(16), plus);
	const filled = filesystem.readdir(request.node, request.uint64(0), request.uint64(8), page, call);
	return answers.settle(
		call,
		filled,
		(replies) => {
			replies.page(call, page);
			answers.givePage(page);
		},
		() => {
			for (const node of page.nodes()) filesystem.forget(node, 1);
			answers.givePage(page);
		},
	);
}

const sendNothing: Send<void> = (replies, call) => replies.encoded(call, undefined, encodeNothing);
const sendEntry: Send<Parameters<typeof encodeEntry>[2]> = (replies, call, entry) =>
	replies.encoded(call, entry, encodeEntry);
const sendAttributes: Send<Parameters<typeof encodeAttributes>[2]> = (replies, call, attributes) =>
	replies.encoded(call, attributes, encodeAttributes);
const sendOpened: Send<Parameters<typeof encodeOpened>[2]> = (replies, call, opened) =>
	replies.encoded(call, opened, encodeOpened);
const sendCreated: Send<Parameters<typeof encodeCreated>[2]> = (replies, call, created) =>
	replies.encoded(call, created, encodeCreated);
const sendCount: Send<number> = (replies, call, count) => replies.encoded(call, count, encodeCount);
const sendStatistics: Send<Parameters<typeof encodeStatistics>[2]> = (replies, call, statistics) =>
	replies.encoded(call, statistics, encodeStatistics);
const sendText: Send<string> = (replies, call, text) => replies.bytes(call, Buffer.from(text));
const sendData: Send<Parameters<Replies["data"]>[1]> = (replies, call, result) => replies.data(call, result);

/** With a limit of 0 only the size is asked for. */
function sendAtMost(limitBytes: number): Send<Buffer> {
	return (replies, call, value) => {
		if (limitBytes === 0) replies.encoded(call, value.length, encodeCount);
		else if (value.length > limitBytes) throw new FuseError("ERANGE");
		else replies.bytes(call, value);
	};
}

function isDataOnly(request: Request): boolean {
	return (request.uint32(8) & fsyncFlags.dataOnly) !== 0;
}
