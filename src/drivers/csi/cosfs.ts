import {
	bucket,
	cached,
	credentials,
	diagnosis,
	flags,
	folder,
	kubernetesAttributes,
	mounterOf,
	mountFlags,
	readOrWrite,
	tuning,
} from "./common-rules.ts";
import type { CsiDriver, Rule } from "./csi-driver.ts";

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

/** https://github.com/TencentCloud/kubernetes-csi-tencentcloud/blob/master/docs/README_COSFS.md */
export const cosfs: CsiDriver = {
	attributes: {
		...kubernetesAttributes,
		url: cosUrl,
		bucket,
		path: folder,
		mounter: mounterOf(["cosfs", "goosefs-lite"]),
		additional_args: flags,
		dbglevel: diagnosis,
		core_site: tuning,
		goosefs_lite: tuning,
	},
	mountOptions: readOrWrite,
	flags: {
		...mountFlags,
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
