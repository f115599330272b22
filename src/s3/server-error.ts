import type { Credentials } from "./location.ts";
import { printable } from "./printable.ts";
import { decodeEntities } from "./xml.ts";

/** What an S3 server says in an error's body. All of it is a stranger's text, made fit for one line of a message. */
export interface ServerError {
	/** Such as `NoSuchBucket`. */
	readonly code: string;
	readonly message: string | undefined;
	readonly region: string | undefined;
	readonly serverTime: Date | undefined;
}

/** Reads an S3 error document. Undefined if the body is something else. Secrets that it repeats are masked. */
export function parseServerError(body: string, credentials: Credentials | undefined): ServerError | undefined {
	// Other things have a <Code> element too, such as a web page about S3.
	if (!/^\s*(<\?xml[^>]*>\s*)?<Error[\s>]/.test(body)) return undefined;
	const secrets = Object.values(credentials ?? {}).filter((secret) => secret.length >= minimumSecretLength);
	const read = (element: string, maxLength: number) => {
		const found = new RegExp(`<${element}>([^<]*)</${element}>`).exec(body)?.[1];
		if (found === undefined) return undefined;
		const unmasked = decodeEntities(found);
		const masked = secrets.reduce((text, secret) => text.replaceAll(secret, "[redacted]"), unmasked);
		return printable(masked, maxLength) || undefined;
	};
	const code = read("Code", 64);
	if (code === undefined) return undefined;
	const serverTime = new Date(read("ServerTime", 64) ?? Number.NaN);
	return {
		code,
		message: read("Message", 200),
		region: read("Region", 64),
		serverTime: Number.isNaN(serverTime.getTime()) ? undefined : serverTime,
	};
}

/** Masking shorter ones would only shred the message. */
const minimumSecretLength = 4;
