import { mebibyte } from "../../bytes.ts";
import type { Position } from "./cached-file.ts";
import { ReadWindow } from "./read-window.ts";

/** Reads of one stream arrive out of order by so many at most, since the kernel has several under way. */
const readsUnderWay = 8;
const farthestBytes = 4 * mebibyte;
/** So far back is still the same stream. */
const backwardBytes = mebibyte;
/** How many programs may read one handle in order, each somewhere else, before they look like random reads. */
const maximumStreams = 4;

/** One place where a handle is read, perhaps in order. */
export class ReadStream implements Position {
	next: number;
	/** There was a read before, and the last one went on where it ended. */
	isInOrder = false;
	/** The last read brought it forward. */
	isAdvancing = true;
	/** How far it is read ahead of. */
	readonly window = new ReadWindow();
	/** Before this position everything has been asked for already. */
	requestedEnd = 0;
	/** Up to where its file was tidied up behind it. */
	tidiedEnd = 0;
	readonly #positions: Set<Position>;

	constructor(next: number, positions: Set<Position>) {
		this.next = next;
		this.#positions = positions;
	}

	/** From now on it is read ahead of. */
	start(readBytes: number): void {
		this.window.start(readBytes, readsUnderWay);
		this.#positions.add(this);
	}

	stop(): void {
		this.window.stop();
		this.#positions.delete(this);
	}
}

/** The streams of one handle. */
export class ReadPattern {
	readonly #positions: Set<Position>;
	readonly #active: ActiveStreams;
	/** The one that was read last comes last. */
	#streams: ReadStream[] = [];

	/** `positions` are those of the file. */
	constructor(positions: Set<Position>, active: ActiveStreams) {
		this.#positions = positions;
		this.#active = active;
	}

	/** The stream that a read belongs to, which goes on behind it now. */
	follow(start: number, end: number): ReadStream {
		const stream = this.#nearest(start, end);
		if (stream === undefined) return this.#begin(end);
		stream.isAdvancing = end > stream.next;
		stream.isInOrder = true;
		if (stream.isAdvancing) stream.next = end;
		if (this.#streams.at(-1) !== stream) {
			this.#streams = this.#streams.filter((other) => other !== stream);
			this.#streams.push(stream);
		}
		return stream;
	}

	#nearest(start: number, end: number): ReadStream | undefined {
		const reachBytes = Math.min(farthestBytes, (end - start) * readsUnderWay);
		let nearest: ReadStream | undefined;
		for (const stream of this.#streams) {
			const { next, requestedEnd } = stream;
			// What has been asked for already is waited for, however far it is.
			const farthest = Math.max(next + reachBytes, requestedEnd);
			if (start > farthest || start < next - reachBytes - backwardBytes) continue;
			if (nearest === undefined || Math.abs(start - next) < Math.abs(start - nearest.next)) nearest = stream;
		}
		return nearest;
	}

	#begin(next: number): ReadStream {
		if (this.#streams.length === maximumStreams) {
			// Random reads between those of a stream do not end it.
			const isRandom = (stream: ReadStream): boolean => stream.window.bytes === 0;
			const index = this.#streams.filter(isRandom).length > 1 ? this.#streams.findIndex(isRandom) : 0;
			for (const stream of this.#streams.splice(index, 1)) this.#active.end(stream);
		}
		const stream = new ReadStream(next, this.#positions);
		this.#streams.push(stream);
		return stream;
	}

	close(): void {
		for (const stream of this.#streams) this.#active.end(stream);
		this.#streams = [];
	}
}

/** After so long without a read a stream leaves its share to others. */
const activeMs = 10_000;

/** All streams that are read ahead of: they share the memory. */
export class ActiveStreams {
	/** When they were read last, in that order. */
	readonly #usedAt = new Map<ReadStream, number>();

	use(stream: ReadStream): void {
		this.#usedAt.delete(stream);
		this.#usedAt.set(stream, performance.now());
	}

	end(stream: ReadStream): void {
		stream.stop();
		this.#usedAt.delete(stream);
	}

	get count(): number {
		const since = performance.now() - activeMs;
		for (const [stream, usedAt] of this.#usedAt) {
			if (stream.window.bytes > 0 && usedAt >= since) break;
			this.end(stream);
		}
		return this.#usedAt.size;
	}
}
