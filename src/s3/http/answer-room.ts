import { mebibyte } from "../../bytes.ts";
import { GrowingBuffer } from "./growing-buffer.ts";

/** What an answer may have whatever the others do: all but the longest lists. */
export const shareBytes = mebibyte;
/** What all of them together may have beside that. */
const togetherBytes = 32 * mebibyte;

let takenTogetherBytes = 0;

/** A server says more than there is to be said, or more than there is room for now. */
export class AnswerTooLong extends Error {
	override readonly name = "AnswerTooLong";
	/** EMSGSIZE: whenever it comes; ENOBUFS: beside the others that are being collected. */
	readonly code: "EMSGSIZE" | "ENOBUFS";

	constructor(code: AnswerTooLong["code"], message: string) {
		super(message);
		this.code = code;
	}
}

/** The memory of one answer that is collected. A server that lies gets no more of it than one that does not. */
export class AnswerRoom {
	readonly collected = new GrowingBuffer();
	readonly #maximumBytes: number;
	#takenBytes = 0;

	constructor(maximumBytes: number) {
		this.#maximumBytes = maximumBytes;
	}

	/** Of so many bytes in all. Throws AnswerTooLong. */
	require(sizeBytes: number): void {
		if (sizeBytes > this.#maximumBytes)
			throw new AnswerTooLong("EMSGSIZE", `the answer has more than ${this.#maximumBytes / mebibyte} MiB`);
		const moreBytes = sizeBytes - shareBytes - this.#takenBytes;
		if (moreBytes <= 0) return;
		if (takenTogetherBytes + moreBytes > togetherBytes)
			throw new AnswerTooLong("ENOBUFS", "the answer, beside others that are as long, has more than there is room for");
		this.#takenBytes += moreBytes;
		takenTogetherBytes += moreBytes;
	}

	/** Its end, however it came. */
	release(): void {
		takenTogetherBytes -= this.#takenBytes;
		this.#takenBytes = 0;
	}
}
