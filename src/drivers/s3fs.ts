import * as z from "zod";
import { choice, file, flag, integer, path, text } from "../options/option.ts";
import { LauncherError } from "../errors.ts";
import { FileFault, requireWritableFolder } from "../named-file.ts";
import { defineCommandDriver } from "./command.ts";
import { s3CsiDrivers } from "./csi/index.ts";
import { readS3Volume } from "./csi/read-volume.ts";
import { s3Bucket, s3Check, s3Faults, s3Source } from "./s3-driver.ts";
import { pathStyle, s3Options } from "./s3-options.ts";
import { s3Schemes } from "./s3-source.ts";

/** Free text that becomes the value of a mount option: no separator of the list may be in it. */
const word = /^[^,\\\s]*$/;
const expectedWord = "text without commas, spaces and backslashes";

const { "dir-mode": _dirMode, "file-mode": _fileMode, ...sharedOptions } = s3Options;

/** s3fs's own options under their own names: https://github.com/s3fs-fuse/s3fs-fuse, man page s3fs(1). */
const ownOptions = {
	umask: text(
		{ description: "Bits taken from all permissions; s3fs then ignores the modes stored with objects. Default: 0022." },
		/^0?[0-7]{3}$/,
		"an octal umask such as 0022",
	),
	mp_umask: text(
		{ description: "Bits taken from the permissions of the mount's root. Default: 0000." },
		/^0?[0-7]{3}$/,
		"an octal umask such as 0022",
	),
	retries: integer({ description: "How often a failed request is tried again. Default: 5." }, { max: 1000 }),
	tmpdir: path({ description: "Folder for temporary files. Default: /tmp." }),
	use_cache: path({ description: "Folder of the local file cache. Default: no cache." }),
	check_cache_dir_exist: flag({ description: "Fail when the cache folder does not exist. Default: false." }),
	del_cache: flag({ description: "Delete the cache at start and end. Default: false." }),
	use_rrs: flag({ description: "Reduced redundancy storage. Default: false." }),
	use_sse: text(
		{
			description: "Encrypt new objects: 1 (SSE-S3), custom:<key file>, kmsid or kmsid:<id>.",
			filesIn: (value) => /^c(?:ustom)?:(.+)$/.exec(value)?.slice(1) ?? [],
		},
		word,
		expectedWord,
	),
	load_sse_c: file({ description: "File of SSE-C keys for reading." }),
	ahbe_conf: file({ description: "File with additional headers by file extension." }),
	connect_timeout: integer(
		{ description: "Seconds to wait for a connection. Default: 10 (s3fs's own: 300)." },
		{ min: 1, max: 3600 },
	),
	readwrite_timeout: integer(
		{ description: "Seconds to wait between reads or writes of a connection. Default: 60." },
		{ min: 1, max: 3600 },
	),
	list_object_max_keys: integer({ description: "Keys a listing request asks for. Default: 1000." }, { min: 1000 }),
	max_stat_cache_size: integer({ description: "Entries of the stat cache. Default: 100000." }),
	stat_cache_expire: integer({ description: "Seconds until an entry of the stat cache expires. Default: 900." }),
	stat_cache_interval_expire: integer({
		description: "The same, counted from the last access. Excludes stat_cache_expire.",
	}),
	enable_noobj_cache: flag({ description: "Remember that an object does not exist (s3fs 1.90 and 1.91)." }),
	disable_noobj_cache: flag({ description: "Do not remember that an object does not exist (s3fs 1.92 to 1.95)." }),
	enable_negative_cache: flag({
		description: "Remember that an object does not exist (s3fs 1.96 or later; its default).",
	}),
	disable_negative_cache: flag({ description: "Do not remember that an object does not exist (s3fs 1.96 or later)." }),
	no_check_certificate: flag({ description: "Trust any certificate: only for tests. Default: false." }),
	ssl_verify_hostname: choice(["0", "1"], { description: "0: do not compare the certificate's name. Default: 1." }),
	ssl_client_cert: text(
		{
			description: "Client certificate: <cert>[:<type>[:<key>[:<type>]]], without a passphrase.",
			filesIn: (value) => value.split(":").filter((part) => part.startsWith("/")),
		},
		/^[^,\\\s:]*(:[^,\\\s:]*){0,3}$/,
		"a client certificate without a passphrase",
	),
	nodnscache: flag({ description: "No DNS cache. Default: false." }),
	nosscache: flag({ description: "No TLS session cache. Default: false." }),
	multipart_size: integer({ description: "Part size of an upload, in MB. Default: 10." }, { min: 5, max: 5120 }),
	multipart_copy_size: integer({ description: "Part size of a copy, in MB. Default: 512." }, { min: 5, max: 5120 }),
	multipart_threshold: integer(
		{ description: "From this size on, in MB, uploads are in parts. Default: 25." },
		{ min: 5 },
	),
	putheader_mp_threshold: integer({ description: "The same for changes of headers (s3fs after 1.97)." }, { min: 5 }),
	singlepart_copy_limit: integer({ description: "From this size on, in MB, copies are in parts. Default: 512." }),
	max_dirty_data: integer({ description: "Upload after so many MB written; -1: never. Default: 5120." }, { min: -1 }),
	bucket_size: text(
		{ description: "Size that df shows, such as 30GB. Default: unlimited." },
		/^\d+([KMGTPE]i?B)?$/,
		"a size such as 30GB",
	),
	ensure_diskfree: integer({ description: "MB of disk that the cache leaves free. Default: 0." }),
	free_space_ratio: integer({ description: "Percent of disk that the cache leaves free. Default: 10." }, { max: 100 }),
	servicepath: text(
		{ description: "Path in front of the bucket's. Default: /." },
		/^\/[^,\\\s]*$/,
		"a path that starts with /",
	),
	sigv2: flag({ description: "Sign with version 2 only. Default: false." }),
	sigv4: flag({ description: "Sign with version 4 only. Default: false." }),
	nomultipart: flag({ description: "No multipart uploads. Default: false." }),
	streamupload: flag({ description: "Upload while the application writes; experimental. Default: false." }),
	max_thread_count: integer(
		{ description: "Parallel requests (s3fs 1.92 or later). Default: 10." },
		{ min: 1, max: 1000 },
	),
	parallel_count: integer({ description: "Parallel parts (s3fs up to 1.95). Default: 5." }, { min: 1, max: 1000 }),
	multireq_max: integer(
		{ description: "Parallel listing requests (s3fs up to 1.95). Default: 20." },
		{ min: 1, max: 1000 },
	),
	enable_content_md5: flag({ description: "Let the server verify uploads by MD5. Default: false." }),
	enable_unsigned_payload: flag({ description: "Do not hash uploads for the signature. Default: false." }),
	ecs: flag({ description: "Credentials from the ECS container metadata. Default: false." }),
	iam_role: text({ description: "Credentials of this instance role, or auto." }, word, expectedWord),
	imdsv1only: flag({ description: "Version 1 of the instance metadata only. Default: false." }),
	ibm_iam_auth: flag({ description: "IBM IAM authentication. Default: false." }),
	ibm_iam_endpoint: text({ description: "Address for IBM IAM authentication." }, word, expectedWord),
	use_xattr: flag({ description: "Extended attributes. Default: false." }),
	noxmlns: flag({ description: "Do not register the XML namespace. Default: false." }),
	nomixupload: flag({ description: "Do not copy unchanged ranges on the server. Default: false." }),
	nocopyapi: flag({ description: "For servers that cannot copy. Default: false." }),
	norenameapi: flag({ description: "For servers that cannot copy: not for renames. Default: false." }),
	hard_remove: flag({ description: "Remove an open file's object at once (s3fs after 1.97). Default: false." }),
	listobjectsv2: flag({ description: "Use ListObjectsV2. Default: false." }),
	noua: flag({ description: "Send no User-Agent. Default: false." }),
	cipher_suites: text({ description: "TLS cipher suites, separated by colons." }, word, expectedWord),
	instance_name: text({ description: "Name of this mount in s3fs's messages." }, word, expectedWord),
	complement_stat: flag({ description: "Complete missing modes (s3fs up to 1.97). Default: false." }),
	compat_dir: flag({ description: "Support more forms of directory objects (s3fs 1.92 or later). Default: false." }),
	notsup_compat_dir: flag({ description: "Support only dir/ objects (s3fs up to 1.91). Default: false." }),
	use_wtf8: flag({ description: "Names that are not UTF-8. Default: false." }),
	mime: file({ description: "The mime.types file. Default: /etc/mime.types." }),
	proxy: text(
		{ description: "HTTP proxy, without credentials." },
		/^[^,\\\s@]*$/,
		"an address without user and password",
	),
	proxy_cred_file: file({ description: "File with the proxy's credentials." }),
	ipresolve: choice(["whatever", "IPv4", "IPv6"], { description: "Kinds of addresses to use. Default: whatever." }),
	dbglevel: choice(["crit", "err", "warn", "info"], { description: "What s3fs logs. Default: crit." }),
	no_time_stamp_msg: flag({ description: "No time in s3fs's own lines. Default: true, the launcher adds one." }),
	update_parent_dir_stat: flag({ description: "Update a directory's times with its entries. Default: false." }),
	max_read: integer({ description: "Largest read request, in bytes (FUSE)." }, { min: 4096 }),
	attr_timeout: integer({ description: "Seconds for which the kernel keeps attributes (FUSE)." }),
	entry_timeout: integer({ description: "Seconds for which the kernel keeps names (FUSE)." }),
	kernel_cache: flag({
		description: "Keep the page cache across opens: only for data that never changes (FUSE). Default: false.",
	}),
	noatime: flag({ description: "No access times (mount). Default: false." }),
	noexec: flag({ description: "No execution of programs (mount). Default: false." }),
};

