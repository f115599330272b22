const firstBytes = 64 * 1024;
/** Longer texts are the buffer's work. */
const shortText = 40;

/** Writes records one after the other into one buffer, which grows as it has to. */
export class Encoder {
	#bytes = Buffer.allocUnsafeSlow(firstBytes);
	#view = viewOf(this.#bytes);
	#used = 0;

	get usedBytes(): number {
		return this.#used;
	}

	/** What is written by now: valid until more is. */
	get written(): Buffer {
		return this.#bytes.subarray(0, this.#used);
	}

	clear(): void {
		this.#used = 0;
	}

	byte(value: number): void {
		// First: it may have to be another view.
		const at = this.#take(1);
		this.#view.setUint8(at, value);
	}

	uint32(value: number): void {
		const at = this.#take(4);
		this.#view.setUint32(at, value, true);
	}

	number(value: number): void {
		const at = this.#take(8);
		this.#view.setFloat64(at, value, true);
	}

	text(text: string): void {
		if (text.length <= shortText && this.#asciiText(text)) return;
		this.bytes(Buffer.from(text));
	}

	bytes(bytes: Uint8Array): void {
		this.uint32(bytes.length);
		const at = this.#take(bytes.length);
		this.#bytes.set(bytes, at);
	}

	#asciiText(text: string): boolean {
		const { length } = text;
		const before = this.#used;
		const at = this.#take(4 + length);
		this.#view.setUint32(at, length, true);
		for (let index = 0; index < length; index++) {
			const unit = text.charCodeAt(index);
			if (unit > 0x7f) {
				this.#used = before;
				return false;
			}
			this.#bytes[at + 4 + index] = unit;
		}
		return true;
	}

	#take(bytes: number): number {
		const at = this.#used;
		this.#used += bytes;
		if (this.#used > this.#bytes.length) {
			const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#used));
			larger.set(this.#bytes.subarray(0, at));
			this.#bytes = larger;
			this.#view = viewOf(larger);
		}
		return at;
	}
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
	return new DataView(buffer, byteOffset, length);
}
