import type { ByteRange } from "../../bytes.ts";
import type { ObjectVersion } from "../../s3/object-store.ts";
import { FuseError } from "../../fuse/filesystem.ts";
import { CachedFile, nameOf, type ReadableStore } from "./cached-file.ts";
import type { MemoryBudget, PooledBuffer, Urgency } from "./memory.ts";
import type { PartSource } from "./part-source.ts";
import { Part } from "./part.ts";

/** A read whose bytes are not all there. */
export interface Need extends ByteRange {
	readonly file: CachedFile;
	/** What to fetch for a gap, if there is memory for that. `room` is where nothing is in memory yet. */
	readonly wish: (gap: ByteRange, room: ByteRange) => ByteRange;
	/** What to fetch for it at least. */
	readonly least: (gap: ByteRange, room: ByteRange) => ByteRange;
}

interface MemoryWaiter {
	readonly need: Need;
	readonly resolve: (parts: Part[]) => void;
}

interface Reservation extends ByteRange {
	readonly memory: PooledBuffer;
	readonly isAhead?: boolean;
}

/** What each costs beside its bytes is in no budget. */
const maximumParts = 16_384;
/** With more gaps than that, one request for everything between the first and the last is cheaper. */
const maximumGaps = 2;

/** How far behind a reader in order its bytes stay: it may step back, and its reads may be late. */
export const backwardBytes = 2 * 1024 ** 2;

/** The parts that are in memory, of all files. What nobody uses goes when the memory is needed. */
export class PartCache {
	/** Bytes that were fetched and that nobody read. */
	wastedBytes = 0;
	/** That made room for others. */
	evictedParts = 0;
	readonly #budget: MemoryBudget;
	readonly #source: PartSource;
	readonly #keptBehindBytes: number;
	readonly #unopenedLimitBytes: number;
	readonly #files = new Map<string, CachedFile>();
	/** Settled parts by their use, in the order of the last one. First to go: what all readers in order have left behind. */
	readonly #behind = new Map<Part, CachedFile>();
	/** Then whole files that were brought ahead, and that nobody has opened yet. */
	readonly #unopened = new Map<Part, CachedFile>();
	readonly #recent = new Map<Part, CachedFile>();
	/** Last to go: what was read ahead and not used yet. */
	readonly #ahead = new Map<Part, CachedFile>();
	#behindBytes = 0;
	#unopenedBytes = 0;
	#fetches = 0;
	#latest: Part | undefined;
	/** Reads that need memory, in the order of asking. They hold nothing while they wait, so that none waits for another. */
	readonly #waiters: MemoryWaiter[] = [];
	#isServing = false;

