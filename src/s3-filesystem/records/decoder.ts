/** Reads what an Encoder has written, in the same order. Throws a RangeError where there is less. */
export class Decoder {
	readonly #bytes: Buffer;
	#at = 0;

	constructor(bytes: Buffer) {
		this.#bytes = bytes;
	}

	get isAtEnd(): boolean {
		return this.#at === this.#bytes.length;
	}

	byte(): number {
		return this.#bytes.readUInt8(this.#take(1));
	}

	uint32(): number {
		return this.#bytes.readUInt32LE(this.#take(4));
	}

	number(): number {
		return this.#bytes.readDoubleLE(this.#take(8));
	}

	text(): string {
		return this.bytes().toString();
	}

	bytes(): Buffer {
		const length = this.uint32();
		const at = this.#take(length);
		if (this.#at > this.#bytes.length) throw new RangeError("a record is shorter than it says");
		return this.#bytes.subarray(at, this.#at);
	}

	#take(bytes: number): number {
		const at = this.#at;
		this.#at += bytes;
		return at;
	}
}
