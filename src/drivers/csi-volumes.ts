import { didYouMean, shown } from "../options/faults.ts";
import type { InVolume, ReadVolume, Volume, VolumeOption } from "./driver.ts";

/**
 * Volumes of the CSI drivers for S3, by their documentation: https://github.com/awslabs/mountpoint-s3-csi-driver,
 * https://github.com/scality/mountpoint-s3-csi-driver, https://github.com/yandex-cloud/k8s-csi-s3, https://github.com/ctrox/csi-s3,
 * https://github.com/TencentCloud/kubernetes-csi-tencentcloud/blob/master/docs/README_COSFS.md.
 */
export interface CsiDriver {
	/** By name. One that is in no table is refused. */
	readonly attributes: Rules;
	readonly mountOptions: Rules;
	readonly flags: Rules;
	/** The attribute that they are in. */
	readonly flagsIn: string;
	/** Key of the Secret for each of our options. */
	readonly keys: readonly { readonly key: string; readonly option: string; readonly isPlain?: boolean }[];
	/** Where the data is, from what was read. */
	readonly source: (volume: Volume, draft: Draft) => void;
}

/** What becomes of an attribute or option. */
export type Rule =
	| {
			readonly kind: "used";
			/** As what, for people. */
			readonly as: string;
			readonly read: (value: string, draft: Draft, at: InVolume) => void;
	  }
	| { readonly kind: "unused"; readonly why: string }
	| { readonly kind: "refused"; readonly why: string };

export type Rules = Readonly<Record<string, Rule>>;

interface Draft {
	bucket: string;
	prefix: string;
	readOnly?: InVolume;
	/** Options under the native driver's names. */
	readonly options: VolumeOption[];
	readonly unused: { at: InVolume; why: string }[];
	readonly faults: { at: InVolume; message: string }[];
	readonly writeFaults: { at: InVolume; message: string }[];
	readonly seen: Set<string>;
}

const unused = (why: string): Rule => ({ kind: "unused", why });
const refused = (why: string): Rule => ({ kind: "refused", why });

/** One of our options; `write` makes our value of theirs, undefined where it is none. */
function option(name: string, write: (value: string) => string | undefined = (value) => value): Rule {
	return {
		kind: "used",
		as: name,
		read(value, { options, faults }, at) {
			const written = write(value);
			if (written !== undefined) options.push({ name, value: written, at });
			else faults.push({ at, message: `found ${shown(value)}, which cannot become the option ${name}` });
		},
	};
}

const yes = (): string => "true";

const readOnly: Rule = {
	kind: "used",
	as: "read-only",
	read(_value, draft, at) {
		draft.readOnly ??= at;
	},
};

const prefix: Rule = {
	kind: "used",
	as: "the folder in the bucket",
	read(value, draft) {
		draft.prefix = value;
	},
};

const bucket: Rule = {
	kind: "used",
	as: "the bucket",
	read(value, draft) {
		draft.bucket = value;
	},
};

/** Noted, and looked at when everything is read. */
const allowed: Rule = { kind: "used", as: "writing: without it a mount that is not read-only is refused", read() {} };

const tuning = unused("how fast it is: our drivers have options of their own");
const diagnosis = unused("our launcher writes the log");
const cached = unused("where it is cached: give the native driver cache-dir and cache-size");
const ofKubernetes = unused("Kubernetes' own");
const ofItsPods = unused("about the pods of the CSI driver, which are not used here");
const byOthers = unused("applications may always use the mount; the modes of files and folders decide");

const credentials = refused("the storage pod has no such credentials: give access-key and secret-key in the Dataset");

function metadataTtl(value: string): string | undefined {
	if (value === "minimal") return "0";
	if (value === "indefinite") return "8760h";
	return /^\d{1,8}$/.test(value) ? `${value}s` : undefined;
}

const encryption: Rule = {
	kind: "used",
	as: "sse, sse-kms",
	read(value, draft, at) {
		if (value === "AES256") draft.options.push({ name: "sse", value: "true", at });
		else if (value === "aws:kms") draft.options.push({ name: "sse-kms", value: "", at });
		else draft.faults.push({ at, message: `${shown(value)} is not supported, expected AES256 or aws:kms` });
	},
};

const keyId: Rule = {
	kind: "used",
	as: "sse-kms",
	read(value, draft, at) {
		const index = draft.options.findIndex(({ name }) => name === "sse-kms");
		if (index !== -1) draft.options.splice(index, 1);
		draft.options.push({ name: "sse-kms", value, at });
	},
};

const ownership: Rules = {
	uid: option("uid"),
	gid: option("gid"),
	"dir-mode": option("dir-mode"),
	"file-mode": option("file-mode"),
};

