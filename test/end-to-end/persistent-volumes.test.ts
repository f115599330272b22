import { chmodSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, until } from "../support/pod.ts";

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["claimed-bucket", "other-bucket"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "volumes/pvc-1/hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

/** In a process of its own: a mount that hangs must not hang the test. */
async function sh(script: string, folder: string) {
	const { exitCode, stdout, stderr } = await execa("sh", ["-c", script, "sh", folder], {
		reject: false,
		stripFinalNewline: false,
		timeout: 20_000,
	});
	return { exitCode, stdout, stderr };
}

interface PodOfVolume {
	readonly volume: Readonly<Record<string, unknown>>;
	readonly mountOptions?: readonly string[];
	readonly env?: Readonly<Record<string, string>>;
	readonly options?: Readonly<Record<string, string>>;
}

function podOf({ volume, mountOptions, env = {}, options }: PodOfVolume): Pod {
	const here = new Pod({ mounts: [], env });
	pod = here;
	writeVolume(here, volume, mountOptions, options);
	return here;
}

/** As Fluid writes it. */
function writeVolume(
	here: Pod,
	volume: PodOfVolume["volume"],
	mountOptions: readonly string[] | null = null,
	options?: PodOfVolume["options"],
): void {
	here.writeConfig(
		JSON.stringify({
			mounts: [{ mountPoint: "pvc://claim", ...(options !== undefined && { options }), name: "data", path: "/" }],
			targetPath: here.target,
			persistentVolumeAttrs: { claim: volume },
			persistentVolumeMountOptions: { claim: mountOptions },
			accessModes: ["ReadWriteMany"],
		}),
	);
}

const csiS3 = (volumeHandle: string, more: Readonly<Record<string, unknown>> = {}) => ({
	driver: "ru.yandex.s3.csi",
	volumeHandle,
	volumeAttributes: { mounter: "geesefs", options: "--memory-limit 1000 --uid 1000", capacity: "1073741824" },
	nodePublishSecretRef: { name: "csi-s3-secret", namespace: "kube-system" },
	...more,
});

const secret = () => ({
	accessKeyID: minio.accessKey,
	secretAccessKey: minio.secretKey,
	endpoint: minio.endpoint,
	region: "",
});

describe.each(["native", "goofys", "s3fs"])("with %s", (driver) => {
	test("a volume of csi-s3 is served with its own Secret, which nobody else sees", { timeout: 60_000 }, async () => {
		const here = podOf({ volume: csiS3("claimed-bucket/volumes/pvc-1"), env: { FLUID_FUSE_DRIVER: driver } });
		here.start();
		// Nothing is mounted before kubelet has put the Secret there.
		await until(
			() => here.output.includes("SECRET_MISSING"),
			20_000,
			() => here.output,
		);
		here.writeSecret("csi-s3-secret", secret());
		await here.untilReady();
		expect(
			await sh('cat "$1/hello.txt" && stat -c %u "$1/hello.txt" && echo written >"$1/new.txt"', here.target),
		).toEqual({
			exitCode: 0,
			stdout: "hello from claimed-bucket\n1000\n",
			stderr: "",
		});
		expect((await minio.list("claimed-bucket")).toSorted()).toEqual([
			"volumes/pvc-1/hello.txt",
			"volumes/pvc-1/new.txt",
		]);
		const out = (await here.command("status", "--json")).stdout + (await here.command("validate", "--json")).stdout;
		expect(out + here.output).not.toContain(minio.secretKey);
		expect(here.output).toContain("memory-limit: how fast it is");
		// Of the launcher and all that it started, ours by the run directory in their environment.
		for (const process of globSync("/proc/[0-9]*")) {
			const read = (file: string): string => {
				try {
					return readFileSync(join(process, file), "utf8");
				} catch {
					return ""; // It has ended.
				}
			};
			const [words, environment] = [read("cmdline"), read("environ")];
			if (!(words + environment).includes(here.folder)) continue;
			expect(words).not.toContain(minio.secretKey);
			expect(environment).not.toContain(minio.secretKey);
		}
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
		await minio.delete("claimed-bucket", "volumes/pvc-1/new.txt");
	});

	test(
		"a read-only volume of Mountpoint's is served with the storage pod's keys and cannot be written",
		{ timeout: 60_000 },
		async () => {
			const here = podOf({
				volume: { driver: "s3.csi.aws.com", volumeHandle: "v", volumeAttributes: { bucketName: "claimed-bucket" } },
				mountOptions: [
					"--read-only",
					"prefix=volumes/",
					`endpoint-url ${minio.endpoint}`,
					"region us-east-1",
					"cache /tmp",
				],
				env: {
					FLUID_FUSE_DRIVER: driver,
					AWS_ACCESS_KEY_ID: minio.accessKey,
					AWS_SECRET_ACCESS_KEY: minio.secretKey,
				},
			});
			here.start();
			await here.untilReady();
			const { exitCode, stdout, stderr } = await sh('cat "$1/pvc-1/hello.txt"; echo x >"$1/new.txt"', here.target);
			expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "hello from claimed-bucket\n" });
			expect(stderr).toContain("Read-only file system");
			expect(await here.stop()).toBe(0);
		},
	);
});

