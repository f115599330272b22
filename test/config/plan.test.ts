import { execFileSync } from "node:child_process";
import { symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseMountOptions } from "../../src/config/option-layers.ts";
import { s3CsiDrivers } from "../../src/drivers/csi/index.ts";
import type { Secret } from "../../src/secrets/secret.ts";
import { projectRoot } from "../support/pod.ts";
import {
	faultsOf,
	fileWith,
	fixture,
	inspectOnly,
	optionsOf,
	planOf,
	secretsFolder,
	targetPath,
	temporaryFolder,
	type MountOfFile,
} from "./planning.ts";

const source = { mountPoint: "s3://bucket", name: "data" };

function onlyMount(text: string, variables?: Record<string, string>) {
	const [mount] = planOf(text, variables).mounts;
	if (mount === undefined) throw new Error("refused");
	return mount;
}

describe("parseMountOptions", () => {
	it("reads k=v and flags; the value may hold more equals signs", () => {
		const options = parseMountOptions("ro,max_read=131072,,url=http://a/?b=c, region = eu ,=x,flag=");
		expect([...options]).toEqual([
			["ro", ""],
			["max_read", "131072"],
			["url", "http://a/?b=c"],
			["region", " eu "],
			["flag", ""],
		]);
		expect(parseMountOptions("").size).toBe(0);
	});

	it("takes names that JavaScript treats in a special way as names", () => {
		expect([...parseMountOptions("__proto__=a,constructor")]).toEqual([
			["__proto__", "a"],
			["constructor", ""],
		]);
	});
});

describe("options reach the driver in layers", () => {
	const layered = fileWith([{ ...source, options: { region: "mount" }, encryptOptions: {} }], {
		client: { options: { region: "client", acl: "client" } },
		runtimeOptions: { region: "runtime", acl: "runtime", "storage-class": "RUNTIME" },
	});

	it("MOUNT_OPTIONS below CacheRuntime's client, below runtimeOptions, below the mount's own", async () => {
		const variables = { MOUNT_OPTIONS: "region=profile,acl=profile,storage-class=PROFILE,uid=7" };
		expect(await optionsOf(layered, variables)).toEqual({
			region: "mount",
			acl: "runtime",
			"storage-class": "RUNTIME",
			uid: "7",
		});
		const { options } = await inspectOnly(layered, variables);
		expect(Object.fromEntries(options.map(({ name, from }) => [name, from]))).toEqual({
			region: "mounts[0].options.region",
			acl: "runtimeOptions.acl",
			"storage-class": "runtimeOptions.storage-class",
			uid: "MOUNT_OPTIONS.uid",
		});
	});

	it("the mount's encryptOptions above its options", async () => {
		const folder = secretsFolder({ login: { region: "eu-1" } });
		const text = fileWith([
			{
				...source,
				options: { region: "plain" },
				encryptOptions: { region: "/etc/fluid/secrets/login/region" },
			},
		]);
		const { options, mount } = await inspectOnly(text, { FLUID_FUSE_SECRETS_DIR: folder });
		expect(options).toEqual([
			{ name: "region", value: "secret login/region", from: "mounts[0].encryptOptions.region" },
		]);
		expect(mount.summary).toContain("region=eu-1");
	});

	it("whatever name of the option each layer uses", async () => {
		const text = fileWith([{ ...source, options: { "minio-url": "http://mount" } }], {
			runtimeOptions: { endpoint: "http://runtime" },
		});
		expect(await optionsOf(text, { MOUNT_OPTIONS: "url=http://profile" })).toEqual({ endpoint: "http://mount" });
		const lower = fileWith([{ ...source, options: { endpoint: "http://mount" } }], {
			runtimeOptions: { url: "http://runtime" },
		});
		expect(await optionsOf(lower)).toEqual({ endpoint: "http://mount" });
	});

	it("but not under two names in one layer", async () => {
		const text = fileWith([{ ...source, options: { endpoint: "http://a", url: "http://b" } }]);
		expect(await faultsOf(text)).toEqual([
			'mounts[0].options.url: means the same as "endpoint", which is given too: keep one',
		]);
		expect(await faultsOf(fileWith([source]), { MOUNT_OPTIONS: "allow_other,allow-other=no" })).toEqual([
			'MOUNT_OPTIONS.allow-other: means the same as "allow_other", which is given too: keep one',
		]);
	});

	it("without those that are Fluid's own", async () => {
		const text = fileWith([{ ...source, options: { "fluid.fuse.x": "y" } }], {
			runtimeOptions: { "fluid.fuse.tier": "" },
		});
		expect(await optionsOf(text, { MOUNT_OPTIONS: "fluid.fuse.z=1" })).toEqual({});
		expect(await faultsOf(fileWith([{ ...source, options: { "fluid.fuses": "y" } }]))).toHaveLength(1);
	});

	it("without driver, ro and rw, which are the launcher's", async () => {
		const text = fileWith([{ ...source, options: { driver: "goofys", ro: "", rw: "" } }], {
			runtimeOptions: { rw: "" },
		});
		expect(await optionsOf(text, { MOUNT_OPTIONS: "driver=s3fs,ro" })).toEqual({});
	});
});

