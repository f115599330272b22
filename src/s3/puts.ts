import type { Ability } from "./abilities.ts";
import { checkKey, etagOf, hasEtag, hasMetadata, isKind, sizeOf } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import { Doubt } from "./doubt.ts";
import type { Heads } from "./heads.ts";
import { createIntegrity } from "./integrity.ts";
import { wasMadeSince } from "./made-since.ts";
import { metadataHeaders, serverTimeMs } from "./object-headers.ts";
import type { ObjectMaking } from "./object-making.ts";
import type { PutOptions, UploadBody, Uploaded } from "./object-store.ts";
import { upload } from "./upload.ts";

/** No server closes what was used so recently. */
const freshMs = 1000;

/** Objects that are sent with one request. */
export class Puts {
	readonly #bucket: Bucket;
	readonly #heads: Heads;
	readonly #making: ObjectMaking;

	constructor(bucket: Bucket, heads: Heads, making: ObjectMaking) {
		this.#bucket = bucket;
		this.#heads = heads;
		this.#making = making;
	}

	async put(
		key: string,
		body: UploadBody,
		options: PutOptions & {
			/** Of which object the tags are. Default: of that one. */
			readonly tagged?: string;
		} = {},
	): Promise<Uploaded> {
		const { metadata = {}, properties = { headers: {} }, onlyIfAbsent = false, doubt = new Doubt() } = options;
		checkKey(key);
		const own = metadataHeaders(metadata);
		const making = await this.#making.of(properties, options.tagged ?? key);
		const integrity = createIntegrity(body);
		doubt.sends(async (answer) => hasMetadata(answer, metadata) && integrity.wasOf(answer));
		const used: Ability[] = onlyIfAbsent ? ["checksums", "conditions"] : ["checksums"];
		return this.#bucket.knowledge.conceding([...used, ...making.used], async (lacking) => {
			const headers = {
				...own,
				...making.headers(lacking),
				...(await integrity.headers(!lacking.has("checksums"))),
				...(onlyIfAbsent && !lacking.has("conditions") && { "if-none-match": "*" }),
			};
			try {
				if (onlyIfAbsent && lacking.has("conditions")) await this.#heads.refuseIfPresent(key);
				const answer = await upload(this.#bucket, {
					operation: "PutObject",
					key,
					body,
					headers,
					doubt,
					preconditionMeans: "EXISTS",
					needsEtag: false,
					// On a connection that the server closed while nobody used it, the request looks like one whose answer was lost.
					...(onlyIfAbsent && { maximumIdleMs: freshMs }),
				});
				if (hasEtag(answer)) return { etag: etagOf(answer), modifiedMs: serverTimeMs(answer) };
				return await this.#heads.made(
					key,
					async (found) => sizeOf(found) === body.sizeBytes && wasMadeSince(found, doubt),
				);
			} catch (error) {
				if (!isKind(error, "EXISTS")) throw error;
				// It may be there because of an earlier try, whose answer was lost.
				const present = await this.#heads.presentIf(key, doubt, async (answer) => wasMadeSince(answer, doubt));
				if (present === undefined) throw error;
				const isThis = hasMetadata(present.answer, metadata) && (await integrity.isOf(present.answer));
				if (isThis) return present.uploaded;
				if (!(await doubt.hasSent(present.answer))) throw error;
				// With what it was to hold when an earlier call failed.
				return this.put(key, body, { ...options, onlyIfAbsent: false, doubt: new Doubt() });
			}
		});
	}
}