	constructor(options: {
		readonly budget: MemoryBudget;
		readonly source: PartSource;
		/** How much of what was read in order stays, while nobody needs the memory. */
		readonly keptBehindBytes: number;
		/** How much of what nobody has opened yet. */
		readonly unopenedLimitBytes: number;
	}) {
		const { budget, source, keptBehindBytes, unopenedLimitBytes } = options;
		this.#budget = budget;
		this.#source = source;
		this.#keptBehindBytes = keptBehindBytes;
		this.#unopenedLimitBytes = unopenedLimitBytes;
		budget.addReclaimer((wantedBytes, urgency) => this.#reclaim(wantedBytes, urgency));
		budget.onFree(() => this.#serve());
	}

	open(store: ReadableStore, version: ObjectVersion, identity: string): CachedFile {
		const name = nameOf(identity, version);
		const file = this.#files.get(name) ?? new CachedFile(name, identity, version, store);
		file.store = store;
		file.readers++;
		this.#files.set(name, file);
		return file;
	}

	close(file: CachedFile): void {
		file.readers--;
		if (file.readers > 0) return;
		for (const part of file.parts.slice()) {
			// Nobody wants what is on its way. The rest the kernel has, or nobody read it.
			if (!part.isSettled && part.pins === 0) this.#abort(file, part);
			else if (part.isSettled && !this.#behind.has(part) && !this.#unopened.has(part)) {
				this.#unsort(part);
				this.#leave(file, part);
			}
		}
		this.#trimBehind();
		this.#forgetIfUnused(file);
	}

	forget(version: ObjectVersion, identity: string): void {
		const file = this.#files.get(nameOf(identity, version));
		if (file === undefined) return;
		for (const part of file.parts.slice()) {
			if (!part.isSettled && part.pins === 0) this.#abort(file, part);
			else this.#drop(file, part);
		}
	}

	/** All parts of the range, each pinned; what is missing is being fetched from now on. */
	acquire(need: Need, signal: AbortSignal | undefined): Part[] | Promise<Part[]> {
		// Beside it there are the parts at its two ends, which may reach further: more could never be there at the same time.
		if (need.end - need.start > this.#budget.limitBytes / 2)
			throw new FuseError("ENOMEM", `a read of ${need.end - need.start} bytes is too much for the memory budget`);
		const parts = this.#waiters.length > 0 ? undefined : this.#attempt(need, "wish");
		return parts ?? this.#inTurn(need, signal);
	}

	async #inTurn(need: Need, signal: AbortSignal | undefined): Promise<Part[]> {
		signal?.throwIfAborted();
		const { promise, resolve, reject } = Promise.withResolvers<Part[]>();
		const waiter: MemoryWaiter = { need, resolve };
		const leave = (): void => {
			const index = this.#waiters.indexOf(waiter);
			// It was served in the same moment, and sees by itself that it is not wanted.
			if (index === -1) return;
			this.#waiters.splice(index, 1);
			reject(signal?.reason);
			this.#serve();
		};
		this.#waiters.push(waiter);
		signal?.addEventListener("abort", leave, { once: true });
		try {
			return await promise;
		} finally {
			signal?.removeEventListener("abort", leave);
		}
	}

	/** Whether something of that version is there or on its way. */
	has(version: ObjectVersion, identity: string): boolean {
		const file = this.#files.get(nameOf(identity, version));
		return file !== undefined && file.parts.length > 0;
	}

	/** There is memory for so much that nobody has opened yet. */
	hasRoomForUnopened(sizeBytes: number): boolean {
		if (this.#waiters.length > 0 || this.#unopened.size >= maximumParts / 2) return false;
		return this.#unopenedBytes + sizeBytes <= this.#unopenedLimitBytes;
	}

	/**
	 * Begins to fetch a range before anybody needs it, which no part covers; false: there is no memory for it. `isAhead`: all other requests go
	 * first.
	 */
	fetchAhead(file: CachedFile, start: number, end: number, isAhead = false): boolean {
		if (this.#waiters.length > 0) return false;
		const memory = this.#budget.tryAllocate(end - start, "wish");
		if (memory === undefined) return false;
		this.#fetch(file, { start, end, memory, isAhead });
		return true;
	}

	/** Something was read of it. */
	touch(file: CachedFile, part: Part): void {
		part.wasRead = true;
		if (part === this.#latest || !part.isListed || !part.isSettled) return;
		this.#latest = part;
		this.#unsort(part);
		this.#recent.set(part, file);
	}

	unpin(part: Part): void {
		part.pins--;
		if (part.pins === 0 && part.isSettled) this.#idle(part);
	}

	/** Everything before the position was left behind by all who read the file in order. */
	leaveBehind(file: CachedFile, position: number): void {
		for (const part of file.parts) {
			if (part.end > position) break;
			if (!part.isSettled || this.#behind.has(part)) continue;
			this.#unsort(part);
			this.#leave(file, part);
		}
		this.#trimBehind();
	}

	#attempt(need: Need, urgency: Urgency): Part[] | undefined {
		const { file, end } = need;
		this.#joinGaps(need);
		const found: (Part | Reservation)[] = [];
		for (let position = need.start; position < end;) {
			const index = file.indexAt(position);
			const part = file.parts[index];
			if (part !== undefined && part.start <= position) {
				part.pins++;
				found.push(part);
				position = part.end;
				continue;
			}
			const room = { start: file.parts[index - 1]?.end ?? 0, end: part?.start ?? file.version.sizeBytes };
			const reservation = this.#reserve(need, { start: position, end: Math.min(end, room.end) }, room, urgency);
			if (reservation === undefined) {
				this.#giveBack(found);
				return undefined;
			}
			found.push(reservation);
			position = reservation.end;
		}
		return found.map((one) => {
			if (one instanceof Part) return one;
			const part = this.#fetch(file, one);
			part.pins++;
			return part;
		});
	}

	#reserve(need: Need, gap: ByteRange, room: ByteRange, urgency: Urgency): Reservation | undefined {
		if (urgency === "wish") {
			const span = need.wish(gap, room);
			const memory = this.#budget.tryAllocate(span.end - span.start, "wish");
			if (memory !== undefined) return { ...span, memory };
		}
		const span = need.least(gap, room);
		const memory = this.#budget.tryAllocate(span.end - span.start, "need");
		return memory && { ...span, memory };
	}

	#giveBack(found: readonly (Part | Reservation)[]): void {
		// Those who come next would otherwise be served in the middle of it.
		const wasServing = this.#isServing;
		this.#isServing = true;
		for (const one of found) {
			if (one instanceof Part) this.unpin(one);
			else one.memory.free();
		}
		this.#isServing = wasServing;
	}

	/** Where many small parts lie in a range, those between its gaps make way for one that has it all. */
	#joinGaps({ file, start, end }: Need): void {
		let gaps = 0;
		let inside: Part[] = [];
		const between: Part[] = [];
		for (let position = start; position < end;) {
			const part = file.partAt(position);
			if (part === undefined) {
				if (gaps > 0) between.push(...inside);
				inside = [];
				gaps++;
				position = file.nextStart(position);
			} else {
				inside.push(part);
				position = part.end;
			}
		}
		if (gaps <= maximumGaps) return;
		for (const part of between) if (part.isSettled) this.#drop(file, part);
	}

	#fetch(file: CachedFile, { start, end, memory, isAhead }: Reservation): Part {
		const part = new Part(start, end, memory, isAhead);
		file.add(part);
		this.#fetches++;
		void this.#load(file, part);
		const settled = this.#behind.size + this.#unopened.size + this.#recent.size + this.#ahead.size;
		if (settled + this.#fetches > maximumParts) this.#reclaim(1, "need");
		return part;
	}

	async #load(file: CachedFile, part: Part): Promise<void> {
		let fetched: readonly ByteRange[] = [];
		try {
			fetched = await this.#source.load(file, part);
			part.succeeded();
		} catch (error) {
			// Not kept: who reads it next asks again.
			this.#unlist(file, part);
			part.failed(error);
		}
		this.#fetches--;
		if (part.isListed) {
			if (file.readers === 0) this.#leave(file, part);
			else (part.wasRead ? this.#recent : this.#ahead).set(part, file);
		}
		const keeping = this.#source.keep(file, part, fetched);
		if (keeping !== undefined) {
			part.pins++;
			void keeping.finally(() => this.unpin(part));
		}
		if (part.pins === 0) this.#idle(part);
	}

	/** Nobody holds it, and nothing more comes. */
	#idle(part: Part): void {
		if (!part.isListed) {
			this.#free(part);
			return;
		}
		this.#serve();
	}

	#free(part: Part): void {
		if (!part.wasRead) this.wastedBytes += part.filledBytes;
		part.free();
	}

