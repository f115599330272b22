import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeFolderInRoot } from "../../src/mounts/mount.ts";

let folder: string;
const { PATH: path = "" } = process.env;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-empty-root-"));
	mkdirSync(join(folder, "root"));
	execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(folder, "root")]);
	writeFileSync(join(folder, "root/file"), "");
	mkdirSync(join(folder, "programs"));
});
afterEach(() => {
	process.env["PATH"] = path;
	execFileSync("umount", [join(folder, "root")]);
	rmSync(folder, { recursive: true });
});

test("why a folder cannot be made is not hidden by what fails after it", async () => {
	const mount = join(folder, "programs/mount");
	const real = execFileSync("which", ["mount"], { encoding: "utf8" }).trim();
	writeFileSync(mount, `#!/bin/sh\ncase "$*" in *remount,ro*) echo cannot >&2; exit 32;; esac\nexec ${real} "$@"\n`);
	chmodSync(mount, 0o755);
	process.env["PATH"] = [join(folder, "programs"), path].join(delimiter);
	const making = makeFolderInRoot(join(folder, "root"), join(folder, "root/file/below"));
	await expect(making).rejects.toThrow(/cannot make the folder .*ENOTDIR/);
});
