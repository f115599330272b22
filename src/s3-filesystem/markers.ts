import { FuseError } from "../fuse/filesystem.ts";
import { S3Error } from "../s3/object-store.ts";
import { emptyBody } from "../s3/upload.ts";
import { isDetached, keyOf, modeOf, mtimeOf, type DirectoryNode } from "./names/nodes.ts";
import { refuseIfTooLarge } from "./names/posix-changes.ts";
import { formatMetadata, type PosixMetadata } from "./names/posix-metadata.ts";
import type { Tree } from "./tree.ts";

/** The objects of directories themselves, which hold their attributes and keep them when nothing is in them. */
export class Markers {
	readonly #tree: Tree;

	constructor(tree: Tree) {
		this.#tree = tree;
	}

	async put(directory: DirectoryNode, changes: PosixMetadata): Promise<void> {
		const { namespace } = this.#tree;
		const { volume, changed } = directory;
		if (volume === undefined) throw new FuseError("EROFS");
		const posix = { ...directory.posix, mtime: mtimeOf(directory), ...changes };
		refuseIfTooLarge(posix);
		const key = isDetached(directory) ? "" : keyOf(directory);
		// Neither a bucket nor a removed directory has an object that could hold its attributes: they are kept as long as the node is.
		if (key !== "") {
			const askedAt = performance.now();
			const properties = await namespace.properties.of(directory);
			await volume.store.put(key, emptyBody, {
				metadata: formatMetadata({ ...posix, mode: posix.mode ?? modeOf(directory) }),
				properties,
			});
			namespace.properties.learned(directory, properties, askedAt);
		}
		directory.hasMarker = true;
		directory.posix = posix;
		directory.posixAt = performance.now();
		directory.modifiedMs = Date.now();
		// Names may have changed meanwhile.
		if (directory.changed === changed) directory.changed = undefined;
		namespace.nodes.changed(directory);
	}

	/** A directory that only what is in it implied would vanish with the last name. */
	async keep(directory: DirectoryNode): Promise<void> {
		if (directory.hasMarker) return;
		await this.#tree.locks.with(directory, async () => {
			// Its object may be there with attributes that nobody has asked for.
			await this.#tree.namespace.metadata.ensure(directory);
			if (directory.hasMarker) return;
			await this.put(directory, {}).catch((error: unknown) => {
				// The server has no such objects: this one goes with its last name.
				if (!(error instanceof S3Error && error.kind === "NAME_TOO_LONG")) throw error;
			});
		});
	}
}
