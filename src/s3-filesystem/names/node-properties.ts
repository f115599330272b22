import { S3Error, type ObjectProperties } from "../../s3/object-store.ts";
import { contentTypeOf, isTypeOfName } from "./content-type.ts";
import { isSymlink, keyOf, type FileNode, type Node, type NodeTable } from "./nodes.ts";
import { isOnlyHidden, takeMetadata } from "./object-answers.ts";
import { freshSince, lacksMetadata } from "./validity.ts";

/** What objects have beside bytes and attributes. What somebody had to ask for is believed as long as names are. */
export class NodeProperties {
	readonly #nodes: NodeTable;
	readonly #known = new WeakMap<
		Node,
		{ readonly properties: ObjectProperties; readonly of: string; readonly at: number }
	>();

	constructor(nodes: NodeTable) {
		this.#nodes = nodes;
	}

	/** The server told so at that time, by performance.now. */
	learned(node: Node, properties: ObjectProperties, at: number): void {
		this.#known.set(node, { properties, of: versionOf(node), at });
	}

	get(node: Node): { readonly properties: ObjectProperties; readonly at: number } | undefined {
		const known = this.#known.get(node);
		const isKnown = node.volume !== undefined && known?.of === versionOf(node) && known.at >= freshSince(node.volume);
		return isKnown ? known : undefined;
	}

	/**
	 * What the object of a node has beside bytes and attributes, for the one that takes its place; of a new one, what its name says. Whoever
	 * replaced it meanwhile has said what it has now, and one that is gone or must not be seen leaves nothing to keep.
	 */
	async of(node: Node): Promise<ObjectProperties> {
		const { volume, posix } = node;
		const isThere = node.kind === "file" ? node.version !== undefined : node.hasMarker;
		if (volume === undefined || !isThere) return newProperties(node);
		const isAsked = node.kind === "file" && lacksMetadata(node);
		const known = this.get(node);
		if (known !== undefined && !isAsked) return known.properties;
		const key = keyOf(node);
		const askedAt = performance.now();
		try {
			const { properties, metadata } = await volume.store.head(key, { mayBeHidden: true });
			// Changed here meanwhile: the answer is older than that.
			if (isAsked && node.posix !== posix) return await this.of(node);
			this.learned(node, properties, askedAt);
			if (isAsked) {
				takeMetadata(node, metadata);
				this.#nodes.changed(node);
			}
			return properties;
		} catch (error) {
			if (!(error instanceof S3Error && (error.kind === "NOT_FOUND" || isOnlyHidden(error)))) throw error;
			return keyOf(node) === key ? newProperties(node) : this.of(node);
		}
	}

	/**
	 * What the copy of a file under another name has, where that is not what the file has: its type is that of the new name, unless
	 * somebody has given it another one than that of the old.
	 */
	async as(node: FileNode, newName: string): Promise<ObjectProperties | undefined> {
		const type = contentTypeOf(newName);
		if (!node.volume.contentTypes || type === contentTypeOf(node.name)) return undefined;
		const properties = await this.of(node);
		if (isSymlink(node) || !isTypeOfName(properties.headers["content-type"], node.name)) return undefined;
		return { ...properties, headers: { ...properties.headers, "content-type": type } };
	}
}

function newProperties({ kind, name, volume }: Node): ObjectProperties {
	if (kind === "directory") return { headers: { "content-type": "application/x-directory" } };
	return { headers: volume?.contentTypes ? { "content-type": contentTypeOf(name) } : {} };
}

/** The time, too: others change properties by copying an object onto itself. */
function versionOf(node: Node): string {
	return node.kind === "directory" ? "" : `${node.version?.etag} ${node.version?.modifiedMs}`;
}
