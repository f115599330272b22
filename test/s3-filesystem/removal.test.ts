import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmdirSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RequestContext } from "../../src/fuse/filesystem.ts";
import { createS3Filesystem } from "../../src/s3-filesystem/index.ts";
import type { VolumeOptions } from "../../src/s3-filesystem/names/volume.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { startMinio } from "../support/minio.ts";
import { useMemoryBucket } from "./memory-bucket.ts";
import { MountedBucket } from "./mounted-bucket.ts";
import { startRealBucket, type RealBucket } from "./writing/real-bucket.ts";
import { plainVolume } from "./plain-volume.ts";

const memory = useMemoryBucket();
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

test.each([
	{ sizeBytes: 5 * 1024 ** 3, becomes: "is moved aside", isMoved: true },
	{ sizeBytes: 5 * 1024 ** 3 + 1, becomes: "is not moved, and gives ESTALE", isMoved: false },
])(
	"an open file of $sizeBytes bytes whose name another one takes $becomes",
	async ({ sizeBytes, isMoved }) => {
		const keys = ["file"];
		memory.server.fill(keys.toSorted());
		memory.server.manners({ rewrite: (xml) => xml.replace(/(<Key>file<\/Key>.*?<Size>)0</, `$1${sizeBytes}<`) });
		const proxy = await startFaultProxy(memory.server.endpoint);
		const copies: string[] = [];
		const only = ({ url = "", headers }: IncomingMessage): boolean => {
			if ("x-amz-copy-source" in headers || url.includes("uploads")) copies.push(url);
			return false;
		};
		await proxy.fail({ kind: "headers", headers: {} }, { only });
		const here = await memory.mount({ endpoint: proxy.endpoint });
		const script = `
import os
file = os.open("file", os.O_RDONLY)
assert os.fstat(file).st_size == ${sizeBytes}
os.unlink("file")
with open("file", "w") as other: other.write("other")
print(*os.listdir("."), open("file").read(), os.fstat(file).st_size)
try: os.pread(file, 10, 0)
except OSError as error: print(os.strerror(error.errno))`;
		const { stdout } = await execa("python3", ["-c", script], { cwd: here.target, timeout: 60_000 });
		const [found, error] = stdout.split("\n");
		expect(found).toBe(`file other ${sizeBytes}`);
		// Moved, it is asked for; this server only says that it has so many bytes.
		expect(error === "Stale file handle").toBe(!isMoved);
		expect(copies.map((url) => url.split("/")[2])).toEqual(isMoved ? [".fluid-fuse-unlinked"] : []);
		await expect.poll(() => memory.server.keys, { timeout: 10_000 }).toEqual(keys);
		await proxy.stop();
	},
	90_000,
);

test("what the server lists as a folder, and has no object of, is neither in the way of a directory's end nor of a file", async () => {
	const data = join(folder, "minio");
	const minio = await startMinio({ dataDir: data });
	await minio.createBucket("bucket");
	await minio.put("bucket", "directory/", Buffer.alloc(0));
	await minio.put("bucket", "file", "one");
	await minio.put("bucket", "implied/file", "two");
	// What MinIO leaves of objects when their clients are broken off.
	for (const gone of ["directory/gone", "file", "new"])
		mkdirSync(join(data, "bucket", gone, "ac9d0c44-4e1c-4d1a-8d1c-3d3a6d0c8a51"), { recursive: true });
	const mounted = await MountedBucket.mount({ minio, endpoint: minio.endpoint, bucket: "bucket" });
	const path = (name: string): string => join(mounted.target, name);
	try {
		expect(readFileSync(path("file"), "utf8")).toBe("one");
		writeFileSync(path("new"), "three");
		expect(readFileSync(path("new"), "utf8")).toBe("three");
		expect(readFileSync(path("implied/file"), "utf8")).toBe("two");
		expect(readdirSync(path("directory"))).toEqual(["gone"]);
		rmdirSync(path("directory"));
		expect(existsSync(path("directory"))).toBe(false);
		expect(await minio.list("bucket")).toEqual(["file", "implied/file", "new"]);
	} finally {
		await mounted.abort();
		await minio.stop();
	}
});
