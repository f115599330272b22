import { constants } from "node:fs";
import { tooLongXattrBytes, type Model, type ModelFile, type ModelHandle, type ModelNode } from "./model.ts";
import type { ElsewhereOperation, Operation } from "./operation.ts";
import type { Random } from "./random.ts";

const MiB = 1024 ** 2;
const partBytes = 8 * MiB;
const smallFileBytes = 300_000;
const largestFileBytes = 26 * MiB;
const largeFilesAtMost = 2;
const handlesAtMost = 8;

const { O_APPEND, O_CREAT, O_DIRECT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;

/** Few, so that they meet; some sort before and some after what is in a directory of the same name. */
const names = ["a", "b", "a-", "a0", "a.b", "d e", "Ü", "é", "-x", "%2F+", "日本", "😀", "q'\"\n"] as const;
const directoryNames = ["a", "b", "dir", "dir-", "Ü😀"] as const;
const xattrNames = ["user.a", "user.b", "user.Ünï"] as const;

const weights = {
	open: 14,
	close: 9,
	read: 14,
	write: 20,
	ftruncate: 5,
	fsync: 4,
	fstat: 4,
	truncate: 3,
	unlink: 6,
	rename: 8,
	mknod: 1,
	mkdir: 4,
	rmdir: 3,
	symlink: 2,
	readlink: 1,
	link: 1,
	chmod: 2,
	chown: 1,
	utimes: 3,
	lstat: 6,
	readdir: 5,
	readFile: 5,
	setxattr: 1,
	getxattr: 1,
	removexattr: 0.5,
	listxattr: 0.5,
} satisfies Record<Operation["op"], number>;

/** Decides what is done next, from what there is. */
export class Chooser {
	readonly #random: Random;
	readonly #model: Model;
	/** Handles that answered ESTALE, as they may: what is behind them is not known any more. */
	readonly #given: ReadonlySet<ModelFile>;
	#nextHandle = 1;
	#nextSeed = 1;

	constructor(random: Random, model: Model, given: ReadonlySet<ModelFile>) {
		this.#random = random;
		this.#model = model;
		this.#given = given;
	}

	next(): Operation {
		const op = this.#random.weighted(weights);
		switch (op) {
			case "open":
				return this.#open();
			case "close":
			case "read":
			case "write":
			case "ftruncate":
			case "fsync":
			case "fstat":
				return this.#onHandle(op);
			case "truncate":
				return { op, path: this.#path("file"), sizeBytes: this.#size() };
			case "unlink":
				return { op, path: this.#path(this.#random.chance(0.9) ? "file" : "any") };
			case "rename":
				return this.#rename();
			case "mknod":
				return { op, path: this.#newPath(), mode: this.#random.pick([0o644, 0o600]) };
			case "mkdir":
				return { op, path: this.#newPath(directoryNames, 2), mode: this.#random.pick([0o755, 0o700, 0o777]) };
			case "rmdir":
				return { op, path: this.#path(this.#random.chance(0.9) ? "directory" : "any") };
			case "symlink":
				return {
					op,
					path: this.#newPath(),
					target: this.#random.chance(0.3) ? "nowhere" : this.#random.pick(names),
				};
			case "readlink":
				return { op, path: this.#path(this.#random.chance(0.8) ? "symlink" : "any") };
			case "link":
				return { op, path: this.#path("file"), to: this.#newPath() };
			case "chmod":
				return { op, path: this.#path("any"), mode: this.#random.pick([0o644, 0o600, 0o755, 0o777, 0o444]) };
			case "chown":
				return {
					op,
					path: this.#path("any"),
					uid: this.#random.pick([0, 1000, 65_534]),
					gid: this.#random.pick([0, 100]),
				};
			case "utimes":
				return { op, path: this.#path("any"), atimeMs: this.#time(), mtimeMs: this.#time() };
			case "lstat":
				return { op, path: this.#path("any") };
			case "readdir":
				return { op, path: this.#path("directory") };
			case "readFile":
				return { op, path: this.#path("file"), pieceBytes: this.#random.pick([5000, 131_072, MiB]) };
			case "setxattr": {
				const lengthBytes = this.#random.chance(0.1) ? tooLongXattrBytes : this.#random.between(1, 60);
				const value = Buffer.alloc(lengthBytes, this.#random.below(256)).toString("base64");
				return { op, path: this.#path("any"), name: this.#random.pick(xattrNames), value };
			}
			case "getxattr":
			case "removexattr":
				return { op, path: this.#path("any"), name: this.#random.pick(xattrNames) };
			case "listxattr":
				return { op, path: this.#path("any") };
			default:
				return op satisfies never;
		}
	}

	/** What another client does to a name that nobody here has open, if there is one. */
	elsewhere(): ElsewhereOperation | undefined {
		const random = this.#random;
		const path = random.chance(0.5) ? this.#newPath() : this.#path("file");
		const place = this.#model.placeOfObject(path);
		if (place === undefined) return undefined;
		if (place.node !== undefined && random.chance(0.3)) return { op: "delete-elsewhere", path };
		const mayBeLarge = this.#largeFiles() < largeFilesAtMost && random.chance(0.1);
		const lengthBytes = random.below(mayBeLarge ? partBytes + MiB : smallFileBytes);
		return { op: "put-elsewhere", path, lengthBytes, seed: this.#nextSeed++ };
	}

	#open(): Operation {
		const random = this.#random;
		if (this.#model.handles.size >= handlesAtMost) return this.#onHandle("close");
		const isNew = random.chance(0.5);
		const path = isNew ? this.#newPath() : this.#path("file");
		const node = this.#model.resolve(path);
		let flags = random.pick([O_RDONLY, O_WRONLY, O_RDWR, O_RDWR]);
		if (isNew) flags |= O_CREAT;
		if (random.chance(0.15)) flags |= O_CREAT | O_EXCL;
		if (random.chance(0.2)) flags |= O_TRUNC;
		if (random.chance(0.2)) flags |= O_APPEND;
		if (random.chance(0.1)) flags |= O_DIRECT;
		// Open directories are another matter. O_TRUNC and O_RDONLY together are not defined.
		if (node?.kind === "directory") flags |= O_WRONLY;
		if ((flags & (O_WRONLY | O_RDWR)) === 0) flags &= ~O_TRUNC;
		return { op: "open", handle: this.#nextHandle++, path, flags, mode: random.pick([0o644, 0o600, 0o755]) };
	}

	#onHandle(op: "close" | "read" | "write" | "ftruncate" | "fsync" | "fstat"): Operation {
		const random = this.#random;
		const chosen = random.pick([...this.#model.handles]);
		if (chosen === undefined) return this.#open();
		const [handle, open] = chosen;
		if (this.#given.has(open.file)) return { op: "close", handle };
		const sizeBytes = open.file.content.length;
		switch (op) {
			case "close":
			case "fstat":
				return { op, handle };
			case "fsync":
				return { op, handle, dataOnly: random.chance(0.3) };
			case "ftruncate":
				return { op, handle, sizeBytes: this.#size(open.file) };
			case "read": {
				if (random.chance(0.2)) return { op, handle, offset: 0, lengthBytes: sizeBytes + 10 };
				const offset = random.below(sizeBytes + 100);
				return { op, handle, offset, lengthBytes: random.between(1, random.pick([10, 5000, 200_000, 2 * MiB])) };
			}
			case "write":
				return this.#write(handle, open);
			default:
				return op satisfies never;
		}
	}

	#write(handle: number, { file, append }: ModelHandle): Operation {
		const random = this.#random;
		const sizeBytes = file.content.length;
		const isLarge = sizeBytes > partBytes / 2;
		const mayBeLarge = isLarge || this.#largeFiles() < largeFilesAtMost;
		let offset = random.below(sizeBytes + 1);
		let lengthBytes = random.between(1, random.pick([100, 5000, 60_000]));
		if (random.chance(0.25)) offset = sizeBytes;
		else if (random.chance(0.1)) offset = sizeBytes + random.below(100_000);
		else if (isLarge && random.chance(0.4)) {
			offset = Math.max(0, this.#edge() - random.below(40_000));
			lengthBytes = random.between(1, 80_000);
		}
		if (mayBeLarge && random.chance(0.03)) {
			offset = random.pick([0, sizeBytes, this.#edge()]);
			lengthBytes = random.between(partBytes / 2, 2 * partBytes + 100_000);
		} else if (mayBeLarge && random.chance(0.02)) offset = this.#edge() + random.between(-10, 100_000);
		const largest = mayBeLarge ? largestFileBytes : smallFileBytes;
		const start = append ? sizeBytes : offset;
		if (start + lengthBytes > largest) {
			offset = random.below(Math.max(1, Math.min(sizeBytes, largest - 60_000)));
			lengthBytes = append ? 1 : Math.min(lengthBytes, 60_000);
		}
		const pieceBytes = Math.max(random.pick([511, 4096, 65_536, 131_072, MiB]), Math.ceil(lengthBytes / 300));
		return { op: "write", handle, offset, lengthBytes, pieceBytes, seed: this.#nextSeed++ };
	}

	#rename(): Operation {
		const random = this.#random;
		const path = this.#path(random.chance(0.7) ? "file" : "any");
		const isDirectory = this.#model.resolve(path)?.kind === "directory";
		let to = random.chance(0.3)
			? this.#path("any")
			: this.#newPath(isDirectory ? directoryNames : names, isDirectory ? 2 : 3);
		// MinIO's directories have shorter names than its files.
		if (isDirectory && Buffer.byteLength(to) > 200) to = this.#newPath(directoryNames, 2);
		return { op: "rename", path, to };
	}

	#size(file?: ModelFile): number {
		const random = this.#random;
		const sizeBytes = file?.content.length ?? 0;
		const mayBeLarge = sizeBytes > partBytes / 2 || this.#largeFiles() < largeFilesAtMost;
		if (mayBeLarge && random.chance(0.15)) return Math.max(0, this.#edge() + random.between(-3, 3));
		if (random.chance(0.1)) return 0;
		if (random.chance(0.2)) return sizeBytes + random.below(100_000);
		return random.below(Math.max(1000, sizeBytes));
	}

	/** Where one part ends and the next begins. */
	#edge(): number {
		return partBytes * this.#random.between(1, 2);
	}

	#time(): number {
		return this.#random.between(0, 4_000_000_000) * 1000 + this.#random.pick([0, 0, 250, 123.5]);
	}

	#largeFiles(): number {
		const files = new Set<ModelNode>([...this.#model.handles.values()].map(({ file }) => file));
		for (const { node } of this.#model.walk()) files.add(node);
		return [...files].filter((node) => node.kind === "file" && node.content.length > partBytes / 2).length;
	}

	/** Of something that is there, mostly. */
	#path(kind: ModelNode["kind"] | "any"): string {
		const random = this.#random;
		if (random.chance(0.05)) return this.#wrongPath();
		if (random.chance(0.08)) return this.#newPath();
		const paths = [...this.#model.walk()].filter(({ node }) => kind === "any" || node.kind === kind);
		return random.pick(paths)?.path ?? this.#newPath();
	}

	/** In some directory; it may be there already. */
	#newPath(from: readonly [string, ...string[]] = names, depth = 3): string {
		const random = this.#random;
		const directories = [...this.#model.walk()].filter(
			({ path, node }) => node.kind === "directory" && path.split("/").length < depth,
		);
		const directory = random.pick(["", "", ...directories.map(({ path }) => path)]) ?? "";
		const name = random.pick(from);
		return directory === "" ? name : `${directory}/${name}`;
	}

	#wrongPath(): string {
		const file = this.#random.pick([...this.#model.walk()].filter(({ node }) => node.kind === "file"));
		return this.#random.pick([
			"nowhere/at all",
			`${file?.path ?? "nowhere"}/below`,
			"n".repeat(256),
			"ü".repeat(127),
			`nowhere/${"n".repeat(256)}`,
		]);
	}
}