describe("a secret", () => {
	const login = { "access-key": "/etc/fluid/secrets/login/id", "secret-key": "/etc/fluid/secrets/login/key" };
	const text = fileWith([{ ...source, options: login }]);

	it("is read from its file, told to whoever redacts, and planned by its name only", async () => {
		const folder = secretsFolder({ login: { id: "hidden-id\n", key: "hidden-key" } });
		const seen: Secret[] = [];
		const { options, unread } = await inspectOnly(text, { FLUID_FUSE_SECRETS_DIR: folder }, (secret) =>
			seen.push(secret),
		);
		expect(seen.map((secret) => secret.reveal())).toEqual(["hidden-id", "hidden-key"]);
		expect(options.map(({ value }) => value)).toEqual(["secret login/id", "secret login/key"]);
		expect(unread).toEqual([]);
	});

	it("is read again for each start, because secrets rotate", async () => {
		const folder = secretsFolder({ login: { id: "hidden-id", key: "hidden-key" } });
		const seen: string[] = [];
		const { mounts } = planOf(text, { FLUID_FUSE_SECRETS_DIR: folder }, (secret) => seen.push(secret.reveal()));
		await mounts[0]?.prepare();
		writeFileSync(join(folder, "login/key"), "rotated-key");
		await mounts[0]?.prepare();
		expect(seen).toEqual(["hidden-id", "hidden-key", "hidden-id", "rotated-key"]);
	});

	it("may stand in the file itself, as in Fluid's secret mode", async () => {
		const seen: Secret[] = [];
		const { options, mount } = await inspectOnly(fixture("secret-mode.json"), {}, (secret) => seen.push(secret));
		expect(seen.map((secret) => secret.reveal())).toEqual(["AKIDLITERALEXAMPLE", "literal<and>&secret/key+0123"]);
		expect(JSON.stringify([options, mount.summary])).not.toMatch(/AKID|literal/);
		expect(options[0]?.value).toBe("secret mounts[0].options.access-key");
	});

	it("that is not there keeps its mount waiting, and the rest is checked all the same", async () => {
		const folder = secretsFolder({ login: { id: "hidden-id" } });
		const { unread, options } = await inspectOnly(text, { FLUID_FUSE_SECRETS_DIR: folder });
		expect(unread).toMatchObject([{ path: "mounts[0].options.secret-key", error: { code: "SECRET_MISSING" } }]);
		expect(options).toHaveLength(2);
		await expect(onlyMount(text, { FLUID_FUSE_SECRETS_DIR: folder }).prepare()).rejects.toMatchObject({
			code: "SECRET_MISSING",
			message: "mounts[0].options.secret-key: the secret file login/key is not there",
			hint: expect.stringContaining('"login"'),
		});
		const faulty = fileWith([{ ...source, options: { ...login, uid: "x" } }]);
		expect(await faultsOf(faulty, { FLUID_FUSE_SECRETS_DIR: folder })).toEqual([
			'mounts[0].options.uid: expected a whole number from 0 to 4294967294, found "x"',
			"mounts[0].options.secret-key: the secret file login/key is not there",
		]);
	});

	it("that stays unreadable is reported before one that may still come", async () => {
		const mixed = fileWith([
			{ ...source, options: { "access-key": "/etc/fluid/secrets/login/id", "secret-key": "/etc/fluid/secrets/login" } },
		]);
		await expect(onlyMount(mixed, { FLUID_FUSE_SECRETS_DIR: secretsFolder({}) }).prepare()).rejects.toMatchObject({
			code: "SECRET_UNREADABLE",
			message: "mounts[0].options.secret-key: the secret login is cited without a key",
		});
	});

	it("can be the value of any option", async () => {
		const folder = secretsFolder({ where: { url: "http://minio:9000\n" } });
		const cited = fileWith([{ ...source, options: { endpoint: "/etc/fluid/secrets/where/url" } }]);
		const { mount, options } = await inspectOnly(cited, { FLUID_FUSE_SECRETS_DIR: folder });
		expect(mount.summary).toContain("endpoint=http://minio:9000");
		expect(options).toEqual([{ name: "endpoint", value: "secret where/url", from: "mounts[0].options.endpoint" }]);
	});

	it("is refused for an option that ends on a command line, which every process of the node can read", async () => {
		const folder = secretsFolder({
			login: { region: "hidden-1", name: "hidden name", url: "http://hidden:9000", uid: "815", umask: "0027" },
		});
		const faults = async (driver: string, name: string, key: string): Promise<string[]> => {
			const value = `/etc/fluid/secrets/login/${key}`;
			const cited = fileWith([{ ...source, options: { driver, [name]: value } }]);
			const encrypted = fileWith([{ ...source, options: { driver }, encryptOptions: { [name]: value } }]);
			const variables = { FLUID_FUSE_SECRETS_DIR: folder };
			const [a, b] = [await faultsOf(cited, variables), await faultsOf(encrypted, variables)];
			expect(b.map((fault) => fault.replace("encryptOptions", "options"))).toEqual(a);
			return a;
		};
		for (const [driver, name, key] of [
			["goofys", "region", "region"],
			["goofys", "endpoint", "url"],
			["goofys", "uid", "uid"],
			["s3fs", "region", "region"],
			["s3fs", "url", "url"],
			["s3fs", "umask", "umask"],
		] as const) {
			expect(await faults(driver, name, key), `${driver} ${name}`).toEqual([
				expect.stringMatching(
					new RegExp(
						`^mounts\\[0\\]\\.options\\.${name}: comes from a secret, and ${driver} takes it on its command line`,
					),
				),
			]);
		}
		// In the file itself, as with encryptOptions of a CacheRuntime that are none of its paths.
		const literal = { options: { driver: "s3fs" }, encryptOptions: { instance_name: "hidden" } };
		expect(await faultsOf(fileWith([{ ...source, ...literal }]))).toEqual([
			expect.stringMatching(/^mounts\[0\]\.encryptOptions\.instance_name: comes from a secret, and s3fs takes it on/),
		]);
	});

	it("is refused so beside other faults, all at once", async () => {
		const folder = secretsFolder({ login: { region: "hidden-1" } });
		const options = { driver: "goofys", region: "/etc/fluid/secrets/login/region", uid: "x", cheep: "" };
		const found = await faultsOf(fileWith([{ ...source, options }]), { FLUID_FUSE_SECRETS_DIR: folder });
		expect(found.map((fault) => fault.split(": ")[0])).toEqual([
			"mounts[0].options.cheep",
			"mounts[0].options.uid",
			"mounts[0].options.region",
		]);
	});

	it("is taken for an option that does not: a file of its own, or none at all", async () => {
		const folder = secretsFolder({ login: { anything: "hidden" } });
		const options = { driver: "script", token: "/etc/fluid/secrets/login/anything" };
		const variables = { FLUID_FUSE_SECRETS_DIR: folder };
		const encrypted = { ...source, options, encryptOptions: { password: "hidden too" } };
		const { mount } = await inspectOnly(fileWith([encrypted]), variables);
		expect(mount.summary.join(" ")).not.toContain("hidden");
	});

	it("is handed on as a file where the option names one", async () => {
		const folder = secretsFolder({
			ca: { "ca.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" },
		});
		const cited = fileWith([{ ...source, options: { driver: "s3fs", use_cache: "/etc/fluid/secrets/ca/ca.crt" } }]);
		const { mount } = await inspectOnly(cited, { FLUID_FUSE_SECRETS_DIR: folder });
		expect(mount.summary).toContain(`use_cache=${folder}/ca/ca.crt`);
		const missing = await inspectOnly(cited, { FLUID_FUSE_SECRETS_DIR: secretsFolder({}) });
		expect(missing.unread).toMatchObject([{ path: "mounts[0].options.use_cache", error: { code: "SECRET_MISSING" } }]);
	});
});

