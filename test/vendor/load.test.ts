import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import type { DescribedDriver } from "../../src/cli/drivers.ts";
import { drivers as builtIn } from "../../src/drivers/index.ts";
import { program } from "../support/pod.ts";

const temporary = mkdtempSync(join(tmpdir(), "fluid-fuse-driver-files-"));
afterAll(() => rmSync(temporary, { recursive: true }));

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(temporary, "drivers-"));
});

/** A driver file that works. */
const good = (name: string, fields = ""): string => `import { defineCommandDriver, text } from "fluid-fuse";
export default defineCommandDriver({
	name: ${JSON.stringify(name)},
	schemes: ["good"],
	filesystemTypes: ["fuse.good"],
	options: { server: text({ description: "Its address." }) },
	command: ({ source }, { server }, { mountpoint }) => ({ file: "good", args: [source, mountpoint, String(server)] }),
	${fields}
});
`;

function write(files: Readonly<Record<string, string>>): void {
	for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
}

async function run(words: readonly string[], env: Readonly<Record<string, string>> = {}) {
	const { exitCode, stdout, stderr } = await execa(program, words, {
		env: { FLUID_FUSE_DRIVERS_DIR: folder, ...env },
		reject: false,
		timeout: 30_000,
	});
	return { exitCode, stdout, stderr: stderr.replaceAll(`${folder}/`, "") };
}

async function listed(): Promise<{ names: string[]; exitCode: number | undefined; stderr: string }> {
	const { exitCode, stdout, stderr } = await run(["drivers", "--json"]);
	return { names: (JSON.parse(stdout) as DescribedDriver[]).map(({ name }) => name), exitCode, stderr };
}

const builtInNames = builtIn.map(({ name }) => name);

describe("driver files", () => {
	test("are TypeScript or JavaScript modules beside the built-in drivers, in the order of their names", async () => {
		write({
			"d.ts": good("from-ts").replace("({ source }", "({ source }: { readonly source: string }"),
			"a.mts": good("from-mts"),
			"c.js": good("from-js"),
			"b.mjs": good("from-mjs"),
			"types.d.ts": "declare const ignored: number;",
			".hidden.ts": "does not parse",
			"README.md": "# Not a driver",
			"package.json": "{}",
		});
		expect(await listed()).toEqual({
			names: [...builtInNames, "from-mts", "from-mjs", "from-js", "from-ts"],
			exitCode: 0,
			stderr: "",
		});
	});

	const faulty: Readonly<Record<string, readonly [file: string, content: string, message: string | RegExp]>> = {
		"does not parse": [
			"bad.ts",
			'import { text } from "fluid-fuse";\n\nexport default {{;\n',
			/^bad\.ts(:3)?: does not parse: /,
		],
		"has syntax that would have to be compiled": [
			"bad.ts",
			"export const one = 1;\nenum Colour { red }\nexport default Colour;\n",
			/^bad\.ts(:2)?: .*enum.*; types are removed and nothing is compiled: no enum, namespace or parameter property$/,
		],
		"imports what fluid-fuse does not export": [
			"bad.ts",
			'import { falg } from "fluid-fuse";\nexport default falg;\n',
			/^bad\.ts:1: fluid-fuse exports no falg \(did you mean "flag"\?\); types\/fluid-fuse\.d\.ts has all that it exports/,
		],
		"imports a package": [
			"bad.ts",
			'import lodash from "lodash";\nexport default lodash;\n',
			/^bad\.ts: Cannot find package 'lodash' .*; a driver is one file: import only fluid-fuse and what Node has \(node:…\)$/,
		],
		throws: [
			"bad.ts",
			'const settings: Record<string, { port: number }> = {};\nexport default settings["none"]!.port;\n',
			/^bad\.ts:2: throws while it is loaded: Cannot read properties of undefined \(reading 'port'\)$/,
		],
		"has no default export": [
			"bad.mjs",
			"export const driver = 1;\n",
			"bad.mjs: has no default export; write export default defineCommandDriver({ … })",
		],
		"exports something else": [
			"bad.mjs",
			'export default { name: "bad" };\n',
			"bad.mjs: its default export is no driver; write export default defineCommandDriver({ … })",
		],
		"waits for ever": [
			"bad.mjs",
			"setInterval(() => undefined, 1000);\nawait new Promise(() => undefined);\n",
			"bad.mjs: is not loaded after 10 s; remove what it waits for at its top level",
		],
		"defines nonsense": [
			"bad.mjs",
			good("Bad Name", "comand: 1,").replace("schemes: [", 'schemes: ["sftp://", '),
			/^bad\.mjs:2: defineCommandDriver: comand: no field of a driver \(did you mean "command"\?\); name: expected lower case letters, digits and hyphens$/,
		],
		"writes a scheme with slashes": [
			"bad.mjs",
			good("bad").replace('"good"]', '"sftp://"]'),
			'bad.mjs:2: defineCommandDriver: schemes: "sftp://" is none; write "sftp" for sftp://, in lower case',
		],
		"has an option that is none": [
			"bad.mjs",
			good("bad").replace("options: {", 'options: { port: 22, ro: text({ description: "x" }),'),
			"bad.mjs:2: defineCommandDriver: options.port: not an option; make it with text(), flag(), secret() or another of fluid-fuse; options.ro: the launcher has an option of this name",
		],
		"takes a built-in driver's name": [
			"bad.mjs",
			good("goofys"),
			'bad.mjs: the name "goofys" is that of a built-in driver, which is kept; give this driver another name',
		],
		"takes another file's name": [
			"twice.mjs",
			good("good"),
			'twice.mjs: the name "good" is that of good.ts, which is kept; give this driver another name',
		],
	};
	test.each(Object.entries(faulty))(
		"one that %s is named with what to do, and the others are used",
		async (_, [file, content, message]) => {
			write({ [file]: content, "good.ts": good("good") });
			const { names, exitCode, stderr } = await listed();
			expect(names).toEqual([...builtInNames, "good"]);
			const said = typeof message === "string" ? stderr === message : message.test(stderr);
			expect(said, stderr).toBe(true);
			expect(exitCode).toBe(78);
		},
	);

	test("in a folder that does not exist are a fault where the folder was chosen", async () => {
		const { stdout, stderr } = await run(["drivers"], { FLUID_FUSE_DRIVERS_DIR: join(temporary, "none") });
		expect(stderr).toMatch(/none: cannot be read as a folder: ENOENT/);
		expect(stdout).toMatch(/^native\n/);
	});
});

