import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Secret } from "../../src/secrets/secret.ts";
import { faultsOf, fileWith, inspectOnly, planOf, secretsFolder, type MountOfFile } from "./planning.ts";

interface VolumeOfFile {
	readonly [field: string]: unknown;
	readonly volumeAttributes?: Readonly<Record<string, string>>;
}

/** A file as Fluid writes it for one pvc:// mount. */
function fileOf(
	volume: VolumeOfFile,
	{
		mountOptions = null,
		mount = {},
		fields = {},
	}: {
		readonly mountOptions?: readonly string[] | null;
		readonly mount?: MountOfFile;
		readonly fields?: Readonly<Record<string, unknown>>;
	} = {},
): string {
	return fileWith([{ mountPoint: "pvc://claim", name: "data", path: "/", ...mount }], {
		accessModes: ["ReadWriteMany"],
		persistentVolumeAttrs: { claim: volume },
		persistentVolumeMountOptions: { claim: mountOptions },
		...fields,
	});
}

const aws = (volumeAttributes: Readonly<Record<string, string>> = {}): VolumeOfFile => ({
	driver: "s3.csi.aws.com",
	volumeHandle: "s3-volume",
	volumeAttributes: { bucketName: "training-data", ...volumeAttributes },
});
const writable = ["allow-delete", "allow-overwrite"];

const yandex = (volumeHandle: string, volumeAttributes: Readonly<Record<string, string>> = {}): VolumeOfFile => ({
	driver: "ru.yandex.s3.csi",
	volumeHandle,
	volumeAttributes: { mounter: "geesefs", capacity: "10737418240", ...volumeAttributes },
	nodePublishSecretRef: { name: "csi-s3-secret", namespace: "kube-system" },
	nodeStageSecretRef: { name: "csi-s3-secret", namespace: "kube-system" },
});
const keys = {
	accessKeyID: "AKIAEXAMPLE",
	secretAccessKey: "secret-key-example\n",
	endpoint: "https://storage.example.com",
	region: "",
};

async function lineOf(text: string, variables: Readonly<Record<string, string>> = {}): Promise<string> {
	return (await inspectOnly(text, variables)).mount.summary.join(" ");
}

async function optionsOf(text: string, variables: Readonly<Record<string, string>> = {}) {
	return Object.fromEntries((await inspectOnly(text, variables)).options.map(({ name, value }) => [name, value]));
}

