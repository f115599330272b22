import type { RequestHeaders } from "./call.ts";
import type { Answer } from "./http/connection.ts";
import { withoutQuotes } from "./list-answer.ts";
import { S3Error, type ObjectHeaders, type ObjectMetadata, type ObjectProperties } from "./object-store.ts";

const metadataPrefix = "x-amz-meta-";

/** Of an answer to HEAD. */
export function objectHeaders({ headers }: Pick<Answer, "headers">, sizeBytes: number): ObjectHeaders {
	const metadata: [name: string, value: string][] = [];
	for (const [name, value] of headers) {
		if (name.startsWith(metadataPrefix)) metadata.push([name.slice(metadataPrefix.length), decodeUtf8(value)]);
	}
	return {
		sizeBytes,
		modifiedMs: Date.parse(headers.get("last-modified") ?? "") || 0,
		etag: withoutQuotes(headers.get("etag") ?? ""),
		// Whatever their names are.
		metadata: Object.fromEntries(metadata),
		properties: objectProperties(headers),
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

/** Some servers keep less of it than others, and fail with the rest as if it might pass. */
export function meaningOfFailures(headers: RequestHeaders): { readonly repeatedFailureMeans?: "NO_SPACE" } {
	const isLong = Object.keys(headers).some(
		(name) => name.startsWith(metadataPrefix) && (headers[name] ?? "").length > longMetadata,
	);
	return isLong ? { repeatedFailureMeans: "NO_SPACE" } : {};
}

const longMetadata = 128;

/** What is kept of an object as it was told. */
const propertyNames = [
	"content-type",
	"cache-control",
	"content-disposition",
	"content-encoding",
	"content-language",
	"expires",
	"x-amz-website-redirect-location",
];

/** Who writes a file in one of these could not read it again before it is restored, which takes hours. */
const archives = new Set(["GLACIER", "DEEP_ARCHIVE"]);

function objectProperties(headers: ReadonlyMap<string, string>): ObjectProperties {
	const kept: Record<string, string> = {};
	for (const name of propertyNames) {
		const value = headers.get(name);
		if (value !== undefined) kept[name] = decodeUtf8(value);
	}
	const { "content-encoding": encoding, ...others } = kept;
	// How it was once sent is no property of the object, but some servers keep it.
	const coding = encoding?.replaceAll(/\baws-chunked\b,?|,\s*aws-chunked\b/g, "").trim();
	const storageClass = headers.get("x-amz-storage-class") ?? "STANDARD";
	const hasTags = Number(headers.get("x-amz-tagging-count") ?? 0) > 0;
	return {
		headers: { ...others, ...(coding !== undefined && coding !== "" && { "content-encoding": coding }) },
		...(!archives.has(storageClass) && { storageClass }),
		...(hasTags && { hasTags }),
	};
}

/** CopyObject copies neither for sure: S3 no redirect, MinIO no Expires. */
export function mayNotBeCopied({ headers }: ObjectProperties): boolean {
	return headers["expires"] !== undefined || headers["x-amz-website-redirect-location"] !== undefined;
}

/**
 * Throws REFUSED for what no header can hold: names are tokens, and values are printable and without white space around them, which
 * servers strip. Other characters than ASCII's, which some servers refuse, are those of metadata that others have stored.
 */
export function metadataHeaders(metadata: ObjectMetadata): RequestHeaders {
	const headers: Record<string, string> = {};
	for (const name of Object.keys(metadata)) {
		const value = metadata[name] ?? "";
		if (!/^[\da-z!#$%&'*+.^_`|~-]+$/.test(name))
			throw new S3Error("REFUSED", `${JSON.stringify(name)} cannot be the name of metadata`);
		if (!/^(?:[!-~\u00a1-\uffff](?:[ -~\u00a0-\uffff]*[!-~\u00a1-\uffff])?)?$/.test(value) || !value.isWellFormed())
			throw new S3Error("REFUSED", `the metadata ${name} has a character that no header may have`);
		headers[metadataPrefix + name] = value;
	}
	return headers;
}
