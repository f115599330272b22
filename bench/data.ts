import { randomBytes } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import type { ListedObject, ObjectStore } from "../src/s3/object-store.ts";
import { pagesOf } from "../src/s3/pages-of.ts";
import { keyOf, mebibyte, sourceOffset, type ObjectSet } from "./workloads/workload.ts";

/** Random bytes that all content is taken from. */
export interface Source {
	readonly path: string;
	readonly sizeBytes: number;
}

export async function createSource(path: string, sizeBytes: number): Promise<Source> {
	const file = await open(path, "wx");
	try {
		for (let written = 0; written < sizeBytes; written += mebibyte) await file.write(randomBytes(mebibyte));
	} finally {
		await file.close();
	}
	return { path, sizeBytes };
}

/** Reads `into.length` bytes. */
async function readAt(file: FileHandle, into: Buffer, position: number): Promise<void> {
	for (let filled = 0; filled < into.length;) {
		const { bytesRead } = await file.read(into, filled, into.length - filled, position + filled);
		if (bytesRead === 0) throw new Error("the source file is too short");
		filled += bytesRead;
	}
}

/** Uploads the set, 32 objects at a time. */
export async function uploadObjects(store: ObjectStore, set: ObjectSet, source: Source): Promise<void> {
	const file = await open(source.path, "r");
	let next = 0;
	const lane = async (): Promise<void> => {
		for (let index = next++; index < set.count; index = next++) {
			const start = sourceOffset(index, set.sizeBytes, source.sizeBytes);
			await store.put(keyOf(set, index), {
				sizeBytes: set.sizeBytes,
				async *read() {
					const piece = Buffer.alloc(Math.min(mebibyte, set.sizeBytes));
					for (let sent = 0; sent < set.sizeBytes; sent += piece.length) {
						const part = piece.subarray(0, Math.min(piece.length, set.sizeBytes - sent));
						await readAt(file, part, start + sent);
						yield part;
					}
				},
			});
		}
	};
	try {
		await Promise.all(Array.from({ length: 32 }, lane));
	} finally {
		await file.close();
	}
}

/** Without the markers of folders. */
export async function listFiles(store: ObjectStore, prefix: string): Promise<ListedObject[]> {
	const files: ListedObject[] = [];
	for await (const { objects } of pagesOf(store, { prefix }))
		files.push(...objects.filter(({ key }) => !key.endsWith("/")));
	return files;
}

/** Compares what is in the folder with the source, byte by byte. Throws when something differs. */
export async function compareWithSource(store: ObjectStore, set: ObjectSet, source: Source): Promise<void> {
	const file = await open(source.path, "r");
	try {
		const objects = await listFiles(store, `${set.folder}/`);
		for (const [index, { key, sizeBytes, etag }] of objects.entries()) {
			if (sizeBytes !== set.sizeBytes) throw new Error(`${key} has ${sizeBytes} bytes`);
			const partBytes = Math.min(8 * mebibyte, sizeBytes);
			for (let offset = 0; offset < sizeBytes; offset += partBytes) {
				const into = Buffer.alloc(Math.min(partBytes, sizeBytes - offset));
				const expected = Buffer.alloc(into.length);
				await store.get(key, { offset, into, etag, objectSizeBytes: sizeBytes });
				await readAt(file, expected, sourceOffset(index, set.sizeBytes, source.sizeBytes) + offset);
				if (!into.equals(expected)) throw new Error(`${key} has other content at ${offset}`);
			}
		}
	} finally {
		await file.close();
	}
}

export async function deleteFolder(store: ObjectStore, folder: string): Promise<void> {
	for (;;) {
		const { objects } = await store.list({ prefix: `${folder}/` });
		if (objects.length === 0) return;
		await store.deleteMany(objects.map(({ key }) => key));
	}
}
