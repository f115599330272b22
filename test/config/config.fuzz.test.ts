import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeDriver } from "../../src/cli/drivers.ts";
import { parseEnvironment, environmentVariables } from "../../src/config/environment.ts";
import { ConfigError } from "../../src/options/faults.ts";
import { parseFluidFile } from "../../src/config/load.ts";
import { duration, endpointUrl, flag, integer, mode, text } from "../../src/options/option.ts";
import { parseMountOptions } from "../../src/config/option-layers.ts";
import { secretReference } from "../../src/config/secrets.ts";
import { drivers } from "../../src/drivers/index.ts";
import { parseS3Source } from "../../src/drivers/s3-source.ts";
import { LauncherError } from "../../src/errors.ts";
import { fuzzCases } from "../support/fuzz-cases.ts";
import { fixture, planOf } from "./planning.ts";

/** Long, because CI runs a hundred thousand cases on slow cores. */
const timeout = 180_000;

const hostile = fc.constantFrom(
	"__proto__",
	"constructor",
	"..",
	".",
	"/",
	"a/../b",
	"a\nb",
	"a\0b",
	"a,b",
	"-o",
	"$(x)",
	"\uFEFF",
	"\u202E",
	"\uD800",
	"",
	"%2e%2e",
	"//",
	"...",
	"~",
);
const anyText = fc.oneof(
	fc.string({ unit: "binary", maxLength: 30 }),
	fc.string({ unit: "grapheme-ascii", maxLength: 30 }),
	hostile,
);

const knownOptions = drivers
	.map(describeDriver)
	.flatMap(({ options, refusedOptions }) => [
		options.map(({ name }) => name),
		options.flatMap(({ aliases }) => aliases),
		refusedOptions.map(({ name }) => name),
	])
	.flat();
const optionName = fc.oneof(
	{ weight: 3, arbitrary: fc.constantFrom(...knownOptions) },
	fc.constantFrom("driver", "ro", "rw", "fluid.fuse.x"),
	anyText,
);
const optionValue = fc.oneof(
	anyText,
	fc.constantFrom(
		"",
		"true",
		"1",
		"0755",
		"30s",
		"/tmp/x",
		"http://minio:9000",
		"goofys",
		"s3fs",
		"us-east-1",
		"/etc/fluid/secrets/login/key",
		"/etc/fluid/secrets/login",
	),
);
const optionMap = fc.array(fc.tuple(optionName, optionValue), { maxLength: 6 }).map(asObject);
const sourceText = fc.oneof(
	anyText,
	fc
		.tuple(
			fc.constantFrom("s3://", "minio://", "oss://", "", "pvc://", "S3://"),
			fc.constantFrom("bucket", "my.bucket", "a"),
			anyText,
		)
		.map(([scheme, bucket, rest]) => `${scheme}${bucket}/${rest}`),
);
const maybe = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined });
const mount = fc.record({
	mountPoint: sourceText,
	name: maybe(anyText),
	path: maybe(anyText),
	options: maybe(optionMap),
	encryptOptions: maybe(optionMap),
	readOnly: maybe(fc.boolean()),
});
const file = fc.record({
	mounts: fc.array(mount, { maxLength: 4 }),
	targetPath: fc.oneof(
		fc.constantFrom("/runtime-mnt/thin/a/b/thin-fuse", "/a//b/"),
		anyText.map((folder) => `/t/${folder}`),
	),
	runtimeOptions: maybe(optionMap),
	accessModes: maybe(fc.subarray(["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce"])),
});

/** With a `__proto__` key being a key. */
function asObject<Value>(entries: readonly (readonly [string, Value])[]): Record<string, Value> {
	const result: Record<string, Value> = Object.create(null) as Record<string, Value>;
	for (const [key, value] of entries)
		Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true });
	return result;
}

/** What the function returns, or undefined for a fault of the kind that it may throw. */
function unlessFault<Value>(
	call: () => Value,
	kind: typeof ConfigError | typeof LauncherError = ConfigError,
): Value | undefined {
	try {
		return call();
	} catch (error) {
		if (error instanceof kind) return undefined;
		throw error;
	}
}

