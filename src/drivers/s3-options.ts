import type * as z from "zod";
import type { BucketLocation } from "../s3/check/check.ts";
import { endpointUrl, file, flag, integer, mode, secret, text } from "../options/option.ts";
import type { S3Source } from "./s3-source.ts";

/** The options that all S3 drivers share, under one name each. */
export const s3Options = {
	endpoint: endpointUrl({
		description: "Address of the S3 server. Default: Amazon's, for the region.",
		aliases: ["url", "minio-url", "oss-endpoint", "endpoint-url", "host"],
	}),
	region: text(
		{
			description: "Region to sign for. Default: us-east-1, or the one that Amazon names.",
			aliases: ["oss-region", "minio-region"],
		},
		/^[A-Za-z0-9-]{1,64}$/,
		"a region such as us-east-1",
	),
	"access-key": secret({
		description: "Access key id. Without it and secret-key the driver uses the pod's own identity.",
		aliases: ["minio-access-key", "oss-access-key", "access-key-id", "aws-access-key-id", "ak"],
	}),
	"secret-key": secret({
		description: "Secret access key.",
		aliases: [
			"minio-access-secret",
			"minio-secret-key",
			"oss-secret-key",
			"secret-access-key",
			"aws-secret-access-key",
			"sk",
		],
	}),
	"session-token": secret({
		description: "Session token of temporary keys.",
		aliases: ["minio-session-token", "oss-session-token", "aws-session-token", "security-token"],
	}),
	anonymous: flag({ description: "Do not sign requests: for public buckets. Default: false." }),
	"path-style": flag({
		description:
			"Put the bucket into the path instead of the host name. Default: true with an endpoint of your own, false for Amazon and Alibaba.",
		aliases: ["force-path-style", "use_path_request_style"],
	}),
	"ca-bundle": file({
		description: "PEM file with the certificate authorities to trust for the endpoint. Default: the image's.",
	}),
	"requester-pays": flag({
		description: "Accept the costs of a requester-pays bucket. Default: false.",
		aliases: ["requester_pays"],
	}),
	"storage-class": text(
		{
			description: "Storage class of new objects, such as STANDARD_IA. Default: the server's.",
			aliases: ["storage_class"],
		},
		/^[A-Za-z_]{1,64}$/,
		"a storage class such as STANDARD_IA",
	),
	acl: text(
		{
			description: "Canned ACL of new objects, such as bucket-owner-full-control. Default: none.",
			aliases: ["default_acl"],
		},
		/^[a-z-]{1,64}$/,
		"a canned ACL such as private",
	),
	uid: integer({ description: "Owner of all files as applications see them. Default: 0." }, { max: 4_294_967_294 }),
	gid: integer({ description: "Group of all files as applications see them. Default: 0." }, { max: 4_294_967_294 }),
	"dir-mode": mode({ description: "Permission bits of directories. Default: 0755.", aliases: ["dir_mode"] }),
	"file-mode": mode({ description: "Permission bits of files. Default: 0644.", aliases: ["file_mode"] }),
	"allow-other": flag({
		description: "Let users other than root use the mount. Default: true; an application that is not root needs it.",
		aliases: ["allow_other"],
	}),
} as const;

export type S3OptionValues = z.output<z.ZodObject<typeof s3Options>>;

/** Options that only make sense together. */
export function s3OptionFaults(options: S3OptionValues): { name: string; message: string }[] {
	const faults: { name: string; message: string }[] = [];
	const [accessKey, secretKey] = [options["access-key"], options["secret-key"]];
	if (accessKey !== undefined && secretKey === undefined)
		faults.push({ name: "access-key", message: "given without secret-key" });
	if (accessKey === undefined && secretKey !== undefined)
		faults.push({ name: "secret-key", message: "given without access-key" });
	if (options["session-token"] !== undefined && accessKey === undefined) {
		faults.push({ name: "session-token", message: "given without access-key and secret-key" });
	}
	if (options.anonymous === true && accessKey !== undefined) {
		faults.push({ name: "anonymous", message: "cannot be combined with access-key" });
	}
	return faults;
}

/** Where the bucket is and how to ask for it, for the check before a mount. */
export function bucketLocation(source: S3Source, options: S3OptionValues): BucketLocation {
	const [accessKey, secretKey, token] = [options["access-key"], options["secret-key"], options["session-token"]];
	return {
		endpoint: options.endpoint,
		region: options.region ?? "us-east-1",
		bucket: source.bucket,
		prefix: source.prefix,
		pathStyle: pathStyle(source, options),
		credentials:
			accessKey === undefined || secretKey === undefined
				? undefined
				: {
						accessKeyId: accessKey.reveal(),
						secretAccessKey: secretKey.reveal(),
						...(token !== undefined && { sessionToken: token.reveal() }),
					},
		...(options["ca-bundle"] !== undefined && { caBundle: options["ca-bundle"] }),
		...(options["requester-pays"] !== undefined && { requesterPays: options["requester-pays"] }),
	};
}

/** Amazon and Alibaba want the bucket in the host name; what people run themselves rarely has the DNS for it. */
export function pathStyle({ bucket }: S3Source, options: S3OptionValues): boolean {
	if (options["path-style"] !== undefined) return options["path-style"];
	// A certificate for *.host does not cover a bucket with dots.
	if (bucket.includes(".")) return true;
	const host = options.endpoint?.hostname;
	return host !== undefined && !/(^|\.)(amazonaws\.com(\.cn)?|aliyuncs\.com)$/.test(host);
}
