import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { sh, tell, useBuckets, writeAndClose } from "./buckets.ts";
import type { BucketOptions, MountedBucket } from "./mounted-bucket.ts";
import { mountTmpfs, unmountTmpfs } from "./tmpfs.ts";

const buckets = useBuckets("write-back");
const MiB = 1024 ** 2;
const slowDown = { kind: "answer", status: 503, body: "<Error><Code>SlowDown</Code></Error>" } as const;
const denied = { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } as const;
const changes = ({ method = "" }: { method?: string | undefined }): boolean => /PUT|POST|DELETE/.test(method);

let folder: string;
beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), "fluid-fuse-write-back-"));
});
afterEach(async () => {
	await rm(folder, { recursive: true, force: true });
});

async function mount({ settings, volume, ...more }: Partial<BucketOptions> = {}): Promise<MountedBucket> {
	return buckets.mountThroughProxy({
		store: { retryForMs: 500 },
		...more,
		volume: { writeBack: { maximumAgeMs: 60_000 }, ...volume },
		settings: { keepsPending: true, stagingDirectory: join(folder, "staging"), ...settings },
	});
}

async function get(key: string): Promise<string> {
	return (await buckets.minio.get(buckets.name, key)).toString();
}

async function keys(): Promise<readonly string[]> {
	return buckets.minio.list(buckets.name);
}

const records = (): string[] => readdirSync(join(folder, "staging")).filter((name) => name.endsWith(".pending"));
const staged = (): string[] => readdirSync(join(folder, "staging"));

/** Nothing is stored from now on. */
async function hold(): Promise<void> {
	await buckets.proxy.fail(slowDown, { only: changes });
}

describe("while the server takes nothing", () => {
	test("closing does not wait for it, and what is pending looks as if it were stored", async () => {
		await buckets.minio.put(buckets.name, "old", "0123456789");
		const here = await mount();
		await sh(here, "ls -l");
		await hold();
		await sh(
			here,
			"echo new >new; mkdir -p . ; echo more >>old; printf X | dd of=old bs=1 seek=2 conv=notrunc status=none",
		);
		expect(await sh(here, "cat new old; ls; stat -c %s new old; find . -type f | sort")).toBe(
			"new\n01X3456789more\nnew\nold\n4\n15\n./new\n./old",
		);
		expect(await sh(here, "chmod 600 new && touch -d @1000 new && stat -c '%a %Y' new")).toBe("600 1000");
		expect(await keys()).toEqual(["old"]);
		expect(await get("old")).toBe("0123456789");
		expect(records()).toHaveLength(2);
		await buckets.proxy.mode("pass");
		await vi.waitFor(async () => expect(await get("new")).toBe("new\n"), { timeout: 30_000, interval: 100 });
		await vi.waitFor(async () => expect(await get("old")).toBe("01X3456789more\n"), { timeout: 30_000, interval: 100 });
		await vi.waitFor(() => expect(staged().filter((name) => name.endsWith(".pending"))).toEqual([]), 10_000);
		expect(await sh(here, "cat new old; stat -c '%a %Y' new")).toBe("new\n01X3456789more\n600 1000");
		await here.unmount();
	});

	test("what is overwritten or removed is never stored", async () => {
		const here = await mount();
		await sh(here, "ls");
		await hold();
		await sh(here, "echo a >removed; rm removed; echo one >file; echo two >file; ls");
		await buckets.proxy.mode("pass");
		await vi.waitFor(async () => expect(await get("file")).toBe("two\n"), { timeout: 30_000, interval: 100 });
		await here.unmount();
		expect(await keys()).toEqual(["file"]);
	});

	test("a directory with pending files is not empty, and they can be renamed, when the server is back", async () => {
		const here = await mount();
		await sh(here, "mkdir d");
		await hold();
		await sh(here, "echo 1 >d/1; echo 2 >d/2; echo 3 >d/3; rm d/3");
		expect(await tell(here, "rmdir d")).toContain("not empty");
		const moving = tell(here, "mv d e; mv e/1 e/one; cat e/one e/2; ls e");
		await buckets.proxy.mode("pass");
		expect(await moving).toBe("1\n2\n2\none");
		await here.unmount();
		expect(await keys()).toEqual(["e/", "e/2", "e/one"]);
	});

	test("fsync waits for the bucket, and says when it is not there", async () => {
		const here = await mount();
		await sh(here, "ls");
		await hold();
		await sh(here, "echo x >file");
		expect(await tell(here, "sync file")).toMatch(/error|again|unavailable/i);
		expect(await sh(here, "cat file")).toBe("x");
		await buckets.proxy.mode("pass");
		await sh(here, "sync file");
		expect(await get("file")).toBe("x\n");
		await here.unmount();
	});

	test("who closes a file waits for the bucket when others have waited for too long", async () => {
		const here = await mount({ volume: { writeBack: { maximumAgeMs: 300 } } });
		await sh(here, "ls");
		await hold();
		await sh(here, "echo x >file; sleep 1");
		expect(await tell(here, writeAndClose("late"))).not.toBe("");
		await buckets.proxy.mode("pass");
		await vi.waitFor(async () => expect(await get("file")).toBe("x\n"), { timeout: 30_000, interval: 100 });
		await here.unmount();
		expect(await keys()).toEqual(["file"]);
	});
});

