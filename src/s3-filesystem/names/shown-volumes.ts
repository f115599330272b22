import type { DirectoryNode, NodeTable } from "./nodes.ts";
import type { VolumeOptions } from "./volume.ts";

export interface Outdated {
	readonly directories: readonly DirectoryNode[];
	/** That are another directory now. */
	readonly names: readonly { readonly parent: DirectoryNode; readonly name: string }[];
}

/** The buckets that are shown, each at its folder of the tree. */
export class ShownVolumes {
	readonly #nodes: NodeTable;
	readonly #root: DirectoryNode;
	readonly #volumes: VolumeOptions[];

	constructor(volumes: readonly VolumeOptions[], nodes: NodeTable, root: DirectoryNode) {
		this.#nodes = nodes;
		this.#root = root;
		this.#volumes = [...volumes];
		this.#placeAll();
	}

	/** Every node is of a volume that is shown, or of none. */
	get areWhole(): boolean {
		return Array.from(this.#nodes.all()).every(({ volume }) => volume === undefined || this.#volumes.includes(volume));
	}

	/** Shows one more volume. Returns what the kernel may remember and is not true any more. */
	add(volume: VolumeOptions): Outdated {
		this.#volumes.push(volume);
		return this.#placeAll();
	}

	/** Meets the servers before somebody waits for that: connects, and learns what they can list. */
	meetServers(): void {
		// Whoever comes first is told what is wrong.
		for (const { store, prefix } of this.#volumes) void store.list({ prefix, maxKeys: 1 }).catch(() => undefined);
	}

	/**
	 * Takes a volume out of sight. What is open in it, and what the kernel knows of it, lives on below a directory that has no name any
	 * more. Returns what the kernel may remember and is not true any more.
	 */
	remove(volume: VolumeOptions): Outdated {
		const index = this.#volumes.indexOf(volume);
		if (index === -1) return { directories: [], names: [] };
		this.#volumes.splice(index, 1);
		const path = volume.folder === "" ? [] : volume.folder.split("/");
		const way = [this.#root];
		for (const name of path) {
			const next = way.at(-1)?.overlay.get(name);
			if (next === undefined) return { directories: [], names: [] };
			way.push(next);
		}
		const top = way.at(-1) ?? this.#root;
		// On the way to other volumes the folder stays, without what was in the bucket.
		if (top === this.#root || top.overlay.size > 0) {
			this.#moveOut(top);
			top.volume = top.parent?.volume;
			top.isVolumeRoot = top === this.#root;
			const { directories, names } = this.#placeAll();
			return { directories: [top, ...directories], names };
		}
		const names: { parent: DirectoryNode; name: string }[] = [];
		for (let node = top, parent = node.parent; parent !== undefined; node = parent, parent = node.parent) {
			if (node !== top && (node.isVolumeRoot || node.overlay.size > 0)) break;
			parent.overlay.delete(node.name);
			node.parent = undefined;
			names.push({ parent, name: node.name });
			if (node !== top) this.#nodes.dropIfUnused(node);
		}
		return { directories: names.map(({ parent }) => parent), names };
	}

	/** What is in the directory is in another one from now on, which no name leads to. */
	#moveOut(directory: DirectoryNode): void {
		const { volume, name, children, drafted, hidden } = directory;
		const nameless = this.#nodes.directory({ volume, parent: undefined, name, isVolumeRoot: true });
		for (const child of children.values()) {
			child.parent = nameless;
			nameless.children.set(child.name, child);
		}
		for (const child of drafted) nameless.drafted.add(child);
		for (const [hiddenName, file] of hidden) {
			file.hiddenIn = nameless;
			nameless.hidden.set(hiddenName, file);
		}
		children.clear();
		drafted.clear();
		hidden.clear();
		directory.listing.clear();
		directory.posix = {};
		directory.posixAt = undefined;
		directory.hasMarker = directory === this.#root;
	}

	/** Outer folders first, so that an inner one lies in the volume around it. */
	#placeAll(): Outdated {
		const directories: DirectoryNode[] = [];
		const names: { parent: DirectoryNode; name: string }[] = [];
		for (const volume of this.#volumes.toSorted((a, b) => a.folder.length - b.folder.length)) {
			let directory = this.#root;
			const path = volume.folder === "" ? [] : volume.folder.split("/");
			for (const [index, name] of path.entries()) {
				const isTop = index === path.length - 1;
				let next = directory.overlay.get(name);
				if (next === undefined) {
					next = this.#nodes.directory({
						volume: isTop ? volume : directory.volume,
						parent: directory,
						name,
						isVolumeRoot: isTop,
					});
					directory.overlay.set(name, next);
					if (directory.children.has(name)) names.push({ parent: directory, name });
				} else if (!next.isVolumeRoot && next.volume !== directory.volume) {
					// On the way to a volume a folder is the one's around it.
					next.volume = directory.volume;
					this.#nodes.changed(next);
					directories.push(next);
				}
				directory = next;
			}
			if (directory.volume === volume) continue;
			directory.volume = volume;
			directory.isVolumeRoot = true;
			directory.hasMarker = true;
			this.#nodes.changed(directory);
			directories.push(directory);
		}
		return { directories, names };
	}
}
