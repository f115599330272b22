import { createHash } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";

/*
 * Applications that write no files, each of which checks all that it sees, until the parent tells them to end. Whatever one of them finds wrong
 * is told.
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

const large = fs.openSync(path("large"), "r");
const piece = Buffer.alloc(256 * 1024);

/** One open(2), in which each pass begins at its start again. */
async function read(): Promise<void> {
	const hash = createHash("sha256");
	for (let bytes = -1, at = 0; bytes !== 0; at += bytes) {
		bytes = fs.readSync(large, piece, 0, piece.length, at);
		hash.update(piece.subarray(0, bytes));
		await breathe();
	}
	expectSame("sum", hash.digest("hex"), digest);
}

function readWhole(): void {
	expectSame(
		"sum of it all",
		createHash("sha256")
			.update(fs.readFileSync(path("large")))
			.digest("hex"),
		digest,
	);
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

/** All names below, with what each is. */
function walk(): void {
	let files = 0;
	const below = (folder: string): void => {
		for (const name of fs.readdirSync(folder)) {
			const full = join(folder, name);
			if (fs.statSync(full).isDirectory()) below(full);
			else {
				files++;
				if (files % 40 === 0) expectSame("content", fs.readFileSync(full, "latin1").length > 0, true);
			}
		}
	};
	below(path("tree"));
	expectSame("files", files, 400);
}

const { ino } = fs.statSync(path("large"));
function look(): void {
	expectSame("inode number", fs.statSync(path("large")).ino, ino);
	expectSame("inode number", fs.fstatSync(large).ino, ino);
	expectSame("absent", fs.existsSync(path(`absent-${counts["look"]}`)), false);
}

fs.mkdirSync(path("work"));

/** Names that come and go: what is done twice, or half, shows as an error or as a name too many. */
function change(): void {
	const folder = path("work", `${counts["change"]}`);
	fs.mkdirSync(folder);
	fs.symlinkSync("elsewhere", join(folder, "link"));
	fs.renameSync(join(folder, "link"), join(folder, "other"));
	expectSame("link", fs.readlinkSync(join(folder, "other")), "elsewhere");
	fs.renameSync(folder, `${folder}-moved`);
	expectSame("names", fs.readdirSync(path("work")).join(" "), `${counts["change"]}-moved`);
	fs.unlinkSync(join(`${folder}-moved`, "other"));
	fs.chmodSync(`${folder}-moved`, 0o700);
	expectSame("mode", fs.statSync(`${folder}-moved`).mode & 0o777, 0o700);
	fs.rmdirSync(`${folder}-moved`);
	expectSame("names left", fs.readdirSync(path("work")).join(" "), "");
}

process.chdir(path("tree"));
process.on("message", () => ending.abort());
await Promise.all([
	again("read", read),
	again("readWhole", readWhole),
	again("list", list),
	again("walk", walk),
	again("look", look),
	again("change", change),
]);
fs.closeSync(large);
process.send?.({ kind: "done", counts, faults });
process.disconnect();
