import { mebibyte } from "../bytes.ts";
import type { Answer } from "./http/connection.ts";
import { withoutQuotes } from "./list-answer.ts";
import { objectHeaders } from "./object-headers.ts";
import { S3Error, type ObjectMetadata } from "./object-store.ts";

/** Of a thousand keys: of 1024 bytes, each written as three, with 2 KiB of metadata, each written as six at most. */
export const thousandKeysBytes = 16 * mebibyte;

export function checkKey(key: string): void {
	if (key === "") throw new S3Error("REFUSED", "a key must not be empty");
	// Encoding it would make another key of it.
	if (!key.isWellFormed()) throw new S3Error("REFUSED", "a key has half of a surrogate pair");
}

export function hasEtag(answer: Answer): boolean {
	return etagOf(answer) !== "";
}

export function etagOf({ headers }: Answer): string {
	return withoutQuotes(headers.get("etag") ?? "");
}

export function contentLengthOf({ headers }: Answer): number | undefined {
	const length = headers.get("content-length");
	return length === undefined ? undefined : Number(length);
}

export function hasMetadata(answer: Answer, metadata: ObjectMetadata): boolean {
	const found = objectHeaders(answer, 0).metadata;
	const names = Object.keys(metadata);
	return names.length === Object.keys(found).length && names.every((name) => found[name] === metadata[name]);
}

export function isKind(error: unknown, kind: S3Error["kind"]): error is S3Error {
	return error instanceof S3Error && error.kind === kind;
}