describe("a file that an option names", () => {
	const files = [
		["native", "ca-bundle", ""],
		["goofys", "ca-bundle", ""],
		["s3fs", "ca-bundle", ""],
		["s3fs", "mime", ""],
		["s3fs", "ahbe_conf", ""],
		["s3fs", "load_sse_c", ""],
		["s3fs", "proxy_cred_file", ""],
		["s3fs", "use_sse", "custom:"],
		["s3fs", "ssl_client_cert", "/etc/hostname:PEM:"],
	] as const;

	it.each(files)("%s: %s is refused where it is a pipe, a device, or too large", async (driver, name, prefix) => {
		const folder = temporaryFolder();
		execFileSync("mkfifo", [join(folder, "pipe")]);
		writeFileSync(join(folder, "large"), "");
		truncateSync(join(folder, "large"), 2 ** 40);
		for (const [file, problem] of [
			[join(folder, "pipe"), "is not a regular file"],
			["/dev/zero", "is not a regular file"],
			[join(folder, "large"), "is larger than 4 MiB"],
		] as const) {
			const text = fileWith([{ ...source, options: { driver, [name]: prefix + file } }]);
			expect(await faultsOf(text)).toEqual([expect.stringContaining(`mounts[0].options.${name}: the file "${file}`)]);
			expect(await faultsOf(text)).toEqual([expect.stringContaining(problem)]);
		}
	});

	it("and that is not there keeps its mount waiting, as a secret does", async () => {
		const text = fileWith([{ ...source, options: { "ca-bundle": "/absent.pem" } }]);
		expect((await inspectOnly(text)).unread).toMatchObject([
			{
				path: "mounts[0].options.ca-bundle",
				error: {
					code: "FILE_UNREADABLE",
					permanent: false,
					message: 'the file "/absent.pem" cannot be read: No such file or directory',
				},
			},
		]);
		await expect(onlyMount(text).prepare()).rejects.toMatchObject({ code: "FILE_UNREADABLE" });
	});

	it("or a folder is refused in targetPath, where it would wait for the mount itself", async () => {
		const folder = temporaryFolder();
		const target = join(folder, "thin-fuse");
		symlinkSync("thin-fuse", join(folder, "link"));
		for (const [driver, name] of [
			["native", "cache-dir"],
			["native", "ca-bundle"],
			["goofys", "ca-bundle"],
			["s3fs", "tmpdir"],
			["s3fs", "use_cache"],
			["s3fs", "mime"],
		] as const) {
			for (const path of [target, join(target, "below/it"), join(folder, "link/below"), `${folder}/x/../thin-fuse/a`]) {
				const text = fileWith([{ ...source, options: { driver, [name]: path } }], { targetPath: target });
				expect(await faultsOf(text), `${name} ${path}`).toEqual([
					`mounts[0].options.${name}: lies in ${target}, where this pod mounts, and would wait for itself: name a place elsewhere`,
				]);
			}
		}
		const beside = fileWith([{ ...source, options: { "cache-dir": `${target}-cache` } }], { targetPath: target });
		expect(await faultsOf(beside)).toEqual([]);
	});

	it("is looked at too where its path came from a secret, which is not shown", async () => {
		const options = { encryptOptions: { "ca-bundle": "/dev/zero" } };
		expect(await faultsOf(fileWith([{ ...source, ...options }]))).toEqual([
			"mounts[0].encryptOptions.ca-bundle: the file is not a regular file",
		]);
	});
});

