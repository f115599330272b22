import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import type { SentBody } from "./connection.ts";

/** As the headers have it. */
export function encodeCrc32(value: number): string {
	const bytes = Buffer.allocUnsafe(4);
	bytes.writeUInt32BE(value >>> 0);
	return bytes.toString("base64");
}

export async function crc32Of(body: SentBody): Promise<number> {
	let sum = 0;
	for await (const piece of body.read()) sum = crc32(piece, sum);
	return sum;
}

/** Compares bytes with a checksum. */
export type Verifier = (bytes: Buffer) => boolean;

/**
 * For the checksum of a whole object in the headers of its answer; undefined if there is none that we can compute fast: CRC-32 and
 * the SHAs are Node's own. A checksum of parts' checksums, which has their number after it, says nothing of the bytes themselves.
 */
export function verifierFor(headers: ReadonlyMap<string, string>): Verifier | undefined {
	if (headers.get("x-amz-checksum-type")?.toUpperCase() === "COMPOSITE") return undefined;
	const expected = (name: string): string | undefined => {
		const value = headers.get(`x-amz-checksum-${name}`);
		return value?.includes("-") === true ? undefined : value;
	};
	const crc = expected("crc32");
	if (crc !== undefined) return (bytes) => encodeCrc32(crc32(bytes)) === crc;
	for (const name of ["sha256", "sha1"] as const) {
		const sum = expected(name);
		if (sum !== undefined) return (bytes) => hash(name, bytes, "base64") === sum;
	}
	return undefined;
}
