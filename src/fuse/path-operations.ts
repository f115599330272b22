import { errnoOf } from "./errno.ts";
import {
	FuseError,
	type Attributes,
	type AttributeChanges,
	type DirectoryPage,
	type Filesystem,
	type FilesystemStatistics,
	type Opened,
	type RequestContext,
} from "./filesystem.ts";
import { timeOf, type Time } from "./time.ts";

type Done<Value = unknown> = (result: number, value?: Value) => void;
type Failed = (operation: string, thrown: unknown) => void;

/** A node that stays as long as it is held. */
interface Held {
	readonly node: number;
	readonly letGo: () => void;
}

interface OpenPath extends Held {
	readonly handle: number;
}

/** Names of a directory, and of each what its type and number are, as fuse-native wants struct stat. */
export interface DirectoryList {
	readonly names: readonly string[];
	readonly stats: readonly Uint32Array[];
}

const root: Held = { node: 1, letGo: () => undefined };
const openFlags = { readWrite: 2, create: 0o100, directory: 0o200_000 } as const;
/** What chown(2) leaves as it is. */
const unchanged = 0xff_ff_ff_ff;

/**
 * libfuse keeps who asks to itself here, and no interrupt comes through. A signal each time it is asked for: those that wait for one
 * that is shared would add up.
 */
const context: RequestContext = {
	uid: 0,
	gid: 0,
	pid: 0,
	get signal() {
		return new AbortController().signal;
	},
};

const keptDirectories = 1000;
/** What libfuse hands on for a path that it does not know any more. */
const noPath = "-";
/** The names that libfuse gives to files that are removed while they are open. */
const hiddenName = /^\.fuse_hidden[0-9a-f]{16}$/;

/**
 * The operations of libfuse's high-level interface, which knows paths, on a filesystem that knows nodes. Each path is walked from the
 * root, and what was looked up on the way is forgotten again, directories not at once; the node of an open file is held until it is
 * closed.
 *
 * libfuse renames what is removed while it is open, and removes it later. Here it is removed at once, as the program wanted it, and its
 * node is held under the name that libfuse believes in: nobody else sees that name, and none is left behind.
 */
export class PathOperations {
	requests = 0;
	errors = 0;
	inFlight = 0;
	readonly #filesystem: Filesystem;
	readonly #failed: Failed;
	readonly #open = new Map<number, OpenPath>();
	/** By the name that libfuse has given them. */
	readonly #hidden = new Map<string, Held>();
	/** Directories by their nodes, the last used last. */
	readonly #kept = new Map<number, Held>();
	#lastDescriptor = 0;

	constructor(filesystem: Filesystem, failed: Failed) {
		this.#filesystem = filesystem;
		this.#failed = failed;
	}

