import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";

/*
 * An application that does one piece of work at a time, as its parent says, and tells what it has found wrong and what the bucket is to have
 * then. The parent has the filesystem's process killed in the middle of it.
 */

const [root = ""] = process.argv.slice(2);
const MiB = 1024 ** 2;
const noise = randomBytes(20 * MiB);

interface Work {
	/** Done before anything is killed. */
	readonly before?: (at: Place) => void;
	readonly act: (at: Place) => void;
	/** Done when everything runs again. */
	readonly after?: (at: Place) => void;
}

/** A folder of its own for each time. */
class Place {
	/** What files have to be in the end, by their names. */
	readonly files: Record<string, Buffer> = {};
	/** Names of directories and links, which have to be there too. */
	readonly others: string[] = [];
	readonly #folder: string;
	fd = -1;

	constructor(folder: string) {
		this.#folder = folder;
	}

	path(name = ""): string {
		return join(this.#folder, name);
	}

	put(name: string, bytes: Buffer): void {
		fs.writeFileSync(this.path(name), bytes);
		this.files[name] = bytes;
	}

	write(bytes: Buffer, at: number): void {
		for (let written = 0; written < bytes.length;)
			written += fs.writeSync(this.fd, bytes, written, Math.min(MiB, bytes.length - written), at + written);
	}

	/** What that descriptor shows. */
	shows(bytes: Buffer): void {
		const found = Buffer.alloc(bytes.length + 1);
		let length = 0;
		for (let count = -1; count !== 0; length += count)
			count = fs.readSync(this.fd, found, length, found.length - length, length);
		same("what the descriptor shows", found.subarray(0, length), bytes);
	}
}

function same(what: string, found: Buffer, expected: Buffer): void {
	if (found.equals(expected)) return;
	const at = found.findIndex((byte, index) => byte !== expected[index]);
	throw new Error(`${what}: ${found.length} bytes instead of ${expected.length}, other from ${at} on`);
}

function over(bytes: Buffer, piece: Buffer, at: number): Buffer {
	const changed = Buffer.alloc(Math.max(bytes.length, at + piece.length));
	bytes.copy(changed);
	piece.copy(changed, at);
	return changed;
}

const [small, other] = [noise.subarray(0, 300_000), noise.subarray(1000, 90_000)];

/** A file that is there, changed through one open(2): pieces at places, each of which is synced. */
function changes(bytes: Buffer, pieces: readonly (readonly [at: number, length: number])[]): Work {
	return {
		before: (at) => at.put("file", bytes),
		act(at) {
			at.fd = fs.openSync(at.path("file"), "r+");
			for (const [start, length] of pieces) {
				const piece = noise.subarray(MiB, MiB + length);
				at.write(piece, start);
				at.files["file"] = over(at.files["file"] ?? bytes, piece, start);
				fs.fsyncSync(at.fd);
			}
			at.shows(at.files["file"] ?? bytes);
			fs.closeSync(at.fd);
		},
	};
}

/** All that the mount has to be able to do, by names. */
const works: Readonly<Record<string, Work>> = {
	write: {
		act(at) {
			at.fd = fs.openSync(at.path("file"), "wx");
			at.write(small.subarray(0, 1000), 0);
			fs.fsyncSync(at.fd);
			at.write(small.subarray(1000), 1000);
			fs.closeSync(at.fd);
			at.files["file"] = small;
		},
	},
	"write much": {
		act(at) {
			at.fd = fs.openSync(at.path("file"), "w");
			at.write(noise, 0);
			fs.closeSync(at.fd);
			at.files["file"] = noise;
		},
	},
	change: changes(small, [
		[1000, 5000],
		[290_000, 20_000],
	]),
	"change much": changes(noise.subarray(0, 18 * MiB), [[9 * MiB, 5000]]),
	append: {
		before: (at) => at.put("file", small),
		act(at) {
			at.fd = fs.openSync(at.path("file"), "a");
			fs.writeSync(at.fd, other);
			fs.fsyncSync(at.fd);
			fs.writeSync(at.fd, other);
			fs.closeSync(at.fd);
			at.files["file"] = Buffer.concat([small, other, other]);
		},
	},
	overwrite: { before: (at) => at.put("file", small), act: (at) => at.put("file", other) },
	cut: {
		before: (at) => at.put("file", small),
		act(at) {
			fs.truncateSync(at.path("file"), 100);
			at.files["file"] = small.subarray(0, 100);
		},
	},
	extend: {
		before: (at) => at.put("file", other),
		act(at) {
			fs.truncateSync(at.path("file"), 200_000);
			at.files["file"] = over(Buffer.alloc(200_000), other, 0);
		},
	},
	"cut and write": {
		before: (at) => at.put("file", small),
		act(at) {
			at.fd = fs.openSync(at.path("file"), "r+");
			at.write(other, 250_000);
			fs.ftruncateSync(at.fd, 260_000);
			at.write(other, 300_000);
			fs.closeSync(at.fd);
			at.files["file"] = over(over(small, other, 250_000).subarray(0, 260_000), other, 300_000);
		},
	},
	rename: {
		before: (at) => at.put("file", small),
		act(at) {
			fs.renameSync(at.path("file"), at.path("new"));
			delete at.files["file"];
			at.files["new"] = small;
		},
	},
	replace: {
		before(at) {
			at.put("file", small);
			at.put("new", other);
		},
		act(at) {
			fs.renameSync(at.path("file"), at.path("new"));
			delete at.files["file"];
			at.files["new"] = small;
		},
	},
	"replace what is open": {
		before(at) {
			at.put("file", small);
			at.put("new", other);
			at.fd = fs.openSync(at.path("new"), "r");
		},
		act(at) {
			fs.renameSync(at.path("file"), at.path("new"));
			delete at.files["file"];
			at.files["new"] = small;
			at.shows(other);
			fs.closeSync(at.fd);
		},
	},
	"rename what is written": {
		act(at) {
			at.fd = fs.openSync(at.path("file"), "w+");
			at.write(small, 0);
			fs.renameSync(at.path("file"), at.path("new"));
			at.write(other, 200_000);
			at.files["new"] = over(small, other, 200_000);
			at.shows(at.files["new"]);
			fs.closeSync(at.fd);
		},
	},
	"rename a directory": {
		before(at) {
			fs.mkdirSync(at.path("folder/below/empty"), { recursive: true });
			for (const name of ["1", "2", "below/3"]) at.put(`folder/${name}`, other);
			at.fd = fs.openSync(at.path("folder/1"), "r+");
		},
		act(at) {
			fs.renameSync(at.path("folder"), at.path("moved"));
			for (const name of ["1", "2", "below/3"]) {
				delete at.files[`folder/${name}`];
				at.files[`moved/${name}`] = other;
			}
			at.others.push("moved/", "moved/below/", "moved/below/empty/");
			at.write(small.subarray(0, 100), 5);
			fs.closeSync(at.fd);
			at.files["moved/1"] = over(other, small.subarray(0, 100), 5);
		},
	},
	remove: {
		before(at) {
			at.put("file", small);
			delete at.files["file"];
		},
		act: (at) => fs.unlinkSync(at.path("file")),
	},
	"remove what is open": {
		before(at) {
			at.put("file", small);
			at.fd = fs.openSync(at.path("file"), "r+");
			delete at.files["file"];
		},
		act(at) {
			fs.unlinkSync(at.path("file"));
			at.write(other, 290_000);
			at.shows(over(small, other, 290_000));
			fs.closeSync(at.fd);
		},
	},
	"take the name of what is open": {
		before(at) {
			at.put("file", small);
			at.fd = fs.openSync(at.path("file"), "r");
		},
		act(at) {
			fs.unlinkSync(at.path("file"));
			at.put("file", other);
			at.shows(small);
			fs.closeSync(at.fd);
		},
	},
	"remove what is new": {
		act(at) {
			at.fd = fs.openSync(at.path("file"), "wx+");
			fs.unlinkSync(at.path("file"));
			at.write(small, 0);
			at.shows(small);
			fs.closeSync(at.fd);
		},
	},
	"make directories": {
		act(at) {
			fs.mkdirSync(at.path("folder"));
			fs.mkdirSync(at.path("folder/below"));
			fs.rmdirSync(at.path("folder/below"));
			fs.symlinkSync("elsewhere", at.path("folder/link"));
			at.others.push("folder/");
			at.files["folder/link"] = Buffer.from("elsewhere");
		},
		after: (at) => same("link", Buffer.from(fs.readlinkSync(at.path("folder/link"))), Buffer.from("elsewhere")),
	},
	"change attributes": {
		before: (at) => at.put("file", small),
		act(at) {
			fs.chmodSync(at.path("file"), 0o640);
			fs.utimesSync(at.path("file"), 1000, 2000);
			execFileSync("setfattr", ["-n", "user.some", "-v", "value", at.path("file")]);
		},
		after(at) {
			const { mode, mtimeMs } = fs.statSync(at.path("file"));
			if ((mode & 0o777) !== 0o640 || mtimeMs !== 2_000_000) throw new Error(`${mode.toString(8)} ${mtimeMs}`);
			const value = execFileSync("getfattr", ["--absolute-names", "--only-values", "-n", "user.some", at.path("file")]);
			same("attribute", value, Buffer.from("value"));
		},
	},
	"change attributes of what is written": {
		act(at) {
			at.fd = fs.openSync(at.path("file"), "w");
			at.write(small, 0);
			fs.fchmodSync(at.fd, 0o640);
			fs.futimesSync(at.fd, 1000, 2000);
			fs.closeSync(at.fd);
			at.files["file"] = small;
		},
		after(at) {
			const { mode, mtimeMs } = fs.statSync(at.path("file"));
			if ((mode & 0o777) !== 0o640 || mtimeMs !== 2_000_000) throw new Error(`${mode.toString(8)} ${mtimeMs}`);
		},
	},
	list: {
		before: (at) => ["1", "2", "3"].forEach((name) => at.put(name, other)),
		act(at) {
			const names = fs.readdirSync(at.path());
			if (names.toSorted().join(" ") !== "1 2 3") throw new Error(`names: ${names.join(" ")}`);
			for (const name of names) same(name, fs.readFileSync(at.path(name)), other);
		},
	},
};

function checked(at: Place): void {
	for (const [name, bytes] of Object.entries(at.files)) {
		const isLink = fs.lstatSync(at.path(name)).isSymbolicLink();
		if (!isLink) same(name, fs.readFileSync(at.path(name)), bytes);
	}
	const expected = [...Object.keys(at.files), ...at.others.map((name) => name.slice(0, -1))].toSorted();
	const found = fs.readdirSync(at.path(), { recursive: true, encoding: "utf8" }).toSorted();
	if (found.join(" ") !== expected.join(" ")) throw new Error(`names: ${found.join(" ")}, not ${expected.join(" ")}`);
}

const steps: Readonly<Record<string, (work: Work, at: Place) => void>> = {
	before(work, at) {
		fs.mkdirSync(at.path());
		work.before?.(at);
	},
	act: (work, at) => work.act(at),
	after(work, at) {
		work.after?.(at);
		checked(at);
	},
	remove(_, at) {
		try {
			fs.rmSync(at.path(), { recursive: true });
		} catch (error) {
			throw new Error(`${String(error)} with ${fs.readdirSync(at.path()).join(" ")}`, { cause: error });
		}
	},
};

let place = new Place("");
process.on("message", ({ step, name, folder }: { step: string; name: string; folder: string }) => {
	const work = works[name];
	if (step === "before") place = new Place(join(root, folder));
	let fault = "";
	try {
		if (work === undefined) throw new Error(`no such work`);
		steps[step]?.(work, place);
	} catch (error) {
		fault = error instanceof Error ? error.message : String(error);
	}
	const sums = Object.entries(place.files).map(([file, bytes]) => {
		return [file, createHash("sha256").update(bytes).digest("hex")] as const;
	});
	process.send?.({ kind: "did", fault, sums: Object.fromEntries(sums), others: place.others });
});
process.send?.({ kind: "works", names: Object.keys(works) });
