/** What a disk is used for: to keep parts of objects that were read, or changes until they are in the bucket. */
export type DiskUse = "cache" | "writes";

/** What a disk costs while it is out of order. */
export interface DiskProblem {
	/** For a person: which disk, and what that means. */
	readonly message: string;
	readonly error: unknown;
}

/** A disk that works now and then, as a full one does, does not tell so every time. */
const calmMs = 5000;

/** Of one use of a disk: tells when something is wrong with it, once until that is another thing, and when that is over. */
export class DiskTrouble {
	readonly #tell: (problem: DiskProblem | undefined) => void;
	#message: string | undefined;
	#seenAt = 0;

	constructor(tell: (problem: DiskProblem | undefined) => void) {
		this.#tell = tell;
	}

	found(message: string, error: unknown): void {
		this.#seenAt = performance.now();
		if (message === this.#message) return;
		this.#message = message;
		this.#tell({ message, error });
	}

	/** The disk did what it was to do: everything, or what it did not when one of these was found. */
	worked(messages?: readonly string[]): void {
		if (this.#message === undefined || messages?.includes(this.#message) === false) return;
		if (performance.now() - this.#seenAt < calmMs) return;
		this.#message = undefined;
		this.#tell(undefined);
	}
}

/** What the kernel said, such as EROFS; undefined: it was not the kernel. */
export function fileErrorCode(thrown: unknown): string | undefined {
	return thrown instanceof Error && "code" in thrown && "syscall" in thrown && typeof thrown.code === "string"
		? thrown.code
		: undefined;
}

/** The disk has no room, or a quota leaves none. */
export function isDiskFull(thrown: unknown): boolean {
	const code = fileErrorCode(thrown);
	return code === "ENOSPC" || code === "EDQUOT";
}
