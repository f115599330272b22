import { hash } from "node:crypto";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import type { ObjectVersion } from "../../s3/object-store.ts";

/** Of one file on the disk. */
export const blockBytes = 1024 ** 2;

/**
 * A block as a file: a mark, the length, a CRC-32, what the block is of, and its bytes. The CRC-32 covers all that follows it, so that a file
 * with another block in it, whatever its name, is not taken for this one.
 */
export const headerBytes = 44;
const markBytes = 4;
const digestBytes = 32;
/** Of this format, and of those before it: they are ours to remove and never read. */
const mark = "FFP2";
const marks: ReadonlySet<string> = new Set(["FFP1", mark]);

/** One block: bytes of one version of one object in one bucket. */
export interface BlockId {
	readonly digest: Buffer;
	readonly name: string;
}

export function blockId(identity: string, { key, etag, sizeBytes }: ObjectVersion, start: number): BlockId {
	const digest = hash("sha256", JSON.stringify([identity, key, etag, sizeBytes, start]), "buffer");
	return { digest, name: `${digest.toString("hex")}.part` };
}

export function headerOf({ digest }: BlockId, bytes: Buffer): Buffer {
	const header = Buffer.alloc(headerBytes);
	header.write(mark, 0, "latin1");
	header.writeUInt32BE(bytes.length, markBytes);
	digest.copy(header, headerBytes - digestBytes);
	header.writeUInt32BE(checksum(digest, bytes), markBytes + 4);
	return header;
}

/** Whether a file with that header and these bytes holds that block. */
export function isBlock({ digest }: BlockId, header: Buffer, bytes: Buffer): boolean {
	return (
		header.toString("latin1", 0, markBytes) === mark &&
		header.readUInt32BE(markBytes) === bytes.length &&
		digest.equals(header.subarray(headerBytes - digestBytes)) &&
		header.readUInt32BE(markBytes + 4) === checksum(digest, bytes)
	);
}

function checksum(digest: Buffer, bytes: Buffer): number {
	return crc32(bytes, crc32(digest));
}

/** A link may lead to somebody else's file, and who opens a pipe waits for its other end. */
export const carefully = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Whether a file that has a block's name is one: an empty one is what a crash may leave. */
export async function isOurs(path: string): Promise<boolean> {
	const file = await open(path, carefully);
	try {
		const head = Buffer.alloc(markBytes);
		const { bytesRead } = await file.read(head, 0, markBytes, 0);
		return isMarked(head, bytesRead);
	} finally {
		await file.close();
	}
}

export function isOursSync(path: string): boolean {
	const file = openSync(path, carefully);
	try {
		const head = Buffer.alloc(markBytes);
		return isMarked(head, readSync(file, head, 0, markBytes, 0));
	} finally {
		closeSync(file);
	}
}

function isMarked(head: Buffer, bytesRead: number): boolean {
	return bytesRead === 0 || marks.has(head.toString("latin1", 0, bytesRead));
}