describe("read-only wins", () => {
	const cases: [string, object, object, Record<string, string>, boolean, string][] = [
		["accessModes are absent", {}, { accessModes: undefined }, {}, true, "accessModes has ReadOnlyMany"],
		["ReadOnlyMany", {}, { accessModes: ["ReadOnlyMany"] }, {}, true, "accessModes has ReadOnlyMany"],
		["ReadWriteMany", {}, { accessModes: ["ReadWriteMany"] }, {}, false, "accessModes has ReadWriteMany"],
		["ReadWriteOnce", {}, { accessModes: ["ReadWriteOnce"] }, {}, false, "accessModes has ReadWriteOnce"],
		["ReadWriteOncePod", {}, { accessModes: ["ReadWriteOncePod"] }, {}, false, "accessModes has ReadWriteOncePod"],
		["both", {}, { accessModes: ["ReadWriteMany", "ReadOnlyMany"] }, {}, true, "accessModes has ReadOnlyMany"],
		[
			"both, the other way round",
			{},
			{ accessModes: ["ReadOnlyMany", "ReadWriteMany"] },
			{},
			true,
			"accessModes has ReadOnlyMany",
		],
		["the mount's readOnly", { readOnly: true }, { accessModes: ["ReadWriteMany"] }, {}, true, "readOnly of the mount"],
		["readOnly false decides nothing", { readOnly: false }, {}, {}, true, "accessModes has ReadOnlyMany"],
		["the option ro", { options: { ro: "" } }, { accessModes: ["ReadWriteMany"] }, {}, true, "mounts[0].options.ro"],
		[
			"ro=true at the runtime",
			{},
			{ accessModes: ["ReadWriteMany"], runtimeOptions: { ro: "true" } },
			{},
			true,
			"runtimeOptions.ro",
		],
		[
			"ro=false says nothing",
			{ options: { ro: "false" } },
			{ accessModes: ["ReadWriteMany"] },
			{},
			false,
			"accessModes has ReadWriteMany",
		],
		[
			"ro=false against a lower layer's ro",
			{ options: { ro: "false" } },
			{ accessModes: ["ReadWriteMany"] },
			{ MOUNT_OPTIONS: "ro" },
			true,
			"ro in the DaemonSet's MOUNT_OPTIONS",
		],
		[
			"Fluid's own ro",
			{},
			{ accessModes: ["ReadWriteMany"] },
			{ MOUNT_OPTIONS: "ro" },
			true,
			"ro in the DaemonSet's MOUNT_OPTIONS",
		],
		["Fluid's own ro beside what it comes from", {}, {}, { MOUNT_OPTIONS: "ro" }, true, "accessModes has ReadOnlyMany"],
		[
			"rw against ReadOnlyMany",
			{ options: { rw: "" } },
			{},
			{},
			true,
			"accessModes has ReadOnlyMany, which wins over rw",
		],
		[
			"rw against ro",
			{ options: { rw: "", ro: "" } },
			{ accessModes: ["ReadWriteMany"] },
			{},
			true,
			"mounts[0].options.ro",
		],
		[
			"rw in a higher layer than ro",
			{ options: { rw: "" } },
			{ accessModes: ["ReadWriteMany"] },
			{ MOUNT_OPTIONS: "ro" },
			true,
			"ro in the DaemonSet's MOUNT_OPTIONS",
		],
	];

	it.each(cases)("%s", (_name, mount, fields, variables, readOnly, modeReason) => {
		expect(onlyMount(fileWith([{ ...source, ...mount }], { ...fields }), variables)).toMatchObject({
			readOnly,
			modeReason,
		});
	});

	it("that Fluid keeps when the access modes change is said, with what to do, and nothing else is", () => {
		const unmet = (modes: string[], variables: Record<string, string>, mount = {}) =>
			onlyMount(fileWith([{ ...source, ...mount }], { accessModes: modes }), variables).withoutEffect;
		const baked = { MOUNT_OPTIONS: "ro" };
		expect(unmet(["ReadWriteMany"], baked)).toMatch(/^accessModes is ReadWriteMany now, .* create them again/);
		expect(unmet(["ReadOnlyMany"], baked)).toBeUndefined();
		expect(unmet(["ReadWriteMany"], {})).toBeUndefined();
		expect(unmet(["ReadWriteMany"], baked, { readOnly: true })).toBeUndefined();
		expect(unmet(["ReadWriteMany"], baked, { options: { ro: "" } })).toBeUndefined();
	});

	it("and is what the driver enforces", async () => {
		for (const driver of ["goofys", "s3fs"]) {
			const argv = async (accessMode: string): Promise<readonly string[]> =>
				(await inspectOnly(fileWith([{ ...source, options: { driver } }], { accessModes: [accessMode] }))).mount
					.summary;
			expect(await argv("ReadOnlyMany")).toContain("ro");
			expect(await argv("ReadWriteMany")).not.toContain("ro");
		}
	});
});

