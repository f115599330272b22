import {
	bucket,
	byOthers,
	cached,
	credentials,
	diagnosis,
	folder,
	kubernetesAttributes,
	mounterOf,
	option,
	readOrWrite,
	tuning,
	umask,
	unused,
	withoutOuterSlashes,
	yes,
} from "./common-rules.ts";
import type { CsiDriver, Rules } from "./csi-driver.ts";

const signatures = unused("requests are signed with version 4");
const ofTheBucket = unused("about the bucket, which is there already");

/** Those of s3fs, and of rclone's section for S3 in its configuration. */
const mountOptions: Rules = {
	...readOrWrite,
	uid: option("uid"),
	gid: option("gid"),
	umask,
	url: option("endpoint"),
	endpoint: option("region"),
	region: option("region"),
	use_path_request_style: option("path-style", yes),
	stat_cache_expire: option("ttl", (value) => (/^\d{1,8}$/.test(value) ? `${value}s` : undefined)),
	default_acl: option("acl"),
	acl: option("acl"),
	bucket_acl: ofTheBucket,
	allow_other: byOthers,
	mp_umask: unused("the mount's own folder has dir-mode, as all others have"),
	cipher_suites: unused("the image says which ciphers are for TLS"),
	sigv2: signatures,
	sigv4: signatures,
	use_cache: cached,
	tmpdir: cached,
	auto_cache: tuning,
	chunk_size: tuning,
	connect_timeout: tuning,
	copy_cutoff: tuning,
	disable_noobj_cache: tuning,
	kernel_cache: tuning,
	low_level_retries: tuning,
	max_background: tuning,
	max_dirty_data: tuning,
	max_stat_cache_size: tuning,
	max_upload_parts: tuning,
	memory_pool_flush_time: tuning,
	multipart_size: tuning,
	multireq_max: tuning,
	parallel_count: tuning,
	readwrite_timeout: tuning,
	retries: tuning,
	upload_concurrency: tuning,
	upload_cutoff: tuning,
	use_xattr: unused("files have extended attributes without it"),
	disable_checksum: unused("uploads are always checked"),
	curldbg: diagnosis,
	dbglevel: diagnosis,
	instance_name: diagnosis,
	ibm_iam_auth: credentials,
	ibm_iam_endpoint: credentials,
	passwd_file: credentials,
};

const instead = "give that and the keys in the Dataset, and let Fluid not mount the Secret (nodePublishSecretPolicy)";

/** https://github.com/IBM/ibm-object-csi-driver */
export const ibmCos: CsiDriver = {
	attributes: {
		...kubernetesAttributes,
		bucketName: bucket,
		objectPath: folder,
		cosEndpoint: option("endpoint"),
		locationConstraint: option("region"),
		mounter: mounterOf(["s3fs", "rclone"]),
		client: unused("how the CSI driver makes buckets"),
		bucketVersioning: ofTheBucket,
		userProvidedBucket: ofTheBucket,
	},
	mountOptions,
	flags: {},
	flagsIn: "options",
	keys: [
		{ key: "accessKey", option: "access-key" },
		{ key: "secretKey", option: "secret-key" },
		{ key: "cosEndpoint", option: "endpoint" },
		{ key: "locationConstraint", option: "region", isPlain: true },
		{ key: "uid", option: "uid", isPlain: true },
		{ key: "gid", option: "gid", isPlain: true },
	],
	checkedKeys: {
		objectPath(value, { attributes }) {
			if (withoutOuterSlashes(value) === withoutOuterSlashes(attributes["objectPath"] ?? "")) return undefined;
			return "the folder in the bucket is another one than the volume's attributes say, or than none: give the Dataset the bucket as s3://bucket/folder";
		},
		mountOptions(text) {
			const names = text.split("\n").map((line) => (line.split("=")[0] ?? "").trim());
			const decisive = names.filter((name) => name !== "" && mountOptions[name]?.kind !== "unused");
			return decisive.length === 0 ? undefined : `what is there of ${decisive.join(", ")} is not read: ${instead}`;
		},
	},
	source(_volume, { bucket: name, options, faults }) {
		const missing = (attribute: string, message: string): void =>
			void faults.push({ at: { kind: "attribute", name: attribute }, message: `missing: ${message}` });
		if (name === "") missing("bucketName", "the bucket, which is not read in the Secret");
		if (!options.some((each) => each.name === "endpoint")) missing("cosEndpoint", "the server's address");
	},
};