describe("whatever is in the config file", () => {
	it("text that is not JSON, or half of it, gives faults and nothing else", { timeout }, () => {
		const fixtures = ["minio.json", "everything.json", "secret-mode.json", "nulls.json"].map(fixture);
		const mutilated = fc
			.tuple(fc.constantFrom(...fixtures), fc.nat(1500), fc.nat(1500), anyText)
			.map(([original, from, length, inserted]) => original.slice(0, from) + inserted + original.slice(from + length));
		fc.assert(
			fc.property(fc.oneof(mutilated, anyText, fc.json()), (content) => {
				const loaded = unlessFault(() => parseFluidFile(content, "config.json"));
				expect(loaded?.targetPath ?? "/refused").toMatch(/^\/[^/]/);
			}),
			{ numRuns: fuzzCases("config text") },
		);
	});

	it(
		"JSON of any shape gives faults with paths, or a file that reads the same when it is written again",
		{ timeout },
		() => {
			const field = fc.oneof(fc.jsonValue({ maxDepth: 3 }), optionMap, fc.constant(null));
			const names = [
				"mounts",
				"targetPath",
				"runtimeOptions",
				"client",
				"accessModes",
				"persistentVolumeAttrs",
				"other",
			];
			const anyFile = fc.oneof(
				fc.array(fc.tuple(fc.constantFrom(...names), field), { maxLength: 5 }).map(asObject),
				fc
					.array(
						fc
							.array(fc.tuple(fc.constantFrom("mountPoint", "name", "path", "options", "readOnly"), field))
							.map(asObject),
					)
					.map((mounts) => ({ mounts, targetPath: "/t" })),
				file,
			);
			fc.assert(
				fc.property(anyFile, (content) => {
					const written = JSON.stringify(content);
					const loaded = unlessFault(() => parseFluidFile(written, "config.json", "/mount-point"));
					if (loaded === undefined) return;
					const again = JSON.stringify({ ...loaded.file, targetPath: loaded.targetPath }, (_key, value: unknown) =>
						value instanceof Map ? asObject([...value]) : value,
					);
					expect(parseFluidFile(again, "config.json")).toEqual({
						...loaded,
						file: { ...loaded.file, targetPath: loaded.targetPath },
					});
				}),
				{ numRuns: fuzzCases("config fields") },
			);
		},
	);

	it(
		"no mount is ever planned outside targetPath, or at the same place or name as another, and no command breaks out",
		{ timeout },
		async () => {
			const variables = fc.record({
				FLUID_FUSE_LAYOUT: fc.constantFrom("auto", "root", "named"),
				MOUNT_OPTIONS: fc.oneof(
					fc.constant(""),
					anyText.filter((value) => !value.includes("\0")),
				),
				FLUID_FUSE_SECRETS_DIR: fc.constant("/nowhere"),
			});
			await fc.assert(
				fc.asyncProperty(file, variables, async (content, environment) => {
					const plan = unlessFault(() => planOf(JSON.stringify(content), environment));
					if (plan === undefined) return;
					expect(plan.mounts.length + plan.refused.length).toBe(content.mounts.length);
					for (const { target } of plan.mounts) {
						expect(target === plan.targetPath || target.startsWith(`${plan.targetPath}/`), target).toBe(true);
						expect(target.split("/").filter((part) => part === "." || part === "..")).toEqual([]);
					}
					for (const facts of ["name", "id", "target"] as const) {
						expect(new Set(plan.mounts.map((planned) => planned[facts])).size).toBe(plan.mounts.length);
					}
					for (const { faults } of plan.refused) expect(faults).not.toEqual([]);
					for (const planned of plan.mounts) {
						const prepared = await planned.inspect().catch((error: unknown) => {
							if (!(error instanceof ConfigError) || error.faults.length === 0) throw error;
						});
						expect(prepared?.mount.summary.some((word) => /[\n\r\0]/.test(word)) ?? false).toBe(false);
					}
				}),
				{ numRuns: fuzzCases("mount plan") },
			);
		},
	);
});

