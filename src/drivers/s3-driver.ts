import { LauncherError } from "../errors.ts";
import { checkBucket } from "../s3/check.ts";
import type { CheckContext, DriverFault, Mount } from "./driver.ts";
import { bucketLocation, s3OptionFaults, type S3OptionValues } from "./s3-options.ts";
import { parseS3Source, type S3Source } from "./s3-source.ts";

/** What every S3 driver checks before it knows its own options. */
export function s3Faults(mount: Mount, options: S3OptionValues): DriverFault[] {
	const source = parseS3Source(mount.source);
	const faults: DriverFault[] = "at" in source ? [source] : [];
	for (const { name, message } of s3OptionFaults(options)) faults.push({ at: { kind: "option", name }, message });
	return faults;
}

/** The source of a mount that s3Faults found nothing wrong with. */
export function s3Source(mount: Mount): S3Source {
	const source = parseS3Source(mount.source);
	if ("at" in source) throw new Error(source.message);
	return source;
}

/** Asks the server, signed as the driver will sign, whether the bucket can be used. Throws what is wrong. */
export async function s3Check(
	mount: Mount,
	options: S3OptionValues,
	{ signal, variables }: CheckContext,
): Promise<void> {
	try {
		await checkBucket(bucketLocation(s3Source(mount), options), { signal, proxyEnv: variables });
	} catch (error) {
		// Without a region in the config the drivers ask Amazon for it themselves.
		const detected = error instanceof LauncherError && error.code === "REGION_WRONG" && options.region === undefined;
		if (!detected) throw error;
	}
}