describe("a mount", () => {
	async function planned(mount: object, env: Readonly<Record<string, string>> = {}) {
		const file = join(folder, "config.json");
		writeFileSync(file, JSON.stringify({ mounts: [mount], targetPath: "/mnt/target" }));
		return run(["validate", file], env);
	}

	test("is served by a driver file that has its scheme, with options checked like a built-in driver's", async () => {
		write({ "good.ts": good("good") });
		const { stdout, stderr } = await planned({ mountPoint: "good://share", options: { server: "a" } });
		expect(stderr).toBe("");
		expect(stdout).toContain("driver   good (the first that serves good://)");
		expect(stdout).toContain("command  good good://share MOUNTPOINT a");
		expect((await planned({ mountPoint: "good://share", options: { sever: "a" } })).stderr).toContain(
			'mounts[0].options.sever: unknown option of good (did you mean "server"?)',
		);
	});

	test("is served by a driver file that FLUID_FUSE_DRIVER names", async () => {
		write({ "good.ts": good("good") });
		const { stdout } = await planned({ mountPoint: "s3://bucket" }, { FLUID_FUSE_DRIVER: "good" });
		expect(stdout).toContain("driver   good (FLUID_FUSE_DRIVER)");
	});

	test("that wants a driver whose file cannot be used is told why", async () => {
		write({ "good.ts": "export default 1;\n" });
		const { stderr, exitCode } = await planned({ mountPoint: "good://share" });
		expect(exitCode).toBe(78);
		expect(stderr).toContain(
			'mounts[0].mountPoint: no driver serves the scheme "good", expected one of s3, minio, oss; a driver file cannot be used: good.ts: its default export is no driver',
		);
	});

	test("may cite a secret for what its driver keeps in a file, not for what it puts on the command line", async () => {
		const options = `options: { server: text({ description: "Its address." }), user: text({ description: "Who." }) },`;
		const command = `command: ({ source }, { server, user }, { mountpoint }) => ({
			file: "good",
			args: [source, mountpoint, String(server)],
			files: { login: user?.toUpperCase() ?? "" },
		}),`;
		write({
			"good.mjs": good("good")
				.replace(/options: .*/, options)
				.replace(/command: .*/, command),
		});
		const secrets = join(folder, "secrets/login");
		mkdirSync(secrets, { recursive: true });
		writeFileSync(join(secrets, "name"), "hidden");
		const env = { FLUID_FUSE_SECRETS_DIR: join(folder, "secrets") };
		const mount = (name: string) => ({ mountPoint: "good://share", options: { [name]: `${secrets}/name` } });
		expect(await planned(mount("user"), env)).toMatchObject({ exitCode: 0, stderr: "" });
		const { exitCode, stderr } = await planned(mount("server"), env);
		expect(exitCode).toBe(78);
		expect(stderr).toContain("mounts[0].options.server: comes from a secret, and good takes it on its command line");
	});

	test("whose driver has a bug is a fault with the bug's place", async () => {
		write({ "good.ts": good("good", "faults: () => { null.length; }") });
		const { stderr, exitCode } = await planned({ mountPoint: "good://share" });
		expect(exitCode).toBe(78);
		expect(stderr).toContain(
			"mounts[0].mountPoint: the driver good fails in command, at good.ts:8: Cannot read properties of null (reading 'length')",
		);
	});

	test.each([
		["nothing", "undefined", "command() returned no command"],
		["a number among the arguments", '{ file: "good", args: [1] }', "command() returned no command: args.0"],
		[
			"a file outside of its folder",
			'{ file: "good", args: [], files: { "../passwd": "" } }',
			'command() returned the file "../passwd": expected a path below the private directory',
		],
	])("whose driver's command is %s is a fault", async (_, command, message) => {
		write({ "good.mjs": good("good").replace(/command: .*/, `command: () => (${command}),`) });
		const { stderr } = await planned({ mountPoint: "good://share" });
		expect(stderr).toContain(message);
	});
});
