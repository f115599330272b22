import { AwsV4Signer } from "aws4fetch";

import type { Credentials } from "./location.ts";

const emptyBodyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** The headers that make a GET of the URL a request signed with AWS Signature Version 4, the given ones among them. */
export async function signedHeaders(
	url: URL,
	headers: Readonly<Record<string, string>>,
	{ region, credentials, now }: { region: string; credentials: Credentials; now: Date },
): Promise<Record<string, string>> {
	const signer = new AwsV4Signer({
		url: url.href,
		// Some servers do not know UNSIGNED-PAYLOAD, the library's default.
		headers: { ...headers, "x-amz-content-sha256": emptyBodyHash },
		service: "s3",
		region,
		...credentials,
		datetime: now.toISOString().replaceAll(/[:-]|\.\d{3}/g, ""),
	});
	return Object.fromEntries((await signer.sign()).headers);
}
