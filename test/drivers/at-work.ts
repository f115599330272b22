import { createHash } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";

/*
 * Applications on a mount, each of which checks all that it sees, until the parent tells them to end. Whatever one of them finds wrong is
 * told. They use the thread's own calls, as most programs do: a mount that hangs makes all of them hang.
 */

const [root = "", names = "0", digest = ""] = process.argv.slice(2);
const path = (...parts: string[]): string => join(root, ...parts);
const counts: Record<string, number> = {};
const faults: string[] = [];
const ending = new AbortController();

function expectSame(what: string, found: unknown, expected: unknown): void {
	if (found !== expected) throw new Error(`${what}: ${String(found)} instead of ${String(expected)}`);
}

async function again(name: string, work: () => void | Promise<void>): Promise<void> {
	for (counts[name] = 0; !ending.signal.aborted; counts[name]++) {
		try {
			await work();
		} catch (error) {
			faults.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
			return;
		}
		await breathe();
	}
}

/** One open(2) of a large file, in which each pass begins at its start again. */
const large = fs.openSync(path("large"), "r");
const piece = Buffer.alloc(256 * 1024);
async function read(): Promise<void> {
	const hash = createHash("sha256");
	for (let bytes = -1, at = 0; bytes !== 0; at += bytes) {
		bytes = fs.readSync(large, piece, 0, piece.length, at);
		hash.update(piece.subarray(0, bytes));
		await breathe();
	}
	expectSame("sum", hash.digest("hex"), digest);
}

/** A reader of a directory, which stops after some names and goes on later. */
async function list(): Promise<void> {
	const directory = fs.opendirSync(path("many"), { bufferSize: 32 });
	const found = new Set<string>();
	for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
		if (found.has(entry.name)) throw new Error(`${entry.name} came twice`);
		found.add(entry.name);
		if (found.size % 50 === 0) await breathe();
	}
	directory.closeSync();
	expectSame("names", found.size, Number(names));
}

/** A log that stays open: what it has is what was written, at each moment. */
const log = fs.openSync(path("log"), "ax+");
let logged = "";
function append(): void {
	const line = `line ${counts["append"]}\n`;
	fs.writeSync(log, line);
	logged += line;
	if (counts["append"] === undefined || counts["append"] % 20 !== 0) return;
	fs.fsyncSync(log);
	const present = Buffer.alloc(logged.length + 1);
	const bytes = fs.readSync(log, present, 0, present.length, 0);
	expectSame("log", present.toString("utf8", 0, bytes), logged);
}

fs.mkdirSync(path("work"));

/** Files that come, change their names and go. */
function change(): void {
	const [name, other] = [path("work", `${counts["change"]}`), path("work", `other-${counts["change"]}`)];
	fs.writeFileSync(name, name, { flag: "wx" });
	fs.renameSync(name, other);
	expectSame("content", fs.readFileSync(other, "utf8"), name);
	expectSame("names", fs.readdirSync(path("work")).join(" "), `other-${counts["change"]}`);
	fs.unlinkSync(other);
}

/** What was removed while it was open, and the numbers by which programs know files. */
const removed = fs.openSync(path("removed"), "r");
fs.unlinkSync(path("removed"));
const { ino } = fs.statSync(path("large"));
function look(): void {
	const content = Buffer.alloc(100);
	expectSame("removed file", content.toString("utf8", 0, fs.readSync(removed, content, 0, 100, 0)), "removed");
	expectSame("links of it", fs.fstatSync(removed).nlink, 0);
	expectSame("inode number", fs.statSync(path("large")).ino, ino);
	expectSame("inode number", fs.fstatSync(large).ino, ino);
	expectSame("removed name", fs.existsSync(path("removed")), false);
}

process.chdir(path("work"));
process.on("message", () => ending.abort());
await Promise.all([
	again("read", read),
	again("list", list),
	again("append", append),
	again("change", change),
	again("look", look),
]);
for (const fd of [large, log, removed]) fs.closeSync(fd);
process.send?.({ kind: "done", counts, faults, logged });
process.disconnect();
