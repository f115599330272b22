import { isReplacedOrGone } from "../s3/object-store.ts";
import { deleteOldVersion } from "./writing/delete-version.ts";
import type { FileContents } from "./file-contents.ts";
import { isUndeleted, keyOf, type DirectoryNode, type FileNode, type Version } from "./names/nodes.ts";
import type { Tree } from "./tree.ts";

/** Below a volume's prefix: objects of files that are open and have no name any more. What a crash leaves there is garbage. */
const unlinkedFolder = ".fluid-fuse-unlinked";
/** When a deletion that has failed is tried again; twice as late each time, up to the second. */
const againMs = { first: 1000, last: 60_000 } as const;
/** A server copies so much with one request. */
const largestAsideBytes = 5 * 1024 ** 3;

/** Files that are open and have no name any more: their objects stay, unseen or elsewhere, as long as somebody may read them. */
export class UnlinkedFiles {
	readonly #tree: Tree;
	readonly #contents: FileContents;
	readonly #mountId: string;
	/** Nobody has them open, and their objects could not be deleted. */
	readonly #undeleted = new Set<FileNode>();
	#againMs: number = againMs.first;
	#timer: NodeJS.Timeout | undefined;

	constructor(tree: Tree, contents: FileContents, mountId: string) {
		this.#tree = tree;
		this.#contents = contents;
		this.#mountId = mountId;
	}

	/** The name of an open file goes; its object stays where it is, unseen, until the last handle goes or something else needs the name. */
	hide(node: FileNode, directory: DirectoryNode): void {
		node.unlinkedKey = keyOf(node);
		node.hiddenIn = directory;
		directory.hidden.set(node.name, node);
		this.#tree.namespace.nodes.changed(node);
		this.#contents.unlinked(node);
	}

	async unhideAll(directory: DirectoryNode): Promise<void> {
		for (const name of directory.hidden.keys()) await this.unhide(directory, name);
	}

	/** A name is free when nothing is hidden behind it. */
	async unhide({ hidden }: DirectoryNode, name: string): Promise<void> {
		const node = hidden.get(name);
		if (node !== undefined) await this.#tree.locks.with(node, async () => this.#makeWay(node));
	}

	/** The object of a hidden file makes way for another of its key, for a directory, or for none. */
	async #makeWay(node: FileNode): Promise<void> {
		const { hiddenIn, name } = node;
		if (hiddenIn?.hidden.get(name) !== node) return;
		if (node.handles.size === 0) {
			await this.delete(node).catch(() => this.#giveUp(node));
			return;
		}
		await this.setAside(node, async () => {
			if (node.version !== undefined) await deleteOldVersion(node.volume.store, keyOf(node), node.version.etag);
		});
	}

	/**
	 * Lets an open file go on without its name, with a copy of its object, while `replace` does with the name what it wants. Where a
	 * copy would take too long, readers find the object gone.
	 */
	async setAside(node: FileNode, replace: () => Promise<void>): Promise<void> {
		// Parts that were sent can only become an object of the old key.
		if (node.draft?.uploadKey !== undefined) await node.draft.commit();
		const work = async (): Promise<void> => {
			const key = this.#asideKey(node);
			const copy = await this.#copyAside(node, key);
			try {
				await replace();
			} catch (error) {
				if (copy !== undefined) await this.#deleteAside(node);
				throw error;
			}
			this.#goAside(node, key, copy);
		};
		await (node.draft === undefined ? work() : node.draft.hold(work));
	}

	/** Its object is another one by now, for which a process that has died had copied it. */
	replaced(node: FileNode): void {
		const { aside, version } = node;
		if (aside !== undefined && aside.of === version?.etag) this.#goAside(node, this.#asideKey(node), aside.version);
	}

