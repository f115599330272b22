import { cosfs } from "./cosfs.ts";
import type { CsiDriver } from "./csi-driver.ts";
import { csiS3 } from "./csi-s3.ts";
import { ibmCos } from "./ibm-cos.ts";
import { mountpointOfAws, mountpointOfScality } from "./mountpoint.ts";

/** By the CSI driver's name. */
export const csiDrivers: Readonly<Record<string, CsiDriver>> = {
	"s3.csi.aws.com": mountpointOfAws,
	"s3.csi.scality.com": mountpointOfScality,
	"ru.yandex.s3.csi": csiS3,
	"ch.ctrox.csi.s3-driver": csiS3,
	"com.tencent.cloud.csi.cosfs": cosfs,
	"cos.s3.csi.ibm.io": ibmCos,
};

export const s3CsiDrivers: readonly string[] = Object.keys(csiDrivers);
