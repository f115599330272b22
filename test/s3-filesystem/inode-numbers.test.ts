import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { inodeOf } from "../../src/s3-filesystem/names/inode-numbers.ts";
import { bash } from "../fuse/application.ts";
import { useBuckets } from "./buckets.ts";
import type { MountedBucket } from "./mounted-bucket.ts";

const buckets = useBuckets("inodes");
/** Not on a mount. */
let elsewhere: string;

beforeEach(async () => {
	elsewhere = await mkdtemp(join(tmpdir(), "fluid-fuse-elsewhere-"));
});
afterEach(async () => {
	await rm(elsewhere, { recursive: true, force: true });
});

/** What a script in Python prints that runs in the mount. */
async function python(here: MountedBucket, script: string): Promise<string> {
	const { stdout } = await execa("python3", ["-c", script], { cwd: here.target, timeout: 40_000 });
	return stdout;
}

/** The kernel forgets all files of the mount that nobody uses. */
async function forget(here: MountedBucket): Promise<void> {
	await execa("mount", ["-i", "-o", "remount", here.target], { timeout: 10_000 });
	await vi.waitFor(async () => expect((await here.stats())["nodes"]).toBe(1), { timeout: 10_000 });
}

describe("a file that came to the name of a renamed one is another one", () => {
	// Of the same size, so that only their numbers tell them apart at once.
	const twoFiles = "echo v1 >new; mv new old; echo v2 >new";

	test.each([
		["mv", "mv new old; ls; cat old", "old\nv2\n"],
		["cp", "cp new old; cat old", "v2\n"],
		["install", "install -m 600 new old; cat old", "v2\n"],
		["cmp", "cmp -s new old || echo different", "different\n"],
		["diff", "diff new old || echo different", "1c1\n< v2\n---\n> v1\ndifferent\n"],
		["tar", 'tar cf "$E/tar" old new; tar xf "$E/tar" -C "$E"; cat "$E/old" "$E/new"', "v1\nv2\n"],
		["test -ef", "[[ old -ef new ]] || echo different", "different\n"],
	])("for %s", async (_, script, expected) => {
		const here = await buckets.mount();
		expect(await bash(here.target, `E=${elsewhere}; ${twoFiles}; ${script}`)).toBe(expected);
		// By now the name of the second may have lost its own number too.
		expect(await bash(here.target, `E=${elsewhere}; rm -f "$E"/* new; ${twoFiles}; ${script}`)).toBe(expected);
	});
});

test("a program that copies a file over one that had its name copies it", async () => {
	const here = await buckets.mount();
	const script = `
import os, shutil
for content in "one", "two", "six":
    with open("new", "w") as file: file.write(content)
    if os.path.exists("old"): shutil.copy("new", "old")
    print(open("old").read() if os.path.exists("old") else "none")
    os.rename("new", "old")`;
	expect(await python(here, script)).toBe("none\ntwo\nsix");
});

test("a directory that was moved into one that had its name is no loop", async () => {
	const here = await buckets.mount();
	const made = "mkdir a; mv a b; mkdir a; mv a b/a; mkdir a; mv a b/a/a; echo x >b/a/a/file";
	expect(await bash(here.target, `${made}; find b 2>&1; du -a b 2>&1 | wc -l; rm -r b; ls`)).toBe(
		"b\nb/a\nb/a/a\nb/a/a/file\n4\n",
	);
});

test("who follows a log by its name goes over to the new one when it is rotated", async () => {
	const here = await buckets.mount();
	await bash(here.target, "echo one >log");
	const tail = execa("tail", ["-n", "+1", "-s", "0.1", "-F", "log"], { cwd: here.target, reject: false });
	let printed = "";
	tail.stdout.on("data", (text: Buffer) => void (printed += text.toString()));
	try {
		await vi.waitFor(() => expect(printed).toBe("one\n"), { timeout: 10_000 });
		await bash(here.target, "mv log log.1; echo two >log");
		await vi.waitFor(() => expect(printed).toBe("one\ntwo\n"), { timeout: 10_000 });
		await bash(here.target, "mv log.1 log.2; mv log log.1; echo three >log");
		await vi.waitFor(() => expect(printed).toBe("one\ntwo\nthree\n"), { timeout: 10_000 });
	} finally {
		tail.kill("SIGKILL");
		await tail;
	}
});

