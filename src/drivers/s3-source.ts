import { endOfPassword, shown } from "../options/faults.ts";
import type { DriverFault } from "./driver.ts";
import { sourceFault } from "./faults.ts";

export interface S3Source {
	readonly bucket: string;
	/** `""`, or a prefix that ends in `/`. */
	readonly prefix: string;
}

/** Schemes of S3 sources; `""` is a bare bucket name. */
export const s3Schemes = ["s3", "minio", "oss", ""] as const;

/** Parses `s3://bucket/prefix`, `minio://…`, `oss://…` or a bare `bucket/prefix`. Returns a fault for anything else. */
export function parseS3Source(source: string): S3Source | DriverFault {
	const [, scheme = "", rest = ""] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/is.exec(source) ?? [];
	if (!(s3Schemes as readonly string[]).includes(scheme.toLowerCase())) {
		return sourceFault(
			`the scheme ${JSON.stringify(scheme)} is not S3; expected s3://bucket[/prefix], minio://…, oss://… or a bucket's name`,
		);
	}
	const slash = rest.indexOf("/");
	const bucket = slash === -1 ? rest : rest.slice(0, slash);
	// Not repeated in the message: what stands before the @ may be a password.
	if (endOfPassword(rest) > 0) return sourceFault("must not contain a user or password: use access-key and secret-key");
	if (!/^[a-z0-9][\w.-]{1,253}[a-z0-9]$/i.test(bucket) || /^\d+\.\d+\.\d+\.\d+$/.test(bucket)) {
		return sourceFault(
			`${shown(bucket)} is not a bucket's name (3 or more of a-z, 0-9, dots, hyphens; not an IP address)`,
		);
	}
	const segments = slash === -1 ? [] : rest.slice(slash + 1).split("/");
	if (segments.at(-1) === "") segments.pop();
	// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
	if (segments.some((part) => part === "" || part === "." || part === ".." || /[\u0000-\u001f\u007f]/.test(part))) {
		return sourceFault("the prefix must not contain //, . or .. as a name, or control characters");
	}
	return { bucket, prefix: segments.length === 0 ? "" : `${segments.join("/")}/` };
}
