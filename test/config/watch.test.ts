import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FileWatch } from "../../src/config/watch.ts";
import { writeAtomically } from "../support/pod.ts";

let folder: string;
let watch: FileWatch | undefined;

beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-watch-"));
});
afterEach(async () => {
	await watch?.close();
	watch = undefined;
	rmSync(folder, { recursive: true });
});

function follow(files: readonly string[], pollEveryMs: number): FileWatch {
	watch = new FileWatch({
		pollEveryMs,
		onDeaf: (error) => {
			throw error;
		},
	});
	watch.follow(files);
	return watch;
}

const limit = (): AbortSignal => AbortSignal.timeout(10_000);

/** So long that only what the kernel tells can be the reason. */
const neverMs = 3_600_000;

describe.each([
	{ how: "told by the kernel", pollEveryMs: neverMs },
	{ how: "polling alone", pollEveryMs: 20 },
])("$how", ({ pollEveryMs }) => {
	test("every swap of kubelet's link is noticed, each once", async () => {
		const file = join(folder, "config/config.json");
		writeAtomically(join(folder, "config"), { "config.json": "0" });
		const here = follow([file], pollEveryMs);
		expect(await here.changed(limit())).toBe(true);
		for (let swap = 1; swap <= 30; swap++) {
			writeAtomically(join(folder, "config"), { "config.json": String(swap) });
			expect(await here.changed(limit()), `swap ${swap}`).toBe(true);
			expect(await here.changed(limit(), 50), `swap ${swap} a second time`).toBe(false);
		}
	});

	test("a folder that is not there yet is noticed when it comes, goes and comes again", async () => {
		const here = follow([join(folder, "secret/key")], pollEveryMs);
		expect(await here.changed(limit())).toBe(true);
		for (let round = 0; round < 3; round++) {
			writeAtomically(join(folder, "secret"), { key: "value" });
			expect(await here.changed(limit()), `comes ${round}`).toBe(true);
			rmSync(join(folder, "secret"), { recursive: true });
			expect(await here.changed(limit()), `goes ${round}`).toBe(true);
			while (await here.changed(limit(), 100));
		}
	});

	test("a file that is written in place is noticed", async () => {
		mkdirSync(join(folder, "config"));
		const file = join(folder, "config/config.json");
		writeFileSync(file, "{");
		const here = follow([file], pollEveryMs);
		expect(await here.changed(limit())).toBe(true);
		writeFileSync(file, "{}");
		expect(await here.changed(limit())).toBe(true);
	});

	test("what changed while nobody waited is told to who waits next", async () => {
		const file = join(folder, "config/config.json");
		writeAtomically(join(folder, "config"), { "config.json": "0" });
		const here = follow([file], pollEveryMs);
		await here.changed(limit());
		writeAtomically(join(folder, "config"), { "config.json": "1" });
		await new Promise((resolve) => setTimeout(resolve, 200));
		expect(await here.changed(limit())).toBe(true);
	});
});

test("who waits is let go when it is not wanted any more", async () => {
	const here = follow([join(folder, "config.json")], neverMs);
	await here.changed(limit());
	const stop = new AbortController();
	const waiting = here.changed(stop.signal);
	stop.abort(new Error("stopped"));
	await expect(waiting).rejects.toThrow("stopped");
});

/** The kernel's numbers of what this process is told of. */
function watched(): number[] {
	return readdirSync("/proc/self/fdinfo").flatMap((fd) => {
		try {
			const text = readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
			return [...text.matchAll(/^inotify wd:\S+ ino:([0-9a-f]+)/gm)].map(([, inode = ""]) => parseInt(inode, 16));
		} catch {
			// The one that the list itself was read with.
			return [];
		}
	});
}

test("what lies beside the folder of a file is not looked at", async () => {
	writeAtomically(join(folder, "config"), { "config.json": "0" });
	follow([join(folder, "config/config.json")], neverMs);
	await expect.poll(watched).toContain(statSync(join(folder, "config")).ino);
	expect(watched()).not.toContain(statSync(folder).ino);
});
