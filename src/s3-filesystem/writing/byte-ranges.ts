import type { ByteRange } from "../../bytes.ts";

/** A set of bytes, as ranges in order that neither overlap nor touch. */
export class ByteRanges {
	/** Start and end in turn. */
	#edges: number[] = [];

	get isEmpty(): boolean {
		return this.#edges.length === 0;
	}

	/** Plain data that `from` makes the same set of. */
	get edges(): readonly number[] {
		return this.#edges;
	}

	static from(edges: readonly number[]): ByteRanges {
		const ranges = new ByteRanges();
		ranges.#edges = [...edges];
		return ranges;
	}

	add(start: number, end: number): void {
		if (end <= start) return;
		const edges = this.#edges;
		// Appending is by far the most frequent case.
		if (edges.at(-1) === start) {
			edges[edges.length - 1] = end;
			return;
		}
		// Odd indexes are ends: a range that ends where this one starts is joined, too.
		const from = this.#firstRangeEndingAt(start) * 2;
		let through = from;
		let first = start;
		let last = end;
		while (through < edges.length && (edges[through] ?? 0) <= end) {
			first = Math.min(first, edges[through] ?? first);
			last = Math.max(last, edges[through + 1] ?? last);
			through += 2;
		}
		edges.splice(from, through - from, first, last);
	}

	copy(): ByteRanges {
		const copy = new ByteRanges();
		copy.#edges = [...this.#edges];
		return copy;
	}

	remove(start: number, end: number): void {
		if (end <= start) return;
		const kept = [...this.within(0, start), ...this.within(end, Infinity)];
		this.#edges = kept.flatMap(({ start, end }) => [start, end]);
	}

	has(start: number, end: number): boolean {
		if (end <= start) return true;
		const index = this.#firstRangeEndingAt(end) * 2;
		return (this.#edges[index] ?? Infinity) <= start;
	}

	/** What of the window is in the set. */
	within(start: number, end: number): ByteRange[] {
		const found: ByteRange[] = [];
		for (let index = this.#firstRangeEndingAt(start + 1) * 2; index < this.#edges.length; index += 2) {
			const from = Math.max(this.#edges[index] ?? 0, start);
			const to = Math.min(this.#edges[index + 1] ?? 0, end);
			if (from >= to) break;
			found.push({ start: from, end: to });
		}
		return found;
	}

	/** What of the window is not in the set. */
	gaps(start: number, end: number): ByteRange[] {
		const found: ByteRange[] = [];
		let from = start;
		for (const range of this.within(start, end)) {
			if (range.start > from) found.push({ start: from, end: range.start });
			from = range.end;
		}
		if (from < end) found.push({ start: from, end });
		return found;
	}

	/** How many bytes the blocks of this size have that hold a byte of the window and none of the set. */
	newBlockBytes(start: number, end: number, blockBytes: number): number {
		const first = Math.floor(start / blockBytes) * blockBytes;
		const last = Math.ceil(end / blockBytes) * blockBytes;
		let bytes = last - first;
		let counted = first;
		for (const range of this.within(first, last)) {
			const from = Math.max(Math.floor(range.start / blockBytes) * blockBytes, counted);
			const to = Math.ceil(range.end / blockBytes) * blockBytes;
			bytes -= Math.max(0, to - from);
			counted = Math.max(counted, to);
		}
		return bytes;
	}

	/** How many bytes the blocks have that hold any byte of the set. */
	blockBytes(blockBytes: number): number {
		let bytes = 0;
		let counted = 0;
		for (const { start, end } of this.within(0, Infinity)) {
			const from = Math.max(Math.floor(start / blockBytes) * blockBytes, counted);
			counted = Math.max(counted, Math.ceil(end / blockBytes) * blockBytes);
			bytes += counted - from;
		}
		return bytes;
	}

	/** Index of the first range whose end is not before `position`. */
	#firstRangeEndingAt(position: number): number {
		let low = 0;
		let high = this.#edges.length / 2;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if ((this.#edges[middle * 2 + 1] ?? 0) < position) low = middle + 1;
			else high = middle;
		}
		return low;
	}
}
