import { FuseError } from "../../fuse/filesystem.ts";
import { S3Error } from "../../s3/object-store.ts";
import { ListedPages } from "./listed-pages.ts";
import { restoreNodes, type KeptNodes } from "./kept-nodes.ts";
import { listedDirectory, type Listed } from "./listed.ts";
import type { Known } from "./listing.ts";
import type { NamesMemory } from "./names-memory.ts";
import { NodeMetadata } from "./node-metadata.ts";
import { NodeProperties } from "./node-properties.ts";
import { keyOf, NodeTable, type DirectoryNode, type FileNode, type Node } from "./nodes.ts";
import { isAnswered, isYounger } from "./object-answers.ts";
import { parseMetadata } from "./posix-metadata.ts";
import { ShownVolumes } from "./shown-volumes.ts";
import { areAttributesKnown, isOurs, lacksMetadata, namesFreshSince } from "./validity.ts";
import type { VolumeOptions } from "./volume.ts";

/** The tree of directories and files: which names there are, answered from listings as far as they are young enough. */
export class Namespace {
	readonly nodes: NodeTable;
	readonly root: DirectoryNode;
	readonly volumes: ShownVolumes;
	readonly pages: ListedPages;
	readonly properties: NodeProperties;
	readonly metadata: NodeMetadata;
	/** Told of a file whose name leads to another object by now. */
	onReplaced: ((node: FileNode) => void) | undefined;

	/** `kept`: of a process before this one, for the same volumes. */
	constructor(volumes: readonly VolumeOptions[], memory?: NamesMemory, kept?: KeptNodes) {
		this.nodes = new NodeTable(undefined, memory);
		if (kept !== undefined) restoreNodes(this.nodes, kept, volumes, memory);
		const root = this.nodes.get(1);
		this.root =
			root?.kind === "directory"
				? root
				: this.nodes.directory({ volume: undefined, parent: undefined, name: "", isVolumeRoot: true });
		this.volumes = new ShownVolumes(volumes, this.nodes, this.root);
		this.pages = new ListedPages(this.nodes, () => this.forgetListings(this.root));
		this.properties = new NodeProperties(this.nodes);
		this.metadata = new NodeMetadata(this.nodes, this.pages, this.properties);
	}

	/** The node of a name; throws ENOENT. */
	async get(directory: DirectoryNode, name: string): Promise<Node> {
		const node = await this.find(directory, name);
		if (node === undefined) throw new FuseError("ENOENT");
		return node;
	}

