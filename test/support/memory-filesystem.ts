import {
	FuseError,
	type AttributeChanges,
	type Attributes,
	type Created,
	type DirectoryPage,
	type Entry,
	type Filesystem,
	type FilesystemStatistics,
	type KernelLink,
	type Opened,
	type ReadResult,
	type Reply,
	type RequestContext,
	type Timed,
	withoutSetId,
} from "../../src/fuse/filesystem.ts";
import { currentTime, type Time } from "../../src/fuse/time.ts";

const type = { directory: 0o040_000, file: 0o100_000, symlink: 0o120_000, mask: 0o170_000 } as const;
const openTruncate = 0o1000;
const rename = { noReplace: 1, exchange: 2 } as const;
const xattr = { create: 1, replace: 2 } as const;
const fallocateKeepSize = 1;
const chunkBytes = 1024 * 1024;
const maximumNameBytes = 255;
const zeros = new Uint8Array(chunkBytes);

interface Node {
	readonly id: number;
	mode: number;
	uid: number;
	gid: number;
	nlink: number;
	atime: Time;
	mtime: Time;
	ctime: Time;
	sizeBytes: number;
	/** What the kernel remembers of it. */
	lookups: number;
	opens: number;
	parent: Node | undefined;
	readonly xattrs: Map<string, Buffer>;
	/** Of a directory. */
	readonly children: Map<string, Node>;
	/** Of a file; one that is missing holds zeros. */
	readonly chunks: Map<number, Buffer>;
	/** Of a symbolic link. */
	readonly target: string;
}

interface OpenDirectory {
	entries: (readonly [string, Node])[];
}

/** A complete filesystem in memory: shows what the interface asks for, and is what the transports are tested with. */
export class MemoryFilesystem implements Filesystem {
	kernel: KernelLink | undefined;
	isDestroyed = false;
	readonly #validMs: number;
	readonly #nodes = new Map<number, Node>();
	readonly #directories = new Map<number, OpenDirectory>();
	readonly #root: Node;
	#lastId = 0;
	#lastHandle = 0;

	/** The kernel may believe names and attributes for `validMs`. */
	constructor(validMs = 60_000) {
		this.#validMs = validMs;
		this.#root = this.#create(type.directory | 0o777, { uid: 0, gid: 0 });
		this.#root.nlink = 2;
	}

	/** Nodes that the kernel remembers, the root not among them. */
	get remembered(): number {
		return this.#nodes.values().reduce((count, node) => count + (node.lookups > 0 ? 1 : 0), 0);
	}

	/** Nodes that have a name, or are needed without one. */
	get nodeCount(): number {
		return this.#nodes.size;
	}

	get openFiles(): number {
		return this.#nodes.values().reduce((count, { opens }) => count + opens, 0);
	}

	get openDirectories(): number {
		return this.#directories.size;
	}

	init(kernel: KernelLink): void {
		this.kernel = kernel;
	}

	destroy(): void {
		this.isDestroyed = true;
	}

	lookup(parent: number, name: string, _context?: RequestContext): Reply<Entry> {
		return this.#entry(this.#child(this.#directory(parent), name));
	}

	forget(id: number, count: number): void {
		const node = this.#node(id);
		node.lookups = Math.max(0, node.lookups - count);
		this.#dropIfUnused(node);
	}

