import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/options/faults.ts";
import { isSecret } from "../../src/options/option.ts";
import { drivers as allDrivers } from "../../src/drivers/index.ts";
import { LauncherError } from "../../src/errors.ts";
import { createRedactor } from "../../src/secrets/redact.ts";
import { faultsOf, fileWith, inspectOnly, planOf, secretsFolder, targetPath } from "./planning.ts";

const source = { mountPoint: "s3://bucket", name: "data" };
const words = [
	"a\nb",
	"a\r\nb",
	"a\0b",
	"a,suid",
	"-o",
	"--endpoint=http://evil",
	"__proto__",
	"$(reboot)",
	"`reboot`",
	"a;b",
	"a b",
	"a\tb",
	"é",
	"\u202Eabc",
	"../..",
	"%n%s",
	"*",
	"~",
	"a\\",
	"'",
	'"',
	"𝒳",
	"\uD800",
	"a=b",
	"#",
	"{}",
	"null",
];

/** The command line of the only mount, or the faults that keep it from having one. */
async function outcome(text: string): Promise<{ command: readonly string[] } | { faults: readonly string[] }> {
	try {
		return { command: (await inspectOnly(text)).mount.summary };
	} catch (error) {
		if (!(error instanceof ConfigError)) throw error;
		return { faults: error.faults.map(({ path, message }) => `${path}: ${message}`) };
	}
}

