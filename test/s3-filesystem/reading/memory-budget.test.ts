import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { containerMemoryBytes } from "../../../src/s3-filesystem/reading/container-memory.ts";
import { createMemoryBudget, defaultBudgetBytes } from "../../../src/s3-filesystem/reading/memory-budget.ts";
import type { PooledBuffer } from "../../../src/s3-filesystem/reading/memory.ts";
import { KiB, MiB } from "./reads.ts";

function allocateNow(budget: ReturnType<typeof createMemoryBudget>, sizeBytes: number): PooledBuffer {
	const memory = budget.tryAllocate(sizeBytes);
	if (memory === undefined) throw new Error("the budget is used up");
	return memory;
}

describe.each([
	["its own memory", false],
	["memory that all threads see", true],
])("with %s", (_, isShared) => {
	test("gives buffers of the size that was asked for, until the budget is used up", () => {
		const budget = createMemoryBudget(4 * MiB, { isShared });
		const sizes = [1, 5000, 300 * KiB, MiB, 1.5 * MiB];
		const buffers = sizes.map((size) => allocateNow(budget, size));
		expect(buffers.map(({ buffer }) => buffer.length)).toEqual(sizes);
		expect(budget.usedBytes).toBeGreaterThanOrEqual(2.8 * MiB);
		expect(budget.tryAllocate(1.5 * MiB)).toBeUndefined();
		for (const memory of buffers) memory.free();
		expect(allocateNow(budget, 4 * MiB).buffer).toHaveLength(4 * MiB);
		expect(budget.usedBytes).toBe(4 * MiB);
	});

	test("never uses more than its limit, whatever is taken and given back", () => {
		const size = fc.oneof(
			fc.nat(10_000),
			fc.integer({ min: 1, max: 3 * MiB }),
			fc.constantFrom(MiB, 2 * MiB, 256 * KiB),
		);
		fc.assert(
			fc.property(fc.array(fc.oneof(size, fc.constant("free" as const)), { maxLength: 80 }), (steps) => {
				const budget = createMemoryBudget(8 * MiB, { isShared });
				const held: PooledBuffer[] = [];
				for (const step of steps) {
					if (step === "free") held.shift()?.free();
					else {
						const memory = budget.tryAllocate(step);
						if (memory !== undefined) held.push(memory);
					}
					const heldBytes = held.reduce((sum, { buffer }) => sum + buffer.length, 0);
					expect(budget.usedBytes).toBeLessThanOrEqual(8 * MiB);
					expect(budget.usedBytes).toBeGreaterThanOrEqual(heldBytes);
				}
				for (const memory of held) memory.free();
				expect(allocateNow(budget, 8 * MiB).buffer).toHaveLength(8 * MiB);
			}),
		);
	});

	test("takes a buffer back only once", () => {
		const budget = createMemoryBudget(4 * MiB, { isShared });
		const small = allocateNow(budget, 100);
		small.free();
		small.free();
		expect(budget.usedBytes).toBe(0);
		const large = allocateNow(budget, MiB);
		large.free();
		large.free();
		const [one, other] = [allocateNow(budget, MiB).buffer.fill(1), allocateNow(budget, MiB).buffer.fill(2)];
		expect([one.includes(2), other.includes(1)]).toEqual([false, false]);
	});

	test("asks the reclaimers when memory is short, the oldest first, and says whether it is for a wish", () => {
		const budget = createMemoryBudget(4 * MiB, { isShared });
		const held = [allocateNow(budget, 2 * MiB), allocateNow(budget, 2 * MiB)];
		const asked: string[] = [];
		budget.addReclaimer((wantedBytes, urgency) => {
			asked.push(`first ${wantedBytes / MiB} ${urgency}`);
			return 0;
		});
		budget.addReclaimer((wantedBytes, urgency) => {
			asked.push(`second ${wantedBytes / MiB} ${urgency}`);
			const memory = urgency === "need" ? held.pop() : undefined;
			memory?.free();
			return memory === undefined ? 0 : 2 * MiB;
		});
		expect(budget.tryAllocate(MiB, "wish")).toBeUndefined();
		expect(allocateNow(budget, MiB).buffer).toHaveLength(MiB);
		expect(asked).toEqual(["first 1 wish", "second 1 wish", "first 1 need", "second 1 need"]);
	});
});

test("uses large buffers again, and counts those that wait for it", () => {
	const budget = createMemoryBudget(4 * MiB);
	const first = allocateNow(budget, MiB);
	const { buffer } = first.buffer;
	first.free();
	expect(budget.usedBytes).toBe(MiB);
	expect(allocateNow(budget, MiB - 1000).buffer.buffer).toBe(buffer);
	expect(budget.usedBytes).toBe(MiB);
});

