import { isUtf8 } from "node:buffer";
import fs from "node:fs";
import { constants } from "node:os";
import {
	attributesBytes,
	entryBytes,
	initFlags,
	notifyCodes,
	opcodes,
	openReplyFlags,
	replyHeaderBytes,
	requestHeaderBytes,
	setattrValid,
} from "./abi.ts";
import {
	FuseError,
	type AttributeChanges,
	type Attributes,
	type Entry,
	type Filesystem,
	type KernelLink,
	type Opened,
	type ReadResult,
	type RequestContext,
} from "./filesystem.ts";

export type Ending = { readonly kind: "unmounted" } | { readonly kind: "failed"; readonly cause: unknown };

export interface ServeOptions {
	readonly fd: number;
	readonly filesystem: Filesystem;
	/** Requests that are waited for at a time. Each holds a thread of libuv's pool, so that must be larger. Default: 4. */
	readonly readers?: number;
	/** Takes away flags that the kernel offers: for tests of older kernels. */
	readonly mask?: (offered: number) => number;
	readonly log?: (level: "warn" | "error", fields: object, message: string) => void;
}

export interface Session {
	readonly ended: Promise<Ending>;
	readonly requests: number;
}

const maxWriteBytes = 1024 * 1024;
const pageBytes = 4096;

/** Serves the mount behind an open /dev/fuse until it is unmounted. */
export function serve(options: ServeOptions): Session {
	return new FuseSession(options);
}

class FuseSession implements Session, KernelLink {
	readonly ended: Promise<Ending>;
	requests = 0;
	readonly #fd: number;
	readonly #filesystem: Filesystem;
	readonly #options: ServeOptions;
	readonly #end = Promise.withResolvers<Ending>();
	readonly #inFlight = new Map<bigint, Context>();
	readonly #spare: Buffer[] = [];
	#minor = 0;
	#isEnded = false;
	#notices: Promise<void> = Promise.resolve();

	constructor(options: ServeOptions) {
		this.#options = options;
		this.#fd = options.fd;
		this.#filesystem = options.filesystem;
		this.ended = this.#end.promise;
		// INIT comes first and alone.
		this.#read();
	}

