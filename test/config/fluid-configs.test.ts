import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { drivers } from "../../src/drivers/index.ts";
import { projectRoot } from "../support/pod.ts";
import { faultsOf, fixture, inspectOnly, planOf, secretsFolder, targetPath } from "./planning.ts";

/** What Fluid's own code wrote; it lies beside a checkout, and not in a user's clone. */
const shared = resolve(projectRoot, "../shared/fluid-configs");
const haveShared = existsSync(shared);
if (!haveShared) process.stderr.write(`skipped: config files that Fluid itself wrote, because ${shared} is missing\n`);

// What a script takes is for the script to say.
const names = drivers.filter(({ takesAnyOption }) => takesAnyOption !== true).map(({ name }) => name);

describe.each(names)("the files that Fluid wrote, with %s", (driver) => {
	const where = "/runtime-mnt/thin/default/demo/thin-fuse";
	const login = { id: "AKIAEXAMPLE", key: "secret-key-example" };
	const secrets = {
		"minio-secret": { "minio-access-key": login.id, "minio-access-secret": login.key },
		"oss-cred-secret": { akId: login.id, akSecret: login.key },
		"shared-secret": { ak: login.id, sk: login.key },
		"a-secret": { "secret.key": login.key, "overrides-plain": "other" },
	};

	interface Expected {
		/** Name, source, target and whether it is read-only. */
		readonly mounts: readonly (readonly [name: string, source: string, target: string, readOnly: boolean])[];
		/** Words of the first mount's command. */
		readonly words?: Readonly<Record<string, readonly string[]>>;
		/** Where the faults are. */
		readonly faults?: Readonly<Record<string, readonly string[]>>;
	}

	const nfs = ["mounts[0].mountPoint"];
	const files: Readonly<Record<string, Expected>> = {
		"01-minio-doc.json": {
			mounts: [["minio", "minio://my-first-bucket", where, true]],
			words: {
				native: ["endpoint=http://minio:9000", "s3://my-first-bucket/"],
				goofys: ["--endpoint=http://minio:9000", "my-first-bucket"],
				s3fs: ["url=http://minio:9000", "use_path_request_style", "my-first-bucket"],
			},
		},
		"02-minimal-nfs.json": {
			mounts: [["nfs-demo", "10.0.0.1/share", where, true]],
			faults: { native: nfs, goofys: nfs, s3fs: nfs },
		},
		"03-no-mounts-dynamic.json": { mounts: [] },
		"04-ossfs-dynamic.json": {
			mounts: [
				["dynamic-test1", "oss://mybucket/path/to/data", `${where}/test1`, true],
				["t2", "oss://b2", `${where}/t2`, true],
			],
			// b2 is too short for a bucket's name.
			faults: { native: ["mounts[1].mountPoint"], goofys: ["mounts[1].mountPoint"], s3fs: ["mounts[1].mountPoint"] },
			words: {
				native: ["endpoint=https://oss-cn-beijing-internal.aliyuncs.com", "s3://mybucket/path/to/data/"],
				goofys: ["--endpoint=https://oss-cn-beijing-internal.aliyuncs.com", "--subdomain", "mybucket:path/to/data/"],
				s3fs: ["url=https://oss-cn-beijing-internal.aliyuncs.com", "mybucket:/path/to/data"],
			},
		},
		"05-full.json": {
			mounts: [
				["a", "s3://bucket-a/pfx/", where, true],
				["b", "s3://bucket-b", `${where}/b`, false],
			],
			faults: {
				native: ["runtimeOptions.debug", "runtimeOptions.max_read", "mounts[0].options.a", "mounts[1].options.a"],
				goofys: ["runtimeOptions.debug", "runtimeOptions.max_read", "mounts[0].options.a", "mounts[1].options.a"],
				s3fs: ["runtimeOptions.debug", "mounts[0].options.a", "mounts[1].options.a"],
			},
		},
		"06-pvc.json": { mounts: [], faults: { native: nfs, goofys: nfs, s3fs: nfs } },
		"21-noname.json": {
			mounts: [["bucket", "s3://bucket", where, true]],
			words: { native: ["s3://bucket/"], goofys: ["bucket"], s3fs: ["bucket"] },
		},
	};

	const mayBeMissing = !haveShared && process.env["CI"] === undefined;

	it.skipIf(mayBeMissing)("are all known to this test", () => {
		expect(readdirSync(shared).toSorted()).toEqual(Object.keys(files));
	});

	it.skipIf(mayBeMissing).each(Object.entries(files))("%s", async (name, { mounts, words, faults }) => {
		const text = readFileSync(join(shared, name), "utf8");
		const variables = { FLUID_FUSE_DRIVER: driver, FLUID_FUSE_SECRETS_DIR: secretsFolder(secrets) };
		const plan = planOf(text, variables);
		const planned = plan.mounts.map((mount) => [mount.name, mount.source, mount.target, mount.readOnly]);
		expect(planned).toEqual(mounts);
		const paths = (await faultsOf(text, variables)).map((fault) => fault.split(": ")[0]);
		expect(new Set(paths)).toEqual(new Set(faults?.[driver] ?? []));
		const command =
			plan.mounts[0]?.inspect().then(
				({ mount }) => mount.summary,
				() => [],
			) ?? [];
		expect(await command).toEqual(expect.arrayContaining([...(words?.[driver] ?? [])]));
	});
});