test("where shared memory is cut up, gives up all that can be for a need, and for a wish only some", () => {
	const budget = createMemoryBudget(16 * MiB, { isShared: true });
	const held = Array.from({ length: 16 }, () => allocateNow(budget, MiB));
	// No two of them touch each other, until there are no others.
	const evictable = [...held.filter((_, index) => index % 2 === 0), ...held.filter((_, index) => index % 2 === 1)];
	budget.addReclaimer(() => {
		const memory = evictable.shift();
		memory?.free();
		return memory === undefined ? 0 : MiB;
	});
	expect(budget.tryAllocate(2 * MiB, "wish")).toBeUndefined();
	expect(evictable).toHaveLength(12);
	expect(allocateNow(budget, 2 * MiB).buffer).toHaveLength(2 * MiB);
	expect(evictable).toHaveLength(7);
});

test("lends no byte of shared memory twice", () => {
	const size = fc.oneof(fc.nat(10_000), fc.integer({ min: 1, max: 3 * MiB }), fc.constantFrom(MiB, 2 * MiB, 256 * KiB));
	fc.assert(
		fc.property(
			fc.array(
				fc.oneof(
					size,
					fc.nat(20).map((index) => ({ free: index })),
				),
				{ maxLength: 80 },
			),
			(steps) => {
				const budget = createMemoryBudget(8 * MiB, { isShared: true });
				const held: PooledBuffer[] = [];
				for (const step of steps) {
					if (typeof step === "object") held.splice(step.free, 1)[0]?.free();
					else held.push(...[budget.tryAllocate(step)].flatMap((memory) => memory ?? []));
					const inOrder = held.map(({ buffer }) => buffer).toSorted((a, b) => a.byteOffset - b.byteOffset);
					for (const [index, { byteOffset, length }] of inOrder.entries())
						expect(byteOffset + length).toBeLessThanOrEqual(inOrder[index + 1]?.byteOffset ?? 8 * MiB);
				}
			},
		),
	);
});

test("frees memory at once, not when the garbage is collected", () => {
	const budget = createMemoryBudget(64 * MiB);
	const before = process.memoryUsage().arrayBuffers;
	// Of sizes that nobody asks for again.
	for (let round = 0; round < 20; round++) allocateNow(budget, (64 - 20 * (round % 2)) * MiB).free();
	expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * MiB);
});

test("tells who listens what was given back", () => {
	const budget = createMemoryBudget(4 * MiB);
	let frees = 0;
	budget.onFree(() => frees++);
	allocateNow(budget, MiB).free();
	allocateNow(budget, 100).free();
	expect(frees).toBe(2);
});

describe("of the container", () => {
	let root: string;
	beforeAll(() => {
		root = mkdtempSync(join(tmpdir(), "cgroup-"));
	});
	afterAll(() => rmSync(root, { recursive: true }));
	let machines = 0;
	const machine = (files: Readonly<Record<string, string>>): string => {
		const path = join(root, String(machines++));
		for (const [name, content] of Object.entries(files)) {
			mkdirSync(dirname(join(path, name)), { recursive: true });
			writeFileSync(join(path, name), content);
		}
		return path;
	};

	test("finds the limit of version 2 where a container sees it", () => {
		const path = machine({ "sys/fs/cgroup/memory.max": "268435456\n", "proc/self/cgroup": "0::/\n" });
		expect(containerMemoryBytes(path)).toBe(256 * MiB);
	});

	test("finds the smallest limit of the groups above, and that from which on the kernel slows down", () => {
		const path = machine({
			"proc/self/cgroup": "0::/pods/pod/container\n",
			"sys/fs/cgroup/pods/pod/memory.max": String(512 * MiB),
			"sys/fs/cgroup/pods/pod/container/memory.max": "max\n",
			"sys/fs/cgroup/pods/pod/container/memory.high": String(300 * MiB),
		});
		expect(containerMemoryBytes(path)).toBe(300 * MiB);
	});

	test("finds the limit of version 1, in the container and by the group's name", () => {
		const unlimited = "9223372036854771712";
		const inside = machine({
			"proc/self/cgroup": "11:memory:/kubepods/one\n0::/system.slice\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": String(128 * MiB),
		});
		expect(containerMemoryBytes(inside)).toBe(128 * MiB);
		const outside = machine({
			"proc/self/cgroup": "4:cpu,cpuacct:/x\n11:memory:/kubepods/one\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": unlimited,
			"sys/fs/cgroup/memory/kubepods/one/memory.limit_in_bytes": String(64 * MiB),
		});
		expect(containerMemoryBytes(outside)).toBe(64 * MiB);
	});

	test("takes the machine's memory where there is no limit", () => {
		expect(containerMemoryBytes(machine({}))).toBe(totalmem());
	});

	test("takes a quarter of it by default, between 32 and 512 MiB", () => {
		expect(defaultBudgetBytes(GiB)).toBe(256 * MiB);
		expect(defaultBudgetBytes(64 * GiB)).toBe(512 * MiB);
		expect(defaultBudgetBytes(10 * MiB)).toBe(32 * MiB);
		expect(defaultBudgetBytes()).toBeGreaterThanOrEqual(32 * MiB);
	});
});

const GiB = 1024 * MiB;
