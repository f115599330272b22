const leastBytes = 1024;

/**
 * Bytes that come in pieces. However small those are, each byte is copied a few times at most, no piece is kept, and what has become
 * too small is given back at once: garbage of this kind is collected late.
 */
export class GrowingBuffer {
	#room = new ArrayBuffer(0);
	#length = 0;

	get length(): number {
		return this.#length;
	}

	/** A view, until more is appended. */
	get bytes(): Buffer {
		return Buffer.from(this.#room, 0, this.#length);
	}

	append(bytes: Buffer): void {
		const length = this.#length + bytes.length;
		if (length > this.#room.byteLength)
			this.#room = this.#room.transfer(Math.max(leastBytes, length, 2 * this.#room.byteLength));
		bytes.copy(new Uint8Array(this.#room, this.#length));
		this.#length = length;
	}

	/** Nobody wants it. */
	discard(): void {
		this.#room = this.#room.transfer(0);
		this.#length = 0;
	}
}
