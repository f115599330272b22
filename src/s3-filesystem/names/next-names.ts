import type { DirectoryListing, Listed } from "./listing.ts";
import { compareKeys } from "./names.ts";

/** What is opened one after another. */
export interface Following {
	readonly kind: Listed["kind"];
	/** So many steps forward, one after another, make it likely that the next ones follow. */
	readonly steps: number;
	/** How many of those that follow are named. */
	readonly maximum: number;
	/** How many bytes they have together at most. */
	readonly maximumBytes: number;
}

/** A directory is looked through again when a sixteenth of its names are new: whoever makes files and reads each must not pay for all of them each time. */
const othersAWalk = 16;

/** One directory whose files, or directories, are opened one after another. */
interface Walk {
	/** In the order of their keys. */
	readonly names: readonly string[];
	/** The farthest that was opened. */
	at: number;
	inOrder: number;
	/** What was opened and is not among the names: it was made since. */
	others: number;
	/** Before this position all that was wanted has been named. */
	namedEnd: number;
}

/** What a directory must have for its names to be followed. */
export interface WalkedDirectory {
	readonly listing: Pick<DirectoryListing, "complete" | "find">;
}

/**
 * Guesses which files are opened next, where a program goes through a directory in the order of its names, as tar, cp and cat do; and which
 * directories, where it goes through a tree. On a distant server a small file, and a page of names, is a round trip and little else, so that
 * programs wait for one after another.
 */
export class NextNames {
	readonly #following: Following;
	readonly #walks = new WeakMap<WalkedDirectory, Walk>();
	/** What was opened last, of directories that were not looked through yet: that costs something. */
	readonly #last = new WeakMap<WalkedDirectory, string>();

	constructor(following: Following) {
		this.#following = following;
	}

	/** A name was opened: the ones to bring meanwhile, each named once in a walk. `since` is how old what is known may be. */
	opened(
		directory: WalkedDirectory,
		name: string,
		since: number,
		isWanted: (listed: Listed) => boolean,
	): readonly Listed[] {
		const { kind, steps, maximum, maximumBytes } = this.#following;
		const walk = this.#follow(directory, name, since);
		if (walk === undefined || walk.inOrder < steps) return [];
		const next: Listed[] = [];
		let bytes = 0;
		const count = Math.min(maximum, 2 ** (walk.inOrder - steps + 1));
		const end = Math.min(walk.names.length, walk.at + 1 + count);
		for (let position = walk.at + 1; position < end; position++) {
			const listed = directory.listing.find(walk.names[position] ?? "", since)?.entry;
			if (listed?.kind !== kind || !isWanted(listed)) continue;
			bytes += listed.sizeBytes;
			if (bytes > maximumBytes) break;
			if (position < walk.namedEnd) continue;
			next.push(listed);
			walk.namedEnd = position + 1;
		}
		return next;
	}

	#follow(directory: WalkedDirectory, name: string, since: number): Walk | undefined {
		const walk = this.#walks.get(directory);
		if (walk === undefined) return this.#begin(directory, name, since);
		const position = positionOf(walk.names, name);
		if (walk.names[position] !== name) {
			return ++walk.others * othersAWalk > walk.names.length ? this.#begin(directory, name, since) : undefined;
		}
		const step = position - walk.at;
		const { maximum } = this.#following;
		if (step > maximum || step < -maximum) {
			walk.inOrder = 0;
			walk.namedEnd = 0;
			walk.at = position;
		} else if (step > 0) {
			walk.inOrder++;
			walk.at = position;
		}
		return walk;
	}

	/** Not for one name alone. */
	#begin(directory: WalkedDirectory, name: string, since: number): Walk | undefined {
		const before = this.#last.get(directory);
		this.#last.set(directory, name);
		if (before === undefined || before === name) return undefined;
		const { kind, maximum } = this.#following;
		const names = directory.listing
			.complete(since)
			?.filter((listed) => listed.kind === kind)
			.map((listed) => listed.name)
			.toSorted(compareKeys);
		if (names === undefined) return undefined;
		const at = positionOf(names, name);
		const step = at - positionOf(names, before);
		const walk = { names, at, inOrder: step > 0 && step <= maximum ? 1 : 0, others: 0, namedEnd: 0 };
		this.#walks.set(directory, walk);
		return walk;
	}
}

/** Where the name is, or would be. */
function positionOf(names: readonly string[], name: string): number {
	let low = 0;
	let high = names.length;
	while (low < high) {
		const middle = (low + high) >>> 1;
		if (compareKeys(names[middle] ?? "", name) < 0) low = middle + 1;
		else high = middle;
	}
	return low;
}
