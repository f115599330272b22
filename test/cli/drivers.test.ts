import { describe, expect, it } from "vitest";
import { listDrivers, type DescribedDriver } from "../../src/cli/drivers.ts";
import { drivers } from "../../src/drivers/index.ts";
import { captured } from "./captured.ts";

const builtIn = { drivers, faults: [] };

const list = async (name: string | undefined, json: boolean) =>
	captured((output) => listDrivers(builtIn, name, { json }, output));

describe("drivers", () => {
	it("lists each with its schemes, types, options and refusals", async () => {
		const { exitCode, out, err } = await list(undefined, false);
		expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
		for (const { name, schemes } of drivers.filter((driver) => driver.schemes.length > 0)) {
			const oss = schemes.includes("oss") ? "oss://, " : "";
			expect(out).toContain(`${name}\n  serves s3://, minio://, ${oss}a bare bucket name\n`);
		}
		expect(out).toContain(
			"  serves volumes of s3.csi.aws.com, s3.csi.scality.com, ru.yandex.s3.csi, ch.ctrox.csi.s3-driver, com.tencent.cloud.csi.cosfs, cos.s3.csi.ibm.io\n",
		);
		expect(out).toContain("  mounts as fuse.s3fs\n");
		expect(out).toContain(
			"script\n  serves what it is chosen for by name\n  serves volumes of any CSI driver\n  mounts as whatever it mounts\n\n  Options: any.\n",
		);
		expect(out).toContain(
			"    endpoint (URL)\n      Address of the S3 server. Default: Amazon's, for the region.\n      Also: url, minio-url,",
		);
		expect(out).toContain("    curldbg: it writes credentials to the log\n");
	});

	it("lists one alone", async () => {
		const { out } = await list("s3fs", false);
		expect(out).toMatch(/^s3fs\n/);
		expect(out).not.toContain("stat-cache-ttl");
	});

	it("lists the same as data", async () => {
		const described = JSON.parse((await list(undefined, true)).out) as DescribedDriver[];
		expect(described.map(({ name }) => name)).toEqual(drivers.map(({ name }) => name));
		for (const [index, driver] of drivers.entries()) {
			expect(described[index]?.options.map(({ name }) => name)).toEqual(Object.keys(driver.options.shape));
			expect(described[index]?.refusedOptions.map(({ name }) => name)).toEqual(Object.keys(driver.refusedOptions));
		}
		const one = JSON.parse((await list("goofys", true)).out) as DescribedDriver[];
		expect(one).toEqual([described.find(({ name }) => name === "goofys")]);
	});

	it("suggests the driver that was meant", async () => {
		await expect(list("goofy", false)).rejects.toMatchObject({
			code: "USAGE",
			message: 'unknown driver "goofy" (did you mean "goofys"?)',
			hint: "There are native, goofys, s3fs, script.",
		});
		await expect(list("constructor", false)).rejects.toMatchObject({ code: "USAGE" });
	});
});