type OwnOption = keyof typeof ownOptions;

/** First and last version of options that not every s3fs has; `1.97+` is what comes after the release. */
const since: Partial<Record<OwnOption, number>> = {
	enable_unsigned_payload: 1.91,
	bucket_size: 1.92,
	compat_dir: 1.92,
	disable_noobj_cache: 1.92,
	max_thread_count: 1.92,
	proxy: 1.92,
	proxy_cred_file: 1.92,
	streamupload: 1.92,
	update_parent_dir_stat: 1.92,
	free_space_ratio: 1.94,
	ipresolve: 1.95,
	ssl_client_cert: 1.95,
	disable_negative_cache: 1.96,
	enable_negative_cache: 1.96,
	hard_remove: 1.98,
	putheader_mp_threshold: 1.98,
};
const until: Partial<Record<OwnOption, number>> = {
	enable_noobj_cache: 1.91,
	notsup_compat_dir: 1.91,
	disable_noobj_cache: 1.95,
	multireq_max: 1.95,
	parallel_count: 1.95,
	complement_stat: 1.97,
};

/** s3fs from 1.90, Debian 12's, to current: https://github.com/s3fs-fuse/s3fs-fuse */
export const s3fs = defineCommandDriver({
	name: "s3fs",
	schemes: s3Schemes,
	csiDrivers: s3CsiDrivers,
	readVolume: (volume) => readS3Volume(volume, optionsOfVolume),
	readCachePlaces: (places, given) => ({
		options: [],
		unused: places.map(() =>
			given.has("use_cache")
				? "use_cache is given as an option"
				: "the cache of s3fs, use_cache, knows no limit but the disk's end",
		),
	}),
	filesystemTypes: ["fuse.s3fs"],
	// It is mounted before it knows whether it can serve, and ends a moment later when it cannot.
	settleMs: 300,
	options: z.strictObject({ ...sharedOptions, ...ownOptions }),
	refusedOptions: {
		"dir-mode": "s3fs has no mode for directories alone: use umask",
		"file-mode": "s3fs has no mode for files alone: use umask",
		bucket: "the bucket comes from mountPoint",
		passwd_file: "the launcher gives the credentials: use access-key and secret-key",
		profile: "the launcher gives the credentials: use access-key and secret-key",
		use_session_token: "the launcher gives the credentials: use session-token",
		public_bucket: "use anonymous",
		logfile: "the launcher reads what s3fs prints",
		f: "the launcher runs it in the foreground",
		d: "use dbglevel",
		s: "one thread would block every application behind the slowest",
		curldbg: "it writes credentials to the log",
		insecure_logging: "it writes credentials to the log",
		set_check_cache_sigusr1: "the launcher sends no such signal",
		credlib: "it loads foreign code into s3fs",
		credlib_opts: "it loads foreign code into s3fs",
		nonempty: "the launcher mounts on an empty folder of its own",
		default_permissions: "s3fs checks permissions itself",
		fsname: "s3fs sets it",
		subtype: "s3fs sets it",
	},
	faults: s3Faults,
	version: { file: "s3fs", args: ["--version"], pattern: /V(\d+\.\d+)/ },
	async check(mount, options, context) {
		await requireTemporaryFolder(options.tmpdir ?? "/tmp");
		await s3Check(mount, options, context);
	},
	async bucket(mount, options, context) {
		const access = await s3Bucket(mount, options, context, { signsAsPod: false });
		const insecureSkipVerify = options.no_check_certificate === true;
		return { ...access, location: { ...access.location, insecureSkipVerify } };
	},
	command(mount, options, { mountpoint, directory, version: versionText }) {
		const version = versionText === "" ? Number.POSITIVE_INFINITY : Number.parseFloat(versionText);
		const source = s3Source(mount);
		const list: string[] = [];
		const give = (name: string, value: string | number | boolean | undefined): void => {
			if (value === true) list.push(name);
			else if (value !== undefined && value !== false) list.push(`${name}=${value}`);
		};
		const [accessKey, secretKey, token] = [options["access-key"], options["secret-key"], options["session-token"]];
		const hasKeys = accessKey !== undefined && secretKey !== undefined;
		const inFile = hasKeys && token === undefined && isForFile(accessKey.reveal(), secretKey.reveal());
		give("ro", mount.readOnly);
		give("allow_other", options["allow-other"] !== false);
		give("url", options.endpoint?.href.replace(/\/$/, ""));
		// It was called endpoint up to 1.95. Given, s3fs does not look for another one.
		give(version < 1.96 ? "endpoint" : "region", options.region);
		give("use_path_request_style", pathStyle(source, options));
		give("public_bucket", options.anonymous === true ? 1 : undefined);
		give("passwd_file", inFile ? `${directory}/passwd` : undefined);
		give("requester_pays", options["requester-pays"]);
		give("storage_class", options["storage-class"]?.toLowerCase());
		give("default_acl", options.acl);
		give("uid", options.uid);
		give("gid", options.gid);
		// Objects of other programs have no mode: without this nobody but root could read them.
		give("umask", options.umask ?? "0022");
		give("connect_timeout", options.connect_timeout ?? 10);
		give("readwrite_timeout", options.readwrite_timeout ?? 60);
		give("no_time_stamp_msg", options.no_time_stamp_msg ?? true);
		const given = new Set(["umask", "connect_timeout", "readwrite_timeout", "no_time_stamp_msg"]);
		for (const name of Object.keys(ownOptions) as OwnOption[]) {
			if (given.has(name) || options[name] === undefined) continue;
			if (version !== Number.POSITIVE_INFINITY && (version < (since[name] ?? 0) || version > (until[name] ?? 99))) {
				throw new LauncherError("DRIVER_REFUSED", `s3fs ${versionText} has no option ${name}`, {
					hint: `Remove the option ${name}, or use an image with another s3fs.`,
				});
			}
			give(name, options[name]);
		}
		return {
			// Into a pipe s3fs would write its lines in blocks, hours late.
			file: "stdbuf",
			args: [
				"-oL",
				"s3fs",
				source.prefix === "" ? source.bucket : `${source.bucket}:/${source.prefix.slice(0, -1)}`,
				mountpoint,
				"-f",
				...list.flatMap((option) => ["-o", option]),
			],
			env: {
				...(options["ca-bundle"] !== undefined && { CURL_CA_BUNDLE: options["ca-bundle"] }),
				// What the password file has no place for; s3fs alone can see its own environment.
				...(hasKeys &&
					!inFile && {
						AWS_ACCESS_KEY_ID: accessKey.reveal(),
						AWS_SECRET_ACCESS_KEY: secretKey.reveal(),
						...(token !== undefined && { AWS_SESSION_TOKEN: token.reveal() }),
					}),
			},
			...(inFile && { files: { passwd: `${accessKey.reveal()}:${secretKey.reveal()}\n` } }),
			...(!hasKeys && options.anonymous !== true && { inherit: /^AWS/ }),
		};
	},
	diagnose(line) {
		if (/unknown option|invalid (option|argument)/i.test(line)) {
			return new LauncherError("DRIVER_REFUSED", `s3fs does not accept its options: ${line.slice(0, 300)}`);
		}
		const text = line.slice(0, 300);
		if (/bucket or key not found|Failed to check bucket and directory/i.test(line)) {
			return new LauncherError("BUCKET_MISSING", `s3fs found no bucket: ${text}`);
		}
		if (/invalid credentials/i.test(line)) return new LauncherError("ACCESS_DENIED", `s3fs was refused: ${text}`);
		if (/unable to connect/i.test(line)) return new LauncherError("BACKEND_REFUSED", `s3fs cannot connect: ${text}`);
		return undefined;
	},
});