describe("option values", () => {
	const meta = { description: "For tests." };

	it("read back as what was written", () => {
		fc.assert(
			fc.property(fc.nat(), fc.integer({ min: 0, max: 0o7777 }), fc.boolean(), (number, bits, yes) => {
				expect(integer(meta).parse(String(number))).toBe(number);
				expect(duration(meta).parse(`${number}ms`)).toBe(number);
				expect(mode(meta).parse(`0${bits.toString(8).padStart(3, "0")}`)).toBe(bits);
				expect(flag(meta).parse(String(yes))).toBe(yes);
			}),
			{ numRuns: fuzzCases("written options") },
		);
	});

	it("of any text are refused or harmless", () => {
		const endpoint = endpointUrl(meta);
		fc.assert(
			fc.property(
				fc.oneof(
					anyText,
					fc.webUrl(),
					fc.domain(),
					fc.ipV6().map((ip) => `[${ip}]:9000`),
				),
				(value) => {
					const href = endpoint.safeParse(value).data?.href ?? "https://refused/";
					expect(href).toMatch(/^https?:\/\/[^/\s,\\@?#]+\/[^\s,\\?#]*$/);
					expect(endpoint.parse(href)?.href).toBe(href);
					const plain = text(meta).safeParse(value).data;
					expect(plain === undefined || plain === value).toBe(true);
				},
			),
			{ numRuns: fuzzCases("any options") },
		);
	});

	it("in MOUNT_OPTIONS come apart as they were put together", { timeout }, () => {
		const name = fc
			.string({ minLength: 1, maxLength: 12 })
			.filter((key) => !/[,=]/.test(key) && key.trim() === key && key !== "");
		const value = fc.string({ maxLength: 12 }).filter((content) => !content.includes(","));
		fc.assert(
			fc.property(
				fc.uniqueArray(fc.tuple(fc.oneof(name, fc.constant("__proto__")), value), { selector: ([key]) => key }),
				anyText,
				(options, garbage) => {
					const joined = options.map(([key, content]) => (content === "" ? key : `${key}=${content}`)).join(",");
					expect([...parseMountOptions(joined)]).toEqual(options);
					const once = parseMountOptions(garbage);
					expect(parseMountOptions([...once].map(([key, content]) => `${key}=${content}`).join(","))).toEqual(once);
				},
			),
			{ numRuns: fuzzCases("mount options") },
		);
	});
});

describe("paths and addresses", () => {
	it("a secret's path names one file below the secret's own folder, or is none", () => {
		const part = fc.oneof(anyText, fc.constantFrom("a", "b", "..", "."));
		fc.assert(
			fc.property(
				fc.oneof(
					anyText,
					fc.array(part, { maxLength: 4 }).map((parts) => `/etc/fluid/secrets/${parts.join("/")}`),
				),
				(value) => {
					const found = secretReference(value, "/my/secrets");
					if (found === undefined) return;
					expect(`/etc/fluid/secrets/${found.secret}/${found.key}`.replace(/\/$/, "")).toBe(value.replace(/\/$/, ""));
					for (const name of [found.secret, found.key]) expect(name).not.toMatch(/\/|\0|^\.\.?$/);
				},
			),
			{ numRuns: fuzzCases("secret paths") },
		);
	});

	it("a source is a bucket and a prefix that put together again are the source, or a fault", () => {
		fc.assert(
			fc.property(sourceText, (source) => {
				const found = parseS3Source(source);
				if ("at" in found) return;
				const rest = source.replace(/^[a-z0-9+.-]+:\/\//i, "");
				expect(`${found.bucket}/${found.prefix}`.replace(/\/$/, "")).toBe(rest.replace(/\/$/, ""));
				expect(found.prefix).not.toMatch(/^\/|(^|\/)\.\.?\//);
			}),
			{ numRuns: fuzzCases("sources") },
		);
	});

	it("the environment is read, or its faults are named", () => {
		const name = fc.oneof(
			fc.constantFrom(...Object.keys(environmentVariables)),
			anyText.map((rest) => `FLUID_FUSE_${rest}`),
		);
		fc.assert(
			fc.property(fc.array(fc.tuple(name, optionValue)).map(asObject), (variables) => {
				const environment = unlessFault(() => parseEnvironment(variables), LauncherError);
				expect(environment?.FLUID_FUSE_STOP_TIMEOUT ?? 2000).toBeGreaterThanOrEqual(2000);
			}),
			{ numRuns: fuzzCases("environment") },
		);
	});
});
