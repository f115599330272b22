import { open } from "node:fs/promises";

/** Resolves when the disk has what the file holds, or the names of a folder. */
export async function syncToDisk(path: string): Promise<void> {
	const file = await open(path, "r");
	try {
		await file.sync();
	} finally {
		await file.close();
	}
}