	#read(): void {
		if (this.#isEnded) return;
		const buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(maxWriteBytes + pageBytes);
		fs.read(this.#fd, buffer, 0, buffer.length, null, (error, bytes) => {
			if (error !== null) {
				this.#spare.push(buffer);
				this.#readFailed(error);
				return;
			}
			const isInit = buffer.readUInt32LE(4) === opcodes.init;
			// A write's data is the filesystem's until it is answered; meanwhile another buffer takes the next request.
			this.requests++;
			const done = this.#dispatch(buffer.subarray(0, bytes));
			if (done === undefined) this.#spare.push(buffer);
			else void done.then(() => this.#spare.push(buffer));
			this.#read();
			if (isInit) for (let more = 1; more < (this.#options.readers ?? 4); more++) this.#read();
		});
	}

	#readFailed(error: NodeJS.ErrnoException): void {
		// ENOENT: the request was interrupted before it was read.
		if (error.code === "EINTR" || error.code === "EAGAIN" || error.code === "ENOENT") this.#read();
		else if (error.code === "ENODEV") this.#finish({ kind: "unmounted" });
		else this.#finish({ kind: "failed", cause: error });
	}

	#finish(ending: Ending): void {
		if (this.#isEnded) return;
		this.#isEnded = true;
		void (async () => {
			await this.#filesystem.destroy?.();
		})()
			.catch((error: unknown) => this.#options.log?.("error", { err: error }, "the filesystem did not end cleanly"))
			.then(() => this.#end.resolve(ending));
	}

	/** Answers a request, at once or later; undefined when its buffer is not needed any more. */
	#dispatch(request: Buffer): Promise<void> | undefined {
		const opcode = request.readUInt32LE(4);
		const unique = request.readBigUInt64LE(8);
		const node = readId(request, 16);
		const body = request.subarray(requestHeaderBytes);
		switch (opcode) {
			case opcodes.forget:
				this.#filesystem.forget(node, readId(body, 0));
				return undefined;
			case opcodes.batchForget:
				for (let index = 0, count = body.readUInt32LE(0); index < count; index++) {
					this.#filesystem.forget(readId(body, 8 + 16 * index), readId(body, 16 + 16 * index));
				}
				return undefined;
			case opcodes.interrupt: {
				const target = body.readBigUInt64LE(0);
				const context = this.#inFlight.get(target);
				// It may have been answered, or be read by another reader just now.
				if (context !== undefined) context.abort();
				return undefined;
			}
			case opcodes.init:
				this.#init(unique, body);
				return undefined;
		}
		const context = new Context(request.readUInt32LE(24), request.readUInt32LE(28), request.readUInt32LE(32));
		try {
			const answer = this.#perform(opcode, node, body, context);
			if (!(answer instanceof Promise)) {
				this.#reply(unique, answer);
				return undefined;
			}
			this.#inFlight.set(unique, context);
			return answer
				.then(
					(value) => this.#reply(unique, value),
					(error: unknown) => this.#fail(unique, opcode, error),
				)
				.finally(() => this.#inFlight.delete(unique));
		} catch (error) {
			this.#fail(unique, opcode, error);
			return undefined;
		}
	}

	#init(unique: bigint, body: Buffer): void {
		const [major, minor, readAhead, offered] = [0, 4, 8, 12].map((offset) => body.readUInt32LE(offset)) as [
			number,
			number,
			number,
			number,
		];
		if (major > 7) {
			const version = Buffer.alloc(24);
			version.writeUInt32LE(7, 0);
			version.writeUInt32LE(31, 4);
			this.#reply(unique, [version]);
			return;
		}
		this.#minor = Math.min(minor, 31);
		const wanted =
			initFlags.asyncRead |
			initFlags.atomicTruncate |
			initFlags.bigWrites |
			initFlags.readdirplus |
			initFlags.readdirplusAuto |
			initFlags.asyncDirectIo |
			initFlags.parallelDirectoryOperations |
			initFlags.maxPages |
			initFlags.cacheSymlinks |
			initFlags.explicitInvalidateData;
		const flags = wanted & (this.#options.mask?.(offered) ?? offered);
		const reply = Buffer.alloc(64);
		reply.writeUInt32LE(7, 0);
		reply.writeUInt32LE(this.#minor, 4);
		reply.writeUInt32LE(readAhead, 8);
		reply.writeUInt32LE(flags >>> 0, 12);
		reply.writeUInt16LE(64, 16);
		reply.writeUInt16LE(48, 18);
		reply.writeUInt32LE((flags & initFlags.maxPages) === 0 ? 128 * 1024 : maxWriteBytes, 20);
		reply.writeUInt32LE(1, 24);
		reply.writeUInt16LE((flags & initFlags.maxPages) === 0 ? 0 : maxWriteBytes / pageBytes, 28);
		this.#filesystem.init?.(this);
		this.#reply(unique, [this.#minor < 23 ? reply.subarray(0, 24) : reply]);
	}

	#perform(opcode: number, node: number, body: Buffer, context: RequestContext): Answer | Promise<Answer> {
		const filesystem = this.#filesystem;
		switch (opcode) {
			case opcodes.lookup:
				return then(filesystem.lookup(node, name(body, "ENOENT"), context), entryReply);
			case opcodes.getattr: {
				const handle = (body.readUInt32LE(0) & 1) === 0 ? undefined : readId(body, 8);
				return then(filesystem.getattr(node, handle, context), attributesReply);
			}
			case opcodes.setattr: {
				const valid = body.readUInt32LE(0);
				const handle = (valid & setattrValid.handle) === 0 ? undefined : readId(body, 8);
				return then(filesystem.setattr(node, changes(body, valid), handle, context), attributesReply);
			}
			case opcodes.readlink:
				return then(needed(filesystem.readlink, "EINVAL").call(filesystem, node, context), (target) => [
					Buffer.from(target),
				]);
			case opcodes.symlink: {
				const [link = "", target = ""] = names(body);
				return then(needed(filesystem.symlink, "EPERM").call(filesystem, node, link, target, context), entryReply);
			}
			case opcodes.mknod:
				return then(
					needed(filesystem.mknod, "EPERM").call(
						filesystem,
						node,
						name(body.subarray(16)),
						body.readUInt32LE(0),
						context,
					),
					entryReply,
				);
			case opcodes.mkdir:
				return then(
					needed(filesystem.mkdir, "EPERM").call(
						filesystem,
						node,
						name(body.subarray(8)),
						body.readUInt32LE(0),
						context,
					),
					entryReply,
				);
			case opcodes.unlink:
				return then(needed(filesystem.unlink, "EPERM").call(filesystem, node, name(body), context), nothing);
			case opcodes.rmdir:
				return then(needed(filesystem.rmdir, "EPERM").call(filesystem, node, name(body), context), nothing);
			case opcodes.rename:
			case opcodes.rename2: {
				const [from = "", to = ""] = names(body.subarray(opcode === opcodes.rename ? 8 : 16));
				const flags = opcode === opcodes.rename ? 0 : body.readUInt32LE(8);
				return then(
					needed(filesystem.rename, "EPERM").call(filesystem, node, from, readId(body, 0), to, flags, context),
					nothing,
				);
			}
			case opcodes.link:
				return then(
					needed(filesystem.link, "EPERM").call(filesystem, readId(body, 0), node, name(body.subarray(8)), context),
					entryReply,
				);
			case opcodes.open:
				return then(filesystem.open(node, body.readUInt32LE(0), context), openReply);
			case opcodes.create: {
				const [flags, mode] = [body.readUInt32LE(0), body.readUInt32LE(4)];
				return then(
					needed(filesystem.create, "ENOSYS").call(filesystem, node, name(body.subarray(16)), mode, flags, context),
					(created) => [...entryReply(created), ...openReply(created)],
				);
			}
			case opcodes.read:
				return then(
					filesystem.read(node, readId(body, 0), readId(body, 8), body.readUInt32LE(16), context),
					(result) => result,
				);
			case opcodes.write: {
				const size = body.readUInt32LE(16);
				const data = body.subarray(40, 40 + size);
				return then(
					needed(filesystem.write, "EBADF").call(filesystem, node, readId(body, 0), readId(body, 8), data, context),
					writeReply,
				);
			}
			case opcodes.flush:
				return then(needed(filesystem.flush, "ENOSYS").call(filesystem, node, readId(body, 0), context), nothing);
			case opcodes.release:
				return then(filesystem.release(node, readId(body, 0)), nothing);
			case opcodes.fsync:
				return then(
					needed(filesystem.fsync, "ENOSYS").call(
						filesystem,
						node,
						readId(body, 0),
						(body.readUInt32LE(8) & 1) === 1,
						context,
					),
					nothing,
				);
			case opcodes.fsyncdir:
				return then(
					needed(filesystem.fsyncdir, "ENOSYS").call(
						filesystem,
						node,
						readId(body, 0),
						(body.readUInt32LE(8) & 1) === 1,
						context,
					),
					nothing,
				);
			case opcodes.opendir:
				return then(filesystem.opendir(node, body.readUInt32LE(0), context), openReply);
			case opcodes.readdir:
			case opcodes.readdirplus: {
				const page = new Page(body.readUInt32LE(16), opcode === opcodes.readdirplus);
				return then(filesystem.readdir(node, readId(body, 0), readId(body, 8), page, context), () => [page.bytes]);
			}
			case opcodes.releasedir:
				return then(filesystem.releasedir(node, readId(body, 0)), nothing);
			case opcodes.statfs:
				return then(filesystem.statfs(node, context), (statistics) => {
					const reply = Buffer.alloc(80);
					writeId(reply, statistics.blocks, 0);
					writeId(reply, statistics.freeBlocks, 8);
					writeId(reply, statistics.freeBlocks, 16);
					writeId(reply, statistics.files, 24);
					writeId(reply, statistics.freeFiles, 32);
					reply.writeUInt32LE(statistics.blockSizeBytes, 40);
					reply.writeUInt32LE(statistics.maximumNameLength, 44);
					reply.writeUInt32LE(statistics.blockSizeBytes, 48);
					return [reply];
				});
			case opcodes.getxattr:
				return then(
					needed(filesystem.getxattr, "ENOSYS").call(filesystem, node, name(body.subarray(8)), context),
					(value) => sized(value, body.readUInt32LE(0)),
				);
			case opcodes.listxattr:
				return then(needed(filesystem.listxattr, "ENOSYS").call(filesystem, node, context), (list) =>
					sized(Buffer.from(list.map((one) => `${one}\0`).join("")), body.readUInt32LE(0)),
				);
			case opcodes.setxattr: {
				const [size, flags] = [body.readUInt32LE(0), body.readUInt32LE(4)];
				const rest = body.subarray(8);
				const end = rest.indexOf(0);
				return then(
					needed(filesystem.setxattr, "ENOSYS").call(
						filesystem,
						node,
						name(rest),
						rest.subarray(end + 1, end + 1 + size),
						flags,
						context,
					),
					nothing,
				);
			}
			case opcodes.removexattr:
				return then(needed(filesystem.removexattr, "ENOSYS").call(filesystem, node, name(body), context), nothing);
			case opcodes.fallocate:
				return then(
					needed(filesystem.fallocate, "ENOSYS").call(
						filesystem,
						node,
						readId(body, 0),
						readId(body, 8),
						readId(body, 16),
						body.readUInt32LE(24),
						context,
					),
					nothing,
				);
			case opcodes.destroy:
				return [];
			default:
				throw new FuseError("ENOSYS");
		}
	}

	#reply(unique: bigint, answer: Answer): void {
		const views = "views" in answer ? answer.views : answer;
		const header = Buffer.allocUnsafe(replyHeaderBytes);
		let length = replyHeaderBytes;
		for (const view of views) length += view.length;
		header.writeUInt32LE(length, 0);
		header.writeInt32LE(0, 4);
		header.writeBigUInt64LE(unique, 8);
		this.#send([header, ...views]);
		if ("views" in answer) answer.release?.();
	}

	#fail(unique: bigint, opcode: number, thrown: unknown): void {
		if (!(thrown instanceof FuseError))
			this.#options.log?.("error", { opcode, err: thrown }, "a request failed unexpectedly");
		const errno = thrown instanceof FuseError ? errnoNumber(thrown.errno) : constants.errno.EIO;
		const header = Buffer.allocUnsafe(replyHeaderBytes);
		header.writeUInt32LE(replyHeaderBytes, 0);
		header.writeInt32LE(-errno, 4);
		header.writeBigUInt64LE(unique, 8);
		this.#send([header]);
	}

	#send(views: Uint8Array[]): void {
		try {
			fs.writevSync(this.#fd, views);
		} catch (error) {
			const { code } = error as NodeJS.ErrnoException;
			// ENOENT: nobody waits for this answer any more. ENODEV: unmounted, as the readers will find too.
			if (code !== "ENOENT" && code !== "ENODEV")
				this.#options.log?.("error", { code }, "the kernel refused an answer");
		}
	}

	invalidateNode(node: number, offset = 0, lengthBytes = 0): void {
		const body = Buffer.alloc(24);
		writeId(body, node, 0);
		body.writeBigInt64LE(BigInt(offset), 8);
		body.writeBigInt64LE(BigInt(lengthBytes), 16);
		this.#notify(notifyCodes.invalidateInode, [body]);
	}

	invalidateEntry(parent: number, entryName: string): void {
		const text = Buffer.from(`${entryName}\0`);
		const body = Buffer.alloc(16);
		writeId(body, parent, 0);
		body.writeUInt32LE(text.length - 1, 8);
		this.#notify(notifyCodes.invalidateEntry, [body, text]);
	}

	/** On a thread: the kernel may wait for a lock that a request of ours holds until it is answered. */
	#notify(code: number, parts: readonly Buffer[]): void {
		const header = Buffer.alloc(replyHeaderBytes);
		header.writeUInt32LE(replyHeaderBytes + parts.reduce((sum, part) => sum + part.length, 0), 0);
		header.writeInt32LE(code, 4);
		this.#notices = this.#notices.then(
			async () => new Promise<void>((resolve) => fs.writev(this.#fd, [header, ...parts], () => resolve())),
		);
	}
}

type Answer = readonly Uint8Array[] | ReadResult;

class Context implements RequestContext {
	readonly uid: number;
	readonly gid: number;
	readonly pid: number;
	#controller: AbortController | undefined;

