import { createHash } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { counts, expectSame, listerOf, path, play, readerOf, tellEnd } from "./applications.ts";

/* Applications that write no files. */

const [, names = "0", digest = ""] = process.argv.slice(2);
const large = fs.openSync(path("large"), "r");

function readWhole(): void {
	expectSame(
		"sum of it all",
		createHash("sha256")
			.update(fs.readFileSync(path("large")))
			.digest("hex"),
		digest,
	);
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
await play({
	read: readerOf(large, digest),
	readWhole,
	list: listerOf(path("many"), Number(names)),
	walk,
	look,
	change,
});
fs.closeSync(large);
tellEnd();