	/** As fuse-native wants them: the last argument of each is called once, with 0 or more, or a negative errno. */
	all(): Readonly<Record<string, unknown>> {
		const filesystem = this.#filesystem;
		return {
			readlink: (path: string, done: Done) =>
				this.#answer("readlink", done, async () => {
					if (filesystem.readlink === undefined) throw new FuseError("EINVAL");
					return [0, await this.#at(path, async (node) => filesystem.readlink?.(node, context))];
				}),
			truncate: (path: string, sizeBytes: number, done: Done) => this.#change("truncate", path, { sizeBytes }, done),
			ftruncate: (_path: string, descriptor: number, sizeBytes: number, done: Done) =>
				this.#answer("ftruncate", done, async () => {
					const { node, handle } = this.#file(descriptor);
					await filesystem.setattr(node, { sizeBytes }, handle, context);
				}),
			chmod: (path: string, mode: number, done: Done) => this.#change("chmod", path, { mode }, done),
			chown: (path: string, uid: number, gid: number, done: Done) =>
				this.#change("chown", path, { ...(uid !== unchanged && { uid }), ...(gid !== unchanged && { gid }) }, done),
			utimens: (path: string, atime: number, mtime: number, done: Done) =>
				this.#change("utimens", path, { atime: timeOf(signed(atime)), mtime: timeOf(signed(mtime)) }, done),
			mknod: (path: string, mode: number, _device: number, done: Done) =>
				this.#answer("mknod", done, async () =>
					this.#in(path, async (parent, name) => {
						if (filesystem.mknod === undefined) throw new FuseError("EPERM");
						filesystem.forget((await filesystem.mknod(parent, name, mode, context)).node, 1);
					}),
				),
			mkdir: (path: string, mode: number, done: Done) =>
				this.#answer("mkdir", done, async () =>
					this.#in(path, async (parent, name) => {
						if (filesystem.mkdir === undefined) throw new FuseError("EPERM");
						filesystem.forget((await filesystem.mkdir(parent, name, mode, context)).node, 1);
					}),
				),
			symlink: (target: string, path: string, done: Done) =>
				this.#answer("symlink", done, async () =>
					this.#in(path, async (parent, name) => {
						if (filesystem.symlink === undefined) throw new FuseError("EPERM");
						filesystem.forget((await filesystem.symlink(parent, name, target, context)).node, 1);
					}),
				),
			link: (from: string, path: string, done: Done) =>
				this.#answer("link", done, async () =>
					this.#at(from, async (node) =>
						this.#in(path, async (parent, name) => {
							if (filesystem.link === undefined) throw new FuseError("EPERM");
							filesystem.forget((await filesystem.link(node, parent, name, context)).node, 1);
						}),
					),
				),
			unlink: (path: string, done: Done) =>
				this.#answer("unlink", done, async () => {
					const hidden = this.#hidden.get(lastName(path));
					if (hidden === undefined) return this.#unlink(path);
					this.#hidden.delete(lastName(path));
					hidden.letGo();
				}),
			rmdir: (path: string, done: Done) =>
				this.#answer("rmdir", done, async () =>
					this.#in(path, async (parent, name) => {
						if (filesystem.rmdir === undefined) throw new FuseError("EPERM");
						await filesystem.rmdir(parent, name, context);
					}),
				),
			rename: (from: string, to: string, done: Done) =>
				this.#answer("rename", done, async () => {
					if (await this.#hides(from, to)) return;
					await this.#in(from, async (parent, name) =>
						this.#in(to, async (newParent, newName) => {
							if (filesystem.rename === undefined) throw new FuseError("EPERM");
							await filesystem.rename(parent, name, newParent, newName, 0, context);
						}),
					);
				}),
			open: (path: string, flags: number, done: Done) =>
				this.#answer("open", done, async () => {
					const held = await this.#walk(path);
					return [0, this.#opened(held, await orLetGo(held, async () => filesystem.open(held.node, flags, context)))];
				}),
			create: (path: string, mode: number, done: Done) =>
				this.#answer("create", done, async () =>
					this.#in(path, async (parent, name) => {
						if (filesystem.create === undefined) throw new FuseError("ENOSYS");
						const flags = openFlags.readWrite | openFlags.create;
						const created = await filesystem.create(parent, name, mode, flags, context);
						return [0, this.#opened(this.#held(created.node), created)];
					}),
				),
			read: (_path: string, descriptor: number, target: Buffer, sizeBytes: number, offset: number, done: Done) =>
				this.#answer("read", done, async () => {
					const { node, handle } = this.#file(descriptor);
					const result = await filesystem.read(node, handle, offset, sizeBytes, context);
					let filled = 0;
					try {
						for (const view of result.views) {
							target.set(view, filled);
							filled += view.length;
						}
					} finally {
						result.release?.();
					}
					return [filled];
				}),
			write: (_path: string, descriptor: number, data: Buffer, _size: number, offset: number, done: Done) =>
				this.#answer("write", done, async () => {
					if (filesystem.write === undefined) throw new FuseError("EBADF");
					const { node, handle } = this.#file(descriptor);
					return [await filesystem.write(node, handle, offset, data, context)];
				}),
			flush: (_path: string, descriptor: number, done: Done) =>
				this.#answer("flush", done, async () => {
					const { node, handle } = this.#file(descriptor);
					await filesystem.flush?.(node, handle, context);
				}),
			fsync: (_path: string, dataOnly: number, descriptor: number, done: Done) =>
				this.#answer("fsync", done, async () => {
					const { node, handle } = this.#file(descriptor);
					await filesystem.fsync?.(node, handle, dataOnly !== 0, context);
				}),
			release: (path: string, descriptor: number, done: Done) =>
				this.#answer("release", done, async () => {
					const file = this.#file(descriptor);
					this.#open.delete(descriptor);
					// Its folder is gone, and with it the path by which libfuse would remove what it has hidden.
					if (path === noPath) this.#dropHidden(file.node);
					await finallyLetGo(file, async () => filesystem.release(file.node, file.handle));
				}),
			fsyncdir: (path: string, dataOnly: number, _descriptor: number, done: Done) =>
				this.#answer("fsyncdir", done, async () =>
					this.#inOpenDirectory(path, async (node, handle) =>
						filesystem.fsyncdir?.(node, handle, dataOnly !== 0, context),
					),
				),
			setxattr: (path: string, name: string, value: Buffer, _position: number, flags: number, done: Done) =>
				this.#answer("setxattr", done, async () =>
					this.#at(path, async (node) => {
						if (filesystem.setxattr === undefined) throw new FuseError("ENOSYS");
						await filesystem.setxattr(node, name, Buffer.from(value), flags, context);
					}),
				),
			removexattr: (path: string, name: string, done: Done) =>
				this.#answer("removexattr", done, async () =>
					this.#at(path, async (node) => {
						if (filesystem.removexattr === undefined) throw new FuseError("ENOSYS");
						await filesystem.removexattr(node, name, context);
					}),
				),
		};
	}

	readdir(path: string, done: Done<DirectoryList>): void {
		this.#answer("readdir", done, async () => {
			const list = new WholeDirectory();
			await this.#inOpenDirectory(path, async (node, handle) => {
				for (let before = -1; list.names.length > before;) {
					before = list.names.length;
					await this.#filesystem.readdir(node, handle, list.nextOffset, list, context);
				}
			});
			return [0, list];
		});
	}

	getattr(path: string, done: Done<Uint32Array>): void {
		this.#answer("getattr", done, async () => [
			0,
			encodedAttributes(await this.#at(path, async (node) => this.#filesystem.getattr(node, undefined, context))),
		]);
	}

	fgetattr(descriptor: number, done: Done<Uint32Array>): void {
		this.#answer("fgetattr", done, async () => {
			const { node, handle } = this.#file(descriptor);
			return [0, encodedAttributes(await this.#filesystem.getattr(node, handle, context))];
		});
	}

	statfs(path: string, done: Done<Uint32Array>): void {
		this.#answer("statfs", done, async () => [
			0,
			encodedStatistics(await this.#at(path, async (node) => this.#filesystem.statfs(node, context))),
		]);
	}

	/** The value goes into `target`; one that has no length asks for the size. */
	getxattr(path: string, name: string, target: Buffer, done: Done): void {
		this.#answer("getxattr", done, async () =>
			this.#at(path, async (node) => {
				if (this.#filesystem.getxattr === undefined) throw new FuseError("ENOSYS");
				return [copied(await this.#filesystem.getxattr(node, name, context), target)];
			}),
		);
	}

	listxattr(path: string, target: Buffer, done: Done): void {
		this.#answer("listxattr", done, async () =>
			this.#at(path, async (node) => {
				if (this.#filesystem.listxattr === undefined) throw new FuseError("ENOSYS");
				const names = await this.#filesystem.listxattr(node, context);
				return [copied(Buffer.from(names.map((name) => `${name}\0`).join("")), target)];
			}),
		);
	}

	#answer<Value>(operation: string, done: Done<Value>, action: () => Promise<readonly [number, Value?] | void>): void {
		this.requests++;
		this.inFlight++;
		void (async () => {
			let answer: readonly [number, Value?];
			try {
				answer = (await action()) ?? [0];
			} catch (error) {
				this.errors++;
				if (!(error instanceof FuseError)) this.#failed(operation, error);
				answer = [-errnoOf(error)];
			}
			this.inFlight--;
			done(...answer);
		})();
	}

	#change(operation: string, path: string, changes: AttributeChanges, done: Done): void {
		this.#answer(operation, done, async () => {
			await this.#at(path, async (node) => this.#filesystem.setattr(node, changes, undefined, context));
		});
	}

	async #unlink(path: string): Promise<void> {
		await this.#in(path, async (parent, name) => {
			if (this.#filesystem.unlink === undefined) throw new FuseError("EPERM");
			await this.#filesystem.unlink(parent, name, context);
		});
	}

	#dropHidden(node: number): void {
		if (this.#isOpen(node)) return;
		for (const [name, held] of this.#hidden) {
			if (held.node !== node) continue;
			this.#hidden.delete(name);
			held.letGo();
		}
	}

	#isOpen(node: number): boolean {
		return [...this.#open.values()].some((file) => file.node === node);
	}

	/** Whether this is libfuse's way to remove what is open; then it is done. Whoever chooses such a name gets a rename. */
	async #hides(from: string, to: string): Promise<boolean> {
		const name = lastName(to);
		if (!hiddenName.test(name) || hiddenName.test(lastName(from)) || folderOf(from) !== folderOf(to)) return false;
		const held = await this.#walk(from);
		const isHidden = await orLetGo(held, async () => {
			if (!this.#isOpen(held.node)) return false;
			await this.#unlink(from);
			return true;
		});
		if (isHidden) this.#hidden.set(name, held);
		else held.letGo();
		return isHidden;
	}

	/** With a node that is held meanwhile. */
	async #at<T>(path: string, action: (node: number) => Promise<T>): Promise<T> {
		const held = await this.#walk(path);
		return finallyLetGo(held, async () => action(held.node));
	}

	/** With the folder that a path is in, and the last name of the path. */
	async #in<T>(path: string, action: (parent: number, name: string) => Promise<T>): Promise<T> {
		const name = lastName(path);
		if (isGarbled(name)) throw new FuseError("EILSEQ", "a name is not UTF-8");
		return this.#at(folderOf(path), async (parent) => action(parent, name));
	}

	async #inOpenDirectory(path: string, action: (node: number, handle: number) => Promise<void>): Promise<void> {
		const directory = await this.#walk(path);
		try {
			const { node } = directory;
			const { handle } = await this.#filesystem.opendir(node, openFlags.directory, context);
			try {
				await action(node, handle);
			} finally {
				await this.#filesystem.releasedir(node, handle);
			}
		} finally {
			this.#keep(directory);
		}
	}

	/** The node of a path, to be let go by whoever asked. */
	async #walk(path: string): Promise<Held> {
		const hidden = this.#hidden.get(lastName(path));
		// It is held until libfuse removes it, which is after the last of those that use it.
		if (hidden !== undefined) return { node: hidden.node, letGo: () => undefined };
		let held = root;
		for (const name of path.split("/")) {
			if (name === "") continue;
			const parent = held;
			try {
				if (isGarbled(name)) throw new FuseError("ENOENT", "a name is not UTF-8");
				held = this.#held((await this.#filesystem.lookup(parent.node, name, context)).node);
			} finally {
				this.#keep(parent);
			}
		}
		return held;
	}

	/** Lets go of a directory, though not before many others were used: with its node goes what is known of its names. */
	#keep(directory: Held): void {
		if (directory === root) return;
		const kept = this.#kept.get(directory.node);
		if (kept === undefined) this.#kept.set(directory.node, directory);
		else {
			directory.letGo();
			this.#kept.delete(directory.node);
			this.#kept.set(directory.node, kept);
		}
		if (this.#kept.size <= keptDirectories) return;
		const [oldest] = this.#kept.values();
		if (oldest === undefined) return;
		this.#kept.delete(oldest.node);
		oldest.letGo();
	}

	/** A node that the filesystem has counted once more. */
	#held(node: number): Held {
		return { node, letGo: () => this.#filesystem.forget(node, 1) };
	}

	#opened({ node, letGo }: Held, { handle }: Opened): number {
		// Zero is what fuse-native takes for none.
		this.#lastDescriptor = (this.#lastDescriptor % 0x7f_ff_ff_ff) + 1;
		this.#open.set(this.#lastDescriptor, { node, letGo, handle });
		return this.#lastDescriptor;
	}

	#file(descriptor: number): OpenPath {
		const file = this.#open.get(descriptor);
		if (file === undefined) throw new FuseError("EBADF");
		return file;
	}
}

