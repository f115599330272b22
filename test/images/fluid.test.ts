import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import type { LauncherStatus, MountStatus } from "../../src/probe/status.ts";
import { projectRoot, until } from "../support/pod.ts";
import { minioPod } from "../support/s3-drivers.ts";
import type { StorageContainer, StorageContainerOptions } from "./storage-container.ts";
import { podman, type ImageName } from "./store.ts";
import { useImages } from "./use-images.ts";

const given = useImages();
let bucketNumber = 0;
let bucket: string;

async function start(image: ImageName, more: Partial<StorageContainerOptions> = {}): Promise<StorageContainer> {
	bucket = `bucket-${++bucketNumber}`;
	await given.minio.createBucket(bucket);
	await given.minio.put(bucket, "folder/hello.txt", "hello from the bucket\n");
	const { env: _chosenByTheImage, ...options } = minioPod(given.minio, bucket, { title: image, name: image });
	// s3fs keeps there what is read and written.
	const tmpfs = image === "s3fs" ? ["/tmp"] : [];
	return given.start(given.images.references[image], {
		...options,
		accessModes: ["ReadWriteMany"],
		tmpfs,
		...more,
	});
}

/** On the node, outside of the container; never with this process's own threads. */
async function onNode(file: string, ...args: string[]): Promise<{ exitCode: number | undefined; output: string }> {
	const { exitCode, all } = await execa(file, args, { all: true, reject: false, timeout: 20_000 });
	return { exitCode, output: all };
}

/** As csi/shell/check_mount.sh asks: a line with path and type, stat of the path, and a name below it. */
async function csiSees(target: string, type: string, below: string): Promise<boolean> {
	const { output } = await onNode("cat", "/proc/self/mountinfo");
	const isListed = output.split("\n").some((line) => line.includes(target) && line.includes(type));
	if (!isListed || (await onNode("stat", target)).exitCode !== 0) return false;
	return (await onNode("test", "-e", join(target, below))).exitCode === 0;
}

/** As Fluid's metadata sync asks for it. */
async function expectUsage(here: StorageContainer): Promise<void> {
	const { stdout } = await here.exec(["bash", "-c", `df --block-size=1 | grep ${here.target}`]);
	expect(stdout.split("\n").map((line) => line.split(/\s+/).at(-1))).toEqual([here.target]);
}

async function statusOf(here: StorageContainer): Promise<Partial<MountStatus>> {
	const { stdout } = await here.exec(["fluid-fuse", "status", "--json"]);
	return (JSON.parse(stdout) as LauncherStatus).mounts[0] ?? {};
}

const types = { native: "fuse.thin-s3", goofys: "fuse", s3fs: "fuse.s3fs" } as const;

describe.each(["native", "goofys", "s3fs"] as const)("the image with %s, as Fluid runs it", (image) => {
	const type = types[image];

	test("mounts the bucket where the node, CSI, Fluid's sidecar and its metadata sync see it, for reading and writing", async () => {
		const here = await start(image, {
			files: { "/check-mount.sh": join(projectRoot, "test/images/check-mount.sh") },
		});
		// Not after readiness: kubelet starts postStart at once.
		const command = `time /check-mount.sh ${here.target} ${type} folder`;
		const postStart = await here.exec(["bash", "-c", command], 60_000);
		expect(postStart).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("real") });
		expect(await here.logs()).toContain(`check-mount: ${here.target} is there`);
		await here.untilReady();
		expect(await csiSees(here.target, type, "folder/hello.txt")).toBe(true);

		expect((await onNode("cat", join(here.target, "folder/hello.txt"))).output).toBe("hello from the bucket");
		const file = join(here.pod.folder, "large");
		const content = randomBytes(3_000_000);
		await execa("tee", [file], { input: content, stdout: "ignore" });
		expect(await onNode("cp", file, join(here.target, "folder/large"))).toEqual({ exitCode: 0, output: "" });
		expect((await given.minio.get(bucket, "folder/large")).equals(content)).toBe(true);
		expect((await onNode("cmp", file, join(here.target, "folder/large"))).exitCode).toBe(0);

		const listed = await here.exec(["bash", "-c", `ls -lR ${here.target} | grep -c '^-'; ls ${here.target} | wc -l`]);
		// goofys asks the server for an object without a name, when ls asks for extended attributes of the bucket's root.
		const stderr = image === "goofys" ? `ls: ${here.target}: Input/output error` : "";
		expect(listed).toEqual({ exitCode: 0, stdout: "2\n1", stderr });
		await expectUsage(here);

		const app = await podman([
			"run",
			"--rm",
			"--pull=never",
			"--entrypoint=bash",
			`--volume=${dirname(here.target)}:/data:rslave`,
			given.images.references.native,
			"-c",
			"grep -F ' /data/thin-fuse ' /proc/self/mountinfo | sed 's/.* - //'; cat /data/thin-fuse/folder/hello.txt",
		]);
		const [filesystem = "", hello] = app.stdout.split("\n");
		expect(hello).toBe("hello from the bucket");
		// What app.poststart.fluid.io/inject looks for; goofys and s3fs cannot have it.
		expect(filesystem.split(" ")[0]?.includes("thin")).toBe(image === "native");
	});

	test("mounts over the dead mount of a container that was killed", async () => {
		const here = await start(image);
		await here.untilReady();
		await here.kill("KILL");
		expect(await here.ended()).toBe(137);
		const file = join(here.target, "folder/hello.txt");
		await until(
			async () => (await onNode("cat", file)).output.includes("Transport endpoint is not connected"),
			10_000,
			() => "the dead mount is not seen",
		);
		await here.startAgain();
		await here.untilReady();
		expect((await onNode("cat", file)).output).toBe("hello from the bucket");
		await expectUsage(here);
		await here.kill("TERM");
		expect(await here.ended()).toBe(0);
		expect(await here.pod.layers()).toEqual([]);
	});

	test.each([
		["umount, Fluid's own preStop,", (target: string) => ["umount", target]],
		["fluid-fuse prestop", () => ["fluid-fuse", "prestop"]],
	])("ends with 0 and leaves nothing mounted after %s", async (_name, preStop) => {
		const here = await start(image);
		await here.untilReady();
		// The launcher may end, and the container with it, before the exec has reported.
		expect([0, 137, 255]).toContain((await here.exec(preStop(here.target))).exitCode);
		expect(await here.ended()).toBe(0);
		expect(await here.pod.layers()).toEqual([]);
	});
});