describe("a volume of Mountpoint's CSI driver", () => {
	const options = [
		"region eu-central-1",
		"--prefix=models/v1/",
		"endpoint-url=http://minio:9000",
		"uid=1000",
		"gid 2000",
		"dir-mode=0750",
		"file-mode=0640",
		"metadata-ttl 300",
		"sse aws:kms",
		"sse-kms-key-id abc-123",
		"force-path-style",
		...writable,
	];

	it("is the bucket and the options that it names, with the native driver", async () => {
		const text = fileOf(aws(), { mountOptions: options });
		expect(await lineOf(text)).toBe(
			"fluid-fuse filesystem s3://training-data/models/v1/ endpoint=http://minio:9000 region=eu-central-1 rw",
		);
		expect(await optionsOf(text)).toEqual({
			region: "eu-central-1",
			endpoint: "http://minio:9000",
			uid: "1000",
			gid: "2000",
			"dir-mode": "0750",
			"file-mode": "0640",
			ttl: "300s",
			"sse-kms": "abc-123",
			"path-style": "true",
		});
	});

	it("is the same with goofys, in its words", async () => {
		const line = await lineOf(fileOf(aws(), { mountOptions: options }), { FLUID_FUSE_DRIVER: "goofys" });
		for (const word of ["--stat-cache-ttl=300000ms", "--type-cache-ttl=300000ms", "--sse-kms=abc-123", "--uid=1000"])
			expect(line).toContain(word);
		expect(line).toMatch(/ training-data:models\/v1\/ MOUNTPOINT$/);
	});

	it("is the same with s3fs, whose umask allows what both modes allow", async () => {
		const line = await lineOf(fileOf(aws(), { mountOptions: options }), { FLUID_FUSE_DRIVER: "s3fs" });
		for (const word of ["umask=0027", "stat_cache_expire=300", "use_sse=kmsid:abc-123", "training-data:/models/v1"])
			expect(line).toContain(word);
		const only = await lineOf(fileOf(aws(), { mountOptions: ["file-mode 0600", ...writable] }), {
			FLUID_FUSE_DRIVER: "s3fs",
		});
		expect(only).toContain("umask=0077");
	});

	it("names what has no effect, and refuses what would change what is served", async () => {
		const text = fileOf(aws({ stsRegion: "eu-1", cache: "emptyDir" }), {
			mountOptions: ["max-threads 8", "allow-other", ...writable],
		});
		expect(planOf(text).mounts[0]?.volume).toEqual({
			driver: "s3.csi.aws.com",
			handle: "s3-volume",
			unused: [
				expect.objectContaining({ path: "persistentVolumeAttrs.claim.volumeAttributes.stsRegion" }),
				expect.objectContaining({ path: "persistentVolumeAttrs.claim.volumeAttributes.cache" }),
				expect.objectContaining({ path: "persistentVolumeMountOptions.claim[0]" }),
				expect.objectContaining({ path: "persistentVolumeMountOptions.claim[1]" }),
			],
		});
		const bad = fileOf(aws({ authenticationSource: "pod", buckedName: "x" }), {
			mountOptions: ["profile x", "regoin eu-1", "sse aws:kms:dsse", "metadata-ttl soon", ...writable],
		});
		expect(await faultsOf(bad)).toEqual([
			expect.stringMatching(
				/^persistentVolumeAttrs\.claim\.volumeAttributes\.authenticationSource: the identity of each/,
			),
			expect.stringMatching(/volumeAttributes\.buckedName: "buckedName" is not known \(did you mean "bucketName"\?\)$/),
			expect.stringMatching(/^persistentVolumeMountOptions\.claim\[0\]: profile is refused: /),
			'persistentVolumeMountOptions.claim[1]: "regoin" is not known (did you mean "region"?)',
			expect.stringMatching(/^persistentVolumeMountOptions\.claim\[2\]: "aws:kms:dsse" is not supported/),
			expect.stringMatching(
				/^persistentVolumeMountOptions\.claim\[3\]: found "soon", which cannot become the option ttl$/,
			),
		]);
		expect(await faultsOf(fileOf({ driver: "s3.csi.aws.com", volumeHandle: "v" }, { mountOptions: writable }))).toEqual(
			["persistentVolumeAttrs.claim.volumeAttributes.bucketName: missing: the bucket"],
		);
	});

	it("may be written only where its CSI driver would let files be deleted and replaced", async () => {
		const refusal = /^persistentVolumeAttrs\.claim\.volumeHandle: .* no allow-delete and no allow-overwrite/;
		expect(await faultsOf(fileOf(aws()))).toEqual([expect.stringMatching(refusal)]);
		expect(await faultsOf(fileOf(aws(), { mount: { readOnly: true } }))).toEqual([]);
		expect(await faultsOf(fileOf(aws(), { fields: { accessModes: ["ReadOnlyMany"] } }))).toEqual([]);
	});

	it("of Scality takes its keys from its own Secret", async () => {
		const volume = {
			...aws({ authenticationSource: "secret" }),
			driver: "s3.csi.scality.com",
			nodePublishSecretRef: { name: "login", namespace: "team-a" },
		};
		const FLUID_FUSE_SECRETS_DIR = secretsFolder({ login: { key_id: "AKIAEXAMPLE", access_key: "hidden-example" } });
		expect(await optionsOf(fileOf(volume, { mountOptions: writable }), { FLUID_FUSE_SECRETS_DIR })).toEqual({
			"access-key": "secret login/key_id",
			"secret-key": "secret login/access_key",
		});
	});
});

