import type { RequestHeaders } from "./call.ts";
import type { Client } from "./client.ts";
import { encodeKey } from "./bucket-address.ts";
import type { EncryptionHeaders } from "./encryption.ts";
import { encodeStrictly } from "./location.ts";
import type { ServerKnowledge } from "./server-knowledge.ts";

/** What all that is done with one bucket has in common. */
export interface Bucket {
	readonly client: Client;
	readonly encryption: EncryptionHeaders;
	readonly knowledge: ServerKnowledge;
}

/** Names what is to be copied: that version of it, or whichever there is. */
export function copySource({ client, encryption }: Bucket, key: string, etag: string | undefined): RequestHeaders {
	return {
		...encryption.copySource,
		"x-amz-copy-source": `/${encodeStrictly(client.bucket)}/${encodeKey(key)}`,
		...(etag !== undefined && { "x-amz-copy-source-if-match": `"${etag}"` }),
	};
}
