import { execa } from "execa";
import { expect, test } from "vitest";
import { useBuckets } from "./buckets.ts";
import type { MountedBucket } from "./mounted-bucket.ts";

const buckets = useBuckets("sharing");

async function python(here: MountedBucket, script: string, args: readonly string[] = []): Promise<string> {
	const { stdout } = await execa("python3", ["-c", script, ...args], { cwd: here.target, timeout: 50_000 });
	return stdout;
}

/** Writes a file of its own and gives it one of three names, again and again. Each content has its checksum in front. */
const replacing = `
import os, random, sys, time, zlib
choose = random.Random(int(sys.argv[1]))
until = time.monotonic() + 6
count = 0
while time.monotonic() < until:
	body = choose.randbytes(choose.choice([100, 70_000, 3_000_000]))
	temporary = f"temporary-{sys.argv[1]}"
	with open(temporary, "wb") as file:
		file.write(b"%010d" % zlib.crc32(body) + body)
		if choose.random() < 0.5:
			file.flush()
			os.fsync(file.fileno())
	os.rename(temporary, f"name-{choose.randrange(3)}")
	count += 1
print(count)`;

/** Reads what the three names lead to; prints how often it was whole. */
const checking = `
import errno, os, random, sys, time, zlib
choose = random.Random(int(sys.argv[1]))
until = time.monotonic() + 6
whole = 0
while time.monotonic() < until:
	try:
		with open(f"name-{choose.randrange(3)}", "rb") as file:
			content = file.read()
	except OSError as error:
		# There is none yet, or it was replaced while it was read.
		if error.errno in (errno.ENOENT, errno.ESTALE): continue
		raise
	assert b"%010d" % zlib.crc32(content[10:]) == content[:10], f"{len(content)} bytes that are not one file"
	whole += 1
print(whole)`;

test.each([0, 60_000])(
	"who replaces files by renaming others is never read in halves, in this mount and in another (TTL %i)",
	async (ttlMs) => {
		const [here, there] = [await buckets.mount({ volume: { ttlMs } }), await buckets.mount({ volume: { ttlMs } })];
		const counts = await Promise.all([
			...["1", "2", "3"].map(async (seed) => python(here, replacing, [seed])),
			...["4", "5"].map(async (seed) => python(here, checking, [seed])),
			python(there, replacing, ["6"]),
			python(there, checking, ["7"]),
		]);
		for (const count of counts) expect(Number(count)).toBeGreaterThan(0);
	},
);

test("lines that several programs append to one file are all there, each whole", async () => {
	const here = await buckets.mount();
	const appending = `
import os, sys
for number in range(150):
	file = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
	os.write(file, f"{sys.argv[1]} {number} {'x' * (number * 7 % 300)}\\n".encode())
	if number % 3 == 0: os.fsync(file)
	os.close(file)`;
	const programs = ["a", "b", "c", "d"];
	await Promise.all(programs.map(async (name) => python(here, appending, [name])));
	const lines = (await buckets.minio.get(buckets.name, "log")).toString().trimEnd().split("\n");
	const expected = programs.flatMap((name) =>
		Array.from({ length: 150 }, (_, number) => `${name} ${number} ${"x".repeat((number * 7) % 300)}`),
	);
	expect(lines.toSorted()).toEqual(expected.toSorted());
});