describe("a volume of csi-s3", () => {
	it.each(["native", "goofys", "s3fs"])(
		"has bucket and prefix in its handle, and the rest in its Secret, with %s",
		async (driver) => {
			const FLUID_FUSE_SECRETS_DIR = secretsFolder({ "csi-s3-secret": keys });
			const variables = { FLUID_FUSE_DRIVER: driver, FLUID_FUSE_SECRETS_DIR };
			const told: Secret[] = [];
			const { mount, options } = await inspectOnly(fileOf(yandex("one-bucket/pvc-1")), variables, (secret) =>
				told.push(secret),
			);
			expect(Object.fromEntries(options.map(({ name, value }) => [name, value]))).toEqual({
				"access-key": "secret csi-s3-secret/accessKeyID",
				"secret-key": "secret csi-s3-secret/secretAccessKey",
				endpoint: "https://storage.example.com",
			});
			const line = mount.summary.join(" ");
			expect(line).toMatch(/one-bucket.*pvc-1/);
			expect(line).toContain("https://storage.example.com");
			expect(line).not.toMatch(/AKIAEXAMPLE|secret-key-example/);
			expect(told.map((secret) => secret.reveal())).toEqual(["AKIAEXAMPLE", "secret-key-example"]);
		},
	);

	it("waits for a Secret that is not there, and is told by which", async () => {
		const secrets = secretsFolder({ "csi-s3-secret": keys });
		rmSync(join(secrets, "csi-s3-secret"), { recursive: true });
		const { unread } = await inspectOnly(fileOf(yandex("one-bucket")), { FLUID_FUSE_SECRETS_DIR: secrets });
		expect(unread.map(({ path, error }) => [path, error.code])).toEqual([
			["persistentVolumeAttrs.claim.nodePublishSecretRef.accessKeyID", "SECRET_MISSING"],
			["persistentVolumeAttrs.claim.nodePublishSecretRef.secretAccessKey", "SECRET_MISSING"],
		]);
		expect(planOf(fileOf(yandex("one-bucket")), { FLUID_FUSE_SECRETS_DIR: secrets }).mounts[0]?.secretFiles).toContain(
			join(secrets, "csi-s3-secret/accessKeyID"),
		);
	});

	it("has flags of its mounter in its attributes: those that count are options, unknown ones are refused", async () => {
		const variables = { FLUID_FUSE_SECRETS_DIR: secretsFolder({ "csi-s3-secret": keys }) };
		const flags = (options: string): string => fileOf(yandex("one-bucket", { options }));
		expect(
			await optionsOf(flags("--memory-limit 1000 --dir-mode 0777 --file-mode=0666 --uid 5"), variables),
		).toMatchObject({
			"dir-mode": "0777",
			"file-mode": "0666",
			uid: "5",
		});
		expect(await optionsOf(flags(`-o allow_other,umask=0222 -o "url=http://other:9000"`), variables)).toMatchObject({
			"dir-mode": "0555",
			"file-mode": "0555",
			endpoint: "http://other:9000",
		});
		expect(planOf(flags("-o ro"), variables).mounts[0]).toMatchObject({
			readOnly: true,
			modeReason: "persistentVolumeAttrs.claim.volumeAttributes.options",
		});
		expect(await faultsOf(flags("--enable-perms --memroy-limit 5"), variables)).toEqual([
			expect.stringMatching(/^persistentVolumeAttrs\.claim\.volumeAttributes\.options: enable-perms is refused: /),
			expect.stringMatching(/: "memroy-limit" is not known \(did you mean "memory-limit"\?\)$/),
		]);
		expect(await faultsOf(fileOf(yandex("one-bucket", { mounter: "s3backer" })), variables)).toEqual([
			expect.stringMatching(/volumeAttributes\.mounter: what "s3backer" stores are not files/),
		]);
	});

	it("of the first of the family keeps its files in a folder, unless it was told not to, or somebody made it by hand", async () => {
		const variables = { FLUID_FUSE_SECRETS_DIR: secretsFolder({ "csi-s3-secret": keys }) };
		const line = async (attributes: Readonly<Record<string, string>>): Promise<string> =>
			lineOf(
				fileOf({
					driver: "ch.ctrox.csi.s3-driver",
					volumeHandle: "bucket/pvc-1",
					volumeAttributes: attributes,
					nodePublishSecretRef: { name: "csi-s3-secret" },
				}),
				variables,
			);
		const provisioned = { "storage.kubernetes.io/csiProvisionerIdentity": "1-x-ch.ctrox.csi.s3-driver" };
		expect(await line(provisioned)).toContain("s3://bucket/pvc-1/csi-fs/ ");
		expect(await line({ ...provisioned, usePrefix: "true" })).toContain("s3://bucket/pvc-1/ ");
		expect(await line({ ...provisioned, capacity: "1" })).toContain("s3://bucket/pvc-1/ ");
		expect(await line({ secretName: "x" })).toContain("s3://bucket/pvc-1/ ");
	});
});

