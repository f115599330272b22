import { inspect } from "node:util";

import { expect } from "vitest";

import { LauncherError } from "../../src/errors.ts";
import { checkBucket, type BucketLocation, type CheckOptions } from "../../src/s3/check/check.ts";
import type { Minio } from "../support/minio.ts";

/** The bucket `bucket` of the server, as root. */
export function locationOf(minio: Minio): BucketLocation & { credentials: object } {
	return {
		endpoint: new URL(minio.endpoint),
		region: minio.region,
		bucket: "bucket",
		prefix: "",
		pathStyle: true,
		credentials: { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey },
	};
}

/** A location where nobody answers, for tests that do not get that far. */
export const nowhere: BucketLocation & { credentials: object } = {
	endpoint: new URL("http://127.0.0.1:1"),
	region: "us-east-1",
	bucket: "bucket",
	prefix: "",
	pathStyle: true,
	credentials: { accessKeyId: "some-access-key", secretAccessKey: "some-secret-key" },
};

/** Checks, with a limit in case the check has none. */
export async function check(location: BucketLocation, options: Partial<CheckOptions> = {}): Promise<void> {
	await checkBucket(location, { signal: AbortSignal.timeout(10_000), timeoutMs: 3000, ...options });
}

/** The error that the check ends with: expected, with a hint, on one line, and without a secret anywhere. */
export async function failureOf(
	location: BucketLocation,
	options: Partial<CheckOptions> = {},
): Promise<{ code: string; message: string; hint: string }> {
	const error: unknown = await check(location, options).then(
		() => undefined,
		(thrown: unknown) => thrown,
	);
	if (!(error instanceof LauncherError)) throw new Error("not a LauncherError", { cause: error ?? "it passed" });
	expectNoSecrets(error, location);
	expect(error.message).toContain(`s3://${location.bucket}/`);
	expect(`${error.message}${error.hint}`).not.toMatch(/\n|undefined|null|NaN|\[object/);
	return { code: error.code, message: error.message, hint: error.hint ?? "" };
}

export function expectNoSecrets(error: LauncherError, location: BucketLocation): void {
	const everything = inspect(error, { depth: 10, showHidden: true }) + error.hint;
	for (const secret of Object.values(location.credentials ?? {})) {
		if (secret === "") continue;
		for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")]) {
			expect(everything).not.toContain(form);
		}
	}
}
