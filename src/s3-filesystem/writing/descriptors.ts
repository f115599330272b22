import { closeSync, constants, openSync } from "node:fs";
import { fileErrorCode } from "../disks/disk-trouble.ts";

/** Descriptors of files that are read and written again and again; the one that was not used for longest is closed. */
export class OpenFiles {
	readonly #descriptors = new Map<string, number>();
	readonly #makeDirectory: () => void;
	readonly #limit: number;

	/** All files are in one directory, which is made when one is to be created and it is not there. */
	constructor(makeDirectory: () => void, limit = 64) {
		this.#makeDirectory = makeDirectory;
		this.#limit = limit;
	}

	/** Of a file that is not there yet. */
	create(path: string): number {
		const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
		try {
			return this.#add(path, flags);
		} catch (error) {
			if (fileErrorCode(error) !== "ENOENT") throw error;
			this.#makeDirectory();
			return this.#add(path, flags);
		}
	}

	get(path: string): number {
		const descriptor = this.#descriptors.get(path);
		// Without O_CREAT: a staged file that somebody removed must not come back empty.
		if (descriptor === undefined) return this.#add(path, constants.O_RDWR);
		// A map keeps the order of insertion.
		this.#descriptors.delete(path);
		this.#descriptors.set(path, descriptor);
		return descriptor;
	}

	close(path: string): void {
		const descriptor = this.#descriptors.get(path);
		if (descriptor === undefined) return;
		this.#descriptors.delete(path);
		try {
			closeSync(descriptor);
		} catch {
			// Who reads or writes it next is told what is wrong with the disk.
		}
	}

	#add(path: string, flags: number): number {
		const [oldest] = this.#descriptors.keys();
		if (this.#descriptors.size >= this.#limit && oldest !== undefined) this.close(oldest);
		const descriptor = openSync(path, flags, 0o600);
		this.#descriptors.set(path, descriptor);
		return descriptor;
	}
}
