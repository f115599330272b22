import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, it } from "vitest";
import { drivers } from "../../src/drivers/index.ts";
import { validate } from "../../src/cli/validate.ts";
import { parseEnvironment } from "../../src/config/environment.ts";
import { fileWith, fixture, secretsFolder, targetPath, temporaryFolder } from "../config/planning.ts";
import { program } from "../support/pod.ts";
import { captured } from "./captured.ts";

const builtIn = { drivers, faults: [] };

const login = { "minio-login": { "access-key": "AKIAHIDDEN\n", "secret-key": "hidden/secret+key" } };

async function check(text: string, variables: Readonly<Record<string, string>> = {}, json = false) {
	const file = join(temporaryFolder(), "config.json");
	writeFileSync(file, text);
	const environment = parseEnvironment({ FLUID_FUSE_SECRETS_DIR: secretsFolder(login), ...variables });
	const result = await captured((output) => validate(file, environment, builtIn, { json }, output));
	return { ...result, out: result.out.replaceAll(file, "FILE"), err: result.err.replaceAll(file, "FILE") };
}

describe("validate", () => {
	it("prints the plan: where everything comes from, and secrets by their names only", async () => {
		const { exitCode, out, err } = await check(fixture("minio.json"), {
			FLUID_FUSE_DRIVER: "goofys",
			MOUNT_OPTIONS: "ro,uid=1000",
		});
		expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
		const [plan, command] = out.split("  command  ");
		expect(plan).toBe(
			[
				"config  FILE",
				`target  ${targetPath}`,
				"layout  root",
				"mounts  1",
				"",
				"mounts[0] training",
				"  source   minio://training-data",
				`  target   ${targetPath}`,
				"  driver   goofys (FLUID_FUSE_DRIVER)",
				"  mode     read-only (accessModes has ReadOnlyMany)",
				"  option   uid = 1000",
				"             from MOUNT_OPTIONS.uid",
				"  option   access-key = secret minio-login/access-key",
				"             from mounts[0].options.minio-access-key",
				"  option   secret-key = secret minio-login/secret-key",
				"             from mounts[0].options.minio-access-secret",
				"  option   endpoint = http://minio.storage:9000",
				"             from mounts[0].options.minio-url",
				"",
			].join("\n"),
		);
		expect(command).toMatch(/^goofys .*--endpoint=http:\/\/minio\.storage:9000 .*training-data MOUNTPOINT\n\nOK\n$/);
		expect(out).not.toMatch(/HIDDEN|hidden/);
	});

	it("says what is wrong with the file and with its mounts at once", async () => {
		const text = fileWith(
			[
				{ mountPoint: "s3://bucket-a", name: "a", options: { "read-ahed": "1Mi" } },
				{ mountPoint: "ftp://b", name: "b" },
			],
			{
				targetPath: "relative",
				accessModes: ["ReadOnlyMny"],
			},
		);
		const { exitCode, err } = await check(text, { FLUID_FUSE_LAYOUT: "named" });
		expect(exitCode).toBe(78);
		expect(err).toContain("targetPath: expected an absolute path");
		expect(err).toContain(
			'accessModes[0]: expected one of ReadOnlyMany, ReadWriteMany, ReadWriteOnce, ReadWriteOncePod, found "ReadOnlyMny"',
		);
		expect(err).toContain('mounts[0].options.read-ahed: unknown option of native (did you mean "read-ahead"?)');
		expect(err).toContain("mounts[1].mountPoint");
		expect(err).toContain("4 faults");
		const options = {
			env: { FLUID_FUSE_CONFIG: join(temporaryFolder(), "config.json"), PATH: process.env["PATH"] },
			extendEnv: false,
			reject: false,
		} as const;
		writeFileSync(options.env.FLUID_FUSE_CONFIG, text);
		const run = await execa(program, [], { ...options, timeout: 20_000 });
		expect(run.exitCode).toBe(78);
		expect(run.all ?? run.stdout + run.stderr).toContain("read-ahed");
	});

	it("says the same as data", async () => {
		const { exitCode, out, err } = await check(fixture("minio.json"), {}, true);
		expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
		expect(JSON.parse(out)).toMatchObject({
			ok: true,
			configFile: "FILE",
			targetPath,
			layout: "root",
			faults: [],
			warnings: [],
			mounts: [
				{
					path: "mounts[0]",
					name: "training",
					driver: "native",
					driverReason: "the first that serves minio://",
					source: "minio://training-data",
					target: targetPath,
					readOnly: true,
					modeReason: "accessModes has ReadOnlyMany",
					options: expect.arrayContaining([
						{ name: "access-key", value: "secret minio-login/access-key", from: "mounts[0].options.minio-access-key" },
					]),
					command: expect.arrayContaining(["filesystem", "s3://training-data/"]),
				},
			],
		});
		expect(out).not.toMatch(/HIDDEN|hidden/);
	});

	it("lists every fault with its path, plans what can be mounted, and ends with 78", async () => {
		const text = fileWith([
			{ mountPoint: "s3://bucket-a", name: "a", options: { regoin: "eu-1", uid: "x" } },
			{ mountPoint: "pvc://claim", name: "b" },
			{ mountPoint: "s3://bucket-c", name: "c" },
			{ mountPoint: "s3://bucket-d", name: "../d" },
		]);
		const { exitCode, out, err } = await check(text, { MOUNT_OPTIONS: "ro" });
		expect(exitCode).toBe(78);
		expect(err).toBe(
			[
				"FILE: 4 faults",
				'  mounts[1].mountPoint: persistentVolumeAttrs has no volume of the claim "claim": Fluid writes it for a claim that is bound to a volume of a CSI driver',
				'  mounts[3].name: "../d" cannot be a folder below targetPath',
				'  mounts[0].options.regoin: unknown option of native (did you mean "region"?)',
				'  mounts[0].options.uid: expected a whole number from 0 to 4294967294, found "x"',
				"",
			].join("\n"),
		);
		expect(out).toContain("mounts[2] c\n");
		expect(out).not.toContain("OK");
		const { faults, ok } = JSON.parse((await check(text, {}, true)).out) as {
			ok: boolean;
			faults: { path: string; message: string }[];
		};
		expect(ok).toBe(false);
		expect(faults.map(({ path }) => path)).toEqual([
			"mounts[1].mountPoint",
			"mounts[3].name",
			"mounts[0].options.regoin",
			"mounts[0].options.uid",
		]);
	});

	it("says whether the mounts are folders of one mount", async () => {
		const text = fileWith([
			{ mountPoint: "s3://bucket-a", name: "a" },
			{ mountPoint: "s3://bucket-b", name: "b" },
		]);
		expect((await check(text)).out).toContain("mounts  2, as folders of one mount\n");
		expect(JSON.parse((await check(text, {}, true)).out)).toMatchObject({ together: true });
		const apart = { FLUID_FUSE_DRIVER: "goofys" };
		expect((await check(text, apart)).out).toContain("mounts  2\n");
		expect(JSON.parse((await check(text, apart, true)).out)).toMatchObject({ together: false });
	});

	it("says once what is wrong with every mount", async () => {
		const text = fileWith([{ mountPoint: "s3://bucket-a" }, { mountPoint: "s3://bucket-b" }]);
		expect((await check(text, { MOUNT_OPTIONS: "nonsense" })).err).toBe(
			"FILE: 1 fault\n  MOUNT_OPTIONS.nonsense: unknown option of native\n",
		);
		expect((await check(text, { FLUID_FUSE_LAYOUT: "root" })).err).toMatch(
			/^FILE: 1 fault\n {2}mounts: the layout "root"/,
		);
		expect((await check(text, { FLUID_FUSE_DRIVER: "s4" })).err).toMatch(
			/^FILE: 1 fault\n {2}FLUID_FUSE_DRIVER: unknown driver "s4"/,
		);
	});

	it("reports a file that is no config", async () => {
		expect(await check('{"mounts": [')).toEqual({
			exitCode: 78,
			out: "",
			err: expect.stringMatching(/^FILE: 1 fault\n {2}not valid JSON/),
		});
		const { exitCode, out, err } = await check("[]", {}, true);
		expect({ exitCode, err }).toEqual({ exitCode: 78, err: "" });
		expect(JSON.parse(out)).toEqual({
			ok: false,
			configFile: "FILE",
			mounts: [],
			faults: [{ path: "", message: "expected object, found an array" }],
			warnings: [],
		});
	});

	it("warns of a secret that is not there, because the mount waits for it", async () => {
		const folder = secretsFolder({ "minio-login": { "access-key": "AKIAHIDDEN" } });
		const { exitCode, out, err } = await check(fixture("minio.json"), { FLUID_FUSE_SECRETS_DIR: folder });
		expect(exitCode).toBe(0);
		expect(err).toBe(
			"warning: mounts[0].options.minio-access-secret: the secret file minio-login/secret-key is not there: the mount waits for it. " +
				'Check that the Secret "minio-login" exists in the Dataset\'s namespace and has the key "secret-key".\n',
		);
		expect(out).toMatch(/secret-key = secret minio-login\/secret-key[^]*OK\n$/);
	});

	it("faults a secret that cannot be there", async () => {
		const text = fileWith([
			{
				mountPoint: "s3://bucket",
				options: {
					"access-key": "/etc/fluid/secrets/minio-login",
					"secret-key": "/etc/fluid/secrets/minio-login/secret-key",
				},
			},
		]);
		const { exitCode, err } = await check(text);
		expect(exitCode).toBe(78);
		expect(err).toContain("mounts[0].options.access-key: the secret minio-login is cited without a key");
	});

	it("shows no secret that reaches a command line, and none that stands in the file", async () => {
		const cited = fileWith([{ mountPoint: "s3://bucket", options: { endpoint: "/etc/fluid/secrets/where/url" } }]);
		const folder = secretsFolder({ where: { url: "http://hidden-host:9000" } });
		const { exitCode, out } = await check(cited, { FLUID_FUSE_SECRETS_DIR: folder });
		expect(exitCode).toBe(0);
		expect(out).toContain("endpoint=[redacted]");
		for (const json of [false, true]) {
			expect((await check(cited, { FLUID_FUSE_SECRETS_DIR: folder }, json)).out).not.toContain("hidden");
			expect((await check(fixture("secret-mode.json"), {}, json)).out).not.toMatch(/AKID|literal/);
		}
	});

	it("reads what run would read when no file is given", async () => {
		const file = join(temporaryFolder(), "config.json");
		writeFileSync(file, fixture("no-name.json"));
		const result = await captured((output) =>
			validate(undefined, parseEnvironment({ FLUID_FUSE_CONFIG: file }), builtIn, { json: false }, output),
		);
		expect(result).toMatchObject({ exitCode: 0, out: expect.stringContaining("mounts[0] images") });
	});

	it("throws what is not about the config's content", async () => {
		const environment = (variables: Record<string, string>) =>
			parseEnvironment({ FLUID_FUSE_CONFIG: "/nowhere/config.json", ...variables });
		const missing = captured((output) => validate(undefined, environment({}), builtIn, { json: true }, output));
		await expect(missing).rejects.toMatchObject({ code: "CONFIG_MISSING", exitCode: 66 });
		const address = captured((output) =>
			validate(undefined, environment({ FLUID_FUSE_PROBE_ADDRESS: "9180" }), builtIn, { json: true }, output),
		);
		await expect(address).rejects.toMatchObject({ code: "USAGE", exitCode: 64 });
	});

	it("keeps what stands in the file from driving the terminal", async () => {
		const { out, err } = await check(
			fileWith([
				{ mountPoint: "s3://bucket", name: "a\u009B31m\u202E" },
				{ mountPoint: "x\u001B[2J", name: "b" },
			]),
		);
		for (const character of "\u001B\u009B\u202E") expect(out + err).not.toContain(character);
	});

	it("works as a process: exit codes, stdout and stderr", async () => {
		const run = async (...args: string[]) =>
			execa(program, ["validate", ...args], { reject: false, env: { FLUID_FUSE_SECRETS_DIR: secretsFolder(login) } });
		const file = join(temporaryFolder(), "config.json");
		writeFileSync(file, fixture("minio.json"));
		expect(await run(file)).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/OK$/), stderr: "" });
		writeFileSync(file, fixture("pvc.json"));
		expect(await run(file)).toMatchObject({ exitCode: 78, stderr: expect.stringContaining("mounts[0].mountPoint") });
		expect(await run(`${file}.missing`)).toMatchObject({
			exitCode: 66,
			stdout: "",
			stderr: expect.stringContaining("no config file at"),
		});
		expect(await run(file, "another")).toMatchObject({ exitCode: 64 });
	});
});