	constructor(uid: number, gid: number, pid: number) {
		this.uid = uid;
		this.gid = gid;
		this.pid = pid;
	}

	/** Made when somebody asks: most requests are answered before anyone could. */
	get signal(): AbortSignal {
		this.#controller ??= new AbortController();
		return this.#controller.signal;
	}

	abort(): void {
		this.#controller?.abort(new FuseError("EINTR"));
	}
}

class Page {
	readonly plus: boolean;
	readonly #buffer: Buffer;
	#used = 0;

	constructor(sizeBytes: number, plus: boolean) {
		this.#buffer = Buffer.alloc(sizeBytes);
		this.plus = plus;
	}

	get bytes(): Buffer {
		return this.#buffer.subarray(0, this.#used);
	}

	add(entryName: string, { ino, mode }: Pick<Attributes, "ino" | "mode">, nextOffset: number, plus?: Entry): boolean {
		const prefix = this.plus ? entryBytes : 0;
		const nameBytes = Buffer.byteLength(entryName);
		const size = prefix + ((24 + nameBytes + 7) & ~7);
		if (this.#used + size > this.#buffer.length) return false;
		if (this.plus && plus !== undefined) writeEntry(this.#buffer, this.#used, plus);
		const at = this.#used + prefix;
		writeId(this.#buffer, ino, at);
		writeId(this.#buffer, nextOffset, at + 8);
		this.#buffer.writeUInt32LE(nameBytes, at + 16);
		this.#buffer.writeUInt32LE((mode & 0o170_000) >> 12, at + 20);
		this.#buffer.write(entryName, at + 24);
		this.#used += size;
		return true;
	}
}

function then<T, R>(value: T | Promise<T>, next: (value: T) => R): R | Promise<R> {
	return value instanceof Promise ? value.then(next) : next(value);
}

function nothing(): readonly Uint8Array[] {
	return [];
}

function needed<T>(operation: T | undefined, errno: "EPERM" | "EINVAL" | "ENOSYS" | "EBADF"): T {
	if (operation === undefined) throw new FuseError(errno);
	return operation;
}

function errnoNumber(errno: FuseError["errno"]): number {
	if (errno === "ENOTSUP") return constants.errno.EOPNOTSUPP;
	return (constants.errno as Record<string, number>)[errno] ?? constants.errno.EIO;
}

function readId(buffer: Buffer, offset: number): number {
	return buffer.readUInt32LE(offset) + buffer.readUInt32LE(offset + 4) * 0x1_00_00_00_00;
}

function writeId(buffer: Buffer, value: number, offset: number): void {
	buffer.writeUInt32LE(value >>> 0, offset);
	buffer.writeUInt32LE(Math.floor(value / 0x1_00_00_00_00), offset + 4);
}

function names(body: Buffer): string[] {
	const first = body.indexOf(0);
	const second = body.indexOf(0, first + 1);
	return [text(body.subarray(0, first), "EILSEQ"), text(body.subarray(first + 1, second), "EILSEQ")];
}

function name(body: Buffer, otherwise: "ENOENT" | "EILSEQ" = "EILSEQ"): string {
	return text(body.subarray(0, body.indexOf(0)), otherwise);
}

function text(bytes: Buffer, otherwise: "ENOENT" | "EILSEQ"): string {
	if (!isUtf8(bytes)) throw new FuseError(otherwise, "not UTF-8");
	return bytes.toString();
}

function changes(body: Buffer, valid: number): AttributeChanges {
	const time = (flag: number, now: number, at: number, nanoseconds: number): number | "now" | undefined => {
		if ((valid & now) !== 0) return "now";
		if ((valid & flag) === 0) return undefined;
		return Number(body.readBigInt64LE(at)) * 1000 + body.readUInt32LE(nanoseconds) / 1e6;
	};
	const atimeMs = time(setattrValid.atime, setattrValid.atimeNow, 32, 56);
	const mtimeMs = time(setattrValid.mtime, setattrValid.mtimeNow, 40, 60);
	return {
		...((valid & setattrValid.size) !== 0 && { sizeBytes: readId(body, 16) }),
		...(atimeMs !== undefined && { atimeMs }),
		...(mtimeMs !== undefined && { mtimeMs }),
		...((valid & setattrValid.mode) !== 0 && { mode: body.readUInt32LE(68) }),
		...((valid & setattrValid.uid) !== 0 && { uid: body.readUInt32LE(76) }),
		...((valid & setattrValid.gid) !== 0 && { gid: body.readUInt32LE(80) }),
	};
}

function writeTime(buffer: Buffer, ms: number, at: number, nanosecondsAt: number): void {
	const seconds = Math.floor(ms / 1000);
	buffer.writeBigInt64LE(BigInt(seconds), at);
	buffer.writeUInt32LE(Math.min(999_999_999, Math.max(0, Math.round((ms - seconds * 1000) * 1e6))), nanosecondsAt);
}

function writeAttributes(buffer: Buffer, at: number, attributes: Attributes): void {
	writeId(buffer, attributes.ino, at);
	writeId(buffer, attributes.sizeBytes, at + 8);
	writeId(buffer, Math.ceil(attributes.sizeBytes / 512), at + 16);
	writeTime(buffer, attributes.atimeMs, at + 24, at + 48);
	writeTime(buffer, attributes.mtimeMs, at + 32, at + 52);
	writeTime(buffer, attributes.ctimeMs, at + 40, at + 56);
	buffer.writeUInt32LE(attributes.mode, at + 60);
	buffer.writeUInt32LE(attributes.nlink, at + 64);
	buffer.writeUInt32LE(attributes.uid, at + 68);
	buffer.writeUInt32LE(attributes.gid, at + 72);
	buffer.writeUInt32LE(attributes.rdev ?? 0, at + 76);
	buffer.writeUInt32LE(attributes.blockSizeBytes ?? pageBytes, at + 80);
}

function writeValidity(buffer: Buffer, ms: number, at: number, nanosecondsAt: number): void {
	writeId(buffer, Math.floor(ms / 1000), at);
	buffer.writeUInt32LE(Math.floor((ms % 1000) * 1e6), nanosecondsAt);
}

function writeEntry(buffer: Buffer, at: number, entry: Entry): void {
	writeId(buffer, entry.node, at);
	writeId(buffer, 0, at + 8);
	writeValidity(buffer, entry.entryValidMs, at + 16, at + 32);
	writeValidity(buffer, entry.attributesValidMs, at + 24, at + 36);
	writeAttributes(buffer, at + 40, entry.attributes);
}

function entryReply(entry: Entry): readonly Uint8Array[] {
	const reply = Buffer.alloc(entryBytes);
	writeEntry(reply, 0, entry);
	return [reply];
}

function attributesReply(attributes: Attributes & { readonly attributesValidMs: number }): readonly Uint8Array[] {
	const reply = Buffer.alloc(16 + attributesBytes);
	writeValidity(reply, attributes.attributesValidMs, 0, 8);
	writeAttributes(reply, 16, attributes);
	return [reply];
}

function openReply({ handle, keepCache, directIo, nonSeekable }: Opened): readonly Uint8Array[] {
	const reply = Buffer.alloc(16);
	writeId(reply, handle, 0);
	const flags =
		(keepCache === true ? openReplyFlags.keepCache : 0) |
		(directIo === true ? openReplyFlags.directIo : 0) |
		(nonSeekable === true ? openReplyFlags.nonSeekable : 0);
	reply.writeUInt32LE(flags, 8);
	return [reply];
}

function writeReply(bytes: number): readonly Uint8Array[] {
	const reply = Buffer.alloc(8);
	reply.writeUInt32LE(bytes, 0);
	return [reply];
}

function sized(value: Buffer, wanted: number): readonly Uint8Array[] {
	if (wanted === 0) return writeReply(value.length);
	if (value.length > wanted) throw new FuseError("ERANGE");
	return [value];
}
