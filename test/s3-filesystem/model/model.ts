import { constants } from "node:fs";
import { bytesOf, digestOf, type ElsewhereOperation, type Operation, type Outcome, type Status } from "./operation.ts";

export type ModelNode = ModelFile | ModelDirectory | ModelLink;

interface Shared {
	mode: number;
	uid: number;
	gid: number;
	mtime: Moment | undefined;
	atimeMs: number | undefined;
}

export interface ModelFile extends Shared {
	readonly kind: "file";
	content: Buffer;
	readonly xattrs: Map<string, string>;
	/** Set when the file has no name any more: where it had its last one. */
	orphan: { readonly parent: ModelDirectory; readonly name: string } | undefined;
	/** Without a name, and its object was replaced: what is read of it may also be ESTALE. */
	mayBeStale: boolean;
}

export interface ModelDirectory extends Shared {
	readonly kind: "directory";
	readonly children: Map<string, ModelNode>;
	readonly xattrs: Map<string, string>;
}

export interface ModelLink extends Shared {
	readonly kind: "symlink";
	readonly target: string;
}

/** A time that was set, or some time in between. */
interface Moment {
	readonly fromMs: number;
	readonly untilMs: number;
	readonly isSet?: boolean;
}

export interface ModelHandle {
	readonly file: ModelFile;
	readonly readable: boolean;
	readonly writable: boolean;
	readonly append: boolean;
}

/** What may come of an operation: one outcome, or one and an error. */
export type Expected =
	| { readonly kind: "outcome"; readonly outcome: Outcome; readonly orError?: string }
	| { readonly kind: "status"; readonly node: ModelNode };

export class Refused extends Error {
	readonly code: string;
	constructor(code: string) {
		super(code);
		this.code = code;
	}
}

const { O_ACCMODE, O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_TRUNC, O_WRONLY } = { ...constants, O_ACCMODE: 3 };
const done: Expected = { kind: "outcome", outcome: { done: true } };
/** S3 keeps 2 KB of metadata. */
export const tooLongXattrBytes = 3000;

export interface Place {
	readonly parent: ModelDirectory;
	readonly name: string;
	readonly node: ModelNode | undefined;
}

/** A file system in memory, as POSIX and Linux have it, with the few differences that the bucket makes. */
export class Model {
	readonly root: ModelDirectory = directory(0o755);
	readonly handles = new Map<number, ModelHandle>();
	readonly #orphans = new Set<ModelFile>();

	/** Carries the operation out. */
	apply(operation: Operation): Expected {
		try {
			return this.#apply(operation);
		} catch (error) {
			if (error instanceof Refused) return { kind: "outcome", outcome: { error: error.code } };
			throw error;
		}
	}

