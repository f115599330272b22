import { awsEndpoint, encodeStrictly, listUrl } from "./location.ts";

/** How requests name a bucket and its objects. */
export interface BucketAddress {
	/** Scheme, host and port. */
	readonly origin: URL;
	/** The Host header. */
	readonly host: string;
	/** Encoded, without a slash at its end. */
	readonly basePath: string;
}

/** Throws a LauncherError if no URL can say that. */
export function bucketAddress(options: {
	readonly endpoint: URL | undefined;
	readonly region: string;
	readonly bucket: string;
	readonly pathStyle: boolean;
}): BucketAddress {
	const { endpoint = awsEndpoint({ ...options, endpoint: undefined, prefix: "", credentials: undefined }) } = options;
	const url = listUrl({ ...options, endpoint, prefix: "", credentials: undefined });
	return { origin: new URL(url.origin), host: url.host, basePath: url.pathname.replace(/\/$/, "") };
}

/** The path of an object, with its slashes. */
export function encodeKey(key: string): string {
	return encodeStrictly(key).replaceAll("%2F", "/");
}

/** Sorted, as the signature wants it. */
export function encodeQuery(query: Readonly<Record<string, string>>): string {
	const names = Object.keys(query);
	if (names.length > 1) names.sort();
	let text = "";
	for (const name of names) {
		if (text !== "") text += "&";
		text += `${encodeStrictly(name)}=${encodeStrictly(query[name] ?? "")}`;
	}
	return text;
}