describe("a file that the server refuses", () => {
	test("keeps its bytes, is told to each later close and fsync, and is stored when it may be again", async () => {
		const here = await mount();
		await sh(here, "ls");
		await buckets.proxy.fail(denied, { only: changes });
		await sh(here, "echo kept >file");
		await vi.waitFor(() => expect(here.log.join("\n")).toContain("its bytes are kept"), 30_000);
		expect(here.log.filter((line) => line.includes("a closed file cannot be uploaded"))).toHaveLength(1);
		expect(here.log.join("\n")).toContain("trouble: closed files cannot be uploaded");
		expect(await tell(here, "sync file")).toContain("Permission denied");
		expect(await tell(here, writeAndClose("file"))).toContain("PermissionError");
		expect(await tell(here, "cat file")).toContain("new");
		await buckets.proxy.mode("pass");
		await vi.waitFor(async () => expect(await get("file")).toContain("new"), { timeout: 60_000, interval: 100 });
		await vi.waitFor(() => expect(here.log.join("\n")).toContain("trouble: over"), 10_000);
		await here.unmount();
	}, 120_000);
});

describe("what is removed", () => {
	/** Before the mount, which knows them then. */
	async function holding(files: Readonly<Record<string, string>>): Promise<MountedBucket> {
		for (const [key, content] of Object.entries(files)) await buckets.minio.put(buckets.name, key, content);
		const here = await mount();
		await sh(here, "ls -lR");
		// So that nothing has to be stored before its names can go.
		await sh(here, "find . -mindepth 1 -type d -exec touch {} +");
		await hold();
		return here;
	}
	const removals = (): string[] => staged().filter((name) => name.endsWith(".removals"));
	async function untilKeys(expected: readonly string[]): Promise<void> {
		await vi.waitFor(async () => expect(await keys()).toEqual(expected), { timeout: 30_000, interval: 50 });
	}

	test("is gone here at once, and in the bucket when it takes that", async () => {
		const here = await holding({ "d/1": "1", "d/2": "2", "d/e/3": "3", top: "top" });
		await sh(here, "rm top d/1");
		expect(await sh(here, "ls; ls d; stat -c %n d/2")).toBe("d\n2\ne\nd/2");
		expect(await tell(here, "cat top")).toContain("No such file");
		expect(await sh(here, "rm -rf d/e; ls d; rm -r d; ls")).toBe("2");
		expect(await keys()).toEqual(["d/", "d/1", "d/2", "d/e/", "d/e/3", "top"]);
		await buckets.proxy.mode("pass");
		await untilKeys([]);
		await vi.waitFor(() => expect(removals()).toEqual([]), 10_000);
		await here.unmount();
	});

	test("leaves with few requests", async () => {
		const names = Array.from({ length: 300 }, (_, index) => `d/${index}`);
		await Promise.all(names.map(async (name) => buckets.minio.put(buckets.name, name, name)));
		const here = await mount();
		await sh(here, "ls d");
		const { requests: before = 0 } = await here.stats();
		await sh(here, "rm -rf d");
		await untilKeys([]);
		expect(((await here.stats())["requests"] ?? 0) - before).toBeLessThan(100);
		await here.unmount();
	});

	test("is removed by the next process when this one is killed, and what came in its place stays", async () => {
		const here = await holding({ removed: "removed", same: "same", other: "old" });
		await sh(here, "rm removed same other; printf same >same; printf new >other");
		await here.kill();
		expect(await keys()).toEqual(["other", "removed", "same"]);
		const again = await mount();
		expect(await sh(again, "ls; cat same other")).toBe("other\nsame\nsamenew");
		await buckets.proxy.mode("pass");
		await untilKeys(["other", "same"]);
		await vi.waitFor(async () => expect(await get("other")).toBe("new"), { timeout: 30_000, interval: 50 });
		await again.unmount();
		expect(staged()).toEqual([]);
		expect(await get("same")).toBe("same");
	});

	test("leaves what somebody else has stored there since, and shows it", async () => {
		const here = await holding({ other: "old", same: "same" });
		await sh(here, "rm other same");
		await here.kill();
		await buckets.minio.put(buckets.name, "other", "theirs");
		await new Promise((resolve) => setTimeout(resolve, 3000));
		await buckets.minio.put(buckets.name, "same", "same");
		const again = await mount();
		await buckets.proxy.mode("pass");
		await vi.waitFor(() => expect(removals()).toEqual([]), { timeout: 30_000, interval: 50 });
		expect(await sh(again, "cat other same")).toBe("theirssame");
		await again.unmount();
	});

	test("stays removed and is told when the server refuses, and who removes more is told so", async () => {
		const here = await holding({ one: "1", two: "2" });
		await buckets.proxy.fail(denied, { only: changes });
		await sh(here, "rm one");
		await vi.waitFor(() => expect(here.log.join("\n")).toContain("trouble: removed files cannot be deleted"), 30_000);
		expect(await tell(here, "rm two")).toContain("Permission denied");
		expect(await sh(here, "ls")).toBe("two");
		await buckets.proxy.mode("pass");
		await untilKeys(["two"]);
		await vi.waitFor(() => expect(here.log.join("\n")).toContain("trouble: over"), 10_000);
		await here.unmount();
	});

	test("fsync of a directory waits for it", async () => {
		const here = await holding({ "d/1": "1" });
		await sh(here, "rm d/1");
		expect(await tell(here, "sync d")).toMatch(/error|again|unavailable/i);
		await buckets.proxy.mode("pass");
		await sh(here, "sync d");
		expect(await keys()).toEqual(["d/"]);
		await here.unmount();
	});
});

