import { shown } from "../../options/faults.ts";
import {
	bucket,
	byOthers,
	cached,
	credentials,
	diagnosis,
	kubernetesAttributes,
	option,
	ownership,
	readOnly,
	refused,
	tuning,
	unused,
	yes,
} from "./common-rules.ts";
import type { CsiDriver, Draft, Rule, Rules } from "./csi-driver.ts";

/** Noted, and looked at when everything is read. */
const allowed: Rule = { kind: "used", as: "writing: without it a mount that is not read-only is refused", read() {} };

const ofItsPods = unused("about the pods of the CSI driver, which are not used here");

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

const prefix: Rule = {
	kind: "used",
	as: "the folder in the bucket",
	read(value, draft) {
		draft.prefix = value;
	},
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

/** https://github.com/awslabs/mountpoint-s3-csi-driver */
export const mountpointOfAws = mountpoint(authentication([]), []);

/** https://github.com/scality/mountpoint-s3-csi-driver */
export const mountpointOfScality = mountpoint(authentication(["secret"]), [
	{ key: "key_id", option: "access-key" },
	{ key: "access_key", option: "secret-key" },
]);
