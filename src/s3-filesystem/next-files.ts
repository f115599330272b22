import type { DirectoryListing, Listed } from "./listing.ts";
import { compareKeys } from "./names.ts";

/** So many files of a directory that were opened in order make it likely that the next ones will be. */
const filesInOrder = 3;
const maximumFiles = 16;
const maximumBytes = 8 * 1024 ** 2;
/** A directory is looked through again when a sixteenth of its files are new: whoever makes files and reads each must not pay for all of them each time. */
const othersAWalk = 16;

/** One directory whose files are opened one after another. */
interface Walk {
	/** In the order of their keys. */
	readonly names: readonly string[];
	/** The farthest that was opened. */
	at: number;
	inOrder: number;
	/** Files that were opened and are not among the names: they were made since. */
	others: number;
	/** Before this position all that was wanted has been named. */
	namedEnd: number;
}

/** What a directory must have for its files to be followed. */
export interface WalkedDirectory {
	readonly listing: Pick<DirectoryListing, "complete" | "find">;
}

/**
 * Guesses which files are opened next, where a program goes through a directory in the order of its names, as tar, cp and cat do. On a distant server
 * a small file is a round trip and little else, so that they wait for one after another.
 */
export class NextFiles {
	readonly #walks = new WeakMap<WalkedDirectory, Walk>();
	/** The file that was opened last, of directories that were not looked through yet: that costs something. */
	readonly #last = new WeakMap<WalkedDirectory, string>();

	/** A file was opened: the ones to bring meanwhile, each named once in a walk. `since` is how old what is known may be. */
	opened(
		directory: WalkedDirectory,
		name: string,
		since: number,
		isSmall: (file: Listed) => boolean,
	): readonly Listed[] {
		const walk = this.#follow(directory, name, since);
		if (walk === undefined || walk.inOrder < filesInOrder) return [];
		const next: Listed[] = [];
		let bytes = 0;
		const count = Math.min(maximumFiles, 2 ** (walk.inOrder - filesInOrder + 1));
		const end = Math.min(walk.names.length, walk.at + 1 + count);
		for (let position = walk.at + 1; position < end; position++) {
			const file = directory.listing.find(walk.names[position] ?? "", since)?.entry;
			if (file?.kind !== "file" || !isSmall(file)) continue;
			bytes += file.sizeBytes;
			if (bytes > maximumBytes) break;
			if (position < walk.namedEnd) continue;
			next.push(file);
			walk.namedEnd = position + 1;
		}
		return next;
	}

	#follow(directory: WalkedDirectory, name: string, since: number): Walk | undefined {
		const walk = this.#walks.get(directory);
		if (walk === undefined) {
			this.#begin(directory, name, since);
			return undefined;
		}
		const position = positionOf(walk.names, name);
		if (walk.names[position] !== name) {
			if (++walk.others * othersAWalk > walk.names.length) this.#begin(directory, name, since);
			return undefined;
		}
		const step = position - walk.at;
		if (step > maximumFiles || step < -maximumFiles) {
			walk.inOrder = 0;
			walk.namedEnd = 0;
			walk.at = position;
		} else if (step > 0) {
			walk.inOrder++;
			walk.at = position;
		}
		return walk;
	}

	/** Not for one file alone. */
	#begin(directory: WalkedDirectory, name: string, since: number): void {
		const before = this.#last.get(directory);
		this.#last.set(directory, name);
		if (before === undefined || before === name) return;
		const names = directory.listing
			.complete(since)
			?.filter(({ kind }) => kind === "file")
			.map((file) => file.name)
			.toSorted(compareKeys);
		if (names === undefined) return;
		this.#walks.set(directory, { names, at: positionOf(names, name), inOrder: 0, others: 0, namedEnd: 0 });
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
