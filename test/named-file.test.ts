import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openAndMount } from "../src/fuse/mount.ts";
import { readNamedFile, readRegularFile, requireWritableFolder } from "../src/named-file.ts";
import { until } from "./support/pod.ts";

let folder: string;
let fd: number | undefined;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-named-file-"));
});
afterEach(() => {
	if (fd !== undefined) {
		closeSync(fd);
		execFileSync("umount", ["-l", join(folder, "hung")]);
		fd = undefined;
	}
	rmSync(folder, { recursive: true });
});

/** A filesystem that answers nothing, as one of a network whose server is gone. */
async function hungFolder(): Promise<string> {
	const target = join(folder, "hung");
	mkdirSync(target);
	const signal = AbortSignal.timeout(10_000);
	fd = await openAndMount({ target, source: "hung", subtype: "hung", readOnly: true, allowOther: true, signal });
	return target;
}

/** Processes, zombies left out, that have this path among their arguments. */
function childrenFor(path: string): string[] {
	const rows = execFileSync("ps", ["-eo", "pid=,stat=,args="], { encoding: "utf8" }).split("\n");
	return rows.filter((row) => row.includes(path) && !/^\s*\d+ Z/.test(row));
}

describe.each([
	["a file that the launcher was started for", readRegularFile],
	["a file that somebody named", readNamedFile],
] as const)("%s", (_, read) => {
	test("is read whole, through links too, up to 4 MiB", async () => {
		writeFileSync(join(folder, "file"), "text\n");
		symlinkSync("file", join(folder, "link"));
		writeFileSync(join(folder, "large"), Buffer.alloc(4 * 1024 ** 2, "x"));
		writeFileSync(join(folder, "empty"), "");
		expect((await read(join(folder, "link"))).toString()).toBe("text\n");
		expect((await read(join(folder, "large"))).equals(Buffer.alloc(4 * 1024 ** 2, "x"))).toBe(true);
		expect(await read(join(folder, "empty"))).toHaveLength(0);
	});

	test("is refused at once where it is a pipe, a device, a folder, or larger", async () => {
		execFileSync("mkfifo", [join(folder, "pipe")]);
		symlinkSync("/dev/zero", join(folder, "link"));
		for (const path of [join(folder, "pipe"), join(folder, "link"), "/dev/zero", "/dev/tty", folder]) {
			await expect(read(path), path).rejects.toMatchObject({ message: "is not a regular file", isFinal: true });
		}
		writeFileSync(join(folder, "large"), "");
		truncateSync(join(folder, "large"), 2 ** 40);
		await expect(read(join(folder, "large"))).rejects.toMatchObject({ message: "is larger than 4 MiB", isFinal: true });
	});

	test("is not there: that may pass", async () => {
		await expect(read(join(folder, "absent"))).rejects.not.toMatchObject({ isFinal: true });
		await expect(read(join(folder, "absent"))).rejects.toThrow(/ENOENT|cannot be read: No such file or directory/);
	});
});

test("a file that somebody named is waited for seconds where its filesystem hangs, by one process at the most", async () => {
	const hung = await hungFolder();
	const path = join(hung, "file");
	const silent = { kind: "silent", message: "does not answer within 3 s", isFinal: false };
	await expect(readNamedFile(path)).rejects.toMatchObject(silent);
	const again = await Promise.allSettled(Array.from({ length: 20 }, async () => readNamedFile(path)));
	expect(again.every(({ status }) => status === "rejected")).toBe(true);
	await expect(requireWritableFolder(path)).rejects.toMatchObject(silent);
	expect(childrenFor(path).length).toBeLessThanOrEqual(1);
	// Others are read meanwhile.
	writeFileSync(join(folder, "file"), "text");
	expect((await readNamedFile(join(folder, "file"))).toString()).toBe("text");
	closeSync(fd ?? -1);
	fd = undefined;
	execFileSync("umount", ["-l", hung]);
	await until(
		() => childrenFor(path).length === 0,
		10_000,
		() => "a child is left",
	);
	await expect.poll(async () => readNamedFile(path).catch(String), { timeout: 10_000 }).toContain("No such file");
});

test("a folder that somebody named can be written to or not", async () => {
	await requireWritableFolder(folder);
	const unwritable = { isFinal: false, message: expect.stringMatching(/^cannot be written to: /) };
	await expect(requireWritableFolder(join(folder, "absent"))).rejects.toMatchObject(unwritable);
	const readOnly = join(folder, "read-only");
	mkdirSync(readOnly);
	execFileSync("mount", ["-t", "tmpfs", "-o", "ro", "tmpfs", readOnly]);
	try {
		await expect(requireWritableFolder(readOnly)).rejects.toMatchObject(unwritable);
	} finally {
		execFileSync("umount", [readOnly]);
	}
});