describe("mount options for goofys", () => {
	const given = (o: string): string => fileWith([{ ...source, options: { driver: "goofys", o } }]);

	it.each([
		["suid", "suid is refused: mounts stay nosuid"],
		["noatime,dev", "dev is refused: mounts stay nodev"],
		["ro", "ro is set by the launcher"],
	])("%s: refused, with what to do", async (o, message) => {
		expect(await faultsOf(given(o))).toEqual([`mounts[0].options.o: ${message}, found "${o}"`]);
	});

	it("that take nothing away from the mount's safety are passed on", async () => {
		const o = "noatime,nosuid,nodev,noexec,max_read=131072";
		expect((await inspectOnly(given(o))).mount.summary).toContain(o);
	});
});

describe("the driver is chosen", () => {
	const choice = (mount: object, fields: object, variables: Record<string, string>) => {
		const { driver, driverReason } = onlyMount(fileWith([{ ...source, ...mount }], { ...fields }), variables);
		return `${driver.name}: ${driverReason}`;
	};
	const everywhere = { MOUNT_OPTIONS: "driver=goofys", FLUID_FUSE_DRIVER: "goofys" };

	it("by the mount's option first, then runtimeOptions, MOUNT_OPTIONS, FLUID_FUSE_DRIVER, and the source's scheme", () => {
		const runtime = { runtimeOptions: { driver: "s3fs" } };
		expect(choice({ options: { driver: "s3fs" } }, { runtimeOptions: { driver: "goofys" } }, everywhere)).toBe(
			"s3fs: mounts[0].options.driver",
		);
		expect(choice({}, runtime, everywhere)).toBe("s3fs: runtimeOptions.driver");
		expect(choice({}, { client: { options: { driver: "s3fs" } } }, everywhere)).toBe("s3fs: client.options.driver");
		expect(choice({}, {}, { ...everywhere, MOUNT_OPTIONS: "driver=s3fs" })).toBe("s3fs: MOUNT_OPTIONS.driver");
		expect(choice({}, {}, { FLUID_FUSE_DRIVER: "s3fs" })).toBe("s3fs: FLUID_FUSE_DRIVER");
		expect(choice({}, {}, {})).toBe("native: the first that serves s3://");
	});

	it("by a vendor's script that the image has, unless a driver is named", () => {
		const FLUID_FUSE_SCRIPT = join(projectRoot, "test/fixtures/mount.sh");
		expect(choice({}, {}, { FLUID_FUSE_SCRIPT })).toBe(`script: there is ${FLUID_FUSE_SCRIPT}`);
		expect(choice({ mountPoint: "acme://volume" }, {}, { FLUID_FUSE_SCRIPT })).toMatch(/^script: /);
		expect(choice({}, {}, { FLUID_FUSE_SCRIPT, FLUID_FUSE_DRIVER: "s3fs" })).toBe("s3fs: FLUID_FUSE_DRIVER");
		expect(choice({}, {}, { FLUID_FUSE_SCRIPT: `${FLUID_FUSE_SCRIPT}.gone` })).toMatch(/^native: /);
	});

	it("by the scheme, whatever its case", () => {
		for (const scheme of ["s3", "S3", "minio", "oss"]) {
			expect(choice({ mountPoint: `${scheme}://bucket` }, {}, {})).toBe(
				`${scheme.toLowerCase() === "oss" ? "goofys" : "native"}: the first that serves ${scheme.toLowerCase()}://`,
			);
		}
		expect(choice({ mountPoint: "bucket/prefix" }, {}, {})).toBe(
			"native: the first that serves sources without a scheme",
		);
	});

	it("per mount", () => {
		const { mounts } = planOf(fileWith([{ ...source, options: { driver: "s3fs" } }, { mountPoint: "s3://other" }]));
		expect(mounts.map(({ driver }) => driver.name)).toEqual(["s3fs", "native"]);
	});

	it("or not, with the nearest name", async () => {
		expect(await faultsOf(fileWith([{ ...source, options: { driver: "s3f" } }]))).toEqual([
			'mounts[0].options.driver: unknown driver "s3f", expected one of native, goofys, s3fs, script (did you mean "s3fs"?)',
		]);
		expect(await faultsOf(fileWith([source]), { FLUID_FUSE_DRIVER: "GOOFYS" })).toEqual([
			'FLUID_FUSE_DRIVER: unknown driver "GOOFYS", expected one of native, goofys, s3fs, script (did you mean "goofys"?)',
		]);
		expect(await faultsOf(fileWith([{ ...source, options: { driver: "" } }]))).toHaveLength(1);
		expect(await faultsOf(fileWith([{ mountPoint: "mino://bucket" }]))).toEqual([
			'mounts[0].mountPoint: no driver serves the scheme "mino", expected one of s3, minio, oss (did you mean "minio"?)',
		]);
	});
});

