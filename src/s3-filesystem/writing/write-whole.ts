import { closeSync, fsyncSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs";

/** The file has this content, or what it had before: a process may be killed meanwhile. `isSynced`: the disk has it, but not yet the name. */
export function writeWhole(path: string, content: Buffer, isSynced: boolean): void {
	const unfinished = `${path}.new`;
	const fd = openSync(unfinished, "w", 0o600);
	let isWritten = false;
	try {
		writeAll(fd, content);
		if (isSynced) fsyncSync(fd);
		isWritten = true;
	} finally {
		closeSync(fd);
		if (!isWritten) unlinkSync(unfinished);
	}
	renameSync(unfinished, path);
}

export function writeAll(fd: number, content: Buffer): void {
	for (let written = 0; written < content.length;) written += writeSync(fd, content, written);
}
