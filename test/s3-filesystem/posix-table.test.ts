import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { useBuckets } from "./buckets.ts";

const buckets = useBuckets("posix");
const player = join(import.meta.dirname, "posix-table/watch.py");

let disk: string;
beforeEach(async () => {
	disk = await mkdtemp(join(tmpdir(), "fluid-fuse-disk-"));
	await chmod(disk, 0o755);
});
afterEach(async () => {
	await rm(disk, { recursive: true, force: true });
});

interface Status {
	readonly ino: string;
	readonly mode: string;
	readonly nlink: number;
	readonly owner: string;
	readonly size: number;
	/** In nanoseconds since 1970. */
	readonly mtime: string;
	readonly ctime: string;
}

interface Told {
	readonly step: string;
	/** When it began. */
	readonly at: string;
	/** By path, and by `open` and the name of a descriptor. */
	readonly seen: Readonly<Record<string, Status>>;
}

type Step = readonly [name: string, python: string];

const files: readonly Step[] = [
	["makes a file", 'open_file("f", "file", os.O_EXCL, 0o640)'],
	["writes", 'os.write(opened["f"], b"one")'],
	["writes more through another descriptor", 'open_file("g", "file", os.O_APPEND); os.write(opened["g"], b"two")'],
	["syncs", 'os.fsync(opened["f"])'],
	["changes the mode right after writing", 'os.chmod("file", 0o600)'],
	["changes it to what it is", 'os.chmod("file", 0o600)'],
	["changes it by a descriptor", 'os.fchmod(opened["f"], 0o604)'],
	["changes the owner", 'os.chown("file", 1000, 100)'],
	["changes the group by a descriptor", 'os.fchown(opened["f"], -1, 200)'],
	["changes the owner to what it is", 'os.chown("file", 1000, 200)'],
	["changes no owner", 'os.chown("file", -1, -1)'],
	["writes after that", 'os.write(opened["f"], b"!")'],
	["sets both times", 'os.utime("file", ns=(1000000000123456789, 1100000000987654321))'],
	["sets both times by a descriptor", 'os.utime(opened["f"], ns=(1000000001000000001, 1100000001999999999))'],
	["sets times before 1970", 'os.utime("file", ns=(-1500000001, -2500000001))'],
	["sets times far ahead", 'os.utime("file", ns=(4000000000000000000, 4000000000000000007))'],
	["sets them to now", 'os.utime("file")'],
	["changes the mode of what has a set time", 'os.utime("file", ns=(1, 1200000000000000001)); os.chmod("file", 0o640)'],
	["writes what has a set time", 'os.write(opened["f"], b"?")'],
	["closes one", 'close("g")'],
	["sets an attribute", 'os.setxattr("file", "user.color", b"red")'],
	["removes it", 'os.removexattr("file", "user.color")'],
	["truncates down", 'os.truncate("file", 2)'],
	["truncates up by a descriptor", 'os.ftruncate(opened["f"], 100)'],
	["truncates to the size that it has", 'os.ftruncate(opened["f"], 100)'],
	["closes the other", 'close("f")'],
	["truncates what is closed to the size that it has", 'os.truncate("file", 100)'],
	["opens and closes it", 'open_file("f", "file"); close("f")'],
	["reads it", 'open("file", "rb").read()'],
	["changes the mode of what is closed", 'os.chmod("file", 0o644)'],
	["changes set-ID bits", 'os.chmod("file", 0o6755)'],
	["truncates by opening", 'open("file", "w").close()'],
	["truncates by opening what is empty", 'open("file", "w").close()'],
	["appends to what is closed", 'open("file", "a").write("x")'],
	["writes nothing", 'open("file", "a").close()'],
	["writes in the middle", 'open_file("f", "file"); os.pwrite(opened["f"], b"xyz", 10)'],
	["writes the same bytes", 'os.pwrite(opened["f"], b"xyz", 10)'],
	[
		"maps and changes it",
		'import mmap; m = mmap.mmap(opened["f"], 13); m[0:1] = b"m"; m.flush(); m.close(); os.fsync(opened["f"])',
	],
	["removes it while it is open", 'os.unlink("file")'],
	["writes to what is removed", 'os.write(opened["f"], b"gone")'],
	["changes the mode of what is removed", 'os.fchmod(opened["f"], 0o600)'],
	["sets times of what is removed", 'os.utime(opened["f"], ns=(1, 1000000000000000001))'],
	["makes another one of its name", 'open_file("g", "file", os.O_EXCL); os.write(opened["g"], b"new")'],
	["closes what is removed", 'close("f")'],
	["removes the other while it is open, too", 'os.unlink("file"); close("g")'],
	["makes a file without opening it", 'os.mknod("node", 0o600)'],
];

