import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { SentBody } from "./http/connection.ts";
import { crc32c, crc64nvme } from "./crc.ts";

/** As the headers have it. */
export function encodeCrc32(value: number): string {
	return encodeWords([value >>> 0]);
}

export async function crc32Of(body: SentBody): Promise<number> {
	let sum = 0;
	for await (const piece of body.read()) sum = crc32(piece, sum);
	return sum;
}

/** Compares bytes with a checksum. */
export type Verifier = (bytes: Buffer) => boolean;

/** As the headers name them, the cheapest first; in CPU-seconds a GiB from 0.2 for Node's own CRC-32 to 1.4. */
const algorithms: Readonly<Record<string, (bytes: Buffer) => string>> = {
	crc32: (bytes) => encodeCrc32(crc32(bytes)),
	sha1: (bytes) => hash("sha1", bytes, "base64"),
	sha256: (bytes) => hash("sha256", bytes, "base64"),
	sha512: (bytes) => hash("sha512", bytes, "base64"),
	crc32c: (bytes) => encodeCrc32(crc32c(bytes)),
	md5: (bytes) => hash("md5", bytes, "base64"),
	crc64nvme: (bytes) => encodeWords(crc64nvme(bytes)),
};

/**
 * For the checksum of a whole object in the headers of its answer; undefined if there is none that we know. A checksum of parts'
 * checksums, which has their number after it, says nothing of the bytes themselves. Nor is an ETag one: it is the MD5 of many objects,
 * but no server says of which.
 */
export function verifierFor(headers: ReadonlyMap<string, string>): Verifier | undefined {
	if (headers.get("x-amz-checksum-type")?.toUpperCase() === "COMPOSITE") return undefined;
	for (const [name, compute] of Object.entries(algorithms)) {
		const expected = headers.get(`x-amz-checksum-${name}`);
		if (expected !== undefined && !expected.includes("-")) return (bytes) => compute(bytes) === expected;
	}
	return undefined;
}

function encodeWords(words: readonly number[]): string {
	const bytes = Buffer.allocUnsafe(4 * words.length);
	for (const [index, word] of words.entries()) bytes.writeUInt32BE(word, 4 * index);
	return bytes.toString("base64");
}