describe("sources that are not buckets", () => {
	it("are refused: PVCs, NFS and local folders", async () => {
		expect(await faultsOf(fixture("pvc.json"))).toEqual([
			`mounts[0].mountPoint: no driver serves volumes of the CSI driver "nas.csi.example.com", expected one of ${s3CsiDrivers.join(", ")}: mount its storage under an address of its own, or add a driver that has it in csiDrivers (docs/vendors.md)`,
		]);
		for (const driver of ["goofys", "s3fs"]) {
			expect(await faultsOf(fixture("nfs.json"), { FLUID_FUSE_DRIVER: driver })).toEqual([
				`mounts[0].mountPoint: "10.1.2.3" is not a bucket's name (3 or more of a-z, 0-9, dots, hyphens; not an IP address)`,
			]);
			const fault = await faultsOf(fixture("pvc.json"), { FLUID_FUSE_DRIVER: driver });
			expect(fault).toEqual([
				expect.stringMatching(
					`^mounts\\[0\\].mountPoint: ${driver} serves no volumes of the CSI driver "nas.csi.example.com", expected one of s3.csi.aws.com, `,
				),
			]);
		}
		for (const mountPoint of [
			"local:///data",
			"server.example.com:/export",
			"/data",
			"s3://",
			"s3:///a",
			"s3://ab",
			"s3://-abc",
			"s3://a_b.",
			"s3://bücket",
		]) {
			expect(await faultsOf(fileWith([{ mountPoint }])), mountPoint).toEqual([
				expect.stringMatching(/^mounts\[0\]\.mountPoint: /),
			]);
		}
	});

	it("never touch other mounts", () => {
		const plan = planOf(fileWith([{ mountPoint: "pvc://claim", name: "claim" }, source]));
		expect(plan.mounts.map(({ name, target }) => [name, target])).toEqual([["data", `${targetPath}/data`]]);
		expect(plan.refused).toMatchObject([{ name: "claim", path: "mounts[0]" }]);
	});
});

