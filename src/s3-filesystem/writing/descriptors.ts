import { closeSync, constants, openSync } from "node:fs";

/** Descriptors of files that are read and written again and again; the one that was not used for longest is closed. */
export class OpenFiles {
	readonly #descriptors = new Map<string, number>();
	readonly #limit: number;

	constructor(limit = 64) {
		this.#limit = limit;
	}

	/** Of a file that is not there yet. */
	create(path: string): number {
		return this.#add(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
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
		closeSync(descriptor);
	}

	#add(path: string, flags: number): number {
		const [oldest] = this.#descriptors.keys();
		if (this.#descriptors.size >= this.#limit && oldest !== undefined) this.close(oldest);
		const descriptor = openSync(path, flags, 0o600);
		this.#descriptors.set(path, descriptor);
		return descriptor;
	}
}