/** It has one umask where a volume has two modes: what either does not allow, it does not. */
function optionsOfVolume(given: ReadonlyMap<string, string>): Map<string, string> {
	const { ttl, sse, "sse-kms": kms, "dir-mode": folders, "file-mode": files, ...rest } = Object.fromEntries(given);
	const bits = (mode: string): number => Number.parseInt(mode.replace("o", ""), 8);
	const [folderBits, fileBits] = [bits(folders ?? "0755"), bits(files ?? "0644")];
	// Who may read a file may pass through a folder.
	const allowed = folderBits & (fileBits | ((fileBits & 0o444) >> 2));
	const seconds = /^(\d+)(s|m|h)?$/.exec(ttl ?? "");
	const inSeconds = Number(seconds?.[1]) * ({ s: 1, m: 60, h: 3600 }[seconds?.[2] ?? "s"] ?? 1);
	return new Map(
		Object.entries({
			...rest,
			...((folders ?? files) !== undefined && { umask: `0${(0o777 & ~allowed).toString(8).padStart(3, "0")}` }),
			...(ttl !== undefined && { stat_cache_expire: seconds === null ? ttl : String(inSeconds) }),
			...(sse !== undefined && { use_sse: "1" }),
			...(kms !== undefined && { use_sse: kms === "" ? "kmsid" : `kmsid:${kms}` }),
		}),
	);
}

/** Without it s3fs mounts, and every read and write of a file fails. */
async function requireTemporaryFolder(folder: string): Promise<void> {
	try {
		await requireWritableFolder(folder);
	} catch (error) {
		if (!(error instanceof FileFault)) throw error;
		throw new LauncherError("DRIVER_REFUSED", `s3fs's folder for temporary files, ${folder}, ${error.message}`, {
			hint: "Where the root is read-only mount an emptyDir there, or name a writable folder with the option tmpdir.",
			cause: error,
		});
	}
}

/** A line of it is two words with a colon between them, and neither a comment nor the head of a section. */
function isForFile(accessKey: string, secretKey: string): boolean {
	return !/[: ]|^[#[]/.test(accessKey) && !/[: ]/.test(secretKey);
}
