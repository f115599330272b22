import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RequestContext } from "../../src/fuse/filesystem.ts";
import { createS3Filesystem } from "../../src/s3-filesystem/index.ts";
import type { VolumeOptions } from "../../src/s3-filesystem/names/volume.ts";
import { startRealBucket, type RealBucket } from "./writing/real-bucket.ts";
import { plainVolume } from "./plain-volume.ts";

let bucket: RealBucket;
let folder: string;

beforeAll(async () => {
	bucket = await startRealBucket();
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-removal-"));
});
afterAll(async () => {
	await bucket.stop();
	rmSync(folder, { recursive: true });
});

const context = { uid: 0, gid: 0, pid: 1, signal: AbortSignal.timeout(60_000) } as unknown as RequestContext;
const readWrite = 2;

test("what is open of a hidden volume goes on; once that is forsaken it is ESTALE, and what is lost is named", async () => {
	const volume: VolumeOptions = {
		...plainVolume,
		folder: "data",
		store: bucket.store,
		identity: "writing",
		prefix: "removal/",
	};
	const settings = {
		memoryBytes: 32 * 1024 ** 2,
		readAheadBytes: 1024 ** 2,
		stagingDirectory: folder,
		stagingLimitBytes: 64 * 1024 ** 2,
	};
	const filesystem = createS3Filesystem([volume], settings);
	const top = await filesystem.lookup(1, "data", context);
	const made = await filesystem.create?.(top.node, "file", 0o644, readWrite, context);
	if (made === undefined) throw new Error("nothing was made");
	await filesystem.write?.(made.node, made.handle, 0, Buffer.from("one"), context);
	expect(filesystem.openFiles(volume)).toBe(1);

	filesystem.hide(volume);
	expect(() => filesystem.lookup(1, "data", context)).toThrow(expect.objectContaining({ errno: "ENOENT" }));
	await filesystem.write?.(made.node, made.handle, 3, Buffer.from(" two"), context);
	await filesystem.drain(volume);
	expect((await bucket.minio.get("writing", "removal/file")).toString()).toBe("one two");

	await filesystem.write?.(made.node, made.handle, 7, Buffer.from(" three"), context);
	expect(await filesystem.forsake(volume)).toEqual(["removal/file"]);
	const stale = expect.objectContaining({ errno: "ESTALE" });
	expect(() => filesystem.write?.(made.node, made.handle, 0, Buffer.from("late"), context)).toThrow(stale);
	expect(() => filesystem.read?.(made.node, made.handle, 0, 3, context)).toThrow(stale);
	expect(() => filesystem.getattr(made.node, undefined, context)).toThrow(stale);
	await filesystem.release?.(made.node, made.handle);
	expect(filesystem.openFiles(volume)).toBe(0);
	expect((await bucket.minio.get("writing", "removal/file")).toString()).toBe("one two");
});
