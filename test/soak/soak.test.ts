import { expect, test } from "vitest";
import { soak } from "./run.ts";

test(
	"applications see no error while the filesystem's process is killed again and again",
	{ timeout: 600_000 },
	async () => {
		const { kills, waits, counts, faults, left } = await soak({ minutes: 1, restartEvery: 10, stopEvery: 15 });
		expect(faults).toEqual([]);
		expect(left).toEqual([]);
		expect(kills).toBeGreaterThan(5);
		expect(waits).toHaveLength(kills);
		for (const [name, count] of Object.entries(counts)) expect(count, name).toBeGreaterThan(0);
	},
);