describe.each(names)("our own examples of what Fluid writes, with %s", (driver) => {
	const secrets = {
		"minio-login": { "access-key": "AKIAEXAMPLE\n", "secret-key": "secret-key-example" },
		"oss-login": { id: "AKIAEXAMPLE", secret: "secret-key-example" },
	};
	const command = async (name: string, more: Readonly<Record<string, string>> = {}) =>
		(
			await inspectOnly(fixture(name), {
				FLUID_FUSE_DRIVER: driver,
				FLUID_FUSE_SECRETS_DIR: secretsFolder(secrets),
				...more,
			})
		).mount.summary;
	const endpoint = (url: string) =>
		({ native: `endpoint=${url}`, goofys: `--endpoint=${url}`, s3fs: `url=${url}` })[driver];
	const whole = driver === "native" ? "s3://training-data/" : "training-data";

	it("one bucket with its keys", async () => {
		const words = await command("minio.json");
		expect(words).toContain(endpoint("http://minio.storage:9000"));
		expect(words).toContain(whole);
		expect(words.join(" ")).not.toMatch(/AKIA|secret-key-example/);
	});

	it("a mount without a name, and every null that Go can write", async () => {
		expect(planOf(fixture("no-name.json")).mounts).toMatchObject([{ name: "images", target: targetPath }]);
		expect(await command("no-name.json")).toContain(
			{ native: "s3://training-data/images/", goofys: "training-data:images/", s3fs: "training-data:/images" }[driver],
		);
		expect(await command("nulls.json")).toContain(whole);
	});

	it("two mounts, of which one has a path", async () => {
		const plan = planOf(fixture("two-mounts.json"), { FLUID_FUSE_DRIVER: driver });
		expect(plan.mounts.map(({ target, readOnly }) => [target, readOnly])).toEqual([
			[`${targetPath}/shared/models`, false],
			[`${targetPath}/logs`, false],
		]);
		const variables = { FLUID_FUSE_DRIVER: driver, FLUID_FUSE_SECRETS_DIR: secretsFolder(secrets) };
		expect(await faultsOf(fixture("two-mounts.json"), variables)).toEqual([]);
	});

	it("CacheRuntime's file, whose secrets are encryptOptions of their own", async () => {
		const words = await command("cache-runtime.json");
		expect(words).toContain(endpoint("http://minio.storage:9000"));
		expect(words.join(" ")).toContain("eu-west-1");
		expect(planOf(fixture("cache-runtime.json")).targetPath).toBe("/runtime-mnt/cache/team-a/training/cache-fuse");
	});

	it("secret mode, whose keys stand in the file", async () => {
		expect((await command("secret-mode.json")).join(" ")).not.toMatch(/AKID|literal/);
	});

	it("no mounts, and a file of Fluid before 1.0.0", () => {
		for (const name of ["no-mounts.json", "before-1.0.0.json"]) {
			expect(planOf(fixture(name), { FLUID_FUSE_DRIVER: driver })).toMatchObject({
				mounts: [],
				refused: [],
				layout: "root",
			});
		}
	});
});

it("everything at once: s3fs chosen by option, a certificate from a secret, read-only by the mount, one mount at the root", async () => {
	const folder = secretsFolder({
		"team-login": { id: "AKIAEXAMPLE", secret: "secret-key-example" },
		"training-login": { "secret.key": "other-key-example" },
		"our-ca": { "ca.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" },
	});
	const variables = {
		FLUID_FUSE_SECRETS_DIR: folder,
		FLUID_FUSE_DRIVER: "goofys",
		MOUNT_OPTIONS: "noatime,max_read=4096",
	};
	const { mounts } = planOf(fixture("everything.json"), variables);
	expect(mounts.map(({ name, driver, readOnly, target }) => [name, driver.name, readOnly, target])).toEqual([
		["images", "s3fs", true, targetPath],
		["results", "s3fs", false, `${targetPath}/results`],
	]);
	const [images, results] = await Promise.all(mounts.map(async (mount) => (await mount.inspect()).mount.summary));
	expect(images).toEqual(
		expect.arrayContaining(["ro", "max_read=65536", "noatime", "kernel_cache", "training-data:/images"]),
	);
	expect(results).toEqual(expect.arrayContaining(["max_read=131072", "use_cache=/cache-dir", "results"]));
	expect(results).not.toContain("ro");
});
