import type { ObjectProperties } from "../../s3/object-store.ts";
import type { Node } from "./nodes.ts";
import { freshSince } from "./validity.ts";

/** What objects have beside bytes and attributes, as far as somebody had to ask; it is believed as long as names are. */
export class KnownProperties {
	readonly #known = new WeakMap<
		Node,
		{ readonly properties: ObjectProperties; readonly of: string; readonly at: number }
	>();

	/** The server told so at that time, by performance.now. */
	learned(node: Node, properties: ObjectProperties, at: number): void {
		this.#known.set(node, { properties, of: versionOf(node), at });
	}

	get(node: Node): { readonly properties: ObjectProperties; readonly at: number } | undefined {
		const known = this.#known.get(node);
		const isKnown = node.volume !== undefined && known?.of === versionOf(node) && known.at >= freshSince(node.volume);
		return isKnown ? known : undefined;
	}
}

/** The time, too: others change properties by copying an object onto itself. */
function versionOf(node: Node): string {
	return node.kind === "directory" ? "" : `${node.version?.etag} ${node.version?.modifiedMs}`;
}
