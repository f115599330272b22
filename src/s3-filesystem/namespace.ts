import { FuseError } from "../fuse/filesystem.ts";
import { S3Error, type ListPage } from "../s3/object-store.ts";
import { listedDirectory, readPage, type DirectoryPageContent, type Listed, type ListingStart } from "./listing.ts";
import { keyBefore } from "./names.ts";
import {
	areAttributesKnown,
	detachNode,
	keyOf,
	NodeTable,
	type DirectoryNode,
	type FileNode,
	type Node,
} from "./nodes.ts";
import { parseMetadata } from "./posix-metadata.ts";
import type { VolumeOptions } from "./volume.ts";

/** Names that one directory's listing keeps at most; a larger directory is listed anew, page by page. */
const namesPerDirectory = 100_000;

export interface Outdated {
	readonly directories: readonly DirectoryNode[];
	/** That are another directory now. */
	readonly names: readonly { readonly parent: DirectoryNode; readonly name: string }[];
}

/** The tree of directories and files: which names there are, answered from listings as far as they are young enough. */
export class Namespace {
	readonly nodes = new NodeTable();
	readonly root: DirectoryNode;
	/** Keys that were listed and cannot be shown as names. */
	hiddenKeys = 0;
	readonly #volumes: VolumeOptions[] = [];
	readonly #pages = new Map<string, Promise<void>>();

	constructor(volumes: readonly VolumeOptions[]) {
		this.root = this.nodes.directory({ volume: undefined, parent: undefined, name: "", isVolumeRoot: true });
		this.#volumes.push(...volumes);
		this.#placeAll();
	}

	/** Shows one more volume. Returns what the kernel may remember and is not true any more. */
	add(volume: VolumeOptions): Outdated {
		this.#volumes.push(volume);
		return this.#placeAll();
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
		const way = [this.root];
		for (const name of path) {
			const next = way.at(-1)?.overlay.get(name);
			if (next === undefined) return { directories: [], names: [] };
			way.push(next);
		}
		const top = way.at(-1) ?? this.root;
		// On the way to other volumes the folder stays, without what was in the bucket.
		if (top === this.root || top.overlay.size > 0) {
			this.#moveOut(top);
			top.volume = top.parent?.volume;
			top.isVolumeRoot = top === this.root;
			const { directories, names } = this.#placeAll();
			return { directories: [top, ...directories], names };
		}
		const names: { parent: DirectoryNode; name: string }[] = [];
		for (let node = top, parent = node.parent; parent !== undefined; node = parent, parent = node.parent) {
			if (node !== top && (node.isVolumeRoot || node.overlay.size > 0)) break;
			parent.overlay.delete(node.name);
			node.parent = undefined;
			names.push({ parent, name: node.name });
			if (node !== top) this.nodes.dropIfUnused(node);
		}
		return { directories: names.map(({ parent }) => parent), names };
	}

