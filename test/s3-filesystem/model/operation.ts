import { crc32 } from "node:zlib";

/** What another client of the bucket does. */
export type ElsewhereOperation =
	| { readonly op: "put-elsewhere"; readonly path: string; readonly lengthBytes: number; readonly seed: number }
	| { readonly op: "delete-elsewhere"; readonly path: string };

/**
 * One call of an application, as it is sent to the process that makes it. Paths are relative to the mount; `@7/name` is in the directory that
 * is open as handle 7, wherever that is by now.
 */
export type Operation =
	| {
			readonly op: "open";
			readonly handle: number;
			readonly path: string;
			readonly flags: number;
			readonly mode: number;
	  }
	| { readonly op: "close"; readonly handle: number }
	| { readonly op: "read"; readonly handle: number; readonly offset: number; readonly lengthBytes: number }
	/** In pieces of so many bytes; `offset` is ignored by a handle that appends. */
	| {
			readonly op: "write";
			readonly handle: number;
			readonly offset: number;
			readonly lengthBytes: number;
			readonly pieceBytes: number;
			readonly seed: number;
	  }
	| { readonly op: "ftruncate"; readonly handle: number; readonly sizeBytes: number }
	| { readonly op: "fsync"; readonly handle: number; readonly dataOnly: boolean }
	| { readonly op: "fstat"; readonly handle: number }
	| { readonly op: "truncate"; readonly path: string; readonly sizeBytes: number }
	| { readonly op: "unlink"; readonly path: string }
	| { readonly op: "rename"; readonly path: string; readonly to: string }
	| { readonly op: "mknod"; readonly path: string; readonly mode: number }
	| { readonly op: "mkdir"; readonly path: string; readonly mode: number }
	| { readonly op: "rmdir"; readonly path: string }
	| { readonly op: "symlink"; readonly path: string; readonly target: string }
	| { readonly op: "readlink"; readonly path: string }
	| { readonly op: "link"; readonly path: string; readonly to: string }
	| { readonly op: "chmod"; readonly path: string; readonly mode: number }
	| { readonly op: "chown"; readonly path: string; readonly uid: number; readonly gid: number }
	| { readonly op: "utimes"; readonly path: string; readonly atimeMs: number; readonly mtimeMs: number }
	| { readonly op: "lstat"; readonly path: string }
	| { readonly op: "readdir"; readonly path: string }
	/** Opens, reads all in pieces, closes. */
	| { readonly op: "readFile"; readonly path: string; readonly pieceBytes: number }
	| { readonly op: "setxattr"; readonly path: string; readonly name: string; readonly value: string }
	| { readonly op: "getxattr"; readonly path: string; readonly name: string }
	| { readonly op: "removexattr"; readonly path: string; readonly name: string }
	| { readonly op: "listxattr"; readonly path: string };

export interface Status {
	readonly kind: "file" | "directory" | "symlink" | "other";
	readonly sizeBytes: number;
	readonly mode: number;
	readonly uid: number;
	readonly gid: number;
	readonly atimeMs: number;
	readonly mtimeMs: number;
	readonly ino: number;
	readonly nlink: number;
}

/** Bytes by their number and checksums, so that answers stay short and still tell where they differ. */
export interface Digest {
	readonly lengthBytes: number;
	/** CRC-32 of each block. */
	readonly blocks: readonly number[];
}

/** What a call came to. */
export type Outcome =
	| { readonly error: string }
	| { readonly status: Status }
	| { readonly digest: Digest }
	| { readonly text: string }
	| { readonly names: readonly string[] }
	| { readonly done: true };

export const digestBlockBytes = 4096;

export function digestOf(bytes: Buffer): Digest {
	const blocks: number[] = [];
	for (let start = 0; start < bytes.length; start += digestBlockBytes) {
		blocks.push(crc32(bytes.subarray(start, start + digestBlockBytes)));
	}
	return { lengthBytes: bytes.length, blocks };
}

/** Bytes that differ from their neighbours, and from those of another seed. */
export function bytesOf(seed: number, lengthBytes: number): Buffer {
	const words = new Uint32Array(Math.ceil(lengthBytes / 4));
	let state = (Math.imul(seed, 2_654_435_761) ^ 0x9e_37_79_b9) >>> 0;
	for (let index = 0; index < words.length; index++) {
		state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
		words[index] = state ^ (state >>> 15);
	}
	return Buffer.from(words.buffer, 0, lengthBytes);
}