	#apply(operation: Operation): Expected {
		switch (operation.op) {
			case "open":
				this.#open(operation.handle, operation.path, operation.flags, operation.mode);
				return done;
			case "close":
				return this.#close(operation.handle);
			case "read": {
				const { file, readable } = this.handle(operation.handle);
				if (!readable) throw new Refused("EBADF");
				const { offset, lengthBytes } = operation;
				const digest = digestOf(file.content.subarray(offset, offset + lengthBytes));
				return outcomeOf(file, { digest });
			}
			case "write": {
				const { file, writable, append } = this.handle(operation.handle);
				if (!writable) throw new Refused("EBADF");
				const bytes = bytesOf(operation.seed, operation.lengthBytes);
				const offset = append ? file.content.length : operation.offset;
				const content =
					offset + bytes.length > file.content.length ? resized(file.content, offset + bytes.length) : file.content;
				bytes.copy(content, offset);
				file.content = content;
				touched(file);
				return outcomeOf(file, { done: true });
			}
			case "ftruncate": {
				const { file, writable } = this.handle(operation.handle);
				if (!writable) throw new Refused("EINVAL");
				truncate(file, operation.sizeBytes);
				return outcomeOf(file, { done: true });
			}
			case "fsync":
				return outcomeOf(this.handle(operation.handle).file, { done: true });
			case "fstat":
				return { kind: "status", node: this.handle(operation.handle).file };
			case "truncate": {
				const file = this.#present(operation.path);
				if (file.kind === "directory") throw new Refused("EISDIR");
				if (file.kind === "file") truncate(file, operation.sizeBytes);
				return done;
			}
			case "unlink": {
				const { parent, name, node } = this.#place(operation.path, false);
				if (node === undefined) throw new Refused("ENOENT");
				if (node.kind === "directory") throw new Refused("EISDIR");
				this.#removeName(parent, name);
				return done;
			}
			case "rename":
				this.#rename(operation.path, operation.to);
				return done;
			case "mknod": {
				const { parent, name, node } = this.#place(operation.path, false);
				if (node !== undefined) throw new Refused("EEXIST");
				this.#addName(parent, name, emptyFile(operation.mode));
				return done;
			}
			case "mkdir": {
				const { parent, name, node } = this.#place(operation.path, false);
				if (node !== undefined) throw new Refused("EEXIST");
				this.#addName(parent, name, directory(operation.mode));
				return done;
			}
			case "rmdir": {
				const { parent, name, node } = this.#place(operation.path, false);
				if (node === undefined) throw new Refused("ENOENT");
				if (node.kind !== "directory") throw new Refused("ENOTDIR");
				if (node.children.size > 0) throw new Refused("ENOTEMPTY");
				this.#objectsGone(node);
				this.#removeName(parent, name);
				return done;
			}
			case "symlink": {
				const { parent, name, node } = this.#place(operation.path, false);
				if (node !== undefined) throw new Refused("EEXIST");
				this.#addName(parent, name, { kind: "symlink", ...shared(0o777), target: operation.target });
				return done;
			}
			case "readlink": {
				const { node } = this.#place(operation.path, false);
				if (node === undefined) throw new Refused("ENOENT");
				if (node.kind !== "symlink") throw new Refused("EINVAL");
				return { kind: "outcome", outcome: { text: node.target } };
			}
			case "link": {
				const { node } = this.#place(operation.path, false);
				if (node === undefined) throw new Refused("ENOENT");
				if (this.#place(operation.to, false).node !== undefined) throw new Refused("EEXIST");
				throw new Refused("EPERM");
			}
			case "chmod":
				this.#present(operation.path).mode = operation.mode;
				return done;
			case "chown": {
				const { node } = this.#place(operation.path, false);
				if (node === undefined) throw new Refused("ENOENT");
				node.uid = operation.uid;
				node.gid = operation.gid;
				return done;
			}
			case "utimes": {
				const { node } = this.#place(operation.path, false);
				if (node === undefined) throw new Refused("ENOENT");
				node.mtime = { fromMs: operation.mtimeMs, untilMs: operation.mtimeMs, isSet: true };
				node.atimeMs = operation.atimeMs;
				return done;
			}
			case "lstat": {
				const { node } = this.#place(operation.path, false);
				if (node === undefined) throw new Refused("ENOENT");
				return { kind: "status", node };
			}
			case "readdir": {
				const node = operation.path === "." ? this.root : this.#present(operation.path);
				if (node.kind !== "directory") throw new Refused("ENOTDIR");
				return { kind: "outcome", outcome: { names: [...node.children].map(([name, { kind }]) => `${kind} ${name}`) } };
			}
			case "readFile": {
				const node = this.#present(operation.path);
				if (node.kind !== "file") throw new Refused("EISDIR");
				return { kind: "outcome", outcome: { digest: digestOf(node.content) } };
			}
			case "setxattr": {
				if (operation.value.length >= tooLongXattrBytes) {
					this.#withXattrs(operation.path);
					throw new Refused("ENOSPC");
				}
				this.#withXattrs(operation.path).set(operation.name, operation.value);
				return done;
			}
			case "getxattr": {
				const value = this.#withXattrs(operation.path).get(operation.name);
				if (value === undefined) throw new Refused("ENODATA");
				return { kind: "outcome", outcome: { text: value } };
			}
			case "removexattr":
				if (!this.#withXattrs(operation.path).delete(operation.name)) throw new Refused("ENODATA");
				return done;
			case "listxattr":
				return { kind: "outcome", outcome: { names: [...this.#withXattrs(operation.path).keys()] } };
			default:
				return operation satisfies never;
		}
	}

	/** What another client does, which is seen at once. */
	applyElsewhere(operation: ElsewhereOperation): void {
		const place = this.placeOfObject(operation.path);
		if (place === undefined) throw new Error(`there is no object for ${operation.path}`);
		const { parent, name } = place;
		this.#removeName(parent, name);
		if (operation.op === "delete-elsewhere") return;
		const file = emptyFile(0o644);
		file.content = bytesOf(operation.seed, operation.lengthBytes);
		// Some servers tell it in whole seconds.
		file.mtime = undefined;
		this.#addName(parent, name, file);
	}

	/** Where another client may put an object, or replace one: not through links, and not what is open here or was. */
	placeOfObject(path: string): Place | undefined {
		const names = path.split("/");
		const last = names.pop() ?? "";
		let parent = this.root;
		for (const name of names) {
			const node = parent.children.get(name);
			if (node?.kind !== "directory") return undefined;
			parent = node;
		}
		const node = parent.children.get(last);
		if (Buffer.byteLength(last) > 255 || node?.kind === "directory") return undefined;
		if (node?.kind === "file" && this.isOpen(node)) return undefined;
		const isHidden = this.#orphans.values().some(({ orphan }) => orphan?.parent === parent && orphan.name === last);
		return isHidden ? undefined : { parent, name: last, node };
	}

	handle(handle: number): ModelHandle {
		const open = this.handles.get(handle);
		if (open === undefined) throw new Error(`handle ${handle} is not open`);
		return open;
	}

	/** What a path leads to, links followed. */
	resolve(path: string): ModelNode | undefined {
		try {
			return this.#place(path, true).node;
		} catch (error) {
			if (error instanceof Refused) return undefined;
			throw error;
		}
	}

	/** All names, directories before what is in them. */
	*walk(from = this.root, path = ""): Generator<{ readonly path: string; readonly node: ModelNode }> {
		for (const [name, node] of from.children) {
			const below = path === "" ? name : `${path}/${name}`;
			yield { path: below, node };
			if (node.kind === "directory") yield* this.walk(node, below);
		}
	}

	pathOf(file: ModelFile): string | undefined {
		for (const { path, node } of this.walk()) if (node === file) return path;
		return undefined;
	}

	#open(handle: number, path: string, flags: number, mode: number): void {
		const isExclusive = (flags & O_CREAT) !== 0 && (flags & O_EXCL) !== 0;
		const { parent, name, node } = this.#place(path, !isExclusive);
		const writable = (flags & O_ACCMODE) !== O_RDONLY;
		if (node === undefined) {
			if ((flags & O_CREAT) === 0) throw new Refused("ENOENT");
			const file = emptyFile(mode);
			this.#addName(parent, name, file);
			this.#addHandle(handle, file, flags);
			return;
		}
		if (isExclusive) throw new Refused("EEXIST");
		if (node.kind === "directory" && (writable || (flags & O_CREAT) !== 0)) throw new Refused("EISDIR");
		if (node.kind !== "file") throw new Error(`${path} is not to be opened`);
		if (writable && (flags & O_TRUNC) !== 0) truncate(node, 0);
		this.#addHandle(handle, node, flags);
	}

	#addHandle(handle: number, file: ModelFile, flags: number): void {
		this.handles.set(handle, {
			file,
			readable: (flags & O_ACCMODE) !== O_WRONLY,
			writable: (flags & O_ACCMODE) !== O_RDONLY,
			append: (flags & O_APPEND) !== 0,
		});
	}

	#close(handle: number): Expected {
		const { file } = this.handle(handle);
		this.handles.delete(handle);
		if (!this.isOpen(file)) this.#orphans.delete(file);
		return outcomeOf(file, { done: true });
	}

	isOpen(file: ModelFile): boolean {
		return [...this.handles.values()].some((open) => open.file === file);
	}

	#rename(path: string, to: string): void {
		// In the order in which Linux finds them.
		this.#parentOf(path);
		this.#parentOf(to);
		const from = this.#place(path, false);
		const { node } = from;
		if (node === undefined) throw new Refused("ENOENT");
		const target = this.#place(to, false);
		if (node.kind === "directory" && (target.parent === node || this.#isBelow(node, target.parent))) {
			throw new Refused("EINVAL");
		}
		if (target.node?.kind === "directory" && (target.node === from.parent || this.#isBelow(target.node, from.parent))) {
			throw new Refused("ENOTEMPTY");
		}
		if (node === target.node) return;
		if (target.node !== undefined) {
			if (node.kind === "directory" && target.node.kind !== "directory") throw new Refused("ENOTDIR");
			if (node.kind !== "directory" && target.node.kind === "directory") throw new Refused("EISDIR");
			if (target.node.kind === "directory" && target.node.children.size > 0) throw new Refused("ENOTEMPTY");
			if (target.node.kind === "directory") this.#objectsGone(target.node);
			this.#removeName(target.parent, target.name);
		}
		if (node.kind === "directory") this.#objectsGone(node);
		from.parent.children.delete(from.name);
		from.parent.mtime = undefined;
		this.#addName(target.parent, target.name, node);
	}

	#isBelow(above: ModelDirectory, wanted: ModelDirectory): boolean {
		return [...above.children.values()].some(
			(child) => child.kind === "directory" && (child === wanted || this.#isBelow(child, wanted)),
		);
	}

	#addName(parent: ModelDirectory, name: string, node: ModelNode): void {
		parent.children.set(name, node);
		parent.mtime = undefined;
		for (const file of this.#orphans) {
			// A new object takes the place of the old one.
			if (file.orphan?.parent === parent && file.orphan.name === name) file.mayBeStale = true;
		}
	}

	#removeName(parent: ModelDirectory, name: string): void {
		const node = parent.children.get(name);
		parent.children.delete(name);
		parent.mtime = undefined;
		if (node?.kind !== "file" || !this.isOpen(node)) return;
		node.orphan = { parent, name };
		this.#orphans.add(node);
	}

