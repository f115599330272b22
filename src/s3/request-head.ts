import { encodeKey, encodeQuery } from "./bucket-address.ts";
import type { RequestHeaders, S3Call } from "./call.ts";
import { S3Error, type StaticCredentials } from "./object-store.ts";
import { signCanonical } from "./sign.ts";
import type { Site } from "./site.ts";
import { describePlace } from "./verdict.ts";

const headerText = /^[\u0020-\u007e\u0080-\uffff]*$/;

export interface HeadFacts {
	readonly site: Pick<Site, "address" | "absolute" | "proxyLines">;
	readonly region: string;
	/** Undefined: it is not signed. */
	readonly credentials: StaticCredentials | undefined;
	/** By the server's clock. */
	readonly now: Date;
	/** What each request for the bucket has. */
	readonly bucketHeaders: RequestHeaders;
	readonly expectsContinue: boolean;
}

/** The request line and the headers, signed, as they go over the wire. Throws REFUSED for what no header can hold. */
export function requestHead(
	call: S3Call,
	{ site, region, credentials, now, bucketHeaders, expectsContinue }: HeadFacts,
): string {
	const { method, body, key } = call;
	const { address } = site;
	const path = `${address.basePath}/${key === undefined ? "" : encodeKey(key)}`;
	const query = call.query === undefined ? "" : encodeQuery(call.query);
	const headers = { host: address.host, ...call.headers?.(), ...bucketHeaders };
	const signed =
		credentials === undefined
			? headers
			: signCanonical(
					{ path, query, headers },
					{
						method,
						region,
						credentials,
						now,
						// A body's checksum is among the headers that are signed, so that an error on the way is found. To hash
						// the whole body as well would take longer than to send it, and would only keep out who can change
						// what goes over plain HTTP, and such a one can change what comes back, too.
						...(body !== undefined && { bodyHash: call.bodyHash ?? "UNSIGNED-PAYLOAD" }),
					},
				);
	let text = `${method} ${site.absolute}${path}${query === "" ? "" : `?${query}`} HTTP/1.1\r\n`;
	for (const name of Object.keys(signed)) {
		const value = (signed as RequestHeaders)[name] ?? "";
		if (!headerText.test(value)) {
			const problem = `${describePlace(call)}: the header ${name} has a character that no header may have`;
			throw new S3Error("REFUSED", problem);
		}
		// The head goes out as Latin-1, and what is signed as UTF-8.
		text += `${name}: ${/^[ -~]*$/.test(value) ? value : Buffer.from(value).toString("latin1")}\r\n`;
	}
	// Not signed: proxies change them.
	text += `user-agent: fluid-fuse\r\naccept-encoding: identity\r\n${site.proxyLines}`;
	if (body !== undefined) text += `content-length: ${body.sizeBytes}\r\n`;
	else if (method === "PUT" || method === "POST") text += "content-length: 0\r\n";
	if (expectsContinue) text += "expect: 100-continue\r\n";
	return `${text}\r\n`;
}
