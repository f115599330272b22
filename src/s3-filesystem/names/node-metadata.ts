import { FuseError } from "../../fuse/filesystem.ts";
import type { DirectoryPageContent } from "./listing.ts";
import type { ListedPages } from "./listed-pages.ts";
import type { NodeProperties } from "./node-properties.ts";
import { keyOf, type DirectoryNode, type FileNode, type Node, type NodeTable } from "./nodes.ts";
import { isAnswered, takeMarker, takeMetadata } from "./object-answers.ts";
import { lacksMetadata, namesFreshSince } from "./validity.ts";
import type { VolumeOptions } from "./volume.ts";

/** So many directories of which the names were asked for with the attributes, and that nobody entered: their names are asked for no more. */
const maximumUnentered = 8;

/** Owners, modes and times that objects hold: of a directory in no listing, of a file in MinIO's only. */
export class NodeMetadata {
	readonly #nodes: NodeTable;
	readonly #pages: ListedPages;
	readonly #properties: NodeProperties;
	/** Directories whose attributes were asked for, and that nobody has entered since. */
	readonly #unentered = new WeakSet<DirectoryNode>();
	#unenteredInRow = 0;

	constructor(nodes: NodeTable, pages: ListedPages, properties: NodeProperties) {
		this.#nodes = nodes;
		this.#pages = pages;
		this.#properties = properties;
	}

	/** Asks the server for the metadata of a node of which only the listing is known. */
	async ensure(node: Node): Promise<void> {
		const { volume } = node;
		if (volume === undefined || !lacksMetadata(node)) return;
		if (node.kind === "directory") await this.#askForDirectory(node, volume);
		else await this.#askForFile(node, volume);
	}

	async #askForDirectory(node: DirectoryNode, volume: VolumeOptions): Promise<void> {
		const { store } = volume;
		// The first page begins with the directory's own object, though with its attributes only where the server lists them.
		const isGuess = this.#listIfEntered(node, volume);
		if (!isGuess || store.listsMetadata) {
			await this.#pages.underWay(node, "")?.catch((error: unknown) => {
				// What was tried for as long as it may be is not tried once more.
				if (isGuess && !isAnswered(error)) throw error;
			});
		}
		if (!lacksMetadata(node)) return;
		const askedAt = performance.now();
		try {
			const marker = await store.head(keyOf(node), { mayBeHidden: true });
			this.#properties.learned(node, marker.properties, askedAt);
			this.#takeMarker(node, askedAt, marker);
		} catch (error) {
			if (!isAnswered(error)) throw error;
			// Only implied by what is below it, which may be all that the key may see, or the server has.
			this.#takeMarker(node, askedAt, undefined);
		}
	}

	/**
	 * Who asks for a directory's attributes is most often on the way to what is in it, and would have to wait once more for its names. Returns
	 * whether they are asked for.
	 */
	#listIfEntered(node: DirectoryNode, volume: VolumeOptions): boolean {
		const isListed =
			node.listing.isStarted(namesFreshSince(volume, node.listing)) || this.#pages.underWay(node, "") !== undefined;
		if (volume.ttlMs === 0 || isListed) return false;
		this.#unentered.add(node);
		if (this.#unenteredInRow >= maximumUnentered) return false;
		this.#unenteredInRow++;
		// Who enters it asks again, and is told.
		this.#pages.load(node, "").catch(() => undefined);
		return true;
	}

	async #askForFile(node: FileNode, volume: VolumeOptions): Promise<void> {
		const { posix, version } = node;
		const key = keyOf(node);
		const askedAt = performance.now();
		const { etag, metadata, properties } = await volume.store.head(key, version && { as: version.etag });
		// Changed or moved here meanwhile: the answer is older than that.
		if (node.posix !== posix || node.version !== version) return this.ensure(node);
		if (etag !== node.version?.etag) throw new FuseError("ESTALE", `${key} was replaced`);
		this.#properties.learned(node, properties, askedAt);
		takeMetadata(node, metadata);
		this.#nodes.changed(node);
	}

	/** Somebody wants names of the directory. */
	entered(directory: DirectoryNode): void {
		if (this.#unentered.delete(directory)) this.#unenteredInRow = 0;
	}

	#takeMarker(node: DirectoryNode, askedAt: number, marker: DirectoryPageContent["marker"]): void {
		takeMarker(node, askedAt, marker);
		this.#nodes.changed(node);
	}
}
