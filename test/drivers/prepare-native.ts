import type { PreparedMount } from "../../src/drivers/driver.ts";
import { native } from "../../src/drivers/native.ts";
import { Secret } from "../../src/secrets/secret.ts";
import type { Minio } from "../support/minio.ts";

/** A mount of that bucket, to be written, with these options beside where and who. */
export function prepareNative(
	minio: Minio,
	bucket: string,
	options: Readonly<Record<string, string>> = {},
): PreparedMount {
	return native.prepare(
		{ source: `s3://${bucket}`, readOnly: false },
		{
			endpoint: minio.endpoint,
			"access-key": new Secret(minio.accessKey, "login/id"),
			"secret-key": new Secret(minio.secretKey, "login/key"),
			...options,
		},
	);
}
