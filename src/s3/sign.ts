import { createHmac, hash } from "node:crypto";
import { encodeStrictly, type Credentials } from "./location.ts";

const emptyBodyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

export interface SigningOptions {
	readonly method?: string;
	readonly region: string;
	/** Such as `s3` or `sts`. */
	readonly service?: string;
	readonly credentials: Credentials;
	readonly now: Date;
	/** SHA-256 of the body in hex. Default: that of no body. */
	readonly bodyHash?: string;
}

/** A request whose parts are in the form that is signed. */
export interface CanonicalRequest {
	/** Percent-encoded, as it is sent. */
	readonly path: string;
	/** Percent-encoded, sorted by name and then by value, each with its `=`. */
	readonly query: string;
	/** In lower case, `host` among them. */
	readonly headers: Readonly<Record<string, string>>;
}

/**
 * The headers that sign a request with AWS Signature Version 4, the given ones among them. The URL must be encoded as it is
 * sent. https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 */
export function signedHeaders(
	url: URL,
	headers: Readonly<Record<string, string>>,
	options: SigningOptions,
): Record<string, string> {
	const request = { path: url.pathname, query: canonicalQuery(url), headers: { ...headers, host: url.host } };
	return signCanonical(request, options);
}

/** The same for a request that is put together in its canonical form: nothing is parsed, so that thousands a second cost little. */
export function signCanonical(
	{ path, query, headers }: CanonicalRequest,
	{ method = "GET", region, service = "s3", credentials, now, bodyHash = emptyBodyHash }: SigningOptions,
): Record<string, string> {
	const time = timestamp(now);
	const day = time.slice(0, 8);
	const { accessKeyId, secretAccessKey, sessionToken } = credentials;
	const all: Record<string, string> = { ...headers, "x-amz-content-sha256": bodyHash, "x-amz-date": time };
	if (sessionToken !== undefined) all["x-amz-security-token"] = sessionToken;
	const names = Object.keys(all).toSorted();
	let canonicalRequest = `${method}\n${path}\n${query}\n`;
	for (const name of names) canonicalRequest += `${name}:${canonicalValue(all[name] ?? "")}\n`;
	const signedNames = names.join(";");
	canonicalRequest += `\n${signedNames}\n${bodyHash}`;
	const scope = `${day}/${region}/${service}/aws4_request`;
	const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash("sha256", canonicalRequest)}`;
	const signature = hmac(signingKey(day, region, service, secretAccessKey), text).toString("hex");
	all["authorization"] =
		`AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signedNames}, Signature=${signature}`;
	return all;
}

function canonicalValue(value: string): string {
	const trimmed = value.trim();
	return trimmed.includes("  ") ? trimmed.replaceAll(/ +/g, " ") : trimmed;
}

let lastSecond = Number.NaN;
let lastTimestamp = "";

/** Such as `20130524T000000Z`. */
function timestamp(now: Date): string {
	const second = Math.floor(now.getTime() / 1000);
	if (second !== lastSecond) {
		lastTimestamp = now.toISOString().replaceAll(/[:-]|\.\d{3}/g, "");
		lastSecond = second;
	}
	return lastTimestamp;
}

interface CachedKey {
	readonly day: string;
	readonly region: string;
	readonly service: string;
	readonly secret: string;
	readonly key: Buffer;
}

/** A process has a handful of buckets and credentials. */
const maximumKeys = 16;
const keys: CachedKey[] = [];

/** Four HMACs that are the same all day. */
function signingKey(day: string, region: string, service: string, secret: string): Buffer {
	for (const cached of keys) {
		const isSame =
			cached.secret === secret && cached.day === day && cached.region === region && cached.service === service;
		if (isSame) return cached.key;
	}
	const key = hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), service), "aws4_request");
	if (keys.length >= maximumKeys) keys.shift();
	keys.push({ day, region, service, secret, key });
	return key;
}

function hmac(key: string | Buffer, text: string): Buffer {
	return createHmac("sha256", key).update(text).digest();
}

/** Sorted by name and then by value. */
function canonicalQuery(url: URL): string {
	return [...url.searchParams]
		.map(([name, value]) => `${encodeStrictly(name)}=${encodeStrictly(value)}`)
		.toSorted((a, b) => (a < b ? -1 : 1))
		.join("&");
}
