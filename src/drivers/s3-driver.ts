import { LauncherError } from "../errors.ts";
import { checkBucket, type BucketLocation } from "../s3/check/check.ts";
import type { Identity } from "../s3/identity/identity.ts";
import type { BucketAccess, CheckContext, DriverFault, Mount } from "./driver.ts";
import { optionFault } from "./faults.ts";
import { bucketLocation, s3OptionFaults, type S3OptionValues } from "./s3-options.ts";
import { parseS3Source, type S3Source } from "./s3-source.ts";

/** What every S3 driver checks before it knows its own options. */
export function s3Faults(mount: Mount, options: S3OptionValues): DriverFault[] {
	const source = parseS3Source(mount.source);
	const faults: DriverFault[] = "at" in source ? [source] : [];
	for (const { name, message } of s3OptionFaults(options)) faults.push(optionFault(name, message));
	return faults;
}

/** The source of a mount that s3Faults found nothing wrong with. */
export function s3Source(mount: Mount): S3Source {
	const source = parseS3Source(mount.source);
	if ("at" in source) throw new Error(source.message);
	return source;
}

/** Asks the server, signed with the mount's keys if it has some, whether the bucket can be used. Throws what is wrong. */
export async function s3Check(
	mount: Mount,
	options: S3OptionValues,
	context: Pick<CheckContext, "signal" | "variables">,
): Promise<void> {
	await check(bucketLocation(s3Source(mount), options), options, context);
}

/** The same, signed with the pod's identity if the mount has no keys: for a driver that signs so, too. */
export async function s3CheckWithIdentity(mount: Mount, options: S3OptionValues, context: CheckContext): Promise<void> {
	if (!needsIdentity(options)) return s3Check(mount, options, context);
	const location = bucketLocation(s3Source(mount), options);
	const { identity, signal } = context;
	const keys = await identity.keys();
	signal.throwIfAborted();
	const signed = (credentials: Awaited<ReturnType<Identity["keys"]>>): BucketLocation => ({
		...location,
		region: options.region ?? credentials.region ?? location.region,
		credentials,
	});
	try {
		await check(signed(keys), options, context);
	} catch (error) {
		if (!(error instanceof LauncherError) || error.class !== "authentication") throw error;
		const { code, message, hint, cause } = error;
		// Whoever gave them may have others by now.
		const others = isRefusal(code) ? await identity.keys({ refused: keys }) : keys;
		if (others !== keys) return check(signed(others), options, context);
		// What to do about a key in a Secret is of no help here.
		const advice = "Check that this identity is one of this server, or give the mount access-key and secret-key.";
		const shown = isRefusal(code) ? advice : hint;
		throw new LauncherError(code, `${message}; signed as the pod's identity (${keys.provider})`, {
			...(shown !== undefined && { hint: shown }),
			cause,
		});
	}
}

/** The bucket for a driver that signs as the pod's identity where the mount has no keys, or whose program then finds some of its own. */
export async function s3Bucket(
	mount: Mount,
	options: S3OptionValues,
	{ identity }: CheckContext,
	{ signsAsPod, making = {} }: { readonly signsAsPod: boolean; readonly making?: BucketAccess["making"] },
): Promise<BucketAccess> {
	const location = bucketLocation(s3Source(mount), options);
	const access = { location, isRegionGuessed: options.region === undefined, making };
	if (options.anonymous === true) return { ...access, signer: { kind: "nobody" } };
	if (!needsIdentity(options)) return { ...access, signer: { kind: "keys" } };
	if (!signsAsPod) return { ...access, signer: { kind: "driver" } };
	const { provider, ...keys } = await identity.keys();
	const region = options.region ?? keys.region;
	return {
		...access,
		isRegionGuessed: region === undefined,
		location: { ...location, region: region ?? location.region, credentials: keys },
		signer: { kind: "identity", provider },
	};
}

/** It has no keys, and is not anonymous. */
export function needsIdentity(options: S3OptionValues): boolean {
	return options["access-key"] === undefined && options.anonymous !== true;
}

/** Other keys may be taken. */
function isRefusal(code: LauncherError["code"]): boolean {
	return code === "KEY_UNKNOWN" || code === "SIGNATURE_WRONG" || code === "TOKEN_INVALID";
}

async function check(
	location: BucketLocation,
	options: S3OptionValues,
	{ signal, variables }: Pick<CheckContext, "signal" | "variables">,
): Promise<void> {
	// Without a region in the config the drivers use the one that the server names.
	await checkBucket(location, { signal, proxyEnv: variables, isRegionGuessed: options.region === undefined });
}