	/** Files without a name below a directory that goes away or gets another name lose their objects. */
	#objectsGone(gone: ModelDirectory): void {
		for (const file of this.#orphans) {
			const parent = file.orphan?.parent;
			if (parent !== undefined && (parent === gone || this.#isBelow(gone, parent))) file.mayBeStale = true;
		}
	}

	#present(path: string): ModelNode {
		const { node } = this.#place(path, true);
		if (node === undefined) throw new Refused("ENOENT");
		return node;
	}

	#withXattrs(path: string): Map<string, string> {
		const node = this.#present(path);
		if (node.kind === "symlink") throw new Error(`${path} still is a link`);
		return node.xattrs;
	}

	#place(path: string, follow: boolean, from = this.root, depth = 0): Place {
		const { parent, last } = this.#parentOf(path, from, depth);
		const node = this.#child(parent, last);
		// Links have targets in their own directory only.
		if (follow && node?.kind === "symlink") return this.#place(node.target, true, parent, depth + 1);
		return { parent, name: last, node };
	}

	#parentOf(path: string, from = this.root, depth = 0): { readonly parent: ModelDirectory; readonly last: string } {
		const names = path.split("/");
		const last = names.pop() ?? "";
		if (depth > 40) throw new Refused("ELOOP");
		let parent = from;
		for (const name of names) {
			const node = this.#follow(this.#child(parent, name), parent, depth);
			if (node === undefined) throw new Refused("ENOENT");
			if (node.kind !== "directory") throw new Refused("ENOTDIR");
			parent = node;
		}
		return { parent, last };
	}

	#child(parent: ModelDirectory, name: string): ModelNode | undefined {
		if (Buffer.byteLength(name) > 255) throw new Refused("ENAMETOOLONG");
		return parent.children.get(name);
	}

	#follow(node: ModelNode | undefined, parent: ModelDirectory, depth: number): ModelNode | undefined {
		return node?.kind === "symlink" ? this.#place(node.target, true, parent, depth + 1).node : node;
	}
}

