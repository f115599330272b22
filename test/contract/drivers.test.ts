import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { Secret } from "../../src/secrets/secret.ts";
import type { RawOptions } from "../../src/drivers/driver.ts";
import { drivers } from "../../src/drivers/index.ts";
import { script } from "../../src/drivers/script.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { cachedBinaries, projectRoot } from "../support/pod.ts";
import { s3Drivers, type S3DriverUnderTest } from "../support/s3-drivers.ts";
import { testDriver } from "./driver-contract.ts";

let minio: Minio;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("contract");
	await minio.put("contract", "hello.txt", "hello\n");
});
afterAll(async () => minio.stop());

const path = process.env["PATH"];

const tested: readonly (S3DriverUnderTest & { readonly options?: RawOptions })[] = [
	...s3Drivers(),
	{ title: "native, by libfuse", name: "native", options: { transport: "libfuse" } },
];

for (const { title, name, programs, options } of tested) {
	const driver = drivers.find((candidate) => candidate.name === name);
	if (driver === undefined) throw new Error(`no driver ${name}`);
	describe(title, () => {
		beforeEach(() => {
			process.env["PATH"] = [programs, cachedBinaries, path].filter((part) => part !== undefined).join(delimiter);
		});
		testDriver(title, {
			driver,
			source: () => "s3://contract",
			options: () => ({
				...options,
				endpoint: minio.endpoint,
				"access-key": new Secret(minio.accessKey, "minio/access-key"),
				"secret-key": new Secret(minio.secretKey, "minio/secret-key"),
			}),
			missingSource: "s3://no-such-bucket",
			badOptions: { endpoint: "not a url", uid: "-1" },
		});
	});
}

describe("a vendor's script that mounts with s3fs", () => {
	beforeAll(() => {
		process.env["FLUID_FUSE_SCRIPT"] = join(projectRoot, "test/fixtures/mount.sh");
	});
	afterAll(() => {
		delete process.env["FLUID_FUSE_SCRIPT"];
	});
	testDriver("script", {
		driver: script,
		source: () => "s3://contract",
		options: () => {
			const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-keys-"));
			onTestFinished(() => rmSync(folder, { recursive: true }));
			const [key, secret] = ["access-key", "secret-key"].map((name) => join(folder, name));
			writeFileSync(key ?? "", minio.accessKey);
			writeFileSync(secret ?? "", minio.secretKey);
			return { url: minio.endpoint, "access-key": key ?? "", "secret-key": secret ?? "" };
		},
	});
});

test("every driver in the list keeps the contract", () => {
	const tested = [...s3Drivers().map(({ name }) => name), "script"];
	expect(new Set(tested)).toEqual(new Set(drivers.map(({ name }) => name)));
});