	getattr(id: number): Timed<Attributes> {
		return { ...attributes(this.#node(id)), attributesValidMs: this.#validMs };
	}

	setattr(id: number, changes: AttributeChanges): Timed<Attributes> {
		const node = this.#node(id);
		const now = currentTime();
		if (changes.sizeBytes !== undefined) this.#resize(node, changes.sizeBytes);
		if (changes.mode !== undefined) node.mode = (node.mode & type.mask) | (changes.mode & 0o7777);
		else if (changes.clearsSetId === true && (node.mode & type.mask) === type.file) node.mode = withoutSetId(node.mode);
		if (changes.uid !== undefined) node.uid = changes.uid;
		if (changes.gid !== undefined) node.gid = changes.gid;
		if (changes.atime !== undefined) node.atime = changes.atime === "now" ? now : changes.atime;
		if (changes.mtime !== undefined) node.mtime = changes.mtime === "now" ? now : changes.mtime;
		node.ctime = now;
		return this.getattr(id);
	}

	readlink(id: number): string {
		const node = this.#node(id);
		if ((node.mode & type.mask) !== type.symlink) throw new FuseError("EINVAL");
		return node.target;
	}

	symlink(parent: number, name: string, target: string, context: RequestContext): Entry {
		return this.#add(parent, name, type.symlink | 0o777, context, target);
	}

	mknod(parent: number, name: string, mode: number, context: RequestContext): Entry {
		return this.#add(parent, name, mode, context);
	}

	mkdir(parent: number, name: string, mode: number, context: RequestContext): Entry {
		return this.#add(parent, name, type.directory | (mode & 0o7777), context);
	}

	unlink(parentId: number, name: string): void {
		const parent = this.#directory(parentId);
		const node = this.#child(parent, name);
		if (isDirectory(node)) throw new FuseError("EISDIR");
		this.#detach(parent, name, node);
	}

	rmdir(parentId: number, name: string): void {
		const parent = this.#directory(parentId);
		const node = this.#child(parent, name);
		if (!isDirectory(node)) throw new FuseError("ENOTDIR");
		if (node.children.size > 0) throw new FuseError("ENOTEMPTY");
		this.#detach(parent, name, node);
	}

	rename(fromId: number, name: string, toId: number, newName: string, flags: number): void {
		const [from, to] = [this.#directory(fromId), this.#directory(toId)];
		checkName(newName);
		const node = this.#child(from, name);
		const other = to.children.get(newName);
		if ((flags & rename.noReplace) !== 0 && other !== undefined) throw new FuseError("EEXIST");
		if ((flags & rename.exchange) !== 0) {
			if (other === undefined) throw new FuseError("ENOENT");
			this.#attach(from, name, other);
			this.#attach(to, newName, node);
			from.nlink += Number(isDirectory(other)) - Number(isDirectory(node));
			to.nlink += Number(isDirectory(node)) - Number(isDirectory(other));
			return;
		}
		if (other === node) return;
		if (other !== undefined) {
			if (isDirectory(other) && !isDirectory(node)) throw new FuseError("EISDIR");
			if (!isDirectory(other) && isDirectory(node)) throw new FuseError("ENOTDIR");
			if (other.children.size > 0) throw new FuseError("ENOTEMPTY");
			this.#detach(to, newName, other);
		}
		from.children.delete(name);
		this.#attach(to, newName, node);
		if (isDirectory(node)) {
			from.nlink--;
			to.nlink++;
		}
		from.mtime = from.ctime = currentTime();
	}

	open(id: number, flags: number, context?: RequestContext): Reply<Opened> {
		const node = this.#node(id);
		if (context?.clearsSetId === true) this.#clearSetId(node);
		if ((flags & openTruncate) !== 0) this.#resize(node, 0);
		node.opens++;
		return { handle: ++this.#lastHandle, keepCache: true };
	}

	create(parent: number, name: string, mode: number, flags: number, context: RequestContext): Reply<Created> {
		const entry = this.#add(parent, name, type.file | (mode & 0o7777), context);
		return { ...entry, ...(this.open(entry.node, flags) as Opened) };
	}

	read(id: number, _handle: number, offset: number, sizeBytes: number, _context?: RequestContext): Reply<ReadResult> {
		const node = this.#node(id);
		const views: Uint8Array[] = [];
		const end = Math.min(offset + sizeBytes, node.sizeBytes);
		for (let at = offset; at < end;) {
			const inChunk = at % chunkBytes;
			const length = Math.min(chunkBytes - inChunk, end - at);
			views.push((node.chunks.get(Math.floor(at / chunkBytes)) ?? zeros).subarray(inChunk, inChunk + length));
			at += length;
		}
		return { views };
	}

	write(id: number, _handle: number, offset: number, data: Buffer, context?: RequestContext): Reply<number> {
		const node = this.#node(id);
		if (context?.clearsSetId === true) this.#clearSetId(node);
		for (let done = 0; done < data.length;) {
			const inChunk = (offset + done) % chunkBytes;
			const part = data.subarray(done, done + chunkBytes - inChunk);
			this.#chunk(node, Math.floor((offset + done) / chunkBytes)).set(part, inChunk);
			done += part.length;
		}
		node.sizeBytes = Math.max(node.sizeBytes, offset + data.length);
		node.mtime = node.ctime = currentTime();
		return data.length;
	}

	flush(_id: number, _handle: number, _context?: RequestContext): Reply<void> {}

	release(id: number): void {
		const node = this.#node(id);
		node.opens--;
		this.#dropIfUnused(node);
	}

	fsync(): void {}

	fsyncdir(): void {}

	opendir(id: number): Opened {
		this.#directory(id);
		const handle = ++this.#lastHandle;
		this.#directories.set(handle, { entries: [] });
		return { handle };
	}

	readdir(id: number, handle: number, offset: number, page: DirectoryPage): void {
		const node = this.#directory(id);
		const open = this.#directories.get(handle);
		if (open === undefined) throw new FuseError("EBADF");
		// What is deleted meanwhile must not move what comes after it.
		if (offset === 0) open.entries = [[".", node], ["..", node.parent ?? node], ...node.children];
		for (const [index, [name, child]] of open.entries.entries().drop(offset)) {
			const { id: ino, mode } = child;
			const isDots = name === "." || name === "..";
			const isThere = node.children.get(name) === child;
			if (!isDots && !isThere) continue;
			if (!page.add(name, { ino, mode }, index + 1, this.#pageEntry(page, child, isDots))) {
				if (page.plus && !isDots) child.lookups--;
				return;
			}
		}
	}

	releasedir(_id: number, handle: number): void {
		this.#directories.delete(handle);
	}

	statfs(): FilesystemStatistics {
		const blocks = 1024 * 1024;
		return {
			blockSizeBytes: 4096,
			blocks,
			freeBlocks: blocks / 2,
			files: 1_000_000,
			freeFiles: 1_000_000 - this.#nodes.size,
			maximumNameLength: maximumNameBytes,
		};
	}

	getxattr(id: number, name: string): Buffer {
		checkXattr(name);
		const value = this.#node(id).xattrs.get(name);
		if (value === undefined) throw new FuseError("ENODATA");
		return value;
	}

	setxattr(id: number, name: string, value: Buffer, flags: number): void {
		checkXattr(name);
		const { xattrs } = this.#node(id);
		if ((flags & xattr.create) !== 0 && xattrs.has(name)) throw new FuseError("EEXIST");
		if ((flags & xattr.replace) !== 0 && !xattrs.has(name)) throw new FuseError("ENODATA");
		xattrs.set(name, value);
	}

	listxattr(id: number): string[] {
		return [...this.#node(id).xattrs.keys()];
	}

	removexattr(id: number, name: string): void {
		if (!this.#node(id).xattrs.delete(name)) throw new FuseError("ENODATA");
	}

	fallocate(id: number, _handle: number, offset: number, lengthBytes: number, mode: number): void {
		if ((mode & ~fallocateKeepSize) !== 0) throw new FuseError("ENOTSUP");
		const node = this.#node(id);
		if ((mode & fallocateKeepSize) === 0) node.sizeBytes = Math.max(node.sizeBytes, offset + lengthBytes);
	}

	/** Replaces what a file holds as if another computer had done it; the kernel is told nothing. */
	replace(name: string, content: Buffer): number {
		const node = this.#child(this.#root, name);
		this.#resize(node, 0);
		void this.write(node.id, 0, 0, content);
		return node.id;
	}

	#clearSetId(node: Node): void {
		node.mode = withoutSetId(node.mode);
		this.kernel?.invalidateNode(node.id, -1);
	}

	#node(id: number): Node {
		const node = this.#nodes.get(id);
		if (node === undefined) throw new FuseError("ESTALE");
		return node;
	}

	#directory(id: number): Node {
		const node = this.#node(id);
		if (!isDirectory(node)) throw new FuseError("ENOTDIR");
		return node;
	}

	#child(parent: Node, name: string): Node {
		checkName(name);
		const node = parent.children.get(name);
		if (node === undefined) throw new FuseError("ENOENT");
		return node;
	}

	#create(mode: number, { uid, gid }: Pick<RequestContext, "uid" | "gid">, target = ""): Node {
		const now = currentTime();
		const id = ++this.#lastId;
		const node: Node = {
			id,
			mode,
			uid,
			gid,
			nlink: 0,
			atime: now,
			mtime: now,
			ctime: now,
			sizeBytes: Buffer.byteLength(target),
			lookups: 0,
			opens: 0,
			parent: undefined,
			xattrs: new Map(),
			children: new Map(),
			chunks: new Map(),
			target,
		};
		this.#nodes.set(id, node);
		return node;
	}

	#add(parentId: number, name: string, mode: number, context: RequestContext, target?: string): Entry {
		const parent = this.#directory(parentId);
		checkName(name);
		if (parent.children.has(name)) throw new FuseError("EEXIST");
		const node = this.#create(mode, context, target);
		node.nlink = isDirectory(node) ? 2 : 1;
		if (isDirectory(node)) parent.nlink++;
		this.#attach(parent, name, node);
		return this.#entry(node);
	}

	#attach(parent: Node, name: string, node: Node): void {
		parent.children.set(name, node);
		node.parent = parent;
		parent.mtime = parent.ctime = node.ctime = currentTime();
	}

