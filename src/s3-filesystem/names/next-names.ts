import { listedKey, type Listed } from "./listed.ts";
import type { DirectoryListing } from "./listing.ts";
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

/** Names of the other kind between two: with more of them, going through them would cost more than it brings. */
const othersAName = 16;

/** One directory whose files, or directories, are opened one after another. */
interface Walk {
	/** The farthest that was opened. */
	at: string;
	inOrder: number;
	/** Up to this key all that was wanted has been named. */
	namedThrough: string;
}

/** What a directory must have for its names to be followed. */
export interface WalkedDirectory {
	readonly listing: Pick<DirectoryListing, "following">;
}

/**
 * Guesses which files are opened next, where a program goes through a directory in the order of its names, as tar, cp and cat do; and which
 * directories, where it goes through a tree. On a distant server a small file, and a page of names, is a round trip and little else, so that
 * programs wait for one after another.
 */
export class NextNames {
	readonly #following: Following;
	readonly #walks = new WeakMap<WalkedDirectory, Walk>();

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
		const { steps, maximumBytes } = this.#following;
		const walk = this.#follow(directory, name, since);
		if (walk === undefined || walk.inOrder < steps) return [];
		const next: Listed[] = [];
		let bytes = 0;
		for (const listed of this.#after(directory, walk.at, since, 2 ** (walk.inOrder - steps + 1))) {
			if (!isWanted(listed)) continue;
			bytes += listed.sizeBytes;
			if (bytes > maximumBytes) break;
			const key = listedKey(listed);
			if (compareKeys(key, walk.namedThrough) <= 0) continue;
			next.push(listed);
			walk.namedThrough = key;
		}
		return next;
	}

	#follow(directory: WalkedDirectory, name: string, since: number): Walk | undefined {
		const walk = this.#walks.get(directory);
		if (walk === undefined) {
			this.#walks.set(directory, { at: name, inOrder: 0, namedThrough: "" });
			return undefined;
		}
		if (walk.at === name) return walk;
		const isSoonAfter = (from: string, to: string): boolean =>
			this.#after(directory, from, since).some((listed) => listed.name === to);
		if (isSoonAfter(walk.at, name)) {
			walk.inOrder++;
			walk.at = name;
		} else if (walk.inOrder === 0 || !isSoonAfter(name, walk.at)) {
			walk.inOrder = 0;
			walk.namedThrough = "";
			walk.at = name;
		}
		return walk;
	}

	/** Some of the names that come next, as far as they are known. */
	#after(
		directory: WalkedDirectory,
		name: string,
		since: number,
		count = Number.POSITIVE_INFINITY,
	): IteratorObject<Listed> {
		const { kind, maximum } = this.#following;
		return directory.listing
			.following(kind === "directory" ? `${name}/` : name, since)
			.take(maximum * othersAName)
			.filter((listed) => listed.kind === kind)
			.take(Math.min(maximum, count));
	}
}