	/** The same when this is done once more. */
	#asideKey({ volume, id }: FileNode): string {
		return `${volume.prefix}${unlinkedFolder}/${this.#mountId}-${id}`;
	}

	#goAside(node: FileNode, key: string, copy: Version | undefined): void {
		this.#leaveHiding(node);
		node.unlinkedKey = key;
		node.aside = undefined;
		this.#tree.namespace.nodes.changed(node);
		this.#contents.unlinked(node);
		// Without one it keeps its size: with none, what is left to read would look like the end of the file.
		if (copy !== undefined) this.#contents.moved(node, key, copy);
	}

	async #copyAside(node: FileNode, key: string): Promise<Version | undefined> {
		const { version, aside } = node;
		if (version === undefined || version.sizeBytes > largestAsideBytes) return undefined;
		const { etag: oldEtag, sizeBytes } = version;
		// By a process that has died, which may have replaced what it has copied.
		if (aside?.of === oldEtag) return aside.version;
		try {
			const { etag, modifiedMs = version.modifiedMs } = await node.volume.store.copy(keyOf(node), key, {
				etag: oldEtag,
				sizeBytes,
				// Nobody asks for it by this name.
				properties: { headers: {} },
			});
			node.aside = { of: oldEtag, version: { etag, sizeBytes, modifiedMs } };
			this.#tree.namespace.nodes.changed(node);
			this.#tree.write();
			return node.aside.version;
		} catch (error) {
			if (isReplacedOrGone(error)) return undefined;
			throw error;
		}
	}

	#leaveHiding(node: FileNode): void {
		const { hiddenIn, name } = node;
		node.hiddenIn = undefined;
		this.#tree.namespace.nodes.changed(node);
		if (hiddenIn?.hidden.get(name) !== node) return;
		hiddenIn.hidden.delete(name);
		hiddenIn.listing.remove(name);
		this.#tree.namespace.nodes.dropIfUnused(hiddenIn);
	}

	/** It does not lose its object after all. */
	async #deleteAside(node: FileNode): Promise<void> {
		if (node.aside === undefined) return;
		node.aside = undefined;
		this.#tree.namespace.nodes.changed(node);
		await node.volume.store.delete(this.#asideKey(node));
	}

	/** Deletes the object of a file that was removed while it was open. What fails is tried again; until then nobody sees it here. */
	async delete(node: FileNode): Promise<void> {
		const { unlinkedKey, version } = node;
		try {
			await this.#deleteAside(node);
			// At its old key somebody else may have stored another one, hours ago.
			if (unlinkedKey !== undefined && version !== undefined)
				await deleteOldVersion(node.volume.store, unlinkedKey, version.etag);
		} catch (error) {
			if (unlinkedKey !== undefined) this.#tryAgain(node);
			throw error;
		}
		if (unlinkedKey !== undefined) this.#giveUp(node);
	}

	/** With what a process before this one could not delete. */
	goOn(): void {
		for (const node of this.#tree.namespace.nodes.all())
			if (node.kind === "file" && isUndeleted(node)) this.#tryAgain(node);
	}

	/** Tries nothing again any more. */
	close(): void {
		clearTimeout(this.#timer);
		this.#undeleted.clear();
	}

	#giveUp(node: FileNode): void {
		this.#undeleted.delete(node);
		node.version = undefined;
		this.#leaveHiding(node);
	}

	#tryAgain(node: FileNode): void {
		this.#undeleted.add(node);
		this.#timer ??= setTimeout(() => void this.#tryAll(), this.#againMs).unref();
	}

	async #tryAll(): Promise<void> {
		const { locks, namespace } = this.#tree;
		this.#againMs = Math.min(2 * this.#againMs, againMs.last);
		for (const node of this.#undeleted) {
			await locks.with(node, async () => {
				if (!this.#undeleted.has(node)) return;
				if (this.#tree.isForsaken(node)) this.#giveUp(node);
				// It is tried again.
				else await this.delete(node).catch(() => undefined);
			});
			namespace.nodes.dropIfUnused(node);
		}
		this.#timer = undefined;
		const [left] = this.#undeleted;
		if (left === undefined) this.#againMs = againMs.first;
		else this.#tryAgain(left);
	}
}
