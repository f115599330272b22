import * as z from "zod";
import { duration, flag, text } from "../options/option.ts";
import { LauncherError } from "../errors.ts";
import { defineCommandDriver } from "./command.ts";
import { s3CsiDrivers } from "./csi/index.ts";
import { readS3Volume } from "./csi/read-volume.ts";
import { optionFault } from "./faults.ts";
import { s3Bucket, s3Check, s3Faults, s3Source } from "./s3-driver.ts";
import { pathStyle, s3Options, type S3OptionValues } from "./s3-options.ts";
import { s3Schemes } from "./s3-source.ts";

const commandLine = "goofys takes it on the command line, where every process of the node can read it";

/** goofys, the release of 2020 and later commits: https://github.com/kahing/goofys */
export const goofys = defineCommandDriver({
	name: "goofys",
	schemes: s3Schemes,
	csiDrivers: s3CsiDrivers,
	readVolume: (volume) => readS3Volume(volume, optionsOfVolume),
	// The release of 2020 mounts as fuse, later commits as fuse.goofys.
	filesystemTypes: ["fuse", "fuse.goofys"],
	options: z.strictObject({
		...s3Options,
		cheap: flag({ description: "Fewer requests, at the expense of some performance. Default: false." }),
		"no-implicit-dir": flag({ description: "Assume that every directory has an object of its own. Default: false." }),
		"stat-cache-ttl": duration({ description: "How long attributes are cached. Default: 1m." }),
		"type-cache-ttl": duration({
			description: "How long it is cached whether a name is a file or a directory. Default: 1m.",
		}),
		"http-timeout": duration({ description: "Time limit of one request. Default: 30s." }),
		"use-content-type": flag({ description: "Set Content-Type from the file's extension. Default: false." }),
		sse: flag({ description: "Encrypt new objects with keys of S3 (SSE-S3). Default: false." }),
		"sse-kms": text(
			{ description: "Encrypt new objects with this KMS key; empty: the account's own." },
			/^[\w:/-]*$/,
			"a KMS key id",
		),
		subdomain: flag({ description: "Put the bucket into the host name: the opposite of path-style." }),
		debug_fuse: flag({ description: "Log every FUSE operation. Default: false." }),
		debug_s3: flag({ description: "Log every request. Default: false." }),
		o: text(
			{ description: "Further FUSE mount options, separated by commas; not suid or dev, nor what the launcher sets." },
			/^[a-z_]+(=\w+)?(,[a-z_]+(=\w+)?)*$/,
			"mount options such as max_read=131072,noatime",
		),
	}),
	refusedOptions: {
		f: "the launcher runs it in the foreground",
		profile: "the launcher gives the credentials: use access-key and secret-key",
		cache: "it starts a second filesystem (catfs) that nobody would supervise",
		"sse-c": `the key would be seen: ${commandLine}`,
		version: "`fluid-fuse drivers` lists what a driver takes",
		help: "`fluid-fuse drivers` lists what a driver takes",
	},
	faults(mount, options) {
		const faults = s3Faults(mount, options);
		const given = new Set(options.o?.split(",").map((part) => part.split("=")[0]));
		for (const name of ["ro", "rw", "allow_other", "fd", "rootmode", "user_id", "group_id", "fsname", "subtype"]) {
			if (given.has(name)) faults.push(optionFault("o", `${name} is set by the launcher`));
		}
		// Whoever writes objects chooses their content, and whoever writes a Dataset is not root of the node.
		for (const name of ["suid", "dev"]) {
			if (given.has(name)) faults.push(optionFault("o", `${name} is refused: mounts stay no${name}`));
		}
		if (options.subdomain !== undefined && options["path-style"] !== undefined) {
			faults.push(optionFault("subdomain", "cannot be combined with path-style"));
		}
		return faults;
	},
	check: s3Check,
	bucket: async (mount, options, context) => s3Bucket(mount, options, context, { signsAsPod: false }),
	command(mount, options, { mountpoint, directory, memoryLimitBytes }) {
		const source = s3Source(mount);
		const flags: string[] = [];
		const give = (name: string, value: string | number | boolean | undefined): void => {
			if (value === true) flags.push(`--${name}`);
			else if (value !== undefined && value !== false) flags.push(`--${name}=${value}`);
		};
		const seconds = (milliseconds: number | undefined): string | undefined =>
			milliseconds === undefined ? undefined : `${milliseconds}ms`;
		give("endpoint", options.endpoint?.href.replace(/\/$/, ""));
		// With a region goofys does not ask for it, unsigned; a server that is not Amazon's answers that at its peril.
		give("region", options.region ?? (options.endpoint === undefined ? undefined : "us-east-1"));
		// Without a profile goofys drops the credentials when the bucket happens to be public.
		const credentials = credentialsOf(options);
		give("profile", credentials === undefined ? undefined : profile);
		give("subdomain", options.subdomain ?? !pathStyle(source, options));
		give("requester-pays", options["requester-pays"]);
		give("storage-class", options["storage-class"]);
		give("acl", options.acl);
		give("uid", options.uid ?? 0);
		give("gid", options.gid ?? 0);
		// goofys reads a number without a leading zero as decimal.
		give("dir-mode", `0${(options["dir-mode"] ?? 0o755).toString(8)}`);
		give("file-mode", `0${(options["file-mode"] ?? 0o644).toString(8)}`);
		give("cheap", options.cheap);
		give("no-implicit-dir", options["no-implicit-dir"]);
		give("stat-cache-ttl", seconds(options["stat-cache-ttl"]));
		give("type-cache-ttl", seconds(options["type-cache-ttl"]));
		give("http-timeout", seconds(options["http-timeout"]));
		give("use-content-type", options["use-content-type"]);
		give("sse", options.sse);
		give("sse-kms", options["sse-kms"]);
		give("debug_fuse", options.debug_fuse);
		give("debug_s3", options.debug_s3);
		const mountOptions = [mount.readOnly && "ro", options["allow-other"] !== false && "allow_other", options.o];
		for (const option of mountOptions) {
			if (typeof option === "string") flags.push("-o", option);
		}
		const { bucket, prefix } = source;
		return {
			file: "goofys",
			args: ["-f", ...flags, prefix === "" ? bucket : `${bucket}:${prefix}`, mountpoint],
			env: {
				...(credentials !== undefined && {
					AWS_CONFIG_FILE: `${directory}/config`,
					// Nothing but our file may decide.
					AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
				}),
				...(options["ca-bundle"] !== undefined && { SSL_CERT_FILE: options["ca-bundle"] }),
				// Go does not see the container's limit by itself; leave it room for what is not heap.
				...(memoryLimitBytes !== undefined && { GOMEMLIMIT: String(Math.floor(memoryLimitBytes * 0.8)) }),
			},
			...(credentials !== undefined && {
				files: {
					config: `[profile ${profile}]\ncredential_process = sh ${directory}/credentials.sh\n`,
					"credentials.sh": credentialProcess(`${directory}/credentials.json`),
					"credentials.json": credentials,
				},
				rereads: ["credentials.json"],
			}),
			...(credentials === undefined && options.anonymous !== true && { inherit: /^AWS_/ }),
		};
	},
	diagnose(line) {
		if (/flag provided but not defined|invalid value .* for flag/i.test(line)) {
			return new LauncherError("DRIVER_REFUSED", `goofys does not accept its options: ${line.slice(0, 300)}`);
		}
		return undefined;
	},
});