	#abort(file: CachedFile, part: Part): void {
		this.#unlist(file, part);
		part.abort(new Error("nobody wants to read it any more"));
	}

	/** It is not found any more, and goes as soon as nobody holds it. */
	#drop(file: CachedFile, part: Part): void {
		this.#unlist(file, part);
		if (part.isSettled && part.pins === 0) this.#free(part);
	}

	#unlist(file: CachedFile, part: Part): void {
		if (!part.isListed) return;
		part.isListed = false;
		file.remove(part);
		this.#unsort(part);
		this.#forgetIfUnused(file);
	}

	#unsort(part: Part): void {
		if (this.#latest === part) this.#latest = undefined;
		if (this.#recent.delete(part) || this.#ahead.delete(part)) return;
		if (this.#behind.delete(part)) this.#behindBytes -= part.sizeBytes;
		if (this.#unopened.delete(part)) this.#unopenedBytes -= part.sizeBytes;
	}

	#leave(file: CachedFile, part: Part): void {
		if (part.isAhead && !part.wasRead) {
			this.#unopened.set(part, file);
			this.#unopenedBytes += part.sizeBytes;
			return;
		}
		this.#behind.set(part, file);
		this.#behindBytes += part.sizeBytes;
	}

	#trimBehind(): void {
		for (const [part, file] of this.#behind) {
			if (this.#behindBytes <= this.#keptBehindBytes) return;
			if (part.pins === 0) this.#drop(file, part);
		}
	}

	#forgetIfUnused(file: CachedFile): void {
		if (file.readers > 0 || file.parts.length > 0) return;
		if (this.#files.get(file.name) === file) this.#files.delete(file.name);
	}

	#reclaim(wantedBytes: number, urgency: Urgency): number {
		let freedBytes = 0;
		const tiers = [this.#behind, this.#unopened, this.#recent, ...(urgency === "need" ? [this.#ahead] : [])];
		for (const tier of tiers) {
			for (const [part, file] of tier) {
				if (freedBytes >= wantedBytes) return freedBytes;
				if (part.pins > 0 || (urgency === "wish" && isBeingRead(file, part))) continue;
				freedBytes += part.sizeBytes;
				this.evictedParts++;
				this.#drop(file, part);
			}
		}
		return freedBytes;
	}

	#serve(): void {
		// An attempt reclaims memory, which comes here again.
		if (this.#isServing) return;
		this.#isServing = true;
		for (let [first] = this.#waiters; first !== undefined; [first] = this.#waiters) {
			const parts = this.#attempt(first.need, "need");
			if (parts === undefined) break;
			this.#waiters.shift();
			first.resolve(parts);
		}
		this.#isServing = false;
	}
}

/** Somebody reads it in order, is in the middle of it or just behind, where late reads come. */
function isBeingRead({ positions }: CachedFile, part: Part): boolean {
	for (const { next } of positions) if (part.start <= next && next < part.end + backwardBytes) return true;
	return false;
}
