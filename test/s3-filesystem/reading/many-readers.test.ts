import { createHash, randomBytes } from "node:crypto";
import { execa } from "execa";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startMinio, type Minio } from "../../support/minio.ts";
import { MountedBucket } from "../mounted-bucket.ts";

const MiB = 1024 ** 2;
const content = randomBytes(48 * MiB);

let minio: Minio;
let mounted: MountedBucket | undefined;
beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("readers");
	for (const key of ["one", "two", "three"]) await minio.put("readers", key, content);
});
afterAll(async () => {
	await mounted?.abort();
	await minio.stop();
});

/** Each thread reads its file as its number says, in order or anywhere; prints where, and the digest of what it has read. */
const readers = `
import hashlib, mmap, os, random, threading
MiB = 1 << 20
def read(number, digests):
	path = ("one", "two", "three")[number % 3]
	kind = ("buffered", "direct", "random")[number // 3 % 3]
	file = os.open(path, os.O_RDONLY | (os.O_DIRECT if kind == "direct" else 0))
	buffer = mmap.mmap(-1, MiB)
	choose = random.Random(number)
	digest, offsets = hashlib.sha1(), []
	for turn in range(8):
		offset = choose.randrange(47 * MiB) if kind == "random" else (number * 5 % 40 + turn) * MiB
		count = os.preadv(file, [buffer], offset)
		assert count == MiB, (path, kind, offset, count)
		offsets.append(str(offset))
		digest.update(buffer[:])
	digests[number] = " ".join([kind, digest.hexdigest(), ",".join(offsets)])
	os.close(file)
digests = {}
def run(number):
	try: read(number, digests)
	except Exception as error: digests[number] = repr(error)
threads = [threading.Thread(target=run, args=[number]) for number in range(60)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted({digest.split()[0] for digest in digests.values()}))
for digest in digests.values(): print(digest)`;

test("sixty readers at a time of the smallest memory there may be wait for it, and none of them fails", async () => {
	mounted = await MountedBucket.mount({
		minio,
		endpoint: minio.endpoint,
		bucket: "readers",
		settings: { memoryBytes: 16 * MiB, readAheadBytes: 64 * MiB },
	});
	const { stdout } = await execa("python3", ["-c", readers], { cwd: mounted.target, timeout: 50_000 });
	const lines = stdout.split("\n");
	expect(lines[0]).toBe("['buffered', 'direct', 'random']");
	for (const line of lines.slice(1)) {
		const [, digest, offsets = ""] = line.split(" ");
		const hash = createHash("sha1");
		for (const offset of offsets.split(",").map(Number)) hash.update(content.subarray(offset, offset + MiB));
		expect(digest, line).toBe(hash.digest("hex"));
	}
	expect(lines).toHaveLength(61);
	expect((await mounted.stats())["memory_used_bytes"]).toBeLessThanOrEqual(16 * MiB);
});