/** It has two times where a volume has one. */
function optionsOfVolume(given: ReadonlyMap<string, string>): Map<string, string> {
	const { ttl, ...rest } = Object.fromEntries(given);
	return new Map(
		Object.entries({ ...rest, ...(ttl !== undefined && { "stat-cache-ttl": ttl, "type-cache-ttl": ttl }) }),
	);
}

const profile = "fluid-fuse";

/**
 * What goofys's SDK runs for its keys (https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html). It keeps them
 * until they expire, so they always do soon: a file with keys alone it reads once.
 */
function credentialProcess(file: string): string {
	return `exec sed "s/EXPIRATION/$(date -u -d '+3 seconds' +%Y-%m-%dT%H:%M:%SZ)/" '${file}'\n`;
}

/** What that prints, or undefined when the mount has no keys of its own. */
function credentialsOf(options: S3OptionValues): string | undefined {
	const [accessKey, secretKey, token] = [options["access-key"], options["secret-key"], options["session-token"]];
	if (accessKey === undefined || secretKey === undefined) return undefined;
	// The first EXPIRATION of the line is the one that is replaced.
	return JSON.stringify({
		Version: 1,
		Expiration: "EXPIRATION",
		AccessKeyId: accessKey.reveal(),
		SecretAccessKey: secretKey.reveal(),
		...(token !== undefined && { SessionToken: token.reveal() }),
	});
}