describe("all faults of a mount come at once", () => {
	it("those of names, values, source and combinations, each at its JSON path, with the nearest name", async () => {
		const text = fileWith([
			{
				mountPoint: "s3://a",
				options: {
					driver: "goofys",
					regoin: "x",
					uid: "many",
					"access-key": "/etc/fluid/secrets/login/id",
					cache: "/tmp",
					"dir-mode": "rwx",
				},
			},
		]);
		const faults = await faultsOf(text, {
			MOUNT_OPTIONS: "nonsense=1,gid=-1",
			FLUID_FUSE_SECRETS_DIR: secretsFolder({ login: { id: "hidden-id" } }),
		});
		expect(faults.toSorted()).toEqual([
			'MOUNT_OPTIONS.gid: expected a whole number from 0 to 4294967294, found "-1"',
			"MOUNT_OPTIONS.nonsense: unknown option of goofys",
			'mounts[0].mountPoint: "a" is not a bucket\'s name (3 or more of a-z, 0-9, dots, hyphens; not an IP address)',
			"mounts[0].options.cache: refused: it starts a second filesystem (catfs) that nobody would supervise",
			'mounts[0].options.dir-mode: expected permission bits in octal, such as 0755, found "rwx"',
			'mounts[0].options.regoin: unknown option of goofys (did you mean "region"?)',
			'mounts[0].options.uid: expected a whole number from 0 to 4294967294, found "many"',
		]);
	});

	it("options that need or exclude each other", async () => {
		const options = { "secret-key": "hidden", "session-token": "hidden" };
		expect(await faultsOf(fileWith([{ ...source, options }]))).toEqual([
			"mounts[0].options.secret-key: given without access-key",
			"mounts[0].options.session-token: given without access-key and secret-key",
		]);
		const anonymous = { "access-key": "hidden", "secret-key": "hidden", anonymous: "" };
		expect(await faultsOf(fileWith([{ ...source, options: anonymous }]))).toEqual([
			"mounts[0].options.anonymous: cannot be combined with access-key",
		]);
	});
});