	/** The node of a name, or undefined when there is none. Answers at once when it is known. */
	find(directory: DirectoryNode, name: string): Node | undefined | Promise<Node | undefined> {
		const covered = directory.overlay.get(name);
		if (covered !== undefined) return covered;
		const { volume } = directory;
		if (volume === undefined) return undefined;
		this.metadata.entered(directory);
		const child = directory.children.get(name);
		if (child !== undefined && isOurs(child)) return child;
		if (directory.hidden.has(name)) return undefined;
		const known = directory.listing.find(name, namesFreshSince(volume, directory.listing));
		if (known === undefined) return this.#ask(directory, volume, name);
		const node = this.reconcile(directory, volume, name, known);
		if (!isToBeAskedFor(node)) return node;
		return this.#withMetadata(node).catch(async (error: unknown) => {
			if (!(error instanceof FuseError && error.errno === "ESTALE")) throw error;
			// Replaced since it was listed.
			directory.listing.doubt(name);
			return this.#ask(directory, volume, name);
		});
	}

	async #ask(directory: DirectoryNode, volume: VolumeOptions, name: string): Promise<Node | undefined> {
		const { listing } = directory;
		const freshAt = namesFreshSince(volume, listing);
		const since = Math.min(performance.now(), freshAt);
		const isNew = !listing.isStarted(freshAt);
		await this.pages.load(directory, isNew ? "" : listing.pageWith(name, since));
		let known = listing.find(name, since);
		if (known === undefined && isNew) {
			await this.pages.load(directory, listing.pageWith(name, since));
			known = listing.find(name, since);
		}
		// What sorts between "name" and "name/" can fill pages.
		known ??= await this.#askAlone(directory, volume, name);
		// Somebody may have made it meanwhile.
		const child = directory.children.get(name);
		if (child !== undefined && isOurs(child)) return child;
		if (directory.hidden.has(name)) return undefined;
		const node = this.reconcile(directory, volume, name, known);
		return isToBeAskedFor(node) ? this.#withMetadata(node) : node;
	}

	async #askAlone(directory: DirectoryNode, volume: VolumeOptions, name: string): Promise<Known> {
		const at = performance.now();
		if (await this.askWhetherDirectory(directory, volume, name)) return { entry: listedDirectory(name), at };
		return { ...(await this.#askForFile(directory, volume, name)), at };
	}

	async #askForFile(directory: DirectoryNode, volume: VolumeOptions, name: string): Promise<Known> {
		const at = performance.now();
		try {
			const { sizeBytes, modifiedMs, etag, metadata } = await volume.store.head(keyOf(directory) + name);
			return { entry: { name, kind: "file", sizeBytes, modifiedMs, etag, metadata }, at };
		} catch (error) {
			if (error instanceof S3Error && error.kind === "NOT_FOUND") return { entry: undefined, at };
			throw error;
		}
	}

	/** Asks the server for this one directory, and remembers what it says. */
	async askWhetherDirectory(directory: DirectoryNode, volume: VolumeOptions, name: string): Promise<boolean> {
		const inquiry = directory.listing.ask(performance.now());
		try {
			const prefix = `${keyOf(directory)}${name}/`;
			const { objects, prefixes } = await volume.store.list({ prefix, delimiter: "/", maxKeys: 1, metadata: false });
			const isDirectory = objects.length + prefixes.length > 0;
			directory.listing.knowDirectory(inquiry, name, isDirectory);
			return isDirectory;
		} finally {
			directory.listing.end(inquiry);
		}
	}

	/** Brings the node of a name, if there is one, in line with what the server listed at that time, and makes it if need be. */
	reconcile(directory: DirectoryNode, volume: VolumeOptions, name: string, known: Known<Listed>): Node;
	reconcile(directory: DirectoryNode, volume: VolumeOptions, name: string, known: Known): Node | undefined;
	reconcile(directory: DirectoryNode, volume: VolumeOptions, name: string, { entry, at }: Known): Node | undefined {
		const child = directory.children.get(name);
		if (child !== undefined && isOurs(child)) return child;
		if (entry === undefined) {
			if (child !== undefined) this.#replaced(child);
			return undefined;
		}
		if (entry.kind === "directory") {
			if (child?.kind === "directory") {
				child.knownAt = Math.max(child.knownAt, at);
				return child;
			}
			if (child !== undefined) this.#replaced(child);
			const made = this.nodes.directory({ volume, parent: directory, name });
			made.knownAt = at;
			directory.children.set(name, made);
			return made;
		}
		// Another version while the old one is open: that stays another file, and the two never mix.
		const isOther = child?.kind !== "file" || (child.version?.etag !== entry.etag && child.handles.size > 0);
		if (child !== undefined && isOther) this.#replaced(child);
		const file = isOther ? this.nodes.file(directory, volume, name) : child;
		directory.children.set(name, file);
		file.knownAt = isOther ? at : Math.max(file.knownAt, at);
		const before = file.posixEtag;
		if (file.version?.etag !== entry.etag) {
			this.nodes.changed(file);
			file.knownAt = at;
			file.version = { etag: entry.etag, sizeBytes: entry.sizeBytes, modifiedMs: entry.modifiedMs };
			file.posix = {};
			file.posixEtag = undefined;
			file.target = undefined;
			file.changed = undefined;
			file.statusChanged = undefined;
		} else if (file.version.modifiedMs !== entry.modifiedMs) {
			this.nodes.changed(file);
			// Only its metadata is another: the server copied the object onto itself.
			if (isYounger(entry, file.version)) file.statusChanged = undefined;
			file.version = { ...file.version, modifiedMs: entry.modifiedMs };
			file.posixEtag = undefined;
		}
		if (entry.metadata !== undefined && file.posixEtag !== entry.etag) {
			file.posix = parseMetadata(entry.metadata);
			file.posixEtag = entry.etag;
		}
		if (file.posixEtag !== before) this.nodes.changed(file);
		return file;
	}

	#replaced(node: Node): void {
		if (node.kind === "file") this.onReplaced?.(node);
		this.nodes.detach(node);
		this.nodes.dropIfUnused(node);
	}

	async #withMetadata(node: Node): Promise<Node | undefined> {
		await this.metadata.ensure(node);
		const { parent, volume, name } = node;
		if (node.kind === "file" || parent === undefined || volume === undefined) return node;
		if (await this.#isThere(node, volume)) return node;
		const { listing } = parent;
		const inquiry = listing.ask(performance.now());
		listing.knowDirectory(inquiry, name, false);
		listing.end(inquiry);
		if (parent.hidden.has(name)) return undefined;
		return this.reconcile(parent, volume, name, await this.#askForFile(parent, volume, name));
	}

	/**
	 * MinIO goes on listing a directory of which it has no object any more when whoever stored one at its name was broken off: by the death of
	 * a process of ours as well. A file could not have that name, until somebody takes that away.
	 */
	async #isThere(directory: DirectoryNode, volume: VolumeOptions): Promise<boolean> {
		const { hasMarker, isVolumeRoot, children, listing } = directory;
		const { store } = volume;
		if (hasMarker || isVolumeRoot || children.size > 0 || isOurs(directory) || !store.listsMetadata) return true;
		const [first] = listing.following("", namesFreshSince(volume, listing));
		if (first?.kind === "file") return true;
		try {
			const { objects, undecodableKeys = 0 } = await store.list({
				prefix: keyOf(directory),
				maxKeys: 1,
				metadata: false,
			});
			return objects.length + undecodableKeys > 0;
		} catch (error) {
			if (!isAnswered(error)) throw error;
			return true;
		}
	}

	/** What was listed below a directory is not true any more. */
	forgetListings(directory: DirectoryNode): void {
		directory.listing.clear();
		for (const child of directory.children.values()) if (child.kind === "directory") this.forgetListings(child);
	}
}

/** Listings never hold a directory's own attributes: one request more, beside the one that lists it. */
function isToBeAskedFor(node: Node | undefined): node is Node {
	if (node === undefined) return false;
	return node.volume?.attributes === "all" ? lacksMetadata(node) : !areAttributesKnown(node);
}
