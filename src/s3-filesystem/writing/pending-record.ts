import { closeSync, fsyncSync, openSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import type { Time } from "../../fuse/time.ts";
import type { ObjectMetadata } from "../../s3/object-store.ts";
import type { KeptDraft } from "./draft-options.ts";
import { recordName } from "./record-name.ts";
import { writeWhole } from "./write-whole.ts";

/** What is written down of a file that was closed and is not in its bucket yet: plain data, without secrets. */
export interface PendingRecord {
	/** What identifies the bucket, and the prefix that was mounted. */
	readonly identity: string;
	readonly prefix: string;
	readonly key: string;
	/** Since when it has changes that are not in the bucket, in milliseconds since 1970. */
	readonly sinceMs: number;
	/** Mode, owner and times of the file, and of which version they were read. */
	readonly metadata: ObjectMetadata;
	readonly posixEtag?: string | undefined;
	readonly changed?: Time | undefined;
	readonly statusChanged?: Time | undefined;
	/** Its id and its paths are names in the folder of the record. */
	readonly draft: KeptDraft;
}

/** A record with the file that it is in. */
export interface FoundRecord {
	readonly path: string;
	/** And all others of its draft: it is the last. */
	readonly paths: readonly string[];
	/** The highest of them. */
	readonly count: number;
	readonly record: PendingRecord;
	/** All bytes of a small file. */
	readonly content: Buffer | undefined;
}

/** Another program, or a later one of this kind, may mean something else. */
const format = "fluid-fuse pending 1";

export function recordPath(directory: string, draftId: string, count: number): string {
	return join(directory, `${basename(draftId)}.${count}.pending`);
}

/** In the hands of the operating system when it returns; `isSynced`: on the disk. */
export function writeRecord(path: string, record: string, content: Buffer, isSynced: boolean): void {
	const body = Buffer.concat([Buffer.from(`${record}\n`), content]);
	writeWhole(path, Buffer.concat([Buffer.from(`${format} ${body.length} ${crc32(body)}\n`), body]), isSynced);
	if (isSynced) syncFolder(dirname(path));
}

/** The disk has the names in it when it returns. */
export function syncFolder(path: string): void {
	const fd = openSync(path, "r");
	try {
		fsyncSync(fd);
	} finally {
		closeSync(fd);
	}
}

/** The records of a folder, of each draft the last that is whole; and those files that no draft can be made of. */
export function readRecords(directory: string): { readonly found: FoundRecord[]; readonly unreadable: string[] } {
	const byDraft = new Map<string, { readonly path: string; readonly count: number }[]>();
	for (const name of namesIn(directory)) {
		const [, id, count] = recordName.exec(name) ?? [];
		if (id === undefined) continue;
		const records = byDraft.get(id) ?? [];
		byDraft.set(id, records);
		records.push({ path: join(directory, name), count: Number(count) });
	}
	const found: FoundRecord[] = [];
	const unreadable: string[] = [];
	for (const records of byDraft.values()) {
		const byCount = records.toSorted((a, b) => a.count - b.count);
		const read = new Map(byCount.map((each) => [each, readRecord(each.path)]));
		const last = byCount.findLast((each) => read.get(each) !== undefined);
		const content = last && read.get(last);
		const paths = byCount.map(({ path }) => path);
		if (last === undefined || content === undefined) unreadable.push(...paths);
		else {
			const others = paths.filter((path) => path !== last.path);
			found.push({ ...content, path: last.path, paths: [...others, last.path], count: byCount.at(-1)?.count ?? 0 });
		}
	}
	return { found: found.toSorted((a, b) => a.record.sinceMs - b.record.sinceMs), unreadable };
}

/** Of the files in it; none, if it is not there. */
export function namesIn(directory: string): string[] {
	try {
		return readdirSync(directory);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
		throw error;
	}
}

/** Undefined: it is torn, and what it says was told to nobody. */
function readRecord(path: string): Pick<FoundRecord, "record" | "content"> | undefined {
	let frame: Buffer;
	try {
		frame = readFileSync(path);
	} catch {
		// As good as torn: it is told as such, and stays.
		return undefined;
	}
	const headEnd = frame.indexOf("\n");
	const body = frame.subarray(headEnd + 1);
	if (frame.toString("latin1", 0, headEnd) !== `${format} ${body.length} ${crc32(body)}`) return undefined;
	const recordEnd = body.indexOf("\n");
	const content = body.subarray(recordEnd + 1);
	return {
		record: JSON.parse(body.toString("utf8", 0, recordEnd)) as PendingRecord,
		content: content.length === 0 ? undefined : content,
	};
}
