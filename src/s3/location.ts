import { isIP } from "node:net";

import { LauncherError } from "../errors.ts";
import { printable } from "./printable.ts";

/** A bucket, the part of it that matters, and how to reach and ask its server. */
export interface BucketLocation {
	/** Undefined: AWS, in `region`. */
	readonly endpoint: URL | undefined;
	readonly region: string;
	readonly bucket: string;
	/** `""`, or a prefix that ends in `/`. */
	readonly prefix: string;
	/** The bucket is in the path; otherwise it is the first label of the host name. */
	readonly pathStyle: boolean;
	/** Undefined: requests are not signed. */
	readonly credentials: Credentials | undefined;
	/** PEM file of the certificate authorities to trust instead of the system's. */
	readonly caBundle?: string;
	readonly insecureSkipVerify?: boolean;
	readonly requesterPays?: boolean;
}

export interface Credentials {
	readonly accessKeyId: string;
	readonly secretAccessKey: string;
	readonly sessionToken?: string;
}

/** The URL that lists at most one object of the bucket below the prefix. Throws if no URL can say that. */
export function listUrl(location: BucketLocation): URL {
	const { bucket, prefix, pathStyle, endpoint = awsEndpoint(location) } = location;
	const url = new URL(endpoint.origin);
	const basePath = withoutSlashes(endpoint.pathname);
	if (pathStyle) {
		// A URL parser walks over dots, and a slash would turn the bucket into an object.
		if (/^\.{0,2}$|\//.test(bucket)) throw notABucket(location, "is not a bucket's name");
		url.pathname = `${basePath}/${encodeStrictly(bucket)}`;
	} else {
		if (isIP(url.hostname.replace(/^\[|\]$/g, ""))) {
			throw new LauncherError(
				"ENDPOINT_WRONG",
				`${describe(location)}: a bucket cannot be the first part of an IP address's host name`,
				{ hint: "Set the option path-style, or give the endpoint by its DNS name." },
			);
		}
		const hostname = `${bucket}.${url.hostname}`;
		url.hostname = hostname;
		// What it does not like, a URL ignores or changes.
		const isTaken = /^[a-z0-9]/.test(bucket) && url.hostname === hostname;
		if (!isTaken) throw notABucket(location, "cannot be part of a host name");
		url.pathname = `${basePath}/`;
	}
	url.search = `?list-type=2&max-keys=1&prefix=${encodeStrictly(prefix)}`;
	return url;
}

/** At its end. Not by a pattern, which begins anew at each of many. */
function withoutSlashes(path: string): string {
	let end = path.length;
	while (path[end - 1] === "/") end--;
	return path.slice(0, end);
}

/** Names the place in messages: `s3://bucket/prefix at http://host:port`. Never holds an endpoint's user and password. */
export function describe({ bucket, prefix, region, endpoint }: BucketLocation): string {
	const place = endpoint === undefined ? `AWS in ${printable(region, 64)}` : endpoint.origin;
	return `s3://${printable(`${bucket}/${prefix}`, 300)} at ${place}`;
}

export function awsEndpoint(location: BucketLocation): URL {
	const { region } = location;
	if (!/^[a-z0-9-]+$/.test(region)) {
		const message = `${describe(location)}: ${JSON.stringify(region)} is not a region of AWS`;
		throw new LauncherError("REGION_WRONG", message, { hint: "Set the option region to one such as us-east-1." });
	}
	const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
	return new URL(`https://s3.${region}.${domain}`);
}

function notABucket(location: BucketLocation, why: string): LauncherError {
	return new LauncherError("BUCKET_MISSING", `${describe(location)}: ${JSON.stringify(location.bucket)} ${why}`, {
		hint: "Correct the bucket's name.",
	});
}

/** Percent-encodes all but RFC 3986's unreserved characters, as the signature wants it. */
export function encodeStrictly(text: string): string {
	return encodeURIComponent(text.toWellFormed()).replaceAll(/[!'()*]/g, percentEncode);
}

function percentEncode(character: string): string {
	return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}
