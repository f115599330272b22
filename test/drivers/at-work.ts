import fs from "node:fs";
import { counts, expectSame, listerOf, path, play, readerOf, tellEnd } from "./applications.ts";

/* Applications of all kinds, and what each has to find. */

const [, names = "0", digest = ""] = process.argv.slice(2);
const large = fs.openSync(path("large"), "r");

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
await play({ read: readerOf(large, digest), list: listerOf(path("many"), Number(names)), append, change, look });
for (const fd of [large, log, removed]) fs.closeSync(fd);
tellEnd({ logged });