const mountpointOptions: Rules = {
	...ownership,
	region: option("region"),
	"endpoint-url": option("endpoint"),
	"force-path-style": option("path-style", yes),
	prefix,
	"read-only": readOnly,
	ro: readOnly,
	rw: unused("the Dataset's access modes decide"),
	"allow-delete": allowed,
	"allow-overwrite": allowed,
	"requester-pays": option("requester-pays", yes),
	"no-sign-request": option("anonymous", yes),
	"storage-class": option("storage-class"),
	sse: encryption,
	"sse-kms-key-id": keyId,
	"metadata-ttl": option("ttl", metadataTtl),
	"negative-metadata-ttl": unused("names and absent names are believed for the same time"),
	"allow-other": byOthers,
	"allow-root": byOthers,
	"auto-unmount": unused("the launcher unmounts"),
	foreground: unused("the launcher runs the driver"),
	cache: cached,
	"max-cache-size": cached,
	"cache-xz": cached,
	"aws-max-attempts": tuning,
	bind: tuning,
	"max-threads": tuning,
	"maximum-throughput-gbps": tuning,
	"part-size": tuning,
	"read-part-size": tuning,
	"write-part-size": tuning,
	"dual-stack": unused("another address of the same bucket: give endpoint where only IPv6 is there"),
	"transfer-acceleration": unused("another address of the same bucket"),
	"incremental-upload": unused("files can be appended to without it"),
	"upload-checksums": unused("uploads are always checked"),
	debug: diagnosis,
	"debug-crt": diagnosis,
	"log-directory": diagnosis,
	"log-metrics": diagnosis,
	"no-log": diagnosis,
	"user-agent-prefix": diagnosis,
	profile: credentials,
	"expected-bucket-owner": refused("no driver here can ask for it, and it protects from the wrong bucket"),
};

const kubernetesAttributes: Rules = { "storage.kubernetes.io/csiProvisionerIdentity": ofKubernetes };

const mountpointAttributes: Rules = {
	...kubernetesAttributes,
	bucketName: bucket,
	stsRegion: unused("the storage pod's environment says where its identity comes from"),
	cache: cached,
	cacheEmptyDirSizeLimit: cached,
	cacheEmptyDirMedium: cached,
	cacheEphemeralStorageClassName: cached,
	cacheEphemeralStorageResourceRequest: cached,
	mountpointPodServiceAccountName: ofItsPods,
	mountpointContainerResourcesRequestsCpu: ofItsPods,
	mountpointContainerResourcesRequestsMemory: ofItsPods,
	mountpointContainerResourcesLimitsCpu: ofItsPods,
	mountpointContainerResourcesLimitsMemory: ofItsPods,
};

/** Whose keys sign, of those that the CSI driver knows. */
function authentication(sources: readonly string[]): Rule {
	return {
		kind: "used",
		as: `${["driver", ...sources].join(" or ")}; others are refused`,
		read(value, { faults }, at) {
			if (value === "" || value === "driver" || sources.includes(value)) return;
			const message =
				value === "pod"
					? "the identity of each application's pod: a Dataset has one identity for all, the storage pod's. Mount the bucket as s3://… with keys or an identity of its own"
					: `${shown(value)} is no source of credentials that is known here`;
			faults.push({ at, message });
		},
	};
}

/** Mountpoint deletes and replaces only what it is told it may, and no driver here can be told. */
function limitWrites(draft: Draft): void {
	const missing = ["allow-delete", "allow-overwrite"].filter((name) => !draft.seen.has(name));
	if (missing.length === 0) return;
	draft.writeFaults.push({
		at: { kind: "handle" },
		message: `the volume's mountOptions have no ${missing.join(" and no ")}, which a mount that can be written here would allow: add them, or make the Dataset read-only`,
	});
}

function mountpoint(authenticationSource: Rule, keys: CsiDriver["keys"]): CsiDriver {
	return {
		attributes: { ...mountpointAttributes, authenticationSource },
		mountOptions: mountpointOptions,
		flags: {},
		flagsIn: "options",
		keys,
		source(_volume, draft) {
			if (draft.bucket === "")
				draft.faults.push({ at: { kind: "attribute", name: "bucketName" }, message: "missing: the bucket" });
			limitWrites(draft);
		},
	};
}

/** umask of s3fs: what it takes from all. */
const umask: Rule = {
	kind: "used",
	as: "dir-mode, file-mode",
	read(value, { options, faults }, at) {
		if (!/^0?[0-7]{3}$/.test(value)) {
			faults.push({ at, message: `found ${shown(value)}, expected an octal umask` });
			return;
		}
		const mask = Number.parseInt(value, 8);
		options.push({ name: "dir-mode", value: octal(0o777 & ~mask), at });
		options.push({ name: "file-mode", value: octal(0o777 & ~mask), at });
	},
};

