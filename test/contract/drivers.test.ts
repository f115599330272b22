import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { delimiter } from "node:path";
import { Secret } from "../../src/config/secret.ts";
import type { RawOptions } from "../../src/drivers/driver.ts";
import { drivers } from "../../src/drivers/index.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { cachedBinaries } from "../support/pod.ts";
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

test("every driver in the list keeps the contract", () => {
	expect(new Set(s3Drivers().map(({ name }) => name))).toEqual(new Set(drivers.map(({ name }) => name)));
});
