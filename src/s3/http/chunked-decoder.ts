import { ProtocolError } from "./response-head.ts";

const carriageReturn = 13;
const lineFeed = 10;

/** Of a size with its extensions, and of all trailers together. */
const maximumLineBytes = 4096;

type State = "size" | "data" | "data-end" | "trailer" | "done";

/** Takes the chunks out of a body, whose bytes may be cut anywhere: https://www.rfc-editor.org/rfc/rfc9112#section-7.1 */
export class ChunkedDecoder {
	#state: State = "size";
	#line = "";
	#left = 0;
	#trailerBytes = 0;
	readonly #emit: (bytes: Buffer) => void;

	/** `emit` gets views of what is pushed, to be used at once. */
	constructor(emit: (bytes: Buffer) => void) {
		this.#emit = emit;
	}

	get isDone(): boolean {
		return this.#state === "done";
	}

	/** Returns how many of the bytes belong to this body: fewer only after its end. */
	push(bytes: Buffer): number {
		let position = 0;
		while (position < bytes.length && this.#state !== "done") {
			if (this.#state === "data") {
				const taken = Math.min(this.#left, bytes.length - position);
				this.#emit(bytes.subarray(position, position + taken));
				position += taken;
				this.#left -= taken;
				if (this.#left === 0) this.#state = "data-end";
				continue;
			}
			const end = bytes.indexOf(lineFeed, position);
			const stop = end === -1 ? bytes.length : end;
			this.#line += bytes.toString("latin1", position, stop);
			if (this.#line.length > maximumLineBytes) throw new ProtocolError("a chunk's size without end");
			position = stop + 1;
			if (end === -1) return bytes.length;
			this.#takeLine();
		}
		return position;
	}

	#takeLine(): void {
		const line = this.#line;
		this.#line = "";
		if (line.codePointAt(line.length - 1) !== carriageReturn) throw new ProtocolError("a bare line feed");
		const text = line.slice(0, -1);
		switch (this.#state) {
			case "size": {
				const [, size] = /^([\da-f]{1,12})\s*(?:;|$)/i.exec(text) ?? [];
				if (size === undefined) throw new ProtocolError("a chunk without its size");
				this.#left = Number.parseInt(size, 16);
				this.#state = this.#left === 0 ? "trailer" : "data";
				return;
			}
			case "data-end":
				if (text !== "") throw new ProtocolError("a chunk longer than its size");
				this.#state = "size";
				return;
			case "trailer":
				this.#trailerBytes += line.length;
				if (this.#trailerBytes > maximumLineBytes) throw new ProtocolError("trailers without end");
				if (text === "") this.#state = "done";
				return;
			case "data":
			case "done":
				return;
			default:
				this.#state satisfies never;
		}
	}
}