const octal = (mode: number): string => `0${mode.toString(8).padStart(3, "0")}`;

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
	"o ro": readOnly,
	"o umask": umask,
	"o uid": option("uid"),
	"o gid": option("gid"),
	"o allow_other": byOthers,
	"o nonempty": unused("the launcher mounts on an empty folder"),
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

const flags: Rule = {
	kind: "used",
	as: "flags, below",
	read() {}, // They have rules of their own.
};

const handled = unused("volumeHandle says where the volume is");

const csiS3: CsiDriver = {
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
	mountOptions: { ro: readOnly, "read-only": readOnly, rw: unused("the Dataset's access modes decide") },
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

/** Such as `http://cos.ap-guangzhou.myqcloud.com`: newer buckets are there only as hosts below that. */
const cosUrl: Rule = {
	kind: "used",
	as: "endpoint, region; path-style is false",
	read(value, { options }, at) {
		options.push({ name: "endpoint", value, at }, { name: "path-style", value: "false", at });
		const region = /^https?:\/\/cos\.([a-z0-9-]+)\.myqcloud\.com\/?$/.exec(value)?.[1];
		if (region !== undefined) options.push({ name: "region", value: region, at });
	},
};

const cosMounter: Rule = {
	kind: "used",
	as: "cosfs or goosefs-lite, whose files are objects as ours are; others are refused",
	read(value, { faults }, at) {
		if (!["", "cosfs", "goosefs-lite"].includes(value))
			faults.push({ at, message: `found ${shown(value)}, expected cosfs or goosefs-lite` });
	},
};

const cosfs: CsiDriver = {
	attributes: {
		...kubernetesAttributes,
		url: cosUrl,
		bucket,
		path: {
			kind: "used",
			as: "the folder in the bucket",
			read(value, draft) {
				draft.prefix = value.replaceAll(/^\/+|\/+$/g, "");
			},
		},
		mounter: cosMounter,
		additional_args: flags,
		dbglevel: diagnosis,
		core_site: tuning,
		goosefs_lite: tuning,
	},
	mountOptions: { ro: readOnly, "read-only": readOnly, rw: unused("the Dataset's access modes decide") },
	flags: {
		"o ro": readOnly,
		"o umask": umask,
		"o uid": option("uid"),
		"o gid": option("gid"),
		"o allow_other": byOthers,
		"o nonempty": unused("the launcher mounts on an empty folder"),
		"o dbglevel": diagnosis,
		"o noxattr": tuning,
		"o use_cache": cached,
		"o del_cache": cached,
		"o ensure_diskfree": cached,
		"o max_stat_cache_size": tuning,
		"o multipart_size": tuning,
		"o parallel_count": tuning,
		"o multireq_max": tuning,
		"o connect_timeout": tuning,
		"o readwrite_timeout": tuning,
		"o retries": tuning,
		"o cam_role": credentials,
		"o passwd_file": credentials,
	},
	flagsIn: "additional_args",
	keys: [
		{ key: "SecretId", option: "access-key" },
		{ key: "SecretKey", option: "secret-key" },
	],
	source(_volume, draft) {
		if (draft.bucket === "")
			draft.faults.push({ at: { kind: "attribute", name: "bucket" }, message: "missing: the bucket" });
	},
};

/** By the CSI driver's name. */
export const csiDrivers: Readonly<Record<string, CsiDriver>> = {
	"s3.csi.aws.com": mountpoint(authentication([]), []),
	"s3.csi.scality.com": mountpoint(authentication(["secret"]), [
		{ key: "key_id", option: "access-key" },
		{ key: "access_key", option: "secret-key" },
	]),
	"ru.yandex.s3.csi": csiS3,
	"ch.ctrox.csi.s3-driver": csiS3,
	"com.tencent.cloud.csi.cosfs": cosfs,
};

export const s3CsiDrivers: readonly string[] = Object.keys(csiDrivers);

/**
 * The bucket and the options of a volume that one of them provisioned. `translate` makes the driver's own options of those
 * under the native driver's names.
 */
export function readS3Volume(
	volume: Volume,
	translate: (options: ReadonlyMap<string, string>) => ReadonlyMap<string, string> = (options) => options,
): ReadVolume {
	const driver = csiDrivers[volume.driver];
	if (driver === undefined) throw new TypeError(`${volume.driver} is none of ${s3CsiDrivers.join(", ")}`);
	const draft: Draft = {
		bucket: "",
		prefix: "",
		options: [],
		unused: [],
		faults: [],
		writeFaults: [],
		seen: new Set(),
	};
	const { attributes, mountOptions, secretFolder } = volume;
	if (secretFolder !== undefined) {
		for (const { key, option: name, isPlain = false } of driver.keys)
			draft.options.push({ name, value: `${secretFolder}/${key}`, at: { kind: "secret", key }, isPlain });
	}
	for (const [name, value] of Object.entries(attributes))
		apply(driver.attributes, name, value, draft, { kind: "attribute", name });
	for (const [name, value] of flagsOf(attributes[driver.flagsIn] ?? ""))
		apply(driver.flags, name, value, draft, { kind: "attribute", name: driver.flagsIn });
	for (const [index, text] of mountOptions.entries()) {
		const [, name = "", value = ""] = /^(?:--?)?([^\s=]*)(?:\s*=\s*|\s+)?(.*)$/s.exec(text.trim()) ?? [];
		apply(driver.mountOptions, name, value, draft, { kind: "mountOption", index });
	}
	driver.source(volume, draft);
	const { bucket: name, prefix: folder, readOnly: readOnlyAt, unused: ignored, faults, writeFaults } = draft;
	return {
		source: folder === "" ? `s3://${name}` : `s3://${name}/${folder}`,
		options: translated(draft.options, translate),
		...(readOnlyAt !== undefined && { readOnly: readOnlyAt }),
		unused: ignored,
		faults,
		writeFaults,
	};
}

function apply(rules: Rules, name: string, value: string, draft: Draft, at: InVolume): void {
	draft.seen.add(name);
	const own = Object.hasOwn(rules, name) ? rules[name] : undefined;
	// What the storage class says about its own Secrets and the pod is no business of the volume.
	const rule = own ?? (at.kind === "attribute" && name.startsWith("csi.storage.k8s.io/") ? ofKubernetes : undefined);
	if (rule === undefined)
		draft.faults.push({ at, message: `${shown(name)} is not known${didYouMean(name, Object.keys(rules))}` });
	else if (rule.kind === "used") rule.read(value, draft, at);
	else if (rule.kind === "unused") draft.unused.push({ at, why: `${name}: ${rule.why}` });
	else draft.faults.push({ at, message: `${name} is refused: ${rule.why}` });
}

/** The flags of a command line as csi-s3 splits it: at spaces that are not in quotes. A word without a dash is the value of the one before. */
function* flagsOf(text: string): Generator<[name: string, value: string]> {
	// Behind a quote that does not end no other one does, and they are as spaces. To look for the end of each would take for ever.
	const unended = text.matchAll(/"(?:[^"\\]|\\.?)*("|$)/gs).find(([, end]) => end === "")?.index ?? text.length;
	const quoting = text.slice(0, unended).matchAll(/(?:[^\s"]+|"(?:[^"\\]|\\.)*")+/gs);
	const words = [...quoting, ...text.slice(unended).matchAll(/[^\s"]+/g)].map(([word]) =>
		word.replaceAll(/"((?:[^"\\]|\\.)*)"/gs, (_, quoted: string) => quoted.replaceAll(/\\(.)/gs, "$1")),
	);
	for (let index = 0; index < words.length; index++) {
		const word = words[index] ?? "";
		// What belongs to -o may follow it without a space.
		const [, flag = word, inline] = /^-(o)(?=[^=-])(.*)$/s.exec(word) ?? /^--?([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
		const next = words[index + 1];
		const takesNext = inline === undefined && next !== undefined && !next.startsWith("-");
		if (takesNext) index++;
		const value = inline ?? (takesNext ? next : "");
		if (flag !== "o") {
			yield [flag, value];
			continue;
		}
		for (const part of value.split(",")) {
			const equals = part.indexOf("=");
			yield [`o ${equals === -1 ? part : part.slice(0, equals)}`, equals === -1 ? "" : part.slice(equals + 1)];
		}
	}
}

/** The last of a name holds. What is a Secret's key is passed on as it is. */
function translated(
	options: readonly VolumeOption[],
	translate: (options: ReadonlyMap<string, string>) => ReadonlyMap<string, string>,
): VolumeOption[] {
	const last = new Map(options.map((given) => [given.name, given]));
	const fromSecret = [...last.values()].filter(({ at }) => at.kind === "secret");
	const others = [...last.values()].filter(({ at }) => at.kind !== "secret");
	const [first] = others;
	if (first === undefined) return fromSecret;
	const renamed = [...translate(new Map(others.map(({ name, value }) => [name, value])))].map(([name, value]) => ({
		name,
		value,
		// One that the driver calls otherwise stands where the first of them does.
		at: (last.get(name) ?? first).at,
	}));
	return [...fromSecret, ...renamed];
}
