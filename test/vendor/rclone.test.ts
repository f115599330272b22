import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until } from "../support/pod.ts";

let minio: Minio;
beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("my-first-bucket");
	await minio.put("my-first-bucket", "folder/hello.txt", "hello\n");
});
afterAll(async () => minio.stop());

let pod: Pod | undefined;
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

function podWith(fields: { readonly mountPoint?: string; readonly accessModes?: readonly string[] } = {}): Pod {
	const secrets = "secrets";
	pod = new Pod({
		mounts: [],
		secrets: { "minio-secret": { "access-key": minio.accessKey, "secret-key": minio.secretKey } },
		env: { FLUID_FUSE_DRIVERS_DIR: join(projectRoot, "examples/rclone"), FLUID_FUSE_DRIVER: "rclone" },
	});
	const options = {
		endpoint: minio.endpoint,
		"access-key": join(pod.folder, secrets, "minio-secret/access-key"),
		"secret-key": join(pod.folder, secrets, "minio-secret/secret-key"),
	};
	const { mountPoint = "minio://my-first-bucket", accessModes = ["ReadWriteMany"] } = fields;
	pod.writeConfig(pod.renderConfig({ mounts: [{ mountPoint, name: "bucket", options }], accessModes }));
	return pod;
}

const sh = async (command: string): Promise<string> => {
	const { stdout, stderr } = await execa("sh", ["-c", command], { reject: false, timeout: 20_000 });
	return stdout + stderr;
};

test("examples/rclone serves a bucket for reading and writing, shows no key, recovers, and ends cleanly", async () => {
	const { target } = podWith();
	pod?.start();
	await pod?.untilReady();
	expect((await pod?.layers())?.map(({ type }) => type)).toEqual(["fuse.rclone"]);
	expect(await sh(`cat ${target}/folder/hello.txt`)).toBe("hello\n".trimEnd());
	expect(await sh(`echo written > ${target}/folder/new.txt && cat ${target}/folder/new.txt`)).toBe("written");
	expect((await minio.get("my-first-bucket", "folder/new.txt")).toString()).toBe("written\n");

	const { pid, driver } = (await pod?.mount()) ?? {};
	expect(driver).toBe("rclone");
	const commandLines = pod?.descendants().map(({ pid: child }) => readFileSync(`/proc/${child}/cmdline`, "utf8"));
	expect(commandLines?.join("\n")).not.toContain(minio.secretKey);
	expect(pod?.output).not.toContain(minio.secretKey);

	process.kill(pid ?? 0, "SIGKILL");
	await until(
		async () => (await sh(`cat ${target}/folder/hello.txt`)) === "hello",
		20_000,
		() => `not served again:\n${pod?.output}`,
	);
	expect(await pod?.stop()).toBe(0);
	expect(await pod?.layers()).toEqual([]);
});

test("examples/rclone enforces read-only in the mount", async () => {
	const { target } = podWith({ accessModes: ["ReadOnlyMany"] });
	pod?.start();
	await pod?.untilReady();
	expect(await sh(`touch ${target}/new`)).toContain("Read-only file system");
	execFileSync("umount", [target]);
	expect(await pod?.ended()).toBe(0);
});

test("examples/rclone tells of a bucket that does not exist", async () => {
	podWith({ mountPoint: "minio://no-such-bucket" });
	pod?.start();
	expect(await pod?.ended()).toBe(69);
	expect(pod?.terminationMessage).toMatchObject({ reason: "BUCKET_MISSING" });
});
