import { existsSync, mkdirSync, readlinkSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import type { Minio } from "./minio.ts";
import { cachedBinaries, type PodOptions } from "./pod.ts";

export interface S3DriverUnderTest {
	/** For the test's name. */
	readonly title: string;
	readonly name: "native" | "goofys" | "s3fs";
	/** To be found before the others. */
	readonly programs?: string;
}

/** The drivers that the end-to-end tests run with: s3fs, and each goofys that the machine has. */
export function s3Drivers(): S3DriverUnderTest[] {
	const newest = join(cachedBinaries, "goofys");
	const release = join(cachedBinaries, "goofys-0.24");
	const drivers: S3DriverUnderTest[] = [
		{ title: "native", name: "native" },
		{ title: "s3fs", name: "s3fs" },
	];
	// Where only the release is to be had, goofys is a link to it.
	if (existsSync(newest) && !isLink(newest)) drivers.unshift({ title: "goofys", name: "goofys" });
	if (existsSync(release))
		drivers.unshift({ title: "goofys 0.24", name: "goofys", programs: folderWith("goofys", release) });
	return drivers;
}

/** Those of them that every feature is tried with: `npm test` names native alone, and `npm run test:full` none. */
export function testedDrivers(): S3DriverUnderTest[] {
	const only = process.env["TEST_DRIVERS"]?.split(",");
	return s3Drivers().filter(({ name }) => only === undefined || only.includes(name));
}

function isLink(path: string): boolean {
	try {
		return readlinkSync(path) !== "";
	} catch {
		return false;
	}
}

function folderWith(name: string, program: string): string {
	const folder = join(cachedBinaries, "..", "programs", basename(program));
	mkdirSync(folder, { recursive: true });
	const link = join(folder, name);
	if (!existsSync(link)) symlinkSync(program, link);
	return folder;
}

/** The pod of Fluid's own MinIO guide: one bucket, its keys in one secret. */
export function minioPod(
	minio: Minio,
	bucket: string,
	driver: S3DriverUnderTest,
	more: Partial<PodOptions> = {},
): PodOptions {
	return {
		mounts: [
			{
				mountPoint: `minio://${bucket}`,
				name: "minio",
				options: {
					"minio-url": minio.endpoint,
					"minio-access-key": "/etc/fluid/secrets/minio-secret/minio-access-key",
					"minio-access-secret": "/etc/fluid/secrets/minio-secret/minio-access-secret",
				},
			},
		],
		secrets: { "minio-secret": { "minio-access-key": minio.accessKey, "minio-access-secret": `${minio.secretKey}\n` } },
		...(driver.programs !== undefined && { programs: driver.programs }),
		...more,
		env: { FLUID_FUSE_DRIVER: driver.name, ...more.env },
	};
}

/** Buckets of that server, reached at the endpoint, each as a mount of its name. */
export function bucketsPod(minio: Minio, endpoint: string, buckets: readonly string[]): PodOptions {
	return {
		mounts: buckets.map((bucket) => ({
			mountPoint: `s3://${bucket}`,
			name: bucket,
			options: {
				endpoint,
				"access-key": "/etc/fluid/secrets/login/access-key",
				"secret-key": "/etc/fluid/secrets/login/secret-key",
			},
		})),
		secrets: { login: { "access-key": minio.accessKey, "secret-key": minio.secretKey } },
	};
}