/** All of a directory: libfuse asks for the names at once, and for the attributes of each by itself. */
class WholeDirectory implements DirectoryPage, DirectoryList {
	readonly plus = false;
	readonly names: string[] = [];
	readonly stats: Uint32Array[] = [];
	nextOffset = 0;

	add(name: string, { ino, mode }: Pick<Attributes, "ino" | "mode">, nextOffset: number): boolean {
		const stat = new Uint32Array(18);
		stat[0] = mode;
		stat[7] = ino;
		this.names.push(name);
		this.stats.push(stat);
		this.nextOffset = nextOffset;
		return true;
	}
}

async function finallyLetGo<T>(held: Held, action: () => Promise<T>): Promise<T> {
	try {
		return await action();
	} finally {
		held.letGo();
	}
}

async function orLetGo<T>(held: Held, action: () => Promise<T>): Promise<T> {
	try {
		return await action();
	} catch (error) {
		held.letGo();
		throw error;
	}
}

function folderOf(path: string): string {
	return path.slice(0, path.lastIndexOf("/"));
}

function lastName(path: string): string {
	return path.slice(path.lastIndexOf("/") + 1);
}

/** fuse-native puts this where bytes are not UTF-8. */
function isGarbled(name: string): boolean {
	return name.includes("\u{FFFD}");
}

