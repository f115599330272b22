import { createHash, randomBytes, randomInt } from "node:crypto";
import fs from "node:fs";
import { setImmediate as breathe } from "node:timers/promises";
import { counts, expectSame, path, play, tellEnd } from "./applications.ts";

/* Applications that write. What each has written last is told with what it has to be. */

const MiB = 1024 ** 2;
/** By name: the sum of what the bucket has at the end. */
const sums: Record<string, string> = {};

function sumOf(bytes: Buffer): string {
	return createHash("sha256").update(bytes).digest("hex");
}

const noise = randomBytes(32 * MiB);

/** Long files, of which parts are sent while they are written. */
async function long(): Promise<void> {
	const bytes = noise.subarray(0, 17 * MiB + randomInt(15 * MiB));
	const fd = fs.openSync(path("long"), "w");
	for (let at = 0; at < bytes.length; at += 256 * 1024) {
		fs.writeSync(fd, bytes, at, Math.min(256 * 1024, bytes.length - at), at);
		await breathe();
	}
	fs.closeSync(fd);
	expectSame("long file", sumOf(fs.readFileSync(path("long"))), sumOf(bytes));
	sums["long"] = sumOf(bytes);
}

/** One that stays open, and is changed at any place. */
const middle = Buffer.from(noise.subarray(0, 12 * MiB));
fs.writeFileSync(path("middle"), middle);
const changed = fs.openSync(path("middle"), "r+");
async function change(): Promise<void> {
	for (let time = 0; time < 10; time++) {
		const piece = randomBytes(1 + randomInt(100_000));
		const at = randomInt(middle.length - piece.length);
		fs.writeSync(changed, piece, 0, piece.length, at);
		piece.copy(middle, at);
		await breathe();
	}
	const found = Buffer.alloc(300_000);
	const at = randomInt(middle.length - found.length);
	fs.readSync(changed, found, 0, found.length, at);
	expectSame(`what is at ${at}`, sumOf(found), sumOf(middle.subarray(at, at + found.length)));
	if (randomInt(3) === 0) fs.fsyncSync(changed);
	if (randomInt(6) === 0) expectSame("middle", sumOf(fs.readFileSync(path("middle"))), sumOf(middle));
	sums["middle"] = sumOf(middle);
}

/** Without a name. */
async function nameless(): Promise<void> {
	const fd = fs.openSync(path("nameless"), "wx+");
	fs.unlinkSync(path("nameless"));
	const bytes = randomBytes(MiB);
	for (let at = 0; at < bytes.length; at += 64 * 1024) {
		fs.writeSync(fd, bytes, at, 64 * 1024, at);
		await breathe();
	}
	const found = Buffer.alloc(bytes.length);
	fs.readSync(fd, found, 0, found.length, 0);
	expectSame("nameless file", sumOf(found), sumOf(bytes));
	fs.closeSync(fd);
}

/** As editors do. */
function replace(): void {
	const bytes = randomBytes(1 + randomInt(50_000));
	fs.writeFileSync(path("replaced.new"), bytes, { flag: "wx" });
	fs.renameSync(path("replaced.new"), path("replaced"));
	expectSame("replaced file", sumOf(fs.readFileSync(path("replaced"))), sumOf(bytes));
	fs.truncateSync(path("replaced"), bytes.length >> 1);
	fs.chmodSync(path("replaced"), 0o600);
	expectSame("shorter file", sumOf(fs.readFileSync(path("replaced"))), sumOf(bytes.subarray(0, bytes.length >> 1)));
	expectSame("mode", fs.statSync(path("replaced")).mode & 0o777, 0o600);
	sums["replaced"] = sumOf(bytes.subarray(0, bytes.length >> 1));
}

/** A directory with files in it, under ever other names. */
fs.mkdirSync(path("tree-0"));
for (let file = 0; file < 5; file++) fs.writeFileSync(path("tree-0", `${file}`), `${file}`);
function move(): void {
	const number = counts["move"] ?? 0;
	fs.renameSync(path(`tree-${number}`), path(`tree-${number + 1}`));
	const names = fs.readdirSync(path(`tree-${number + 1}`));
	expectSame("names", names.join(" "), "0 1 2 3 4");
	for (const name of names) expectSame("content", fs.readFileSync(path(`tree-${number + 1}`, name), "utf8"), name);
	expectSame("old name", fs.existsSync(path(`tree-${number}`)), false);
}

await play({ long, change, nameless, replace, move });
fs.closeSync(changed);
tellEnd({ sums });
