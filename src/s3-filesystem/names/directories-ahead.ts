import type { Namespace } from "./namespace.ts";
import { NextNames } from "./next-names.ts";
import type { DirectoryNode } from "./nodes.ts";
import { freshSince, namesFreshSince } from "./validity.ts";

/** So many are remembered that were listed and nobody has opened yet. */
const maximumDirectories = 64;

/** Lists directories before they are opened, where a program goes through a tree in the order of its names, as find, du and rsync do. */
export class DirectoriesAhead {
	readonly #namespace: Namespace;
	readonly #next = new NextNames({ kind: "directory", steps: 1, maximum: 8, maximumBytes: Number.POSITIVE_INFINITY });
	/** They stay as if the kernel knew them. */
	readonly #held = new Set<DirectoryNode>();

	constructor(namespace: Namespace) {
		this.#namespace = namespace;
	}

	/** A directory was opened: the first names of those that are likely to be next are asked for. */
	opened(directory: DirectoryNode): void {
		this.#release(directory);
		const { parent, volume, name } = directory;
		if (parent === undefined || volume === undefined || parent.volume !== volume || volume.ttlMs === 0) return;
		const since = namesFreshSince(volume, parent.listing);
		for (const listed of this.#next.opened(parent, name, since, (next) => !parent.overlay.has(next.name))) {
			const known = parent.listing.find(listed.name, since);
			const next = known && this.#namespace.reconcile(parent, volume, listed.name, known);
			if (next?.kind === "directory" && !next.listing.isStarted(freshSince(volume))) this.#list(next);
		}
	}

	#list(directory: DirectoryNode): void {
		if (!this.#held.has(directory)) {
			this.#held.add(directory);
			directory.lookups++;
		}
		// Who opens it asks again, and is told what is wrong.
		this.#namespace.pages.load(directory, "").catch(() => undefined);
		if (this.#held.size <= maximumDirectories) return;
		const [oldest] = this.#held;
		if (oldest !== undefined) this.#release(oldest);
	}

	#release(directory: DirectoryNode): void {
		if (!this.#held.delete(directory)) return;
		directory.lookups--;
		this.#namespace.nodes.dropIfUnused(directory);
	}
}
