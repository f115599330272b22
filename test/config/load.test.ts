import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseEnvironment } from "../../src/config/environment.ts";
import { loadFluidFile, parseFluidFile } from "../../src/config/load.ts";
import { projectRoot, writeAtomically } from "../support/pod.ts";
import { faultsOf, fileWith, fixture, targetPath, temporaryFolder } from "./planning.ts";

const parse = (text: string, mountPoint?: string) => parseFluidFile(text, "config.json", mountPoint);

async function loadBytes(bytes: string | Uint8Array) {
	const path = join(temporaryFolder(), "config.json");
	writeFileSync(path, bytes);
	return loadFluidFile(parseEnvironment({ FLUID_FUSE_CONFIG: path }));
}

const canUnshare = ((): boolean => {
	try {
		execFileSync("unshare", ["--mount", "true"], { stdio: "ignore" });
		return true;
	} catch {
		return false;
	}
})();
if (!canUnshare)
	process.stderr.write("skipped: Fluid's own places of the config, because unshare --mount is not allowed\n");

describe("Fluid's places of the config", () => {
	/** What `validate --json` reads when /etc/fluid holds these files. */
	function configFileWith(files: Record<string, string>): string {
		const folder = temporaryFolder();
		mkdirSync(join(folder, "fluid/config"), { recursive: true });
		for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, "fluid", name), text);
		const script = 'mount --bind "$1" /etc && exec "$2" "$3" validate --json';
		const words = ["--mount", "sh", "-c", script, "sh", folder, process.execPath, join(projectRoot, "src/main.ts")];
		const output = execFileSync("unshare", words, { encoding: "utf8", env: { PATH: process.env["PATH"] } });
		return (JSON.parse(output) as { configFile: string }).configFile;
	}

	it.skipIf(!canUnshare)("are the folder of 1.0.1 and later first, then the single file of before", () => {
		const text = fixture("no-name.json");
		expect(configFileWith({ "config.json": text })).toBe("/etc/fluid/config.json");
		expect(configFileWith({ "config/config.json": text })).toBe("/etc/fluid/config/config.json");
		expect(configFileWith({ "config.json": "broken", "config/config.json": text })).toBe(
			"/etc/fluid/config/config.json",
		);
	});
});

describe("loadFluidFile", () => {
	it("reads through the links by which kubelet publishes a ConfigMap", async () => {
		const folder = join(temporaryFolder(), "config");
		writeAtomically(folder, { "config.json": fixture("minio.json") });
		const environment = parseEnvironment({ FLUID_FUSE_CONFIG: join(folder, "config.json") });
		expect((await loadFluidFile(environment)).file.mounts).toHaveLength(1);
		writeAtomically(folder, { "config.json": fixture("two-mounts.json") });
		expect((await loadFluidFile(environment)).file.mounts).toHaveLength(2);
	});

	it("prefers FLUID_FUSE_CONFIG to the path that CacheRuntime gives", async () => {
		const folder = temporaryFolder();
		writeFileSync(join(folder, "runtime.json"), fixture("cache-runtime.json"));
		writeFileSync(join(folder, "config.json"), fixture("minio.json"));
		const cacheRuntime = { FLUID_RUNTIME_CONFIG_PATH: join(folder, "runtime.json") };
		expect((await loadFluidFile(parseEnvironment(cacheRuntime))).path).toBe(join(folder, "runtime.json"));
		const both = { ...cacheRuntime, FLUID_FUSE_CONFIG: join(folder, "config.json") };
		expect((await loadFluidFile(parseEnvironment(both))).path).toBe(join(folder, "config.json"));
	});

	it("says where no file is", async () => {
		const path = join(temporaryFolder(), "config.json");
		const loading = loadFluidFile(parseEnvironment({ FLUID_FUSE_CONFIG: path }));
		await expect(loading).rejects.toMatchObject({
			code: "CONFIG_MISSING",
			exitCode: 66,
			message: `no config file at ${path}`,
		});
		const folder = loadFluidFile(parseEnvironment({ FLUID_FUSE_CONFIG: "/etc" }));
		await expect(folder).rejects.toMatchObject({ code: "CONFIG_INVALID", message: "/etc: is not a regular file" });
		for (const device of ["/dev/zero", "/dev/tty"]) {
			const loading = loadFluidFile(parseEnvironment({ FLUID_FUSE_CONFIG: device }));
			await expect(loading).rejects.toMatchObject({ message: `${device}: is not a regular file` });
		}
	});

	it("accepts a byte order mark and trailing newlines", async () => {
		expect((await loadBytes(`\uFEFF${fixture("minio.json")}\n\n`)).file.mounts).toHaveLength(1);
	});

	it("refuses what is not UTF-8 and what no ConfigMap can hold", async () => {
		await expect(loadBytes(new Uint8Array([0x7b, 0xff, 0x7d]))).rejects.toThrow("not UTF-8 text");
		await expect(loadBytes(" ".repeat(4 * 1024 * 1024 + 1))).rejects.toThrow("larger than 4 MiB");
	});

	it("names an empty and a half-written file, and never quotes them", async () => {
		await expect(loadBytes("")).rejects.toThrow("the file is empty");
		await expect(loadBytes(" \n")).rejects.toThrow("the file is empty");
		const text = fixture("secret-mode.json").trim();
		for (let length = 1; length < text.length; length++) {
			const parsing = (): unknown => parse(text.slice(0, length));
			expect(parsing).toThrow(/config\.json: not valid JSON/);
			expect(parsing).not.toThrow(/literal|AKID|team-a/);
		}
		expect(() => parse('{"mounts": [\n  {"mountPoint" "s3://b"}\n]}')).toThrow("not valid JSON: line 2, column 17");
		expect(() => parse(`${text} trailing`)).toThrow(/not valid JSON/);
	});
});

