/** Of files without a node that have another number than their path's hash. */
const maximumKept = 10_000;

/**
 * The numbers that stat(2) shows. A file's is a hash of its path, so that it is the same for the next mount; but a file keeps its number when
 * it is renamed, and no other file may have that one meanwhile, whatever its path: programs take two files with one number for one file.
 */
export class InodeNumbers {
	readonly #hash: typeof inodeOf;
	/** By nodes, and by what was kept. 1 is the root's. */
	readonly #taken = new Set<number>([1]);
	/** By path: the number of a file that is there, has no node, and has another one than the hash of its path. The oldest first. */
	readonly #kept = new Map<string, number>();

	constructor(hash = inodeOf) {
		this.#hash = hash;
	}

	/** Of files without a node, for `restore`. */
	get kept(): readonly (readonly [path: string, ino: number])[] {
		return [...this.#kept];
	}

	/** Goes on with the numbers of a process before this one: of its nodes, and what it kept. */
	restore(taken: Iterable<number>, kept: readonly (readonly [path: string, ino: number])[]): void {
		for (const ino of taken) this.#taken.add(ino);
		// One that has died has written down when a number was kept, and not when a node got it again, or another name.
		const newest = new Map(kept.map(([path, ino]) => [ino, path]));
		for (const [ino, path] of newest) if (!this.#taken.has(ino)) this.#keep(path, ino);
	}

	/** For the node of what is at a path. */
	take(path: string): number {
		const kept = this.#kept.get(path);
		this.#kept.delete(path);
		const ino = kept ?? this.#free(path);
		this.#taken.add(ino);
		return ino;
	}

	/** What a node would have that were made for a path. */
	at(path: string): number {
		const kept = this.#kept.get(path);
		if (kept !== undefined) return kept;
		const ino = this.#hash(path);
		if (!this.#taken.has(ino)) return ino;
		// Who is shown it finds it again, also when the hash is free by then.
		const other = this.#free(path);
		this.#keep(path, other);
		return other;
	}

	/** The node is gone. `path`: where the same file is found again; undefined: nowhere. Says whether the number is kept for that. */
	giveBack(ino: number, path: string | undefined): boolean {
		if (path === undefined) {
			this.#taken.delete(ino);
			return false;
		}
		this.#drop(path);
		const isOther = ino !== this.#hash(path);
		if (isOther) this.#keep(path, ino);
		else this.#taken.delete(ino);
		return isOther;
	}

	#keep(path: string, ino: number): void {
		this.#taken.add(ino);
		this.#kept.set(path, ino);
		if (this.#kept.size <= maximumKept) return;
		const [oldest] = this.#kept.keys();
		if (oldest !== undefined) this.#drop(oldest);
	}

	#drop(path: string): void {
		const kept = this.#kept.get(path);
		if (kept === undefined) return;
		this.#kept.delete(path);
		this.#taken.delete(kept);
	}

	#free(path: string): number {
		let attempt = 0;
		let ino = this.#hash(path);
		while (this.#taken.has(ino)) ino = this.#hash(path, ++attempt);
		return ino;
	}
}

/** 53 bits of a hash of the path; another one with each attempt. */
export function inodeOf(path: string, attempt = 0): number {
	// cyrb53, by bryc: good enough to tell files apart, and fast.
	let high = 0xde_ad_be_ef ^ attempt;
	let low = 0x41_c6_ce_57 ^ attempt;
	for (let index = 0; index < path.length; index++) {
		const unit = path.charCodeAt(index);
		high = Math.imul(high ^ unit, 2_654_435_761);
		low = Math.imul(low ^ unit, 1_597_334_677);
	}
	high = Math.imul(high ^ (high >>> 16), 2_246_822_507) ^ Math.imul(low ^ (low >>> 13), 3_266_489_909);
	low = Math.imul(low ^ (low >>> 16), 2_246_822_507) ^ Math.imul(high ^ (high >>> 13), 3_266_489_909);
	// 0 and 1 mean something else to programs.
	return Math.max(2, 4_294_967_296 * (0x1f_ff_ff & low) + (high >>> 0));
}
