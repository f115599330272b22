import { LauncherError } from "../errors.ts";
import * as optionTypes from "../options/option.ts";
import * as driverFaults from "../drivers/faults.ts";
import * as s3Driver from "../drivers/s3-driver.ts";
import * as s3OptionTypes from "../drivers/s3-options.ts";
import type {
	About,
	CheckContext,
	CommandDriver,
	DriverFile,
	FailureCode,
	Fault,
	Mount,
	Option,
	Options,
	Secret,
	Values,
} from "./contract.ts";
import { checkDefinition, toDriver } from "./definition.ts";

export type * from "./contract.ts";

/** Text on one line, with a pattern if need be; `expected` says in messages what it should have been. */
export const text: (about: About, pattern?: RegExp, expected?: string) => Option<string> = optionTypes.text;
/** `true`, `false`, or empty for true. */
export const flag: (about: About) => Option<boolean> = optionTypes.flag;
/** A whole number. */
export const integer: (about: About, limits?: { readonly min?: number; readonly max?: number }) => Option<number> =
	optionTypes.integer;
/** Such as `30s`, `500ms` or `5m`; the value is in milliseconds. */
export const duration: (about: About) => Option<number> = optionTypes.duration;
/** Such as `512Mi`, `1Gi` or `500M`; the value is in bytes. */
export const size: (about: About, limits?: { readonly min?: number }) => Option<number> = optionTypes.size;
/** Permission bits in octal; the value is the number. */
export const mode: (about: About) => Option<number> = optionTypes.mode;
/** An absolute path in the container; for an option from a Secret, that of the secret file itself. */
export const path: (about: About) => Option<string> = optionTypes.path;
/** The same of a file that the program reads: the mount waits while it is not there, and is refused when it is no regular file. */
export const file: (about: About) => Option<string> = optionTypes.file;
/** An http or https address without user and password. */
export const endpointUrl: (about: About) => Option<URL> = optionTypes.endpointUrl;
/** A password, key or token. */
export const secret: (about: About) => Option<Secret> = optionTypes.secret;

/** One of a few words. */
export function choice<const Words extends readonly [string, ...string[]]>(
	words: Words,
	about: About,
): Option<Words[number]> {
	return optionTypes.choice(words, about);
}

/** A type of the driver's own: `parse` returns undefined for what is none, and `expected` says what one is. */
export function parsed<Value>(
	about: About,
	expected: string,
	parse: (value: string) => Value | undefined,
): Option<Value> {
	return optionTypes.parsed(about, expected, parse);
}

export function sourceFault(message: string): Fault {
	return driverFaults.sourceFault(message);
}

export function optionFault(name: string, message: string): Fault {
	return driverFaults.optionFault(name, message);
}

/** The error to throw from `check` and to return from `diagnose`. The hint says what to do. Never put a secret into it. */
export function failure(
	code: FailureCode,
	message: string,
	options: { readonly hint?: string; readonly cause?: unknown } = {},
): Error {
	return new LauncherError(code, message, options);
}

/** Makes a driver of a program that mounts. Throws what is wrong with the definition. */
export function defineCommandDriver<const Declared extends Options>(driver: CommandDriver<Declared>): DriverFile {
	return toDriver(checkDefinition(driver));
}

/** The options that all S3 drivers share, to be spread into `options`. */
export const s3Options: {
	readonly endpoint: Option<URL>;
	readonly region: Option<string>;
	readonly "access-key": Option<Secret>;
	readonly "secret-key": Option<Secret>;
	readonly "session-token": Option<Secret>;
	readonly anonymous: Option<boolean>;
	readonly "path-style": Option<boolean>;
	readonly "ca-bundle": Option<string>;
	readonly "requester-pays": Option<boolean>;
	readonly "storage-class": Option<string>;
	readonly acl: Option<string>;
	readonly uid: Option<number>;
	readonly gid: Option<number>;
	readonly "dir-mode": Option<number>;
	readonly "file-mode": Option<number>;
	readonly "allow-other": Option<boolean>;
} = s3OptionTypes.s3Options;

export type S3Values = Values<typeof s3Options>;

export interface S3Source {
	readonly bucket: string;
	/** `""`, or a prefix that ends in `/`. */
	readonly prefix: string;
}

/** What is wrong with an S3 source (`s3://bucket[/prefix]`, `minio://…`, `oss://…` or a bare bucket) and the shared options. */
export function s3Faults(mount: Mount, options: S3Values): Fault[] {
	return s3Driver.s3Faults(mount, internal(options));
}

/** The source of a mount in which `s3Faults` found nothing wrong. */
export function s3Source(mount: Mount): S3Source {
	return s3Driver.s3Source(mount);
}

/** Whether the bucket belongs into the path instead of the host name. */
export function s3PathStyle(mount: Mount, options: S3Values): boolean {
	return s3OptionTypes.pathStyle(s3Source(mount), internal(options));
}

/** Asks the server, signed with the mount's keys, whether the bucket can be used; for `check`. Throws what is wrong. */
export async function s3Check(mount: Mount, options: S3Values, context: CheckContext): Promise<void> {
	await s3Driver.s3Check(mount, internal(options), context);
}

/** The launcher has made these values itself: its own Secret is behind the one that vendors see. */
function internal(options: S3Values): s3OptionTypes.S3OptionValues {
	return options as unknown as s3OptionTypes.S3OptionValues;
}
