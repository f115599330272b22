import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { describeDriver } from "../../src/cli/drivers.ts";
import { configSchema, printSchema } from "../../src/cli/schema.ts";
import { drivers } from "../../src/drivers/index.ts";
import { fileWith, fixture } from "../config/planning.ts";
import { projectRoot } from "../support/pod.ts";
import { captured } from "./captured.ts";

const builtIn = { drivers, faults: [] };

const schema = configSchema(drivers);
// zod reads JSON Schema too: a second opinion on what was written.
const reader = z.fromJSONSchema(schema);
const accepts = (text: string): boolean => reader.safeParse(JSON.parse(text)).success;
const withOptions = (options: object): string => fileWith([{ mountPoint: "s3://bucket", options: { ...options } }]);

describe("schema", () => {
	it("is printed as JSON", async () => {
		const { exitCode, out, err } = await captured((output) => printSchema(builtIn, output));
		expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
		expect(JSON.parse(out)).toEqual(schema);
		expect(JSON.parse(out)).toMatchObject({ $schema: "https://json-schema.org/draft/2020-12/schema", type: "object" });
	});

	it("accepts every file that Fluid writes", () => {
		for (const name of readdirSync(join(projectRoot, "test/fixtures/fluid")))
			expect(accepts(fixture(name)), name).toBe(true);
	});

	it("refuses files of another shape", () => {
		for (const bad of [
			[],
			null,
			{ mounts: {} },
			{ mounts: [{}] },
			{ mounts: [{ mountPoint: "" }] },
			{ mounts: [{ mountPoint: "s3://b", readOnly: "yes" }] },
			{ targetPath: 1 },
			{ accessModes: ["x"] },
			{ runtimeOptions: [] },
			{ client: { options: { uid: 5 } } },
		]) {
			expect(accepts(JSON.stringify(bad)), JSON.stringify(bad)).toBe(false);
		}
	});

	it("knows the options of the driver that is named, and of any driver when none is", () => {
		for (const good of [
			{},
			{ endpoint: "http://a" },
			{ "minio-url": "http://a" },
			{ driver: "s3fs", umask: "0022" },
			{ umask: "0022" },
			{ cheap: "" },
			{ driver: "goofys", cheap: "" },
			{ "fluid.fuse.x": "y" },
			{ ro: "" },
			{ region: "US-east-1" },
		]) {
			expect(accepts(withOptions(good)), JSON.stringify(good)).toBe(true);
		}
		for (const bad of [
			{ regoin: "x" },
			{ driver: "goofys", umask: "0022" },
			{ driver: "s3fs", cheap: "" },
			{ driver: "s4" },
			{ uid: "many" },
			{ uid: 5 },
			{ dbglevel: "loud" },
			{ curldbg: "" },
			{ cheap: "", umask: "0022" },
		]) {
			expect(accepts(withOptions(bad)), JSON.stringify(bad)).toBe(false);
			expect(accepts(fileWith([], { runtimeOptions: bad })), JSON.stringify(bad)).toBe(false);
		}
	});

	it("takes the path of a secret for every option", () => {
		for (const { name: driver, options } of drivers.map(describeDriver)) {
			for (const { name } of options) {
				expect(accepts(withOptions({ driver, [name]: "/etc/fluid/secrets/login/key" })), `${driver} ${name}`).toBe(
					true,
				);
			}
		}
	});

	it("describes every option and every other name of it", () => {
		const definitions = schema.$defs as Record<string, { properties: Record<string, unknown> }>;
		for (const { name: driver, options } of drivers.map(describeDriver)) {
			const { properties } = definitions[driver] ?? { properties: {} };
			for (const { name, description, type, aliases } of options) {
				expect(properties[name]).toMatchObject({ description: `${description} (${type})`, type: "string" });
				for (const alias of aliases) expect(properties[alias]).toMatchObject({ description: `The same as ${name}.` });
			}
		}
	});

	it("refuses no value that the option itself takes", () => {
		const values = [
			"",
			"true",
			"YES",
			"0",
			"1",
			"755",
			"0o755",
			"30s",
			"1.5m",
			"/tmp/a",
			"http://a",
			"MinIO:9000",
			"EU-west-1",
			"STANDARD_IA",
			"private",
			"max_read=1,noatime",
			"auto",
			"IPv4",
			"info",
			"30GB",
			"0022",
			"-1",
			"131072",
		];
		for (const { name: driver, options } of drivers) {
			for (const [name, option] of Object.entries(options.shape)) {
				const taken = values.filter((value) => (option as z.ZodType).safeParse(value).success);
				for (const value of taken)
					expect(accepts(withOptions({ driver, [name]: value })), `${driver} ${name}=${value}`).toBe(true);
			}
		}
	});
});