	/** What is in the directory is in another one from now on, which no name leads to. */
	#moveOut(directory: DirectoryNode): void {
		const { volume, name, children, hidden } = directory;
		const nameless = this.nodes.directory({ volume, parent: undefined, name, isVolumeRoot: true });
		for (const child of children.values()) {
			child.parent = nameless;
			nameless.children.set(child.name, child);
		}
		for (const [hiddenName, file] of hidden) {
			file.hiddenIn = nameless;
			nameless.hidden.set(hiddenName, file);
		}
		children.clear();
		hidden.clear();
		directory.listing.clear();
		directory.posix = {};
		directory.posixAt = undefined;
		directory.hasMarker = directory === this.root;
	}

	/** Outer folders first, so that an inner one lies in the volume around it. */
	#placeAll(): Outdated {
		const directories: DirectoryNode[] = [];
		const names: { parent: DirectoryNode; name: string }[] = [];
		for (const volume of this.#volumes.toSorted((a, b) => a.folder.length - b.folder.length)) {
			let directory = this.root;
			const path = volume.folder === "" ? [] : volume.folder.split("/");
			for (const [index, name] of path.entries()) {
				const isTop = index === path.length - 1;
				let next = directory.overlay.get(name);
				if (next === undefined) {
					next = this.nodes.directory({
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
					directories.push(next);
				}
				directory = next;
			}
			if (directory.volume === volume) continue;
			directory.volume = volume;
			directory.isVolumeRoot = true;
			directory.hasMarker = true;
			directories.push(directory);
		}
		return { directories, names };
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
		const child = directory.children.get(name);
		if (child !== undefined && isOurs(child)) return child;
		if (directory.hidden.has(name)) return undefined;
		const known = directory.listing.find(name, freshSince(volume));
		if (known === undefined) return this.#ask(directory, volume, name);
		return this.#withMetadata(this.reconcile(directory, volume, name, known.entry));
	}

	async #ask(directory: DirectoryNode, volume: VolumeOptions, name: string): Promise<Node | undefined> {
		const askedAt = performance.now();
		const since = Math.min(askedAt, freshSince(volume));
		const isNew = !directory.listing.isStarted(freshSince(volume));
		await this.loadPage(directory, isNew ? "" : keyBefore(name));
		let known = directory.listing.find(name, since);
		if (known === undefined && isNew) {
			await this.loadPage(directory, keyBefore(name));
			known = directory.listing.find(name, since);
		}
		// What sorts between "name" and "name/" can fill pages.
		known ??= await this.#askAlone(directory, volume, name);
		// Somebody may have made it meanwhile.
		const child = directory.children.get(name);
		if (child !== undefined && isOurs(child)) return child;
		if (directory.hidden.has(name)) return undefined;
		return this.#withMetadata(this.reconcile(directory, volume, name, known.entry));
	}

	async #askAlone(
		directory: DirectoryNode,
		volume: VolumeOptions,
		name: string,
	): Promise<{ readonly entry: Listed | undefined }> {
		const key = keyOf(directory) + name;
		const start = directory.listing.begin(name, performance.now());
		try {
			const below = await volume.store.list({ prefix: `${key}/`, delimiter: "/", maxKeys: 1 });
			const isDirectory = below.objects.length + below.prefixes.length > 0;
			directory.listing.knowDirectory(start, name, isDirectory);
			if (isDirectory) return { entry: listedDirectory(name) };
			const { sizeBytes, modifiedMs, etag, metadata } = await volume.store.head(key);
			return { entry: { name, kind: "file", sizeBytes, modifiedMs, etag, metadata } };
		} catch (error) {
			if (error instanceof S3Error && error.kind === "NOT_FOUND") return { entry: undefined };
			throw error;
		} finally {
			directory.listing.end();
		}
	}

	/** Lists one page of the directory, from the keys after `after` on, and remembers it. */
	async loadPage(directory: DirectoryNode, after: string): Promise<void> {
		const { volume } = directory;
		if (volume === undefined) return;
		const name = `${directory.id}\0${after}`;
		const present = this.#pages.get(name);
		if (present !== undefined) return present;
		const work = this.#loadPage(directory, volume, after);
		this.#pages.set(name, work);
		try {
			await work;
		} finally {
			this.#pages.delete(name);
		}
	}

	async #loadPage(directory: DirectoryNode, volume: VolumeOptions, after: string): Promise<void> {
		const key = keyOf(directory);
		const start = directory.listing.begin(after, performance.now());
		try {
			const page = await volume.store.list({
				prefix: key,
				delimiter: "/",
				...(after !== "" && { startAfter: key + after }),
			});
			this.takePage(directory, start, page, key);
		} finally {
			directory.listing.end();
		}
	}

	/** Takes a page into the directory's listing; returns what it says. */
	takePage(directory: DirectoryNode, start: ListingStart, page: ListPage, key: string): DirectoryPageContent {
		const content = readPage(page, key);
		this.hiddenKeys += content.hidden;
		directory.listing.merge(start, content, namesPerDirectory);
		if (start.after === "") {
			directory.hasMarker = content.marker !== undefined || directory.isVolumeRoot;
			if (content.marker?.metadata !== undefined) {
				directory.posix = parseMetadata(content.marker.metadata);
				directory.posixAt = performance.now();
			}
		}
		return content;
	}

	/** Brings the node of a name, if there is one, in line with what the server lists, and makes it if need be. */
	reconcile(directory: DirectoryNode, volume: VolumeOptions, name: string, entry: Listed): Node;
	reconcile(directory: DirectoryNode, volume: VolumeOptions, name: string, entry: Listed | undefined): Node | undefined;
	reconcile(
		directory: DirectoryNode,
		volume: VolumeOptions,
		name: string,
		entry: Listed | undefined,
	): Node | undefined {
		const child = directory.children.get(name);
		if (child !== undefined && isOurs(child)) return child;
		if (entry === undefined) {
			if (child !== undefined) this.#replaced(child);
			return undefined;
		}
		if (entry.kind === "directory") {
			if (child?.kind === "directory") return child;
			if (child !== undefined) this.#replaced(child);
			const made = this.nodes.directory({ volume, parent: directory, name });
			directory.children.set(name, made);
			return made;
		}
		// Another version while the old one is open: that stays another file, and the two never mix.
		const isOther = child?.kind !== "file" || (child.version?.etag !== entry.etag && child.handles.size > 0);
		if (child !== undefined && isOther) this.#replaced(child);
		const file = isOther ? this.nodes.file(directory, volume, name) : child;
		directory.children.set(name, file);
		if (file.version?.etag !== entry.etag) {
			file.version = { etag: entry.etag, sizeBytes: entry.sizeBytes, modifiedMs: entry.modifiedMs };
			file.posix = {};
			file.posixEtag = undefined;
			file.target = undefined;
			file.changedMs = undefined;
		}
		if (entry.metadata !== undefined && file.posixEtag !== entry.etag) {
			file.posix = parseMetadata(entry.metadata);
			file.posixEtag = entry.etag;
		}
		return file;
	}

	#replaced(node: Node): void {
		detachNode(node);
		this.nodes.dropIfUnused(node);
	}

	#withMetadata(node: Node | undefined): Node | undefined | Promise<Node | undefined> {
		// Listings never hold a directory's own; one request more, once, beside the one that lists it.
		if (node === undefined) return undefined;
		const isWanted = node.volume?.attributes === "all" || !areAttributesKnown(node);
		if (!isWanted || !lacksMetadata(node)) return node;
		return this.ensureMetadata(node).then(() => node);
	}

	/** Asks the server for the metadata of a node of which only the listing is known. */
	async ensureMetadata(node: Node): Promise<void> {
		const { volume } = node;
		if (volume === undefined || !lacksMetadata(node)) return;
		const key = keyOf(node);
		try {
			if (key === "") return;
			const headers = await volume.store.head(key);
			node.posix = parseMetadata(headers.metadata);
			if (node.kind === "directory") {
				node.hasMarker = true;
				node.posixAt = performance.now();
			} else if (headers.etag === node.version?.etag) node.posixEtag = headers.etag;
			else throw new FuseError("ESTALE", `${key} was replaced`);
		} catch (error) {
			if (!(error instanceof S3Error && error.kind === "NOT_FOUND") || node.kind === "file") throw error;
			// Only implied by what is below it.
			node.posixAt = performance.now();
		}
	}

	/** The names of a directory that are not in the bucket yet. */
	unlistedNames(directory: DirectoryNode): FileNode[] {
		return [...directory.children.values()].filter(
			(child): child is FileNode => child.kind === "file" && child.version === undefined && isOurs(child),
		);
	}

	/** What was listed below a directory is not true any more. */
	forgetListings(directory: DirectoryNode): void {
		directory.listing.clear();
		for (const child of directory.children.values()) if (child.kind === "directory") this.forgetListings(child);
	}
}

/** What an application has open for writing is as it left it, whatever the server lists. */
export function isOurs(node: Node): boolean {
	if (node.kind === "file") return node.draft !== undefined || node.version === undefined;
	return node.isVolumeRoot || node.children.values().some((child) => child.kind === "file" && isOurs(child));
}

export function freshSince({ ttlMs }: VolumeOptions): number {
	return ttlMs === 0 ? Number.POSITIVE_INFINITY : performance.now() - ttlMs;
}

function lacksMetadata(node: Node): boolean {
	if (node.kind === "file") return node.version !== undefined && node.posixEtag !== node.version.etag;
	if (node.isVolumeRoot && node.volume?.prefix === "") return false;
	return node.posixAt === undefined || (node.volume !== undefined && node.posixAt < freshSince(node.volume));
}
