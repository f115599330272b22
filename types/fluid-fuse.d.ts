// What a driver file may import. Put this file beside yours; made from src/vendor by npm run types.

declare module "fluid-fuse" {
	/** One mount of the Dataset. */
	export interface Mount {
		/** `mountPoint` of the Dataset, such as `sftp://server/folder`: what to mount. */
		readonly source: string;
		/** To be enforced by the mount itself. */
		readonly readOnly: boolean;
		/** The PersistentVolume that a `pvc://claim` source stands for. */
		readonly volume?: Volume;
	}
	/** A PersistentVolume of a CSI driver, as Fluid describes it to the storage pod. */
	export interface Volume {
		/** The CSI driver's name, such as `nas.csi.example.com`. */
		readonly driver: string;
		/** The volume's own name at its CSI driver. */
		readonly handle: string;
		/** `volumeAttributes` of the PersistentVolume. */
		readonly attributes: Readonly<Record<string, string>>;
		/** `mountOptions` of the PersistentVolume, as they are written there. Read-only ones are in the mount's `readOnly` already. */
		readonly mountOptions: readonly string[];
		/**
		* The folder whose files are the keys of `nodePublishSecretRef`, for the program to read; absent when the volume has none. It is
		* not there while the Secret is not: look in `check`.
		*/
		readonly secretFolder?: string;
	}
	/** A folder of a CacheRuntime's tiered store. */
	export interface CachePlace {
		readonly folder: string;
		/** A tmpfs, whose content the container's memory limit counts. */
		readonly inMemory: boolean;
		/** What may be in it, more than 0; who exceeds that may be evicted. */
		readonly bytes: number;
	}
	/** A value that must not be seen: it shows only its label, whatever prints it. */
	export interface Secret {
		/** The value itself. It belongs into `files` of the command, never into `args`. */
		reveal(): string;
		/** Where it came from, such as `minio-login/secret-key`: safe to show. */
		readonly label: string;
	}
	/** An option of a driver; its value is undefined where nobody gave it. */
	export interface Option<Value> {
		readonly _output: Value | undefined;
	}
	export type Options = Readonly<Record<string, Option<unknown>>>;
	/** The values of a driver's options, by name. */
	export type Values<Declared extends Options> = {
		readonly [Name in keyof Declared]: Declared[Name]["_output"];
	};
	/** What `fluid-fuse drivers` tells of an option. */
	export interface About {
		/** What the option does, its default and its consequence: one or two sentences. */
		readonly description: string;
		/** Other names under which it is accepted. */
		readonly aliases?: readonly string[];
	}
	/** Something wrong with the source, or with the option of that name: one sentence, what was expected. */
	export interface Fault {
		readonly at: {
			readonly kind: "source";
		} | {
			readonly kind: "option";
			readonly name: string;
		};
		readonly message: string;
	}
	/** Why a mount fails, as the launcher reports and retries it: docs/errors.md says what each means. */
	export type FailureCode = "DRIVER_FAILED" | "DRIVER_REFUSED" | "BUCKET_MISSING" | "ACCESS_DENIED" | "KEY_UNKNOWN" | "SIGNATURE_WRONG" | "TOKEN_INVALID" | "CLOCK_SKEW" | "ENDPOINT_WRONG" | "BACKEND_DNS" | "BACKEND_REFUSED" | "BACKEND_TIMEOUT" | "BACKEND_TLS" | "BACKEND_FAILING";
	/** What to run for one mount. */
	export interface Command {
		/** The program, found in PATH. It must stay in the foreground and must end when its mount is unmounted. */
		readonly file: string;
		/** Every process of the node can read them: no secrets here. */
		readonly args: readonly string[];
		/** Added to the few variables that every driver gets: PATH, HOME, locale, proxies. */
		readonly env?: Readonly<Record<string, string>>;
		/** Files to write into `directory` with mode 0600: relative path to content. */
		readonly files?: Readonly<Record<string, string>>;
		/** Names of variables to hand down from the pod's environment, besides the usual few. */
		readonly inherit?: RegExp;
	}
	export interface CommandContext {
		/** An empty folder to mount at. */
		readonly mountpoint: string;
		/** Private to this mount, in memory, removed after the end: where `files` are written. */
		readonly directory: string;
		/** What `version` found, `""` without one and when the command line is only shown. */
		readonly version: string;
		/** The container's memory limit; absent without one. */
		readonly memoryLimitBytes?: number;
	}
	export interface CheckContext {
		/** Give up when it is aborted. */
		readonly signal: AbortSignal;
		/** The pod's environment. */
		readonly variables: Readonly<Record<string, string | undefined>>;
	}
	export interface CommandDriver<Declared extends Options> {
		/** For `FLUID_FUSE_DRIVER` and the option `driver`: lower case letters, digits and hyphens. */
		readonly name: string;
		/** Of the sources that it serves, such as `sftp` for `sftp://…`; `""` is a source without a scheme. */
		readonly schemes: readonly string[];
		/** CSI drivers whose volumes it serves as `pvc://claim`, such as `nas.csi.example.com`; it finds the volume in the mount. */
		readonly csiDrivers?: readonly string[];
		/**
		* Makes options of the place for a cache that a CacheRuntime gives: the largest on a disk, or where there is none, in memory. One of them is
		* the folder as it is; where somebody has given that option, none of them counts.
		*/
		readonly cachePlace?: (place: CachePlace) => Readonly<Record<string, string>>;
		/** As the kernel lists its mounts in /proc/self/mountinfo, such as `fuse.sshfs`. */
		readonly filesystemTypes: readonly string[];
		/** How long it must live on after its first answer to count as mounted, in milliseconds. Default: 0. */
		readonly settleMs?: number;
		/** Every option that it takes. Others are refused with the nearest name. */
		readonly options: Declared;
		/** Options of the program that may not be set, with the reason. */
		readonly refusedOptions?: Readonly<Record<string, string>>;
		/** What is wrong with source and options beyond their types. Without it, every source is taken. */
		readonly faults?: (mount: Mount, options: Values<Declared>) => readonly Fault[];
		/** How to ask the program for its version before each start: the pattern's first group. */
		readonly version?: {
			readonly file: string;
			readonly args: readonly string[];
			readonly pattern: RegExp;
		};
		/** Pure: from source and options to a command line. It is called without need, too, to show what would be run. */
		readonly command: (mount: Mount, options: Values<Declared>, context: CommandContext) => Command;
		/** Asks the backend, before each start and now and then, whether the mount can work. Throws `failure(…)`. */
		readonly check?: (mount: Mount, options: Values<Declared>, context: CheckContext) => Promise<void>;
		/** Reads a line of the program's output: `failure(…)` if it says why the program is about to fail. */
		readonly diagnose?: (line: string) => Error | undefined;
	}
	/** The default export of a driver file: only what `defineCommandDriver` returns is one. */
	export interface DriverFile {
		readonly name: string;
	}
	/** Text on one line, with a pattern if need be; `expected` says in messages what it should have been. */
	export const text: (about: About, pattern?: RegExp, expected?: string) => Option<string>;
	/** `true`, `false`, or empty for true. */
	export const flag: (about: About) => Option<boolean>;
	/** A whole number. */
	export const integer: (about: About, limits?: {
		readonly min?: number;
		readonly max?: number;
	}) => Option<number>;
	/** Such as `30s`, `500ms` or `5m`; the value is in milliseconds. */
	export const duration: (about: About) => Option<number>;
	/** Such as `512Mi`, `1Gi` or `500M`; the value is in bytes. */
	export const size: (about: About, limits?: {
		readonly min?: number;
	}) => Option<number>;
	/** Permission bits in octal; the value is the number. */
	export const mode: (about: About) => Option<number>;
	/** An absolute path in the container; for an option from a Secret, that of the secret file itself. */
	export const path: (about: About) => Option<string>;
	/** The same of a file that the program reads: the mount waits while it is not there, and is refused when it is no regular file. */
	export const file: (about: About) => Option<string>;
	/** An http or https address without user and password. */
	export const endpointUrl: (about: About) => Option<URL>;
	/** A password, key or token. */
	export const secret: (about: About) => Option<Secret>;
	/** One of a few words. */
	export function choice<const Words extends readonly [string, ...string[]]>(words: Words, about: About): Option<Words[number]>;
	/** A type of the driver's own: `parse` returns undefined for what is none, and `expected` says what one is. */
	export function parsed<Value>(about: About, expected: string, parse: (value: string) => Value | undefined): Option<Value>;
	export function sourceFault(message: string): Fault;
	export function optionFault(name: string, message: string): Fault;
	/** The error to throw from `check` and to return from `diagnose`. The hint says what to do. Never put a secret into it. */
	export function failure(code: FailureCode, message: string, options?: {
		readonly hint?: string;
		readonly cause?: unknown;
	}): Error;
	/** Makes a driver of a program that mounts. Throws what is wrong with the definition. */
	export function defineCommandDriver<const Declared extends Options>(driver: CommandDriver<Declared>): DriverFile;
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
	};
	export type S3Values = Values<typeof s3Options>;
	export interface S3Source {
		readonly bucket: string;
		/** `""`, or a prefix that ends in `/`. */
		readonly prefix: string;
	}
	/** What is wrong with an S3 source (`s3://bucket[/prefix]`, `minio://…`, `oss://…` or a bare bucket) and the shared options. */
	export function s3Faults(mount: Mount, options: S3Values): Fault[];
	/** The source of a mount in which `s3Faults` found nothing wrong. */
	export function s3Source(mount: Mount): S3Source;
	/** Whether the bucket belongs into the path instead of the host name. */
	export function s3PathStyle(mount: Mount, options: S3Values): boolean;
	/** Asks the server, signed with the mount's keys, whether the bucket can be used; for `check`. Throws what is wrong. */
	export function s3Check(mount: Mount, options: S3Values, context: CheckContext): Promise<void>;
}
