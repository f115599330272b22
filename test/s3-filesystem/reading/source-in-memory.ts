import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { ReadableStore } from "../../../src/s3-filesystem/reading/cached-file.ts";
import { S3Error, type ObjectVersion } from "../../../src/s3/object-store.ts";

export interface SourceRequest {
	readonly offset: number;
	readonly sizeBytes: number;
	readonly isWhole: boolean;
	isAborted: boolean;
}

export interface SourceInMemory extends ReadableStore {
	readonly version: ObjectVersion;
	readonly content: Buffer;
	readonly requests: SourceRequest[];
	/** Bytes that were asked for. */
	readonly requestedBytes: number;
	/** Awaited before the bytes from this position of the file on come; throw to break off. */
	gate: (position: number, request: SourceRequest) => void | Promise<void>;
}

/** One object, whose bytes come piece by piece, when the test lets them. */
export function createSourceInMemory(options: {
	readonly sizeBytes: number;
	readonly pieceBytes?: number;
}): SourceInMemory {
	const { sizeBytes, pieceBytes = 64 * 1024 } = options;
	const content = contentOf(sizeBytes);
	const requests: SourceRequest[] = [];
	const source: SourceInMemory = {
		version: { key: "object", etag: "version", sizeBytes },
		content,
		requests,
		get requestedBytes() {
			return requests.reduce((sum, request) => sum + request.sizeBytes, 0);
		},
		gate: () => undefined,
		async get(_key, { offset, into, objectSizeBytes, signal, onProgress }) {
			const isWhole = offset === 0 && into.length === objectSizeBytes;
			const request = { offset, sizeBytes: into.length, isWhole, isAborted: false };
			requests.push(request);
			for (let filled = 0; filled < into.length;) {
				await delay(0);
				await untilAborted(source.gate(offset + filled, request), signal);
				if (signal?.aborted === true) {
					request.isAborted = true;
					throw new S3Error("ABORTED", "given up");
				}
				filled += content.copy(into, filled, offset + filled, offset + Math.min(into.length, filled + pieceBytes));
				onProgress?.(filled);
			}
		},
	};
	return source;
}

async function untilAborted(gate: void | Promise<void>, signal: AbortSignal | undefined): Promise<void> {
	const aborted = Promise.withResolvers<void>();
	signal?.addEventListener("abort", () => aborted.resolve(), { once: true });
	await Promise.race([gate, aborted.promise]);
}

let random = Buffer.alloc(0);

/** Different at every position, so that bytes of another place are noticed. */
function contentOf(sizeBytes: number): Buffer {
	if (random.length < sizeBytes) random = randomBytes(sizeBytes);
	return random.subarray(0, sizeBytes);
}
