import { mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { noise } from "../s3/bucket.ts";
import { useBuckets } from "./buckets.ts";

const hour = 3600;

const buckets = useBuckets("clock");
let folder: string;
beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), "clock-"));
});
afterEach(async () => rm(folder, { recursive: true }));

test("a node whose clock jumps by an hour while a mount is used is not seen by applications", async () => {
	const offset = join(folder, "offset");
	const jumpTo = async (seconds: number): Promise<void> => writeFile(offset, `${seconds < 0 ? "" : "+"}${seconds}\n`);
	await jumpTo(0);
	const here = await buckets.mount({
		volume: { ttlMs: 500 },
		// https://github.com/wolfcw/libfaketime: a clock that was set, which others of the process do not follow.
		env: {
			LD_PRELOAD: "/usr/$LIB/faketime/libfaketime.so.1",
			FAKETIME_TIMESTAMP_FILE: offset,
			FAKETIME_NO_CACHE: "1",
			FAKETIME_DONT_FAKE_MONOTONIC: "1",
			NO_FAKE_STAT: "1",
		},
	});
	for (const [index, seconds] of [0, hour, -hour, 0].entries()) {
		await jumpTo(seconds);
		const at = join(here.target, `file${index}`);
		const bytes = noise(6 * 1024 ** 2, index);
		await writeFile(at, bytes);
		const aheadMs = (await stat(at)).mtimeMs - Date.now();
		expect(Math.abs(aheadMs / 1000 - seconds)).toBeLessThan(60);
		await rename(at, `${at}.moved`);
		expect((await readFile(`${at}.moved`)).equals(bytes)).toBe(true);
		await buckets.minio.put(buckets.name, `other${index}`, "of others");
		// What is believed of names does not last for an hour more.
		await expect.poll(async () => readdir(here.target), { timeout: 5000 }).toContain(`other${index}`);
	}
});
