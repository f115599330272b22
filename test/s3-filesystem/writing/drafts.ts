import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Draft } from "../../../src/s3-filesystem/writing/draft.ts";

/** Bytes that differ from their neighbours, and from those of another seed. */
export function pattern(sizeBytes: number, seed: number): Buffer {
	const bytes = Buffer.allocUnsafe(sizeBytes);
	let state = (seed * 2_654_435_761 + 1) >>> 0;
	for (let index = 0; index < sizeBytes; index++) {
		state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
		bytes[index] = state >>> 24;
	}
	return bytes;
}

export async function readAll(draft: Draft, offset = 0, sizeBytes = draft.sizeBytes): Promise<Buffer> {
	const { views } = await draft.read(offset, sizeBytes);
	return Buffer.concat(views);
}

/** Writes all of it, however often it takes. */
export async function writeAll(draft: Draft, offset: number, data: Buffer): Promise<void> {
	for (let done = 0; done < data.length;) done += await draft.write(offset + done, data.subarray(done));
}

/** A private folder, best in memory, as a pod has it. */
export function stagingDirectory(): { readonly path: string; remove(): void } {
	const path = mkdtempSync(join(process.platform === "linux" ? "/dev/shm" : tmpdir(), "staging-"));
	return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
