import { randomBytes } from "node:crypto";
import { closeSync, openSync, readFileSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { namesIn } from "./pending-record.ts";
import { removalName } from "./record-name.ts";
import { syncToDisk } from "./sync-to-disk.ts";
import { writeAll, writeWhole } from "./write-whole.ts";

/** An object that is to go: its name is gone already. */
export interface RemovedObject {
	readonly key: string;
	/** Undefined: of a directory, whatever version. */
	readonly etag: string | undefined;
	readonly modifiedMs: number | undefined;
	/** When its name went, in milliseconds since 1970. */
	readonly sinceMs: number;
}

/** What identifies the bucket, and the prefix that is mounted. */
interface RemovalHead {
	readonly identity: string;
	readonly prefix: string;
}

/** Removals that were written down together. */
export interface FoundRemovals extends RemovalHead {
	readonly file: RemovalFile;
	readonly removed: readonly RemovedObject[];
}

/** Another program, or a later one of this kind, may mean something else. */
const format = "fluid-fuse removals 1";

/** Objects that are to go, written down one after the other: a line each, of which the last may be torn. */
export class RemovalFile {
	readonly path: string;
	readonly #directory: string;

	constructor(directory: string, path: string) {
		this.#directory = directory;
		this.path = path;
	}

	static create(directory: string, head: RemovalHead): RemovalFile {
		const file = new RemovalFile(directory, join(directory, `${randomBytes(6).toString("hex")}.removals`));
		file.keep([], head);
		return file;
	}

	/** In the hands of the operating system when it returns. */
	add(removed: RemovedObject): void {
		const fd = openSync(this.path, "a", 0o600);
		try {
			writeAll(fd, Buffer.from(lineOfRemoved(removed)));
		} finally {
			closeSync(fd);
		}
	}

	/** Resolves when the disk has it. */
	async sync(): Promise<void> {
		await syncToDisk(this.path);
		await syncToDisk(this.#directory);
	}

	/** Only those are to go still. */
	keep(removed: Iterable<RemovedObject>, { identity, prefix }: RemovalHead): void {
		const lines = [lineOf({ format, identity, prefix }), ...Array.from(removed, lineOfRemoved)];
		writeWhole(this.path, Buffer.from(lines.join("")), false);
	}

	remove(): void {
		unlinkSync(this.path);
	}
}

/** There may be more in what is given. */
function lineOfRemoved({ key, etag, modifiedMs, sinceMs }: RemovedObject): string {
	return lineOf({ key, etag, modifiedMs, sinceMs });
}

function lineOf(value: object): string {
	const text = JSON.stringify(value);
	return `${crc32(text)} ${text}\n`;
}

/** What is written down in a folder, and the files that cannot be read. */
export function readRemovals(directory: string): { readonly found: FoundRemovals[]; readonly unreadable: string[] } {
	const found: FoundRemovals[] = [];
	const unreadable: string[] = [];
	for (const name of namesIn(directory)) {
		if (!removalName.test(name)) continue;
		const file = new RemovalFile(directory, join(directory, name));
		try {
			found.push({ ...read(file.path), file });
		} catch {
			unreadable.push(file.path);
		}
	}
	return { found, unreadable };
}

function read(path: string): Omit<FoundRemovals, "file"> {
	const values: unknown[] = [];
	for (const line of readFileSync(path, "utf8").split("\n")) {
		const [, sum, text = ""] = /^(\d+) (.*)$/.exec(line) ?? [];
		// Torn: nobody was told of it.
		if (sum !== String(crc32(text))) break;
		values.push(JSON.parse(text));
	}
	const [head, ...removed] = values as [(RemovalHead & { readonly format: string })?, ...RemovedObject[]];
	if (head?.format !== format) throw new Error("it is not known what it means");
	const { identity, prefix } = head;
	return { identity, prefix, removed };
}