const renames: readonly Step[] = [
	[
		"makes folders and files",
		'os.mkdir("a"); os.mkdir("b"); open_file("f", "a/f"); os.write(opened["f"], b"f"); open_folder("a", "a"); open_folder("b", "b")',
	],
	["renames what is being written", 'os.rename("a/f", "a/g")'],
	["writes to it", 'os.write(opened["f"], b"more")'],
	["renames it to another folder", 'os.rename("a/g", "b/g")'],
	["closes it", 'close("f")'],
	[
		"makes others",
		'open("a/x", "w").write("x"); open("b/y", "w").write("yy"); open_file("x", "a/x"); open_file("y", "b/y")',
	],
	["replaces a file that is open", 'os.rename("a/x", "b/y")'],
	["writes to what was replaced", 'os.write(opened["y"], b"lost")'],
	["writes to what replaced it", 'os.write(opened["x"], b"kept")'],
	["makes one of the old name", 'open_file("again", "a/x", os.O_EXCL)'],
	["renames it onto itself", 'os.rename("a/x", "a/x")'],
	["replaces once more", 'os.rename("a/x", "b/y")'],
	["closes all", 'close("x"); close("y"); close("again")'],
	["renames what has a set time", 'os.utime("b/y", ns=(1, 1000000000000000001)); os.rename("b/y", "a/y")'],
	[
		"makes folders to move",
		'os.mkdir("a/d"); open("a/d/f", "w").write("f"); os.mkdir("a/d/e"); open_folder("d", "a/d"); open_folder("e", "a/d/e"); open_file("f", "a/d/f")',
	],
	["renames a folder", 'os.rename("a/d", "a/c")'],
	["moves a folder to another one", 'os.rename("a/c", "b/c")'],
	["makes one of its old name", 'os.mkdir("a/d"); open_folder("new d", "a/d")'],
	["changes what was moved", 'open("b/c/f", "a").write("more")'],
	[
		"replaces an empty folder that is open",
		'os.mkdir("target"); open_folder("target", "target"); os.rename("b/c", "target")',
	],
	["fails to replace one that is not", 'fails("ENOTEMPTY", lambda: os.rename("a/d", "target"))'],
	["fails to move it below itself", 'fails("EINVAL", lambda: os.rename("target", "target/e/t"))'],
	["fails to put a file in its place", 'fails("EISDIR", lambda: os.rename("a/y", "target"))'],
	["fails to put it in a file's place", 'fails("ENOTDIR", lambda: os.rename("target", "a/y"))'],
	["makes and renames a link", 'os.symlink("nowhere", "a/link"); os.rename("a/link", "b/link")'],
];

const directories: readonly Step[] = [
	["makes a folder", 'os.mkdir("d", 0o750); open_folder("d", "d")'],
	["makes one in it", 'os.mkdir("d/e"); open_folder("e", "d/e")'],
	["makes a file in it", 'open("d/f", "w").close()'],
	["makes a link in it", 'os.symlink("to somewhere", "d/link")'],
	[
		"fails to make what is there",
		'fails("EEXIST", lambda: os.mkdir("d/f")); fails("EEXIST", lambda: os.symlink("x", "d/f"))',
	],
	["writes the file", 'open("d/f", "w").write("x")'],
	["changes its mode", 'os.chmod("d", 0o700)'],
	["changes its owner by a descriptor", 'os.fchown(opened["d"], 1000, 100)'],
	["sets its times", 'os.utime("d", ns=(1000000000123456789, 1100000000987654321))'],
	["sets the times of a link", 'os.utime("d/link", ns=(1, 1100000000987654321), follow_symlinks=False)'],
	["changes the owner of a link", 'os.lchown("d/link", 1000, 100)'],
	["changes what has a set time", 'open("d/g", "w").close()'],
	["sets an attribute", 'os.setxattr("d", "user.color", b"red")'],
	["lists it", 'os.listdir("d")'],
	["removes a file", 'os.unlink("d/f")'],
	["removes a link", 'os.unlink("d/link")'],
	["removes a folder that is open", 'os.rmdir("d/e")'],
	["changes the mode of what is removed", 'os.fchmod(opened["e"], 0o700)'],
	["sets the times of what is removed", 'os.utime(opened["e"], ns=(1, 1000000000000000001))'],
	["makes another one of its name", 'os.mkdir("d/e"); open_folder("other e", "d/e")'],
	["fails to remove what is not empty", 'fails("ENOTEMPTY", lambda: os.rmdir("d"))'],
	["closes what is removed", 'close("e")'],
	["removes all", 'os.unlink("d/g"); os.rmdir("d/e"); os.rmdir("d")'],
	["changes the top", 'os.chmod(".", 0o711)'],
	["sets the top's times", 'os.utime(".", ns=(1, 1000000000000000001))'],
	["makes something in it", 'os.mkdir("x")'],
];

