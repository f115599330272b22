import { hasEtag, isKind } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import type { RequestHeaders } from "./client.ts";
import type { Doubt } from "./doubt.ts";
import type { Answer, SentBody } from "./http/connection.ts";

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
	},
): Promise<Answer> {
	const { operation, key, body, headers, query, doubt, preconditionMeans } = call;
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
				check: (answer) => (hasEtag(answer) ? undefined : "an answer that is not S3's"),
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
