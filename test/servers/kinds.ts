import { existsSync } from "node:fs";
import { ceph } from "./kinds/ceph.ts";
import { minio } from "./kinds/minio.ts";
import { moto } from "./kinds/moto.ts";
import { rclone } from "./kinds/rclone.ts";
import { s3mock } from "./kinds/s3mock.ts";
import { s3proxy } from "./kinds/s3proxy.ts";
import { seaweedfs } from "./kinds/seaweedfs.ts";
import { swift } from "./kinds/swift.ts";
import { versitygw } from "./kinds/versitygw.ts";
import type { ServerKind } from "./server.ts";

/** In the order of the page. */
export const serverKinds: readonly ServerKind[] = [
	minio,
	ceph,
	versitygw,
	seaweedfs,
	rclone,
	s3proxy,
	swift,
	moto,
	s3mock,
];

/** What is not there of what a server needs. */
export function missingFor(kind: ServerKind): string | undefined {
	return kind.needs.find((path) => !existsSync(path));
}