describe("a volume of COSFS", () => {
	const tencent = (volumeAttributes: Readonly<Record<string, string>> = {}): VolumeOfFile => ({
		driver: "com.tencent.cloud.csi.cosfs",
		volumeHandle: "cos-volume",
		volumeAttributes: {
			url: "http://cos.ap-guangzhou.myqcloud.com",
			bucket: "testbucket-1010101010",
			...volumeAttributes,
		},
		nodePublishSecretRef: { name: "cos-secret", namespace: "kube-system" },
	});
	const variables = () => ({
		FLUID_FUSE_SECRETS_DIR: secretsFolder({
			"cos-secret": { SecretId: "AKIDEXAMPLE", SecretKey: "secret-key-example" },
		}),
	});

	it("is the bucket at its address, with the keys of its Secret", async () => {
		const text = fileOf(tencent());
		expect(await lineOf(text, variables())).toBe(
			"fluid-fuse filesystem s3://testbucket-1010101010/ endpoint=http://cos.ap-guangzhou.myqcloud.com region=ap-guangzhou rw",
		);
		expect(await optionsOf(text, variables())).toMatchObject({ region: "ap-guangzhou", "path-style": "false" });
	});

	it("has its folder and the options of its flags, which follow -o without a space", async () => {
		const text = fileOf(
			tencent({
				path: "/models/v1/",
				dbglevel: "err",
				additional_args: "-oensure_diskfree=20480 -oallow_other -o umask=0027,uid=1000",
			}),
		);
		expect(await optionsOf(text, variables())).toMatchObject({ uid: "1000", "dir-mode": "0750", "file-mode": "0750" });
		expect(await lineOf(text, variables())).toContain("s3://testbucket-1010101010/models/v1");
		const readOnly = await inspectOnly(fileOf(tencent({ additional_args: "-oro" })), variables());
		expect(readOnly.mount.summary.at(-1)).toBe("ro");
	});

	it("is refused where nobody can say what it is", async () => {
		const faults = await faultsOf(
			fileOf(tencent({ bucket: "", mounter: "ossfs", additional_args: "-ocam_role=x" })),
			variables(),
		);
		expect(faults.join("\n")).toContain("expected cosfs or goosefs-lite");
		expect(faults.join("\n")).toContain("missing: the bucket");
		expect(faults.join("\n")).toContain("o cam_role is refused");
	});
});