describe.each(["native", "goofys", "s3fs"] as const)("the image with %s, as the client of a CacheRuntime", (image) => {
	test("serves its Dataset, follows it, and leaves nothing on the node but the folder, as often as it is started", async () => {
		const of = (name: string) => ({
			mountPoint: `s3://${name}`,
			name: "data",
			path: "/",
			encryptOptions: {
				"access-key": "/etc/fluid/secrets/minio-secret/minio-access-key",
				"secret-key": "/etc/fluid/secrets/minio-secret/minio-access-secret",
			},
		});
		const [first, second] = [`${image}-first`, `${image}-second`];
		for (const name of [first, second]) {
			await given.minio.createBucket(name);
			await given.minio.put(name, "hello.txt", `hello from ${name}\n`);
		}
		const here = await start(image, {
			mounts: [of(first)],
			client: {
				enabled: true,
				name: "demo-client",
				options: { endpoint: given.minio.endpoint },
				service: { name: "" },
			},
		});
		const { targetOnNode } = here.pod;
		const untilSeen = async (name: string): Promise<void> =>
			until(
				async () => (await onNode("cat", join(targetOnNode, "hello.txt"))).output === `hello from ${name}`,
				20_000,
				() => `${name} is not seen`,
			);
		await here.untilReady();
		await untilSeen(first);
		here.pod.writeConfig(here.pod.renderConfig({ mounts: [of(second)] }));
		await untilSeen(second);
		await here.exec(["bash", "-c", `kill -KILL ${(await statusOf(here)).pid}`]);
		await until(
			async () => (await statusOf(here)).restarts === 1,
			20_000,
			() => "the driver is not started again",
		);
		await untilSeen(second);
		await here.kill("TERM");
		expect(await here.ended()).toBe(0);
		expect(await here.pod.layers(targetOnNode)).toEqual([]);

		await here.startAgain();
		await here.untilReady();
		await untilSeen(second);
		await here.exec(["fluid-fuse", "prestop"]);
		expect(await here.ended()).toBe(0);
		expect(await here.pod.layers(targetOnNode)).toEqual([]);
		expect((await onNode("find", targetOnNode)).output).toBe(targetOnNode);
	});
});

test("the volume of a claim, as the example has it, comes with its CSI driver's Secret and options", async () => {
	const here = await start("native", {
		mounts: [],
		secrets: {
			"csi-s3-secret": {
				accessKeyID: given.minio.accessKey,
				secretAccessKey: given.minio.secretKey,
				endpoint: given.minio.endpoint,
				region: "",
			},
		},
	});
	await here.untilReady();
	const example = readFileSync(join(projectRoot, "examples/pvc/config.json"), "utf8");
	const changed = { targetPath: here.target, accessModes: ["ReadOnlyMany"] };
	here.pod.writeConfig(JSON.stringify({ ...JSON.parse(example.replaceAll("my-first-bucket", bucket)), ...changed }));
	await until(
		async () => (await onNode("cat", join(here.target, "folder/hello.txt"))).output === "hello from the bucket",
		20_000,
		() => "the volume is not seen",
	);
	expect((await onNode("touch", join(here.target, "new"))).output).toContain("Read-only file system");
	await here.kill("TERM");
	expect(await here.ended()).toBe(0);
	expect(await here.pod.layers()).toEqual([]);
});

test("a changed Dataset replaces the driver under those who use the mount, and nothing new is written to the old one", async () => {
	const here = await start("s3fs");
	await here.untilReady();
	await given.minio.createBucket("another");
	await given.minio.put("another", "hello.txt", "hello from another\n");
	const mounts = here.pod.options.mounts.map((mount) => ({ ...mount, mountPoint: "minio://another" }));
	here.pod.writeConfig(here.pod.renderConfig({ mounts }));
	const file = join(here.target, "hello.txt");
	await until(
		async () => (await onNode("cat", file)).output === "hello from another",
		20_000,
		() => "the change is not seen",
	);
	// So it learns that nobody writes there any more.
	const oldOnes = ["bash", "-c", "grep '/staging ' /proc/self/mountinfo | grep -c ' - fuse.s3fs s3fs ro'"];
	await until(
		async () => (await here.exec(oldOnes)).stdout === "1",
		15_000,
		() => "the old driver is not made read-only",
	);
	await here.kill("TERM");
	expect(await here.ended()).toBe(0);
	expect(await here.pod.layers()).toEqual([]);
});

test("a Dataset without mounts has its folder, and ends with SIGTERM", async () => {
	const here = await start("native", { mounts: [] });
	await here.untilReady();
	expect((await onNode("stat", "--format", "%F", here.target)).output).toBe("directory");
	await here.kill("TERM");
	expect(await here.ended()).toBe(0);
});
