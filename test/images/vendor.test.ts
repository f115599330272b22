import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, expect, test } from "vitest";
import { projectRoot, type PodOptions } from "../support/pod.ts";
import type { StorageContainer, StorageContainerOptions } from "./storage-container.ts";
import { useImages } from "./use-images.ts";

const given = useImages();

beforeAll(async () => {
	await given.minio.createBucket("bucket");
	await given.minio.put("bucket", "folder/hello.txt", "hello from the bucket\n");
});

/** A bucket of MinIO, as a vendor's options name it. */
function podOf(mountPoint: string, options: Readonly<Record<string, string>>): PodOptions {
	return {
		mounts: [
			{
				mountPoint,
				name: "bucket",
				options: {
					...options,
					"access-key": "/etc/fluid/secrets/keys/access-key",
					"secret-key": "/etc/fluid/secrets/keys/secret-key",
				},
			},
		],
		secrets: { keys: { "access-key": given.minio.accessKey, "secret-key": given.minio.secretKey } },
		accessModes: ["ReadWriteMany"],
	};
}

async function start(reference: string, options: StorageContainerOptions): Promise<StorageContainer> {
	const container = await given.start(reference, options);
	await container.untilReady();
	return container;
}

async function sh(command: string): Promise<string> {
	const { stdout, stderr } = await execa("sh", ["-c", command], { reject: false, timeout: 20_000 });
	return stdout + stderr;
}

test("the image of examples/rclone, built on ours, mounts a bucket with its driver file", async () => {
	const reference = await given.images.buildOn("native", "rclone", join(projectRoot, "examples/rclone"));
	const here = await start(reference, {
		...podOf("minio://bucket", { endpoint: given.minio.endpoint }),
		env: { FLUID_FUSE_DRIVER: "rclone" },
	});
	expect((await here.exec(["fluid-fuse", "status"])).stdout).toContain("rclone, read-write");
	expect((await here.pod.layers()).map(({ type }) => type)).toEqual(["fuse.rclone"]);
	expect(await sh(`cat ${here.target}/folder/hello.txt`)).toBe("hello from the bucket");
	expect(await sh(`echo written > ${here.target}/rclone.txt`)).toBe("");
	expect((await given.minio.get("bucket", "rclone.txt")).toString()).toBe("written\n");
	await here.kill("TERM");
	expect(await here.ended()).toBe(0);
}, 400_000);

test("an image with a vendor's /opt/mount.sh, made for Fluid's dynamic-mount base, mounts through it on ours, with nothing else changed", async () => {
	const folder = await mkdtemp(join(tmpdir(), "fluid-fuse-vendor-"));
	try {
		await copyFile(join(projectRoot, "test/fixtures/mount.sh"), join(folder, "mount.sh"));
		const dockerfile = [
			"ARG BASE",
			"FROM $BASE",
			"RUN apt-get update && apt-get install --yes --no-install-recommends s3fs && rm -rf /var/lib/apt/lists/*",
			"COPY mount.sh /opt/mount.sh",
		];
		await writeFile(join(folder, "Dockerfile"), `${dockerfile.join("\n")}\n`);
		const reference = await given.images.buildOn("native", "script", folder);
		const here = await start(reference, {
			...podOf("s3://bucket", { url: given.minio.endpoint }),
			// The script's own files and s3fs's.
			tmpfs: ["/tmp"],
		});
		expect(await here.logs()).toContain("mounting bucket, rw");
		expect(await sh(`cat ${here.target}/folder/hello.txt`)).toBe("hello from the bucket");
		expect(await sh(`echo written > ${here.target}/script.txt`)).toBe("");
		expect((await given.minio.get("bucket", "script.txt")).toString()).toBe("written\n");
		await here.kill("TERM");
		expect(await here.ended()).toBe(0);
		await here.remove();

		// A script that mounts for writing although the Dataset is read-only.
		const readOnly = await start(reference, {
			...podOf("s3://bucket", { url: given.minio.endpoint }),
			accessModes: ["ReadOnlyMany"],
			env: { HOOK_FORGETS_MODE: "1" },
			tmpfs: ["/tmp"],
		});
		expect(await sh(`cat ${readOnly.target}/folder/hello.txt`)).toBe("hello from the bucket");
		expect(await sh(`echo written > ${readOnly.target}/script.txt`)).toContain("Read-only file system");
	} finally {
		await rm(folder, { recursive: true });
	}
}, 400_000);