test("a program that writes a log opens the new one when it is rotated", async () => {
	const here = await buckets.mount();
	const script = `
import logging, logging.handlers, os
log = logging.getLogger()
log.addHandler(logging.handlers.WatchedFileHandler("log"))
for generation in range(4):
    log.warning("in %d", generation)
    if os.path.exists("log.1"): os.rename("log.1", "log.2")
    os.rename("log", "log.1")
    open("log", "x").close()
log.warning("last")
print(open("log.2").read() + open("log.1").read() + open("log").read(), end="")`;
	expect(await python(here, script)).toBe("in 2\nin 3\nlast");
});

test("files that are open keep numbers of their own when their names are removed, replaced and taken again", async () => {
	const here = await buckets.mount();
	const script = `
import os
def ino(descriptor): return os.fstat(descriptor).st_ino
opened = []
for generation in range(3):
    for kind in ("removed", "replaced", "moved"):
        opened.append(os.open(kind, os.O_CREAT | os.O_RDWR))
        os.write(opened[-1], b"x")
    os.mkdir("directory"); opened.append(os.open("directory", os.O_RDONLY))
    os.mkdir("emptied"); opened.append(os.open("emptied", os.O_RDONLY))
    numbers = [ino(each) for each in opened]
    os.unlink("removed")
    with open("other", "w") as other: opened.append(os.dup(other.fileno())); numbers.append(ino(opened[-1]))
    os.rename("other", "replaced"); os.unlink("replaced")
    os.rename("moved", "moved-%d" % generation)
    os.rmdir("directory"); os.rename("emptied", "emptied-%d" % generation)
    assert [ino(each) for each in opened] == numbers, "a number changed"
    assert len(set(numbers)) == len(numbers), "two share a number"
    for each in ("moved", "emptied"):
        assert os.stat("%s-%d" % (each, generation)).st_ino in numbers
print(len(opened))`;
	expect(await python(here, script)).toBe("18");
});

test("what a directory's listing says is what stat says, also of names whose number another file has", async () => {
	const names = Array.from({ length: 300 }, (_, index) => `name-of-a-file-${index}`);
	// Each time somebody else makes them.
	const make = async (): Promise<unknown> =>
		Promise.all(names.map(async (name) => buckets.minio.put(buckets.name, `a/${name}`, "x")));
	await make();
	const here = await buckets.mount({ volume: { ttlMs: 1000 } });
	const script = `
import os, sys, time
opened = [os.open(each.path, os.O_RDONLY) for each in os.scandir("a")]
os.rename("a", "b")
print("renamed", flush=True)
sys.stdin.readline()
while not os.path.exists("a") or len(os.listdir("a")) < 300: time.sleep(0.1)
said = {each.path: each.inode() for d in "ba" for each in os.scandir(d)}
print(len(said), len(set(said.values())), all(os.stat(path).st_ino == number for path, number in said.items()))`;
	const program = execa("python3", ["-c", script], { cwd: here.target, timeout: 40_000 });
	for await (const line of program) {
		if (line !== "renamed") continue;
		await make();
		program.stdin.write("\n");
	}
	expect((await program).stdout).toBe("renamed\n600 600 True");
});

test("the kernel may forget a file that was renamed: it keeps its number, and no other file gets it", async () => {
	const here = await buckets.mount();
	const inodes = async (names: string): Promise<string[]> =>
		(await bash(here.target, `stat -c %i ${names}`)).trim().split("\n");
	await bash(here.target, "mkdir d; echo 1 >d/log; mv d/log d/log.1; echo 2 >d/log");
	const before = await inodes("d d/log d/log.1");
	expect(new Set(before).size).toBe(3);
	await forget(here);
	expect(await inodes("d d/log d/log.1")).toEqual(before);
	await bash(here.target, "rm d/log; echo 3 >d/log");
	expect(new Set(await inodes("d d/log d/log.1")).size).toBe(3);
});

test("a name has the same number on the next mount", async () => {
	const here = await buckets.mount();
	const made = await bash(here.target, "mkdir -p a/b; echo x >a/b/c; ln -s c a/b/d; stat -c %i a a/b a/b/c a/b/d");
	await here.unmount();
	const again = await buckets.mount();
	expect(await bash(again.target, "stat -c %i a a/b a/b/c a/b/d")).toBe(made);
	// With a renamed file's own path goes its number.
	const renamed = await bash(again.target, "echo x >e; mv e f; stat -c %i f");
	await again.unmount();
	const last = await buckets.mount();
	const found = await bash(last.target, "stat -c %i f");
	expect(found).toBe(`${inodeOf("/f")}\n`);
	expect(found).not.toBe(renamed);
	expect(await bash(last.target, "ls -Ui a/b | sort")).toBe(
		await bash(last.target, "cd a/b; stat -c '%i %n' * | sort"),
	);
});