describe("a volume of IBM's object storage", () => {
	const ibm = (volumeAttributes: Readonly<Record<string, string>> = {}): VolumeOfFile => ({
		driver: "cos.s3.csi.ibm.io",
		volumeHandle: "pvc-1",
		volumeAttributes: {
			bucketName: "one-bucket",
			client: "awss3",
			cosEndpoint: "https://s3.direct.us-west.cloud-object-storage.appdomain.cloud",
			"csi.storage.k8s.io/node-publish-secret-name": "cos-secret",
			locationConstraint: "us-west-standard",
			mounter: "s3fs",
			userProvidedBucket: "true",
			...volumeAttributes,
		},
		nodePublishSecretRef: { name: "cos-secret", namespace: "default" },
	});
	const secretWith = (more: Readonly<Record<string, string>> = {}) => ({
		FLUID_FUSE_SECRETS_DIR: secretsFolder({
			"cos-secret": { accessKey: "AKIAEXAMPLE", secretKey: "secret-key-example", bucketName: "one-bucket", ...more },
		}),
	});
	// Those of its storage classes.
	const ofS3fs = ["multipart_size=62", "max_dirty_data=51200", "parallel_count=8", "retries=5", "kernel_cache"];
	const ofRclone = ["acl=private", "bucket_acl=private", "upload_cutoff=256Mi", "disable_checksum=true"];

	it.each(["native", "goofys", "s3fs"])(
		"is the bucket at its address, with the keys of its Secret, with %s",
		async (name) => {
			const variables = { FLUID_FUSE_DRIVER: name, ...secretWith({ uid: "3000", mountOptions: "\n" }) };
			const text = fileOf(ibm({ objectPath: "/models/v1" }), { mountOptions: ofS3fs });
			expect(await optionsOf(text, variables)).toEqual({
				"access-key": "secret cos-secret/accessKey",
				"secret-key": "secret cos-secret/secretKey",
				endpoint: "https://s3.direct.us-west.cloud-object-storage.appdomain.cloud",
				region: "us-west-standard",
				uid: "3000",
			});
			expect(await lineOf(text, variables)).toMatch(/one-bucket.*models\/v1/);
		},
	);

	it("may have its address in the Secret alone", async () => {
		const { cosEndpoint: _, ...volumeAttributes } = ibm().volumeAttributes ?? {};
		const text = fileOf({ ...ibm(), volumeAttributes });
		const variables = secretWith({ cosEndpoint: "https://cos.example.com" });
		expect(await lineOf(text, variables)).toContain(" endpoint=https://cos.example.com ");
		// Never Amazon's in its place.
		const { unread } = await inspectOnly(text, secretWith());
		expect(unread.map(({ path }) => path)).toEqual(["persistentVolumeAttrs.claim.nodePublishSecretRef.cosEndpoint"]);
	});

	it("has options of s3fs and of rclone, of which unknown ones are refused", async () => {
		const { acl } = await optionsOf(fileOf(ibm({ mounter: "rclone" }), { mountOptions: ofRclone }), secretWith());
		expect(acl).toBe("private");
		const options = ["umask=0027", "uid=5", "stat_cache_expire=30", "ro"];
		const text = fileOf(ibm(), { mountOptions: options });
		expect(await optionsOf(text, secretWith())).toMatchObject({ uid: "5", "dir-mode": "0750", ttl: "30s" });
		expect(planOf(text, secretWith()).mounts[0]?.readOnly).toBe(true);
		const bad = fileOf(ibm({ mounter: "goofys", bucketName: "" }), { mountOptions: ["ibm_iam_auth", "retires=5"] });
		expect(await faultsOf(bad, secretWith())).toEqual([
			expect.stringMatching(/volumeAttributes\.mounter: found "goofys", expected s3fs or rclone$/),
			expect.stringMatching(/^persistentVolumeMountOptions\.claim\[0\]: ibm_iam_auth is refused: /),
			expect.stringMatching(/"retires" is not known \(did you mean "retries"\?\)$/),
			expect.stringMatching(/volumeAttributes\.bucketName: missing: the bucket/),
		]);
	});

	it("is refused where its Secret says of what is served something else", async () => {
		const path = "persistentVolumeAttrs.claim.nodePublishSecretRef";
		const faults = await faultsOf(
			fileOf(ibm()),
			secretWith({ objectPath: "/models", mountOptions: "retries=3\n\numask=0077\nnew=1\n" }),
		);
		expect(faults).toEqual([
			expect.stringMatching(new RegExp(`^${path}\\.objectPath: the folder in the bucket is another one`)),
			expect.stringMatching(new RegExp(`^${path}\\.mountOptions: what is there of umask, new is not read: `)),
		]);
		const same = fileOf(ibm({ objectPath: "models" }));
		expect(await lineOf(same, secretWith({ objectPath: "/models/", mountOptions: "retries=3" }))).toContain("/models");
	});
});