	#detach(parent: Node, name: string, node: Node): void {
		parent.children.delete(name);
		node.nlink = 0;
		node.ctime = parent.mtime = parent.ctime = currentTime();
		if (isDirectory(node)) parent.nlink--;
		this.#dropIfUnused(node);
	}

	#dropIfUnused(node: Node): void {
		if (node.nlink === 0 && node.lookups === 0 && node.opens === 0) this.#nodes.delete(node.id);
	}

	#resize(node: Node, sizeBytes: number): void {
		if (sizeBytes < node.sizeBytes) {
			const last = Math.floor(sizeBytes / chunkBytes);
			for (const index of node.chunks.keys()) if (index > last) node.chunks.delete(index);
			node.chunks.get(last)?.fill(0, sizeBytes % chunkBytes);
		}
		node.sizeBytes = sizeBytes;
		node.mtime = node.ctime = currentTime();
	}

	#chunk(node: Node, index: number): Buffer {
		let chunk = node.chunks.get(index);
		if (chunk === undefined) node.chunks.set(index, (chunk = Buffer.alloc(chunkBytes)));
		return chunk;
	}

	/** Counts it. */
	#entry(node: Node): Entry {
		node.lookups++;
		return {
			node: node.id,
			attributes: attributes(node),
			entryValidMs: this.#validMs,
			attributesValidMs: this.#validMs,
		};
	}

	#pageEntry(page: DirectoryPage, node: Node, isDots: boolean): Entry | undefined {
		return page.plus && !isDots ? this.#entry(node) : undefined;
	}
}

function isDirectory(node: Node): boolean {
	return (node.mode & type.mask) === type.directory;
}

function checkName(name: string): void {
	if (Buffer.byteLength(name) > maximumNameBytes) throw new FuseError("ENAMETOOLONG");
}

/** Not ENODATA: the kernel and programs such as ls ask for every file, and some stop after this answer. */
function checkXattr(name: string): void {
	if (!name.startsWith("user.")) throw new FuseError("ENOTSUP");
}

function attributes(node: Node): Attributes {
	const { id: ino, mode, nlink, uid, gid, sizeBytes, atime, mtime, ctime } = node;
	return { ino, mode, nlink, uid, gid, sizeBytes, atime, mtime, ctime };
}
