import type { Ability } from "./abilities.ts";
import { checkKey, etagOf, hasEtag, hasMetadata, isKind, contentLengthOf } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import { Doubt } from "./doubt.ts";
import type { Heads } from "./heads.ts";
import { createIntegrity } from "./integrity.ts";
import { mayBeMadeSince, wasMadeSince } from "./made-since.ts";
import { metadataHeaders, objectHeaders, serverTimeMs } from "./object-headers.ts";
import type { ObjectMaking } from "./object-making.ts";
import { S3Error, type ObjectMetadata, type PutOptions, type UploadBody, type Uploaded } from "./object-store.ts";
import { printable } from "./printable.ts";
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
				if (key.endsWith("/") && body.sizeBytes === 0) await this.#lookAtMarker(key, metadata);
				if (hasEtag(answer)) return { etag: etagOf(answer), modifiedMs: serverTimeMs(answer) };
				return await this.#heads.made(
					key,
					async (found) => contentLengthOf(found) === body.sizeBytes && mayBeMadeSince(found, doubt),
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

	/** Whether a directory's object keeps its metadata, which nothing else would tell: once, at the first that has some. */
	async #lookAtMarker(key: string, metadata: ObjectMetadata): Promise<void> {
		const { knowledge } = this.#bucket;
		const ability: Ability = "directory-metadata";
		if (Object.keys(metadata).length === 0 || knowledge.isProven(ability) || knowledge.lacks(ability)) return;
		try {
			const found = objectHeaders(await this.#heads.ask(key), 0).metadata;
			if (Object.keys(metadata).some((name) => name in found)) return knowledge.proves(ability);
			const text = `PutObject ${printable(key, 300)}: the metadata are not there afterwards`;
			knowledge.concede(ability, new S3Error("UNSUPPORTED", text, { status: 200 }));
		} catch {
			// It is stored, and the next one is looked at.
		}
	}
}