describe("parseFluidFile", () => {
	it("takes absent and null fields as empty", () => {
		for (const name of ["before-1.0.0.json", "no-mounts.json"]) {
			expect(parse(fixture(name)), name).toMatchObject({
				targetPath,
				file: { mounts: [], accessModes: ["ReadOnlyMany"] },
			});
		}
		const { file } = parse(fixture("nulls.json"));
		expect(file).toMatchObject({ accessModes: ["ReadOnlyMany"], runtimeOptions: new Map(), client: null });
		const empty = { options: new Map(), encryptOptions: new Map(), name: "", path: "", readOnly: false };
		expect(file.mounts).toEqual([{ mountPoint: "s3://training-data", ...empty, shared: null }]);
		expect(parse(fileWith([], { accessModes: [] })).file.accessModes).toEqual(["ReadOnlyMany"]);
	});

	it("reads Go's escapes and keeps the order of the mounts", () => {
		const { file } = parse(fixture("secret-mode.json"));
		expect(file.mounts[0]?.options.get("secret-key")).toBe("literal<and>&secret/key+0123\n");
		expect(parse(fixture("two-mounts.json")).file.mounts.map(({ name }) => name)).toEqual(["models", "logs"]);
	});

	it("ignores fields that it does not know", () => {
		expect(() =>
			parse(fileWith([{ mountPoint: "s3://data", laterField: {} }], { later: [1], __proto__: null })),
		).not.toThrow();
		expect(() => parse(`{"targetPath":"/a","__proto__":{"targetPath":1}}`)).not.toThrow();
	});

	it("takes options whose names JavaScript treats in a special way as names", () => {
		const text = `{"mounts":[{"mountPoint":"s3://b","options":{"__proto__":"x","constructor":"y","toString":"z"}}],"targetPath":"/a"}`;
		const { options } = parse(text).file.mounts[0] ?? { options: new Map() };
		expect([...options]).toEqual([
			["__proto__", "x"],
			["constructor", "y"],
			["toString", "z"],
		]);
	});

	it("reports all faults of the file at once, with the kind of what was found and never its value", async () => {
		const faults = await faultsOf(
			JSON.stringify({
				mounts: [
					{ mountPoint: "", options: { "secret-key": 12_345, endpoint: null }, name: ["hidden-value"] },
					{ options: ["hidden-value"], path: { hidden: "hidden-value" }, readOnly: "true" },
					"hidden-value",
				],
				runtimeOptions: "hidden-value",
				accessModes: ["ReadOnlymany", { hidden: "hidden-value" }],
				targetPath: "relative/path",
			}),
		);
		expect(faults).toEqual([
			"mounts[0].mountPoint: must not be empty",
			"mounts[0].options.secret-key: expected a string, found number",
			"mounts[0].options.endpoint: expected a string, found null",
			"mounts[0].name: expected string, found an array",
			"mounts[1].mountPoint: missing, expected string",
			"mounts[1].options: expected an object of strings",
			"mounts[1].path: expected string, found an object",
			"mounts[1].readOnly: expected boolean, found a string",
			"mounts[2]: expected object, found a string",
			"runtimeOptions: expected an object of strings",
			'accessModes[0]: expected one of ReadOnlyMany, ReadWriteMany, ReadWriteOnce, ReadWriteOncePod, found "ReadOnlymany" (did you mean "ReadOnlyMany"?)',
			"accessModes[1]: expected one of ReadOnlyMany, ReadWriteMany, ReadWriteOnce, ReadWriteOncePod, found an object",
			'targetPath: expected an absolute path, found "relative/path"',
		]);
		expect(faults.join()).not.toContain("hidden-value");
	});

	it("refuses JSON that is no object", async () => {
		for (const [text, found] of [
			["[]", "an array"],
			["null", "null"],
			["5", "a number"],
			['"text"', "a string"],
		]) {
			expect(await faultsOf(text ?? "")).toEqual([`: expected object, found ${found}`]);
		}
	});

	it("survives JSON that is nested beyond any sense", async () => {
		const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
		expect(await faultsOf(`{"accessModes":[${deep}],"targetPath":"/a"}`)).toHaveLength(1);
		expect(await faultsOf(`{"mounts":${deep},"targetPath":"/a"}`)).toHaveLength(1);
		expect(await faultsOf(`{"persistentVolumeAttrs":${deep},"targetPath":"/a"}`)).toEqual([]);
	});

	it("takes targetPath from MOUNT_POINT when the file has none", () => {
		expect(parse("{}", "/mnt/thin-fuse").targetPath).toBe("/mnt/thin-fuse");
		expect(parse('{"targetPath":null}', "/mnt/thin-fuse").targetPath).toBe("/mnt/thin-fuse");
		expect(parse('{"targetPath":"/file"}', "/mnt/thin-fuse").targetPath).toBe("/file");
		expect(() => parse("{}")).toThrow("targetPath: missing, and MOUNT_POINT is not set");
	});

	it("writes targetPath as the kernel lists mounts, without double and trailing slashes", () => {
		expect(parse('{"targetPath":"//a//b/c///"}').targetPath).toBe("/a/b/c");
	});

	it("refuses a targetPath that is relative, the root, or has dots or control characters", () => {
		for (const path of ["", "a/b", "/", "///", "/a/../b", "/a/./b", "/a/..", "/a\nb", "/a\0b", "-/a"]) {
			expect(() => parse(JSON.stringify({ targetPath: path })), path).toThrow(/targetPath/);
		}
	});
});
