import { createHash, createHmac } from "node:crypto";
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

/**
 * The headers that sign a request with AWS Signature Version 4, the given ones among them. The URL must be encoded as it is
 * sent. https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 */
export function signedHeaders(
	url: URL,
	headers: Readonly<Record<string, string>>,
	{ method = "GET", region, service = "s3", credentials, now, bodyHash = emptyBodyHash }: SigningOptions,
): Record<string, string> {
	const time = now.toISOString().replaceAll(/[:-]|\.\d{3}/g, "");
	const day = time.slice(0, 8);
	const { accessKeyId, secretAccessKey, sessionToken } = credentials;
	const all: Record<string, string> = {
		...headers,
		host: url.host,
		"x-amz-content-sha256": bodyHash,
		"x-amz-date": time,
		...(sessionToken !== undefined && { "x-amz-security-token": sessionToken }),
	};
	const names = Object.keys(all).toSorted();
	const canonicalRequest = [
		method,
		url.pathname,
		canonicalQuery(url),
		...names.map((name) => `${name}:${all[name]?.trim().replaceAll(/ +/g, " ")}`),
		"",
		names.join(";"),
		bodyHash,
	].join("\n");
	const scope = `${day}/${region}/${service}/aws4_request`;
	const text = ["AWS4-HMAC-SHA256", time, scope, createHash("sha256").update(canonicalRequest).digest("hex")].join(
		"\n",
	);
	const key = [day, region, service, "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
	return {
		...all,
		authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(";")}, Signature=${hmac(key, text).toString("hex")}`,
	};
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