test("when the disk is full at a close, it waits for the bucket, and what was closed before is kept", async () => {
	const disk = await mountTmpfs("16m");
	try {
		const here = await mount({ settings: { stagingDirectory: join(disk, "staging") } });
		await sh(here, "ls");
		await hold();
		await sh(here, "echo kept >kept");
		const closeWhenFull = (path: string): string => `rm -f ${disk}/fill; python3 -c '
import os
file = os.open("${path}", os.O_CREAT | os.O_WRONLY)
os.write(file, b"new")
fill = os.open("${disk}/fill", os.O_CREAT | os.O_WRONLY)
try:
    while True: os.write(fill, bytes(4096))
except OSError: pass
try: os.close(file)
except OSError as error: print(type(error).__name__)'`;
		expect(await tell(here, closeWhenFull("refused"))).not.toBe("");
		expect(here.log.join("\n")).toContain("the disk takes no pending files");
		expect(await sh(here, "cat kept")).toBe("kept");
		await buckets.proxy.mode("pass");
		expect(await tell(here, closeWhenFull("late"))).toBe("");
		expect(await get("late")).toBe("new");
		await vi.waitFor(async () => expect(await get("kept")).toBe("kept\n"), { timeout: 30_000, interval: 100 });
		await here.unmount();
		expect(await keys()).not.toContain("refused");
	} finally {
		await unmountTmpfs(disk);
	}
});

