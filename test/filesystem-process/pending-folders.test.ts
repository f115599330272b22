import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { statfs } from "../../src/mounts/statfs.ts";
import { MountedMemory } from "../fuse/mounted-memory.ts";
import { FilesystemProcess } from "./process.ts";

let filesystem: FilesystemProcess;
let disk: string;
beforeEach(() => {
	filesystem = new FilesystemProcess();
	disk = mkdtempSync(join(tmpdir(), "fluid-fuse-pending-"));
});
afterEach(async () => {
	await filesystem.cleanUp();
	rmSync(disk, { recursive: true, force: true });
});

/** How a mount answers that has the options of one without write-back for a disk. */
async function answerOn(folder: string): Promise<string> {
	await filesystem.start({
		cache: { directory: join(folder, "parts"), limitBytes: 64 * 1024 ** 2 },
		stagingDirectory: join(folder, "writing", "one"),
		pendingDirectory: join(folder, "pending"),
	});
	const { kind } = await statfs(filesystem.mountpoint, 15_000);
	return kind;
}

test.each([
	["a pipe", (path: string) => void execFileSync("mkfifo", [path])],
	["a file", (path: string) => writeFileSync(path, "somebody's")],
	["a folder of others", (path: string) => mkdirSync(join(path, "thesis"), { recursive: true })],
])("a mount is there although %s is where closed files would be pending", async (_, make) => {
	make(join(disk, "pending"));
	expect(await answerOn(disk), filesystem.output).toBe("answered");
});

test("a mount is there although the disk on which closed files would be pending does not answer", async () => {
	const memory = await MountedMemory.mount();
	try {
		await memory.hold("lookup", "getattr", "open", "read", "create", "opendir", "readdir", "mkdir");
		expect(await answerOn(memory.path), filesystem.output).toBe("answered");
		await memory.hold();
	} finally {
		await memory.clear();
	}
});