test(
	"a claim that is bound to another volume shows that volume, without a restart of the pod",
	{ timeout: 60_000 },
	async () => {
		const here = podOf({ volume: csiS3("claimed-bucket/volumes/pvc-1") });
		here.writeSecret("csi-s3-secret", secret());
		here.start();
		await here.untilReady();
		expect((await sh('cat "$1/hello.txt"', here.target)).stdout).toBe("hello from claimed-bucket\n");
		writeVolume(here, csiS3("other-bucket/volumes/pvc-1"));
		await until(
			async () => (await sh('cat "$1/hello.txt"', here.target)).stdout === "hello from other-bucket\n",
			20_000,
			() => here.output,
		);
		expect(await here.stop()).toBe(0);
	},
);

test(
	"a volume of IBM's is served from the folder that its attributes and its Secret agree on",
	{ timeout: 60_000 },
	async () => {
		const ibm = (attributes: Readonly<Record<string, string>>) => ({
			driver: "cos.s3.csi.ibm.io",
			volumeHandle: "pvc-1",
			volumeAttributes: {
				bucketName: "claimed-bucket",
				cosEndpoint: minio.endpoint,
				locationConstraint: minio.region,
				mounter: "s3fs",
				...attributes,
			},
			nodePublishSecretRef: { name: "cos-secret", namespace: "default" },
		});
		const here = podOf({ volume: ibm({}), mountOptions: ["multipart_size=62", "kernel_cache"] });
		here.writeSecret("cos-secret", {
			accessKey: minio.accessKey,
			secretKey: minio.secretKey,
			objectPath: "/volumes/pvc-1",
			uid: "3000",
		});
		const { stderr } = await here.command("validate");
		expect(stderr).toContain("nodePublishSecretRef.objectPath: the folder in the bucket is another one");
		writeVolume(here, ibm({ objectPath: "/volumes/pvc-1" }));
		here.start();
		await here.untilReady();
		expect((await sh('cat "$1/hello.txt" && stat -c %u "$1/hello.txt"', here.target)).stdout).toBe(
			"hello from claimed-bucket\n3000\n",
		);
		expect(await here.stop()).toBe(0);
	},
);

test("a volume of another CSI driver is refused by its name", { timeout: 60_000 }, async () => {
	const here = podOf({ volume: { driver: "nas.csi.example.com", volumeHandle: "nas-1" } });
	here.start();
	expect(await here.ended()).toBe(78);
	expect(String(here.terminationMessage?.["message"])).toContain(
		'mounts[0].mountPoint: no driver serves volumes of the CSI driver "nas.csi.example.com"',
	);
});

test("a script finds the volume in its options file, with the folder of its Secret", { timeout: 60_000 }, async () => {
	const here = podOf({
		volume: {
			driver: "nas.csi.example.com",
			volumeHandle: "nas-1",
			readOnly: true,
			volumeAttributes: { server: "10.0.0.1" },
			nodePublishSecretRef: { name: "nas-login", namespace: "kube-system" },
		},
		mountOptions: ["nfsvers=4"],
		options: { verbose: "yes" },
	});
	here.writeSecret("nas-login", { user: "someone" });
	const hook = join(here.folder, "mount.sh");
	const told = join(here.folder, "told");
	mkdirSync(told);
	writeFileSync(hook, `#!/bin/sh\ncp "$4" ${told}/options.json\necho "$1 $3" >${told}/words\nexec sleep 60\n`);
	chmodSync(hook, 0o755);
	here.start({ FLUID_FUSE_SCRIPT: hook });
	await until(
		() => globSync(`${told}/words`).length === 1,
		20_000,
		() => here.output,
	);
	expect(readFileSync(join(told, "words"), "utf8")).toBe("pvc://claim pvc\n");
	expect(JSON.parse(readFileSync(join(told, "options.json"), "utf8"))).toEqual({
		verbose: "yes",
		name: "data",
		access_mode: "ro",
		volume: {
			driver: "nas.csi.example.com",
			handle: "nas-1",
			attributes: { server: "10.0.0.1" },
			mountOptions: ["nfsvers=4"],
			secretFolder: join(here.secretsDirectory, "nas-login"),
		},
	});
	await here.stop();
});

test("a driver file that names the CSI driver finds the volume in the mount", { timeout: 60_000 }, async () => {
	const here = podOf({
		volume: { driver: "nas.csi.example.com", volumeHandle: "nas-1", volumeAttributes: { server: "10.0.0.1" } },
		mountOptions: ["ro"],
	});
	const folder = join(here.folder, "drivers");
	mkdirSync(folder);
	writeFileSync(
		join(folder, "nas.ts"),
		`import { defineCommandDriver } from "fluid-fuse";
export default defineCommandDriver({
	name: "nas",
	schemes: ["nas"],
	csiDrivers: ["nas.csi.example.com"],
	filesystemTypes: ["fuse.nas"],
	options: {},
	command: ({ volume, readOnly }) => ({ file: "nas", args: [volume.handle, volume.attributes.server, ...volume.mountOptions, String(readOnly)] }),
});
`,
	);
	const env = { ...here.environment(), FLUID_FUSE_DRIVERS_DIR: folder };
	const { stdout } = await execa(here.options.program ?? "bin/fluid-fuse", ["validate"], {
		env,
		reject: false,
		timeout: 30_000,
	});
	expect(stdout).toContain("driver   nas (the first that serves volumes of nas.csi.example.com)");
	expect(stdout).toContain("command  nas nas-1 10.0.0.1 ro true");
});