describe("the Dataset", () => {
	const variables = { FLUID_FUSE_SECRETS_DIR: "/nonexistent-secrets" };

	it("has the last word about options, before the volume, before what is said for all mounts", async () => {
		const text = fileOf(yandex("one-bucket", { options: "--region volume-1 --uid 5" }), {
			mount: { options: { region: "mount-1", "minio-url": "http://mount:9000" } },
			fields: { runtimeOptions: { region: "runtime-1", gid: "7", uid: "6" } },
		});
		expect(await optionsOf(text, variables)).toMatchObject({
			region: "mount-1",
			endpoint: "http://mount:9000",
			uid: "5",
			gid: "7",
		});
	});

	it.each([
		["readOnly of the volume", { readOnly: true }, null, {}, "persistentVolumeAttrs.claim.readOnly"],
		["a mount option", {}, ["rw", "ro"], {}, "persistentVolumeMountOptions.claim[1]"],
		["readOnly of the mount", {}, null, { mount: { readOnly: true } }, "readOnly of the mount"],
		["the access modes", {}, null, { fields: { accessModes: ["ReadOnlyMany"] } }, "accessModes has ReadOnlyMany"],
	] as const)("is read-only when %s says so", (_, volume, mountOptions, more, modeReason) => {
		const text = fileOf({ ...yandex("one-bucket"), ...volume }, { mountOptions, ...more });
		expect(planOf(text, variables).mounts[0]).toMatchObject({ readOnly: true, modeReason });
	});

	it("may be written when nobody says otherwise", () => {
		expect(planOf(fileOf(yandex("one-bucket")), variables).mounts[0]?.readOnly).toBe(false);
	});

	it("may name a folder of the volume", async () => {
		const text = fileOf(yandex("one-bucket/a"), { mount: { mountPoint: "pvc://claim/b/c" } });
		expect(await lineOf(text, variables)).toContain("s3://one-bucket/a/b/c/ ");
		const out = fileOf(yandex("one-bucket/a"), { mount: { mountPoint: "pvc://claim/../b" } });
		expect((await faultsOf(out, variables))[0]).toMatch(/^mounts\[0\]\.mountPoint: the prefix must not/);
	});

	it("has each volume with the mount whose claim it is, and a fault of one touches no other", async () => {
		const text = fileWith(
			[
				{ mountPoint: "pvc://first", name: "first" },
				{ mountPoint: "pvc://second", name: "second" },
				{ mountPoint: "pvc://third", name: "third" },
				{ mountPoint: "pvc://__proto__", name: "fourth" },
			],
			{
				persistentVolumeAttrs: {
					first: yandex("bucket-1"),
					second: { driver: 5 },
					third: yandex("bucket-3"),
					other: 7,
				},
				persistentVolumeMountOptions: { first: null, third: ["ro"], other: 7 },
			},
		);
		const { mounts, refused } = planOf(text, variables);
		const lines = await Promise.all(mounts.map(async (mount) => (await mount.inspect()).mount.summary[2]));
		expect(lines).toEqual(["s3://bucket-1/", "s3://bucket-3/"]);
		expect(refused.map(({ name, faults }) => [name, ...faults.map(({ path }) => path)])).toEqual([
			["second", "persistentVolumeAttrs.second.driver", "persistentVolumeAttrs.second.volumeHandle"],
			["fourth", "mounts[3].mountPoint"],
		]);
	});

	it("cannot lead to files outside of the Secrets", async () => {
		for (const name of ["..", "../etc", "a/b", "", "-a"]) {
			const volume = { ...yandex("one-bucket"), nodePublishSecretRef: { name } };
			expect(await faultsOf(fileOf(volume), variables)).toEqual([
				"persistentVolumeAttrs.claim.nodePublishSecretRef.name: expected the name of a Secret",
			]);
		}
	});
});

describe("a script", () => {
	it("serves volumes of any CSI driver, and finds them in its options", async () => {
		const volume = { driver: "nas.csi.example.com", volumeHandle: "nas-1", volumeAttributes: { server: "10.0.0.1" } };
		const text = fileOf(volume, { mountOptions: ["nfsvers=4"] });
		expect(await lineOf(text, { FLUID_FUSE_DRIVER: "script" })).toBe(
			"/opt/mount.sh pvc://claim MOUNTPOINT pvc PRIVATE/options.json",
		);
		expect(
			await faultsOf(fileOf(volume, { mount: { options: { volume: "x" } } }), { FLUID_FUSE_DRIVER: "script" }),
		).toEqual([expect.stringMatching(/^mounts\[0\]\.options\.volume: the script finds the PersistentVolume under it/)]);
	});
});