const groups: readonly Step[] = [
	["makes a folder whose group is handed on", 'os.mkdir("d"); os.chown("d", 0, 100); os.chmod("d", 0o2775)'],
	["makes a file in it", 'open_file("f", "d/f", 0, 0o664)'],
	["makes a file without opening it", 'os.mknod("d/n", 0o664)'],
	["makes a folder in it", 'os.mkdir("d/e")'],
	["makes a link in it", 'os.symlink("x", "d/link")'],
	["makes a file in that", 'open("d/e/f", "w").close()'],
	["makes a folder in that", 'os.mkdir("d/e/d")'],
	[
		"moves files there",
		'open("file", "w").close(); os.rename("file", "d/file"); os.mkdir("folder"); os.rename("folder", "d/folder")',
	],
	["makes a file with set-ID bits", 'open_file("s", "d/s", 0, 0o6775)'],
	["takes the bit away", 'os.chmod("d", 0o775); open("d/plain", "w").close(); os.mkdir("d/p")'],
	["writes as somebody else", 'os.chmod("d/s", 0o6777); os.seteuid(1000); open("d/s", "a").write("x"); os.seteuid(0)'],
];

/** From then on the clock of this test. */
const testsBegin = 1_600_000_000n * 1_000_000_000n;

/** What is there after a step, and which times it has changed: nothing that depends on when it was played, or on the disk's numbers. */
function linesOf(before: Told, { at, seen }: Told): [string, string][] {
	return Object.entries(seen).map(([name, status]) => {
		const { ino, mode, nlink, owner, size } = status;
		const others = Object.keys(seen).filter((other) => other !== name && seen[other]?.ino === ino);
		const known = [name, ...others].map((each) => before.seen[each]).find((each) => each?.ino === ino);
		const timeOf = (field: "mtime" | "ctime"): string => {
			if (status[field] === known?.[field]) return "as before";
			const [time, now] = [BigInt(status[field]), BigInt(at)];
			// The disk's clock is up to 10 ms behind.
			if (time > now - 15_000_000n && time < now + 30_000_000_000n) return "now";
			return time > testsBegin && time < now ? "earlier" : String(time);
		};
		const isDirectory = mode.startsWith("0o4");
		const what = isDirectory
			? ["directory", nlink === 0 ? "no link" : "linked"]
			: [`${size} bytes`, nlink === 1 ? "one link" : `${nlink} links`];
		const facts = [...what, mode, owner, `mtime ${timeOf("mtime")}`, `ctime ${timeOf("ctime")}`];
		return [name, [...facts, ...others.map((other) => `is ${other}`)].join(", ")];
	});
}

async function play(directory: string, steps: readonly Step[]): Promise<Record<string, string>> {
	const { stdout } = await execa("python3", [player], {
		cwd: directory,
		input: JSON.stringify(steps),
		timeout: 50_000,
	});
	const told = JSON.parse(stdout) as Told[];
	const lines = told.slice(1).flatMap((one, index) => {
		return linesOf(told[index] ?? one, one).map(([name, line]) => [`${index} ${one.step}: ${name}`, line]);
	});
	return Object.fromEntries(lines);
}

/** What differs is only this, and SEMANTICS.md says it: links and sizes of directories, which `linesOf` leaves out. */
describe.each([
	["believed for a minute", 60_000],
	["asked for each time", 0],
])("with names and attributes that are %s, each operation changes what it changes on a disk:", (__, ttlMs) => {
	test.each([
		["files", files],
		["renames", renames],
		["directories", directories],
		["groups", groups],
	])("%s", async (_, steps) => {
		const here = await buckets.mount({ volume: { ttlMs } });
		const [onDisk, onMount] = [await play(disk, steps), await play(here.target, steps)];
		const lines = [...new Set([...Object.keys(onDisk), ...Object.keys(onMount)])];
		const differences = lines.filter((line) => onDisk[line] !== onMount[line]);
		expect(differences.map((line) => `${line}: ${onMount[line]}`)).toEqual(
			differences.map((line) => `${line}: ${onDisk[line]}`),
		);
	});
});