/** A negative number of 64 bits, as which fuse-native sees none. */
function signed(value: number): number {
	return value >= 2 ** 63 ? value - 2 ** 64 : value;
}

function copied(value: Buffer, target: Buffer): number {
	if (target.length > 0 && value.length > target.length) throw new FuseError("ERANGE");
	if (target.length > 0) target.set(value);
	return value.length;
}

/** As fuse-native wants struct stat. Its own conversion cannot say that there is no link left. */
function encodedAttributes(attributes: Attributes): Uint32Array {
	const { mode, uid, gid, sizeBytes, nlink, ino, rdev = 0, blockSizeBytes = 4096 } = attributes;
	return Uint32Array.from([
		mode,
		uid,
		gid,
		...halves(sizeBytes),
		0,
		nlink,
		ino,
		rdev,
		blockSizeBytes,
		...halves(Math.ceil(sizeBytes / 512)),
		...halves(wholeMs(attributes.atime)),
		...halves(wholeMs(attributes.mtime)),
		...halves(wholeMs(attributes.ctime)),
	]);
}

/** As fuse-native wants struct statvfs: its numbers have 32 bits, so that many blocks become fewer and larger ones. */
function encodedStatistics(statistics: FilesystemStatistics): Uint32Array {
	const { blockSizeBytes, blocks, freeBlocks, files, freeFiles, maximumNameLength } = statistics;
	const most = 2 ** 32 - 1;
	let scale = 1;
	while (blocks / scale > most && blockSizeBytes * scale < 2 ** 31) scale *= 2;
	const counts = [
		...[blocks, freeBlocks, freeBlocks].map((count) => Math.floor(count / scale)),
		files,
		freeFiles,
		freeFiles,
	];
	return Uint32Array.from([
		blockSizeBytes,
		blockSizeBytes * scale,
		...counts.map((count) => Math.min(count, most)),
		0,
		0,
		maximumNameLength,
	]);
}

/** The addon knows no time before 1970, and would show one far in the future. */
function wholeMs(time: Time): number {
	return Math.max(0, time.seconds * 1000 + Math.floor(time.nanoseconds / 1e6));
}

function halves(value: number): [number, number] {
	return [value % 2 ** 32, Math.floor(value / 2 ** 32)];
}
