import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { declaration } from "../../types/generate.ts";
import { projectRoot } from "../support/pod.ts";

const published = join(projectRoot, "types/fluid-fuse.d.ts");

test("types/fluid-fuse.d.ts is what tsc makes of the source", () => {
	expect(readFileSync(published, "utf8")).toBe(declaration());
});

/** As a vendor has it: a folder with a driver and the declaration, and nothing else. */
async function compile(driver: string) {
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-vendor-"));
	onTestFinished(() => rmSync(folder, { recursive: true }));
	cpSync(published, join(folder, "fluid-fuse.d.ts"));
	writeFileSync(join(folder, "driver.ts"), driver);
	const compiler = join(projectRoot, "node_modules/.bin/tsc");
	const words = ["--noEmit", "--strict", "--erasableSyntaxOnly", "--exactOptionalPropertyTypes", "--types", ""];
	const { stdout, exitCode } = await execa(
		compiler,
		[
			...words,
			"--module",
			"esnext",
			"--moduleResolution",
			"bundler",
			"--target",
			"es2024",
			"driver.ts",
			"fluid-fuse.d.ts",
		],
		{ cwd: folder, reject: false, timeout: 50_000 },
	);
	return { exitCode, stdout };
}

const rclone = readFileSync(join(projectRoot, "examples/rclone/rclone.ts"), "utf8");

test("a driver compiles against the published declaration alone", async () => {
	expect(await compile(rclone)).toEqual({ exitCode: 0, stdout: "" });
});

test("the declaration knows the types of a driver's own options", async () => {
	const wrong = rclone.replace(
		"faults(mount, options) {",
		"faults(mount, options) { options.uid.trim(); options.nothing;",
	);
	const { stdout } = await compile(wrong);
	expect(stdout).toContain("Property 'trim' does not exist on type 'number'");
	expect(stdout).toContain("Property 'nothing' does not exist");
});

test("the driver of docs/vendors.md compiles, too", async () => {
	const page = readFileSync(join(projectRoot, "docs/vendors.md"), "utf8");
	const [, driver = ""] = /^```ts\n([^]*?)^```$/m.exec(page) ?? [];
	expect(driver).toContain("defineCommandDriver");
	expect(await compile(driver)).toEqual({ exitCode: 0, stdout: "" });
});
