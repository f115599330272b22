import { shown } from "../../options/faults.ts";
import {
	cached,
	credentials,
	diagnosis,
	flags,
	kubernetesAttributes,
	mountFlags,
	option,
	ownership,
	readOrWrite,
	refused,
	tuning,
	unused,
	yes,
} from "./common-rules.ts";
import type { CsiDriver, Rule, Rules } from "./csi-driver.ts";

const metadataOfOthers = refused(
	"modes, owners and times that GeeseFS stored are not read here, and files would show others",
);
const proofOfServer = refused("the server's certificate is always checked: give ca-bundle");

/** Flags of GeeseFS and of goofys before it; with `-o` in front, options of s3fs and of mount. */
const csiS3Flags: Rules = {
	...ownership,
	region: option("region"),
	endpoint: option("endpoint"),
	"storage-class": option("storage-class"),
	acl: option("acl"),
	"requester-pays": option("requester-pays", yes),
	sse: option("sse", yes),
	"sse-kms": option("sse-kms"),
	subdomain: option("path-style", () => "false"),
	"stat-cache-ttl": option("ttl"),
	"use-content-type": unused("the native driver does it; for goofys give use-content-type in the Dataset"),
	...mountFlags,
	"o url": option("endpoint"),
	"o endpoint": option("region"),
	"o use_path_request_style": option("path-style", yes),
	cheap: tuning,
	"type-cache-ttl": unused("names and attributes have one time: that of stat-cache-ttl"),
	"http-timeout": tuning,
	"memory-limit": tuning,
	"entry-limit": tuning,
	"gc-interval": tuning,
	"read-ahead": tuning,
	"read-ahead-large": tuning,
	"read-ahead-parallel": tuning,
	"read-ahead-small": tuning,
	"large-read-cutoff": tuning,
	"small-read-count": tuning,
	"small-read-cutoff": tuning,
	"read-merge": tuning,
	"read-retry-attempts": tuning,
	"max-flushers": tuning,
	"max-parallel-copy": tuning,
	"max-parallel-parts": tuning,
	"max-merge-copy": tuning,
	"multipart-age": tuning,
	"multipart-copy-threshold": tuning,
	"part-sizes": tuning,
	"single-part": tuning,
	"no-preload-dir": tuning,
	"no-implicit-dir": tuning,
	"no-dir-object": unused("folders get an object of their own"),
	"no-detect": tuning,
	"no-checksum": unused("uploads are always checked"),
	"list-type": unused("what the server understands is found out"),
	"sdk-max-retries": tuning,
	"sdk-min-retry-delay": tuning,
	"sdk-max-retry-delay": tuning,
	"retry-interval": tuning,
	"max-retry-interval": tuning,
	"fsync-on-close": unused("the native driver stores a file before close is answered"),
	cache: cached,
	"cache-age-decrement": cached,
	"cache-age-interval": cached,
	"cache-file-mode": cached,
	"cache-max-hits": cached,
	"cache-popular-threshold": cached,
	"cache-to-disk-hits": cached,
	"max-disk-cache-fd": cached,
	debug: diagnosis,
	debug_fuse: diagnosis,
	debug_main: diagnosis,
	debug_s3: diagnosis,
	"log-file": diagnosis,
	f: unused("the launcher runs the driver"),
	"enable-perms": metadataOfOthers,
	"enable-mtime": metadataOfOthers,
	"enable-specials": metadataOfOthers,
	"ignore-fsync": refused("fsync is answered when the file is stored"),
	"no-verify-ssl": proofOfServer,
	"sse-c": refused("give sse-c of the native driver in the Dataset, from a Secret"),
	iam: credentials,
	"iam-flavor": credentials,
	"iam-header": credentials,
	"iam-url": credentials,
	profile: credentials,
	"shared-config": credentials,
	setuid: refused("the launcher runs the driver"),
	setgid: refused("the launcher runs the driver"),
};

const mounter: Rule = {
	kind: "used",
	as: "geesefs, s3fs, goofys or rclone, whose files are objects as ours are; others are refused",
	read(value, { faults }, at) {
		if (["", "geesefs", "s3fs", "goofys", "rclone"].includes(value)) return;
		faults.push({
			at,
			message: `what ${shown(value)} stores are not files as objects, and nothing here can read them`,
		});
	},
};

const handled = unused("volumeHandle says where the volume is");

/** https://github.com/yandex-cloud/k8s-csi-s3, https://github.com/ctrox/csi-s3 */
export const csiS3: CsiDriver = {
	attributes: {
		...kubernetesAttributes,
		mounter,
		options: flags,
		bucket: handled,
		prefix: handled,
		usePrefix: handled,
		capacity: unused("a bucket has no limit"),
		secretName: unused("nodePublishSecretRef names the Secret"),
		secretNamespace: unused("nodePublishSecretRef names the Secret"),
	},
	mountOptions: readOrWrite,
	flags: csiS3Flags,
	flagsIn: "options",
	keys: [
		{ key: "accessKeyID", option: "access-key" },
		{ key: "secretAccessKey", option: "secret-key" },
		{ key: "endpoint", option: "endpoint", isPlain: true },
		{ key: "region", option: "region", isPlain: true },
	],
	source({ driver, handle, attributes }, draft) {
		const slash = handle.indexOf("/");
		draft.bucket = slash === -1 ? handle : handle.slice(0, slash);
		draft.prefix = slash === -1 ? "" : handle.slice(slash + 1);
		// The first of the family keeps the files of what it provisions in a folder beside a description; its successors note a capacity instead.
		const provisioned = Object.hasOwn(attributes, "storage.kubernetes.io/csiProvisionerIdentity");
		const hasFolder = driver === "ch.ctrox.csi.s3-driver" && provisioned && !Object.hasOwn(attributes, "capacity");
		if (hasFolder && attributes["usePrefix"] !== "true")
			draft.prefix = draft.prefix === "" ? "csi-fs" : `${draft.prefix}/csi-fs`;
	},
};
