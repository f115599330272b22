import { verifierFor, type Verifier } from "./checksum.ts";
import type { RequestHeaders } from "./call.ts";
import type { Client } from "./client.ts";
import { withoutQuotes } from "./list-answer.ts";
import { S3Error, type ObjectStore } from "./object-store.ts";
import { printable } from "./printable.ts";
import type { ResponseHead } from "./http/response-head.ts";

export type ReadOptions = Parameters<ObjectStore["get"]>[1];

/** A server, or something on the way to it, that sends other bytes than asked for so often does not know better. */
const maximumWrongRanges = 3;

/** GetObject, into a buffer: a failure goes on where the last try stopped. */
export async function readObject(
	client: Client,
	key: string,
	options: ReadOptions,
	request: { readonly headers: RequestHeaders; readonly isConditional: boolean; readonly asksChecksum: boolean },
): Promise<void> {
	const { offset, into, etag, objectSizeBytes, isAhead = false, signal, onProgress } = options;
	if (into.length === 0) return;
	const isWhole = offset === 0 && into.length === objectSizeBytes;
	let filledBytes = 0;
	/** Where the current try began. */
	let from = 0;
	let wrongRanges = 0;
	let verify: Verifier | undefined;

	const accept = (head: ResponseHead): void => {
		const found = withoutQuotes(head.headers.get("etag") ?? "");
		// Before a byte is taken: the server, or a cache in front of it, may know nothing of If-Match.
		if (found !== "" && found !== etag)
			throw new S3Error("OBJECT_REPLACED", `GetObject ${printable(key, 300)}: the object has another version now`, {
				status: head.status,
			});
		const place = `GetObject ${printable(key, 300)}`;
		// What is not S3's comes from something on the way to it, and may pass.
		if (found === "") throw new S3Error("UNAVAILABLE", `${place}: an answer that is not S3's`, { status: head.status });
		const problem = rangeProblem(head, offset + from, into.length - from, isWhole && from === 0);
		if (problem !== undefined) {
			const kind = ++wrongRanges < maximumWrongRanges ? "UNAVAILABLE" : "UNSUPPORTED";
			throw new S3Error(kind, `${place}: ${problem}`, { status: head.status });
		}
		if (isWhole && from === 0) verify = verifierFor(head.headers);
	};

	for (let isAgain = false; ; isAgain = true) {
		const answer = await client.call({
			operation: "GetObject",
			method: "GET",
			key,
			priority: isAhead ? "ahead" : "read",
			signal,
			...(isAgain && { maximumIdleMs: 0 }),
			headers: () => {
				from = filledBytes;
				const range = `bytes=${offset + from}-${offset + into.length - 1}`;
				return {
					...(request.isConditional && { "if-match": `"${etag}"` }),
					...request.headers,
					...(!isWhole || from > 0 ? { range } : request.asksChecksum ? { "x-amz-checksum-mode": "ENABLED" } : {}),
				};
			},
			into: () => into.subarray(filledBytes),
			accept,
			onProgress: (bytes) => {
				filledBytes = from + bytes;
				// Bytes that are still to be compared with a checksum are not there yet.
				if (verify === undefined) onProgress?.(filledBytes);
			},
			progress: () => filledBytes,
			check: (answer) =>
				answer.filledBytes === into.length - from ? undefined : "an answer without the object's bytes",
		});
		if (verify?.(into) !== false) {
			if (verify !== undefined) onProgress?.(into.length);
			return;
		}
		if (isAgain)
			throw new S3Error(
				"CHECKSUM_WRONG",
				`GetObject ${printable(key, 300)}: the bytes are not those of the object's checksum`,
				{ status: answer.status },
			);
		filledBytes = 0;
		verify = undefined;
	}
}

/** What is wrong with the range of an answer; undefined: nothing. */
function rangeProblem(head: ResponseHead, start: number, sizeBytes: number, asksWhole: boolean): string | undefined {
	const { status, headers, framing } = head;
	if (framing.kind === "length" && framing.bytes !== sizeBytes)
		return `${framing.bytes} bytes where ${sizeBytes} were asked for (status ${status})`;
	if (status === 200 && asksWhole) return framing.kind === "close" ? "a body without its length" : undefined;
	const [, first, last] = /^bytes (\d+)-(\d+)\/(?:\d+|\*)$/.exec(headers.get("content-range") ?? "") ?? [];
	if (status !== 206 || first === undefined) return `a range was asked for, and the answer has none (status ${status})`;
	if (Number(first) !== start || Number(last) !== start + sizeBytes - 1) return "another range than asked for";
	return framing.kind === "close" ? "a body without its length" : undefined;
}
