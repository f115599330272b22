import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { startDistance } from "../support/distance.ts";
import { until } from "../support/pod.ts";
import { useBuckets } from "./buckets.ts";

const buckets = useBuckets("small-files");

const contentOf = (name: number): string => `${name} `.repeat(1000);

/** Files `0` to `count - 1` in a folder. */
async function fill(count: number): Promise<void> {
	const left = Array.from({ length: count }, (_, name) => name).values();
	const lane = async (): Promise<void> => {
		for (const name of left) await buckets.minio.put(buckets.name, `folder/${name}`, contentOf(name));
	};
	await Promise.all(Array.from({ length: 16 }, lane));
}

/** In no order that anything could guess from; the same in each run. */
function shuffled(count: number): number[] {
	return Array.from({ length: count }, (_, name) => ({ name, place: (name * 7919) % 1009 }))
		.toSorted((a, b) => a.place - b.place)
		.map(({ name }) => name);
}

test("small files of a directory that are read in no order are there before they are opened", async () => {
	await fill(300);
	const distance = await startDistance(buckets.minio.endpoint, 20);
	try {
		const here = await buckets.mount({ endpoint: distance.endpoint });
		for (const name of shuffled(300))
			expect(await readFile(join(here.target, "folder", `${name}`), "utf8")).toBe(contentOf(name));
		const { guessed_files, guessed_files_used, guessed_files_lost, guesses_stopped } = await here.stats();
		expect(guessed_files).toBeLessThan(300);
		expect(guessed_files_used).toBe(guessed_files);
		expect(guessed_files_used).toBeGreaterThan(180);
		expect([guessed_files_lost, guesses_stopped]).toEqual([0, 0]);
		await here.abort();
	} finally {
		await distance.stop();
	}
});

test("what was brought ahead is no older than what is known of its name", async () => {
	const ttlMs = 3000;
	await fill(60);
	const here = await buckets.mount({ volume: { ttlMs } });
	const order = shuffled(60);
	for (const name of order.slice(0, 30)) await readFile(join(here.target, "folder", `${name}`));
	await until(
		async () => {
			const { guessed_files = 0, guessed_files_used = 0 } = await here.stats();
			return guessed_files - guessed_files_used === 30;
		},
		20_000,
		() => "not all were brought",
	);
	const last = order.at(-1) ?? 0;
	await buckets.minio.put(buckets.name, `folder/${last}`, "another");
	await delay(1.2 * ttlMs);
	expect(await readFile(join(here.target, "folder", `${last}`), "utf8")).toBe("another");
});