/** Every driver has it in front of the mountpoint. */
/** What the command would mount: the word before the mount point, or the native driver's source. */
const bucketIn = (command: readonly string[]): string =>
	command[0] === "fluid-fuse"
		? (command[2] ?? "").replace(/^s3:\/\//, "").replace(/\/$/, "")
		: (command[command.indexOf("MOUNTPOINT") - 1] ?? "");

const isOneLine = (text: string): boolean => !/[\n\r\0\u202E]/.test(text);

// What a script takes is for the script to say.
const drivers = allDrivers.filter(({ takesAnyOption }) => takesAnyOption !== true);

describe.each(drivers.map(({ name, options }) => [name, Object.keys(options.shape)] as const))(
	"hostile values for %s",
	(driver, names) => {
		it("become one argument or a fault with the option's path, for every option", async () => {
			const plain = await outcome(fileWith([{ ...source, options: { driver } }]));
			if (!("command" in plain)) throw new Error("refused");
			const isHarmless = async (name: string, value: string): Promise<boolean> => {
				const found = await outcome(fileWith([{ ...source, options: { driver, [name]: value } }]));
				if ("faults" in found)
					return found.faults.every((fault) => isOneLine(fault) && fault.startsWith(`mounts[0].options.${name}: `));
				// An endpoint brings the most: itself and path-style, each with -o in front.
				const added = found.command.length - plain.command.length;
				return !/[\n\r\0]/.test(found.command.join("")) && added <= 4 && bucketIn(found.command) === "bucket";
			};
			const harmful: string[] = [];
			for (const name of names) {
				for (const value of words) if (!(await isHarmless(name, value))) harmful.push(`${name}=${value}`);
			}
			expect(harmful).toEqual([]);
		});

		it("as names of options are faults that stay on one line", async () => {
			for (const name of [...words, "constructor", "toString", "hasOwnProperty", "", " region"]) {
				const text = `{"mounts":[{"mountPoint":"s3://bucket","options":{"driver":"${driver}",${JSON.stringify(name)}:"x"}}],"targetPath":"${targetPath}"}`;
				const faults = await faultsOf(text);
				expect(faults, name).toHaveLength(1);
				expect(faults[0], name).toMatch(/^mounts\[0\]\.options[.[].*: (unknown option|refused)/);
				expect(isOneLine(faults[0] ?? "")).toBe(true);
			}
		});
	},
);

describe("hostile sources", () => {
	it("become one argument or a fault", async () => {
		const isHarmless = async (mountPoint: string, driver: string): Promise<boolean> => {
			const found = await outcome(fileWith([{ mountPoint, options: { driver } }]));
			if ("faults" in found)
				return found.faults.every((fault) => isOneLine(fault) && fault.startsWith("mounts[0].mountPoint: "));
			const bucket = bucketIn(found.command);
			return /^[a-z0-9]/i.test(bucket) && !/[\n\r\0]/.test(bucket) && !/\/\.\.?(\/|$)/.test(bucket);
		};
		const harmful: string[] = [];
		for (const word of words) {
			for (const mountPoint of [
				word,
				`s3://${word}`,
				`s3://bucket/${word}`,
				`${word}://bucket`,
				`s3://bucket/${word}/`,
			]) {
				for (const { name } of drivers)
					if (!(await isHarmless(mountPoint, name))) harmful.push(`${name} ${mountPoint}`);
			}
		}
		expect(harmful).toEqual([]);
	});

	it("are one argument of a script, which is no option, or a fault", async () => {
		for (const mountPoint of ["-rf", "--help", "s3://a\nb", "s3://a\0b", "nfs://\u001b[2J"]) {
			expect(await faultsOf(fileWith([{ mountPoint, options: { driver: "script" } }]))).toEqual([
				expect.stringMatching(/^mounts\[0\]\.mountPoint: must not (begin with a dash|contain control characters)$/),
			]);
		}
		const found = await outcome(
			fileWith([{ mountPoint: "ceph://a b;$(x)", options: { driver: "script", any: "thing" } }]),
		);
		expect("command" in found && found.command).toEqual([
			"/opt/mount.sh",
			"ceph://a b;$(x)",
			"MOUNTPOINT",
			"ceph",
			"PRIVATE/options.json",
		]);
	});

	it("are shown without the password that somebody put there", async () => {
		for (const mountPoint of [
			"s3://AKIA:hidden@bucket/prefix",
			"AKIA:hidden@bucket",
			"s3://AKIA:hid/hidden@bucket",
			"pvc://AKIA:hidden@claim",
		]) {
			const text = fileWith([{ mountPoint }]);
			const plan = planOf(text);
			expect(JSON.stringify([plan.mounts.map((mount) => mount.source), plan.refused])).not.toMatch(/AKIA|hidden/);
			const faults = await faultsOf(text);
			expect(faults).toHaveLength(1);
			expect(faults[0]).not.toMatch(/AKIA|hid/);
		}
	});
});

describe("hostile names and paths", () => {
	it("never lead out of targetPath", () => {
		for (const word of [...words, "..", ".", "/", "/..", "a/../../b", "//etc", "..\\.."]) {
			for (const mount of [{ name: word }, { path: word }, { name: word, path: word }]) {
				for (const layout of ["root", "named"]) {
					const plan = planOf(fileWith([{ mountPoint: "s3://bucket", ...mount }]), { FLUID_FUSE_LAYOUT: layout });
					for (const { target } of plan.mounts) expect(`${target}/`.startsWith(`${targetPath}/`), target).toBe(true);
				}
			}
		}
	});
});

describe("no message holds a secret's value", () => {
	const hidden = [
		"hidden value",
		"hidden\nvalue",
		"hidden\0value",
		"hidden:value",
		"[hidden",
		"#hidden",
		`hidden${"x".repeat(5000)}`,
		"hidden,value",
		"hidden",
	];

	it("whatever option it is given for, and wherever it comes from", async () => {
		for (const { name: driver, options } of drivers) {
			for (const [name, schema] of Object.entries(options.shape)) {
				const secretOption = isSecret(schema as Parameters<typeof isSecret>[0]);
				for (const value of hidden) {
					const folder = secretsFolder({ login: { key: value } });
					const variables = { FLUID_FUSE_SECRETS_DIR: folder };
					const cited = { driver, [name]: "/etc/fluid/secrets/login/key" };
					const given = [
						{ options: cited },
						{ encryptOptions: cited, options: {} },
						{ options: { driver }, encryptOptions: { [name]: value } },
					];
					// Outside encryptOptions a value in the file is a secret where its option is one.
					for (const mount of secretOption ? [...given, { options: { driver, [name]: value } }] : given) {
						const text = fileWith([{ ...source, ...mount }]);
						const redactor = createRedactor();
						const seen = await inspectOnly(text, variables, (secret) => redactor.add(secret)).then(
							({ options: planned, mount: prepared }) =>
								JSON.stringify(planned) + redactor.redact(JSON.stringify(prepared.summary)),
							(error: unknown) => {
								if (!(error instanceof LauncherError)) throw error;
								return JSON.stringify([error.message, error.hint, error.stack, "faults" in error ? error.faults : ""]);
							},
						);
						expect(seen.replaceAll(folder, ""), `${driver} ${name} ${JSON.stringify(mount)}`).not.toContain("hidden");
					}
				}
			}
		}
	});

	it("not even of a password in an endpoint, or of what stands beside a literal secret", async () => {
		for (const endpoint of ["https://id:hidden@minio", "https://id:hid/hidden@minio", "id:hidden@minio:9000"]) {
			const faults = await faultsOf(fileWith([{ ...source, options: { endpoint } }]));
			expect(faults).toHaveLength(1);
			expect(faults[0]).not.toContain("hidden");
		}
		const options = { "access-key": "AKIA", "secret-key": "also", region: "hidden!" };
		const faults = await faultsOf(fileWith([{ ...source, options }]));
		expect(faults).toEqual(["mounts[0].options.region: expected a region such as us-east-1"]);
	});
});

/** What every object of JavaScript has, and what sets its prototype. */
const inherited = ["constructor", "__proto__", "toString", "hasOwnProperty", "valueOf"];
// In an object literal `__proto__` would be no key.
const inheritedOptions = JSON.parse(`{${inherited.map((name) => `"${name}": "x"`).join(", ")}}`) as Record<
	string,
	string
>;

describe("names that every object has", () => {
	it.each(["native", "goofys", "s3fs"])("are unknown options of %s", async (driver) => {
		const text = fileWith([{ ...source, options: { driver } }]);
		const faulty = text.replace(
			`"driver":"${driver}"`,
			`"driver":"${driver}",${inherited.map((name) => `"${name}":"x"`).join()}`,
		);
		const { faults } = (await outcome(faulty)) as { faults: string[] };
		expect(faults).toEqual(
			expect.arrayContaining(inherited.map((name) => `mounts[0].options.${name}: unknown option of ${driver}`)),
		);
	});

	it("are options of a script, but for one that would get lost on the way", async () => {
		const withOptions = (given: object): string =>
			fileWith([{ ...source, options: { driver: "script", ONE: "1" } }]).replace(
				'"ONE":"1"',
				JSON.stringify(given).slice(1, -1),
			);
		const { ["__proto__"]: _, ...possible } = inheritedOptions;
		const { options } = await inspectOnly(withOptions(possible));
		expect(options.map(({ name, value }) => [name, value])).toEqual(Object.entries(possible));
		expect(await faultsOf(withOptions(inheritedOptions))).toEqual([
			'mounts[0].options.__proto__: no option can be called that, found "x"',
		]);
	});

	it.each(inherited)("%s is no driver", async (driver) => {
		expect(await faultsOf(fileWith([{ ...source, options: { driver } }]))).toEqual([
			expect.stringContaining(`mounts[0].options.driver: unknown driver "${driver}"`),
		]);
	});
});