/** Files of this length are sent while they are written; what they have as their time is when that was done. */
const streamedBytes = 8 * 1024 ** 2;

/**
 * How a status differs from what it should be, if it does. A mount that shows what is listed knows of a directory only that it is
 * there until it asks for more.
 */
export function differenceOf(
	node: ModelNode,
	status: Status,
	options: { readonly onlyListed: boolean },
): string | undefined {
	const isOnlyListed = node.kind === "directory" && options.onlyListed;
	const wanted: Partial<Status> = {
		kind: node.kind,
		...(!isOnlyListed && { mode: node.mode, uid: node.uid, gid: node.gid }),
		...(node.kind === "file" && { sizeBytes: node.content.length }),
		...(node.kind === "symlink" && { sizeBytes: Buffer.byteLength(node.target) }),
	};
	for (const [field, value] of Object.entries(wanted)) {
		const found = status[field as keyof Status];
		if (found !== value) return `${field} is ${found}, not ${value}`;
	}
	if (isOnlyListed) return undefined;
	const { mtime, atimeMs } = node;
	const isExact = mtime?.isSet === true;
	const isStreamed = node.kind === "file" && node.content.length >= streamedBytes;
	const earlierMs = isExact ? 0.002 : 50;
	const laterMs = isExact ? 0.002 : isStreamed ? 60_000 : 50;
	if (mtime !== undefined && (status.mtimeMs < mtime.fromMs - earlierMs || status.mtimeMs > mtime.untilMs + laterMs)) {
		return `mtime is ${status.mtimeMs}, not from ${mtime.fromMs} to ${mtime.untilMs}`;
	}
	if (atimeMs !== undefined && Math.abs(status.atimeMs - atimeMs) > 0.002)
		return `atime is ${status.atimeMs}, not ${atimeMs}`;
	return undefined;
}

