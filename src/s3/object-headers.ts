import type { RequestHeaders } from "./client.ts";
import type { Answer } from "./http/connection.ts";
import { withoutQuotes } from "./list-answer.ts";
import { S3Error, type ObjectHeaders, type ObjectMetadata } from "./object-store.ts";

const metadataPrefix = "x-amz-meta-";

/** Of an answer to GET or HEAD. */
export function objectHeaders({ headers }: Pick<Answer, "headers">, sizeBytes: number): ObjectHeaders {
	const metadata: Record<string, string> = {};
	for (const [name, value] of headers) {
		if (name.startsWith(metadataPrefix)) metadata[name.slice(metadataPrefix.length)] = decodeUtf8(value);
	}
	return {
		sizeBytes,
		modifiedMs: Date.parse(headers.get("last-modified") ?? "") || 0,
		etag: withoutQuotes(headers.get("etag") ?? ""),
		metadata,
		contentType: headers.get("content-type"),
	};
}

/** The server's clock; undefined if it does not tell. */
export function serverTimeMs({ headers }: Pick<Answer, "headers">): number | undefined {
	const time = Date.parse(headers.get("date") ?? "");
	return Number.isNaN(time) ? undefined : time;
}

/** Headers are read as Latin-1, but others' metadata may have been sent as UTF-8, as which listings show them. */
function decodeUtf8(value: string): string {
	if (!/[\u0080-\u00ff]/.test(value)) return value;
	const text = Buffer.from(value, "latin1").toString();
	return text.includes("\ufffd") ? value : text;
}

/** What the object keeps beside its metadata, and a copy with new metadata would lose. */
const contentHeaderNames = [
	"content-type",
	"cache-control",
	"content-disposition",
	"content-encoding",
	"content-language",
	"expires",
	"x-amz-website-redirect-location",
];

export function contentHeaders({ headers }: Pick<Answer, "headers">): RequestHeaders {
	const kept: Record<string, string> = {};
	for (const name of contentHeaderNames) {
		const value = headers.get(name);
		if (value !== undefined) kept[name] = value;
	}
	return kept;
}

/**
 * Throws REFUSED for what no header can hold: names are tokens, and values are printable ASCII without white space around them, which
 * servers strip. Whoever has more to say encodes it.
 */
export function metadataHeaders(metadata: ObjectMetadata): RequestHeaders {
	const headers: Record<string, string> = {};
	for (const name of Object.keys(metadata)) {
		const value = metadata[name] ?? "";
		if (!/^[\da-z!#$%&'*+.^_`|~-]+$/.test(name))
			throw new S3Error("REFUSED", `${JSON.stringify(name)} cannot be the name of metadata`);
		if (!/^(?:[!-~](?:[ -~]*[!-~])?)?$/.test(value))
			throw new S3Error("REFUSED", `the metadata ${name} has a character that no header may have`);
		headers[metadataPrefix + name] = value;
	}
	return headers;
}
