import { describe, expect, test } from "vitest";
import { diskStep, graceStep, memoryStep } from "../../src/cli/check-host.ts";
import { parseMountinfo } from "../../src/mounts/mountinfo.ts";

const GiB = 1024 ** 3;

test("a stop that takes longer than kubelet waits is a warning", () => {
	expect(graceStep(25_000)).toMatchObject({ outcome: "passed" });
	expect(graceStep(30_000)).toMatchObject({
		outcome: "warning",
		hint: expect.stringContaining("FLUID_FUSE_STOP_TIMEOUT"),
	});
});

test("a budget that leaves no room for the programs is a warning", () => {
	expect(memoryStep(2 * GiB, GiB)).toMatchObject({ outcome: "passed" });
	expect(memoryStep(2 * GiB, 1.5 * GiB)).toMatchObject({
		outcome: "warning",
		message: "2.0 GiB for the container, 1.5 GiB of it for parts of objects",
	});
});

describe("the disk of the cache", () => {
	const mount = (type: string, options = "rw") =>
		parseMountinfo(`30 25 0:26 / /cache ${options},relatime shared:12 - ${type} disk ${options}\n`)[0];

	test.each([
		["ext4", "rw", 20 * GiB, "passed", "20 GiB free in /cache, 10 GiB may be used"],
		["ext4", "rw", 2 * GiB, "warning", "2.0 GiB free"],
		["ext4", "ro", 20 * GiB, "failed", "read-only disk"],
		["tmpfs", "rw", 20 * GiB, "warning", "is memory"],
		["overlay", "rw", 20 * GiB, "warning", "the container's own disk"],
		["ext4", "rw", undefined, "warning", "is not there, or does not answer"],
	] as const)("%s, %s, with %s bytes free: %s", (type, options, freeBytes, outcome, message) => {
		const step = diskStep("/cache", 10 * GiB, mount(type, options), freeBytes);
		expect(step).toMatchObject({ outcome, message: expect.stringContaining(message) });
		expect(step.hint === undefined).toBe(outcome === "passed");
	});
});