describe("mounts are folders of one mount", () => {
	const isOne = (mounts: readonly MountOfFile[], variables?: Record<string, string>): boolean =>
		planOf(fileWith(mounts), variables).together;
	const [a, b] = [
		{ mountPoint: "s3://bucket-a", name: "a" },
		{ mountPoint: "minio://bucket-b", name: "b" },
	];

	it("when all have a driver that can serve them so", () => {
		expect(isOne([a, b])).toBe(true);
		expect(isOne([a, { ...b, path: "/" }])).toBe(true);
		expect(isOne([a, { ...b, path: "/a/inner" }])).toBe(true);
		expect(isOne([a], { FLUID_FUSE_LAYOUT: "named" })).toBe(true);
		expect(isOne([a, b], { FLUID_FUSE_DRIVER: "goofys" })).toBe(false);
		expect(isOne([a, { ...b, options: { driver: "s3fs" } }])).toBe(false);
	});

	it("not when there is only one, at targetPath itself, or none", () => {
		expect(isOne([a])).toBe(false);
		expect(isOne([{ ...a, path: "/" }], { FLUID_FUSE_LAYOUT: "named" })).toBe(false);
		expect(isOne([])).toBe(false);
	});

	it("whatever those are that no driver can serve", () => {
		expect(isOne([a, b, { mountPoint: "pvc://claim" }])).toBe(true);
		expect(isOne([a, { mountPoint: "pvc://claim" }])).toBe(true);
	});

	it("which have to agree about what is that mount's: what the first one says holds", async () => {
		const libfuse = { ...source, name: "a", options: { transport: "libfuse" } };
		const direct = { ...source, name: "b" };
		const agreed = planOf(fileWith([libfuse, direct], { runtimeOptions: { transport: "libfuse" } }));
		expect(agreed.refused).toEqual([]);
		const given = { ...source, name: "c", options: { transport: "direct" } };
		expect(planOf(fileWith([direct, given])).refused).toEqual([]);
		const { mounts, refused, together } = planOf(fileWith([libfuse, direct, given, { ...libfuse, name: "d" }]));
		expect(together).toBe(true);
		expect(mounts.map(({ name }) => name)).toEqual(["a", "d"]);
		const why =
			'found "direct", but mounts[0] has "libfuse", and both are folders of one mount: give it at the runtime';
		expect(refused.map(({ name, faults }) => [name, faults])).toEqual([
			["b", [{ path: "mounts[1].options.transport", message: why }]],
			["c", [{ path: "mounts[2].options.transport", message: why }]],
		]);
	});

	it("where a value that is none is a fault of its own", async () => {
		const misspelt = { ...source, name: "a", options: { transport: "libfues" } };
		const text = fileWith([misspelt, { ...source, name: "b" }]);
		expect(await faultsOf(text)).toEqual([
			'mounts[0].options.transport: expected one of direct, libfuse, found "libfues"',
		]);
	});
});
