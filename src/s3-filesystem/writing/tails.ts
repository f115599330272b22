import { mebibyte } from "../../bytes.ts";
import type { ObjectVersion } from "../../s3/object-store.ts";
import type { StagedPart } from "./staged-part.ts";
import type { Staging } from "./staging.ts";

interface Tail {
	readonly server: object;
	readonly version: Pick<ObjectVersion, "key" | "etag">;
	readonly index: number;
	readonly staged: StagedPart;
}

const maximumTails = 8;
/** Of all tails together. */
const limit = { bytes: 32 * mebibyte, shareOfStaging: 1 / 8 } as const;

/**
 * The last parts of files that were appended to, as they are in the bucket: what is appended next needs them whole, and would have to read them back.
 * They go when somebody needs their room.
 */
export class Tails {
	readonly #staging: Staging;
	/** The one that was kept last is last. */
	#tails: Tail[] = [];

	constructor(staging: Staging) {
		this.#staging = staging;
	}

	/** What they take of the staging limit. */
	get usedBytes(): number {
		return this.#tails.reduce((sum, { staged }) => sum + staged.chargedBytes, 0);
	}

	/** `staged` is all of that part of that version, the last one. */
	keep(tail: Tail): void {
		const limitBytes = Math.min(limit.bytes, this.#staging.limitBytes * limit.shareOfStaging);
		this.#tails.push(tail);
		this.#staging.keep(tail.staged, () => this.#drop(tail));
		while (this.#tails.length > maximumTails || this.usedBytes > limitBytes) this.#drop(this.#tails[0] ?? tail);
	}

	/** That part of that version, to be changed. */
	take(server: object, { key, etag }: ObjectVersion, index: number): StagedPart | undefined {
		const tail = this.#tails.find(
			({ server: of, version, index: at }) =>
				of === server && version.key === key && version.etag === etag && at === index,
		);
		if (tail === undefined) return undefined;
		this.#leave(tail);
		return tail.staged;
	}

	clear(): void {
		for (const tail of this.#tails) this.#drop(tail);
	}

	#drop(tail: Tail): void {
		this.#leave(tail);
		tail.staged.remove();
	}

	#leave(tail: Tail): void {
		this.#staging.unkeep(tail.staged);
		this.#tails = this.#tails.filter((other) => other !== tail);
	}
}
