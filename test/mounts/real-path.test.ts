import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openAndMount } from "../../src/fuse/mount.ts";
import { realPath } from "../../src/mounts/real-path.ts";

let folder: string;
beforeEach(() => {
	folder = realpathSync(mkdtempSync(join(tmpdir(), "fluid-fuse-real-path-")));
	mkdirSync(join(folder, "a/b"), { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

test.each([
	["without links", "a/b", "a/b"],
	["with slashes too many", "a//b/", "a/b"],
	["that is not there", "a/x/y", "a/x/y"],
	["with a relative link", "relative/c", "a/b/c"],
	["with an absolute link", "absolute/b", "a/b"],
	["with a link that goes up", "a/up/b", "a/b"],
	["with a link to a link", "chain/c", "a/b/c"],
	["that is a link itself", "relative", "a/b"],
	["that is a link to what is not there", "dangling/c", "none/such/c"],
])("a path %s", async (_, path, expected) => {
	symlinkSync("a/b", join(folder, "relative"));
	symlinkSync(join(folder, "a"), join(folder, "absolute"));
	symlinkSync("../a", join(folder, "a/up"));
	symlinkSync("absolute/b", join(folder, "chain"));
	symlinkSync("none/such", join(folder, "dangling"));
	expect(await realPath(join(folder, path))).toBe(join(folder, expected));
});

test("links that go in a circle end it", async () => {
	symlinkSync("round", join(folder, "round"));
	expect(await realPath(join(folder, "round/a"))).toBe(join(folder, "round/a"));
});

test("where something is mounted that hangs, nothing is touched", async () => {
	const target = join(folder, "a/b");
	const signal = AbortSignal.timeout(10_000);
	const fd = await openAndMount({ target, source: "x", subtype: "x", readOnly: true, allowOther: true, signal });
	try {
		symlinkSync("a", join(folder, "link"));
		expect(await realPath(join(folder, "link/b"))).toBe(target);
	} finally {
		closeSync(fd);
		execFileSync("umount", ["-l", target]);
	}
});
