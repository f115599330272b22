import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { mebibyte } from "../../src/bytes.ts";
import { containerProcessors } from "../../src/filesystem-process/container-processors.ts";
import { defaultThreads } from "../../src/filesystem-process/data-threads.ts";

const roots: string[] = [];
afterEach(() => {
	for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

function machine(files: Readonly<Record<string, string>>): string {
	const root = mkdtempSync(join(tmpdir(), "cgroup-"));
	roots.push(root);
	for (const [name, content] of Object.entries(files)) {
		mkdirSync(dirname(join(root, name)), { recursive: true });
		writeFileSync(join(root, name), content);
	}
	return root;
}

test("threads are used where there are processors for them", () => {
	const threads = [0.5, 1, 2, 3, 4, 7.5, 8, 32].map((processors) => defaultThreads(processors, 4096 * mebibyte));
	expect(threads).toEqual([0, 0, 0, 0, 2, 5, 6, 8]);
});

test("and no more of them than take an eighth of the memory", () => {
	expect([64, 128, 256, 512, 1024].map((memory) => defaultThreads(32, memory * mebibyte))).toEqual([0, 1, 2, 4, 8]);
});

test("the container's limit counts, in each version of control groups, and of those above", () => {
	expect(containerProcessors(machine({ "sys/fs/cgroup/cpu.max": "50000 100000\n" }))).toBe(0.5);
	const above = machine({
		"proc/self/cgroup": "0::/pods/pod\n",
		"sys/fs/cgroup/pods/cpu.max": "60000 100000\n",
		"sys/fs/cgroup/pods/pod/cpu.max": "max 100000\n",
	});
	expect(containerProcessors(above)).toBe(0.6);
	const first = machine({
		"proc/self/cgroup": "4:cpu,cpuacct:/pod\n",
		"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
		"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		"sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "25000\n",
		"sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
	});
	expect(containerProcessors(first)).toBe(0.25);
	expect(containerProcessors(machine({}))).toBe(availableParallelism());
});