/** Called when the operation is over: what changed now changed at some time until now. */
export function settleTime(node: ModelNode): void {
	if (node.mtime !== undefined && node.mtime.untilMs === Number.POSITIVE_INFINITY) {
		node.mtime = { fromMs: node.mtime.fromMs, untilMs: Date.now() };
	}
}

function outcomeOf(file: ModelFile, outcome: Outcome): Expected {
	return { kind: "outcome", outcome, ...(file.mayBeStale && { orError: "ESTALE" }) };
}

function shared(mode: number): Shared {
	return { mode, uid: 0, gid: 0, mtime: { fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY }, atimeMs: undefined };
}

function emptyFile(mode: number): ModelFile {
	return {
		kind: "file",
		...shared(mode),
		content: Buffer.alloc(0),
		xattrs: new Map(),
		orphan: undefined,
		mayBeStale: false,
	};
}

function directory(mode: number): ModelDirectory {
	return { kind: "directory", ...shared(mode), mtime: undefined, children: new Map(), xattrs: new Map() };
}

function touched(file: ModelFile): void {
	file.mtime = { fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
}

function truncate(file: ModelFile, sizeBytes: number): void {
	if (sizeBytes === file.content.length) {
		// Whether the time changes then is not promised.
		file.mtime = undefined;
		return;
	}
	file.content = resized(file.content, sizeBytes);
	touched(file);
}

function resized(content: Buffer, sizeBytes: number): Buffer {
	if (sizeBytes <= content.length) return content.subarray(0, sizeBytes);
	const longer = Buffer.alloc(sizeBytes);
	content.copy(longer);
	return longer;
}
