import { unlinkSync, writeFileSync } from "node:fs";

import { fromFileError } from "./draft-error.ts";
import type { BaseVersion } from "./draft.ts";

/**
 * What a staged draft belongs to, as JSON in `<path>.json` beside its parts `<path>.<index>`: enough to find out, after a crash, which
 * object was being changed, from which version, and which multipart upload of ours holds the parts that are not here any more.
 */
export interface DraftRecord {
	readonly key: string;
	readonly base: BaseVersion | null;
	/** As of the first change or the last truncation; the parts tell where it has grown since. */
	readonly sizeBytes: number;
	readonly uploadId?: string;
}

/** The record of one draft, written when its first byte is staged and when something happens that the parts do not show. */
export class RecordFile {
	readonly #path: string;
	#exists = false;

	constructor(path: string) {
		this.#path = `${path}.json`;
	}

	get exists(): boolean {
		return this.#exists;
	}

	write(record: DraftRecord): void {
		// Also when it fails: then there may be an empty file to remove.
		this.#exists = true;
		try {
			writeFileSync(this.#path, JSON.stringify(record), { mode: 0o600 });
		} catch (error) {
			this.remove();
			throw fromFileError(error);
		}
	}

	remove(): void {
		if (!this.#exists) return;
		this.#exists = false;
		try {
			unlinkSync(this.#path);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
		}
	}
}
