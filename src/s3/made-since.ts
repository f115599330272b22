import { createHash } from "node:crypto";
import type { Doubt } from "./doubt.ts";
import type { Answer } from "./http/connection.ts";
import { objectHeaders, serverTimeMs } from "./object-headers.ts";
import type { UploadedPart } from "./object-store.ts";

/** Times have no fractions of seconds, and a server's disks may have another clock than its front. */
const toleranceMs = 2000;

/** Whether the object of that answer is younger than the request in doubt. Both times are the server's. */
export function wasMadeSince(answer: Answer, doubt: Doubt): boolean {
	const now = serverTimeMs(answer);
	return now !== undefined && objectHeaders(answer, 0).modifiedMs >= now - doubt.ageMs - toleranceMs;
}

/**
 * The same of what a request has made that was answered. Some servers say as the object's time the one that its metadata name, and then
 * it tells nothing.
 */
export function mayBeMadeSince(answer: Answer, doubt: Doubt): boolean {
	const { modifiedMs, metadata } = objectHeaders(answer, 0);
	const isNamed = Math.abs(modifiedMs / 1000 - Number(metadata["mtime"])) <= 1;
	return isNamed || wasMadeSince(answer, doubt);
}

/** The version of an object of those parts: MD5 of their MD5 sums. Undefined if their versions are something else. */
export function multipartEtag(parts: readonly UploadedPart[]): string | undefined {
	const sum = createHash("md5");
	for (const { etag } of parts) {
		if (!/^[0-9a-f]{32}$/.test(etag)) return undefined;
		sum.update(etag, "hex");
	}
	return `${sum.digest("hex")}-${parts.length}`;
}