describe("a process that is killed loses nothing that was closed:", () => {
	const large = 40 * MiB;
	const digest = (text: string | Buffer): string => createHash("sha256").update(text).digest("hex");

	test.each([
		{ what: "a new file", script: "echo new >file", content: "new\n" },
		{ what: "an empty file", script: ": >file", content: "" },
		{ what: "one that was overwritten", before: "old", script: "echo new >file", content: "new\n" },
		{ what: "one that was appended to", before: "old", script: "echo new >>file", content: "oldnew\n" },
		{
			what: "a write in its middle",
			before: "0123456789",
			script: "printf X | dd of=file bs=1 seek=4 conv=notrunc status=none",
			content: "0123X56789",
		},
		{ what: "one in directories", script: "echo deep >a/b/file", key: "a/b/file", content: "deep\n" },
		{
			what: "one that is truncated after its close",
			script: "echo 0123456789 >file; truncate -s 4 file",
			content: "0123",
		},
		{ what: "one that was closed twice", script: "echo one >file; echo two >>file", content: "one\ntwo\n" },
	])("$what", async ({ before, script, content, key = "file" }) => {
		if (before !== undefined) await buckets.minio.put(buckets.name, key, before);
		const here = await mount();
		await sh(here, "mkdir -p a/b; ls -lR");
		await hold();
		await tell(here, script);
		await here.kill();
		await buckets.proxy.mode("pass");
		const again = await mount();
		expect(await sh(again, `cat ${key}; ls ${key}`)).toBe(`${content}${key}`);
		await vi.waitFor(async () => expect(await get(key)).toBe(content), { timeout: 30_000, interval: 100 });
		expect(await sh(again, `cat ${key}`)).toBe(content.trimEnd());
		await again.unmount();
		expect(staged()).toEqual([]);
	});

	test.each(["held", "in the middle"])("a large file, %s", async (when) => {
		const here = await mount({ settings: { stagingLimitBytes: 64 * MiB } });
		await sh(here, "ls");
		if (when === "held") await hold();
		const made = `set -o pipefail; head -c ${large} /dev/urandom | tee file | sha256sum`;
		const [sum] = (await sh(here, made)).split(" ");
		await here.kill();
		await buckets.proxy.mode("pass");
		const again = await mount({ settings: { stagingLimitBytes: 64 * MiB } });
		expect((await sh(again, "sha256sum file")).split(" ")[0]).toBe(sum);
		await again.unmount();
		expect(digest(await buckets.minio.get(buckets.name, "file"))).toBe(sum);
		expect(staged()).toEqual([]);
	});

	test("and gives back none that was removed", async () => {
		await buckets.minio.put(buckets.name, "old", "old");
		const here = await mount();
		await sh(here, "ls -l");
		await hold();
		await sh(here, "echo new >new; rm new; echo more >>old");
		await buckets.proxy.fail(slowDown, { only: ({ method }) => method === "PUT" || method === "POST" });
		await sh(here, "rm old");
		await here.kill();
		await buckets.proxy.mode("pass");
		const again = await mount();
		expect(await sh(again, "ls")).toBe("");
		await again.unmount();
		expect(await keys()).toEqual([]);
	});

	test("what somebody else has stored since is not replaced, unless it is written here again", async () => {
		const here = await mount();
		await sh(here, "ls");
		await hold();
		await sh(here, "echo ours >file");
		await here.kill();
		await buckets.minio.put(buckets.name, "file", "theirs");
		await buckets.proxy.mode("pass");
		const again = await mount();
		await vi.waitFor(() => expect(again.log.join("\n")).toContain("changed by somebody else"), 30_000);
		expect(await get("file")).toBe("theirs");
		expect(await sh(again, "cat file")).toBe("ours");
		expect(await tell(again, "sync file; mv file other")).toMatch(/Stale.*\n.*Stale/);
		expect(await get("file")).toBe("theirs");
		expect(await sh(again, "echo anew >file; cat file")).toBe("anew");
		expect(await get("file")).toBe("anew\n");
		await again.unmount();
		expect(staged()).toEqual([]);
	});

	test("what it had stored and not heard of is not stored twice", async () => {
		const here = await mount();
		await sh(here, "ls");
		await buckets.proxy.fail({ kind: "lose-answer" }, { only: changes });
		await sh(here, "set -C; echo once >file");
		await vi.waitFor(async () => expect(await keys()).toEqual(["file"]), { timeout: 30_000, interval: 20 });
		await here.kill();
		await buckets.proxy.mode("pass");
		const again = await mount();
		await vi.waitFor(() => expect(records()).toEqual([]), { timeout: 30_000, interval: 50 });
		expect(again.log.join("\n")).not.toContain("cannot be uploaded");
		expect(await sh(again, "cat file")).toBe("once");
		await again.unmount();
	});
});
