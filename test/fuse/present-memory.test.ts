import { expect, test } from "vitest";
import { presentMemory } from "../../src/fuse/present-memory.ts";

test("memory for requests is there before the kernel copies one into it", () => {
	const sizeBytes = 64 * 1024 ** 2;
	const before = process.memoryUsage.rss();
	const memory = presentMemory(sizeBytes);
	expect(process.memoryUsage.rss() - before).toBeGreaterThan(0.9 * sizeBytes);
	expect(memory.length).toBe(sizeBytes);
});
