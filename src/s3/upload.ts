import { hash } from "node:crypto";
import { hasEtag, isKind } from "./answers.ts";
import { isOfServer } from "./of-server.ts";
import type { Bucket } from "./bucket.ts";
import type { RequestHeaders, S3Call } from "./call.ts";
import type { Doubt } from "./doubt.ts";
import { meaningOfFailures } from "./object-headers.ts";
import type { Answer, SentBody } from "./http/connection.ts";

/** Of the objects of directories. */
export const emptyBody = { sizeBytes: 0, crc32: 0, read: () => [] };

/** Of the bytes that a server found to be others than their checksum says. */
const uploadTries = 3;

/** Sends bytes; a body that arrived as another one is sent again. */
export async function upload(
	{ client }: Bucket,
	call: {
		readonly operation: string;
		readonly key: string;
		readonly body: SentBody;
		readonly headers: RequestHeaders;
		readonly query?: Readonly<Record<string, string>>;
		readonly doubt?: Doubt;
		readonly preconditionMeans?: "EXISTS";
		readonly maximumIdleMs?: number;
		/** Nothing else can tell the version. */
		readonly needsEtag: boolean;
	},
): Promise<Answer> {
	const { operation, key, body, headers, query, doubt, preconditionMeans, needsEtag } = call;
	const { maximumIdleMs = Number.POSITIVE_INFINITY } = call;
	for (let tries = 1; ; tries++) {
		try {
			return await client.call({
				operation,
				method: "PUT",
				key,
				body,
				priority: "write",
				headers: () => headers,
				...meaningOfFailures(headers),
				check: (answer) =>
					hasEtag(answer) || (!needsEtag && isOfServer(answer)) ? undefined : "an answer that is not S3's",
				onDoubt: () => doubt?.begin(),
				maximumIdleMs: tries > 1 ? 0 : maximumIdleMs,
				...(query !== undefined && { query }),
				...(preconditionMeans !== undefined && { preconditionMeans }),
			});
		} catch (error) {
			if (!isKind(error, "CHECKSUM_WRONG") || tries === uploadTries) throw error;
		}
	}
}

/** A body that is signed, since that costs nothing. */
export function smallBody(bytes: Buffer): Pick<S3Call, "body" | "bodyHash"> {
	return { body: { sizeBytes: bytes.length, read: () => [bytes] }, bodyHash: hash("sha256", bytes) };
}
