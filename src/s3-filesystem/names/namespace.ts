import { FuseError } from "../../fuse/filesystem.ts";
import {
	S3Error,
	type ListPage,
	type ListRequest,
	type ObjectMetadata,
	type ObjectProperties,
} from "../../s3/object-store.ts";
import { contentTypeOf, isTypeOfName } from "./content-type.ts";
import { KnownProperties } from "./known-properties.ts";
import { ListedAttributes } from "./listed-attributes.ts";
import { restoreNodes, type KeptNodes } from "./kept-nodes.ts";
import { listedDirectory, type Listed } from "./listed.ts";
import { readPage, type DirectoryPageContent, type Inquiry, type Known } from "./listing.ts";
import type { NamesMemory } from "./names-memory.ts";
import { isSymlink, keyOf, NodeTable, type DirectoryNode, type FileNode, type Node } from "./nodes.ts";
import { parseMetadata } from "./posix-metadata.ts";
import { areAttributesKnown, isOurs, lacksMetadata, namesFreshSince } from "./validity.ts";
import type { VolumeOptions } from "./volume.ts";

export interface Outdated {
	readonly directories: readonly DirectoryNode[];
	/** That are another directory now. */
	readonly names: readonly { readonly parent: DirectoryNode; readonly name: string }[];
}

/** So many directories of which the names were asked for with the attributes, and that nobody entered: their names are asked for no more. */
const maximumUnentered = 8;

interface TimedPage extends ListPage {
	/** From the question to the answer. */
	readonly tookMs: number;
}

/** The tree of directories and files: which names there are, answered from listings as far as they are young enough. */
export class Namespace {
	readonly nodes: NodeTable;
	readonly root: DirectoryNode;
	/** Keys that were listed and cannot be shown as names. */
	hiddenKeys = 0;
	readonly properties = new KnownProperties();
	readonly #volumes: VolumeOptions[] = [];
	readonly #pages = new Map<string, Promise<void>>();
	readonly #readersPages = new Map<string, Promise<void>>();
	/** Directories whose attributes were asked for, and that nobody has entered since. */
	readonly #unentered = new WeakSet<DirectoryNode>();
	#unenteredInRow = 0;
	readonly #listedAttributes = new WeakMap<VolumeOptions, ListedAttributes>();

	/** `kept`: of a process before this one, for the same volumes. */
	constructor(volumes: readonly VolumeOptions[], memory?: NamesMemory, kept?: KeptNodes) {
		this.nodes = new NodeTable(undefined, memory);
		if (kept !== undefined) restoreNodes(this.nodes, kept, volumes, memory);
		const root = this.nodes.get(1);
		this.root =
			root?.kind === "directory"
				? root
				: this.nodes.directory({ volume: undefined, parent: undefined, name: "", isVolumeRoot: true });
		this.#volumes.push(...volumes);
		this.#placeAll();
	}

	/** Every node is of a volume that is shown, or of none. */
	get isWhole(): boolean {
		return Array.from(this.nodes.all()).every(({ volume }) => volume === undefined || this.#volumes.includes(volume));
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
		const { volume, name, children, drafted, hidden } = directory;
		const nameless = this.nodes.directory({ volume, parent: undefined, name, isVolumeRoot: true });
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
					this.nodes.changed(next);
					directories.push(next);
				}
				directory = next;
			}
			if (directory.volume === volume) continue;
			directory.volume = volume;
			directory.isVolumeRoot = true;
			directory.hasMarker = true;
			this.nodes.changed(directory);
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
		this.entered(directory);
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

	/** Somebody wants names of the directory. */
	entered(directory: DirectoryNode): void {
		if (this.#unentered.delete(directory)) this.#unenteredInRow = 0;
	}

	async #ask(directory: DirectoryNode, volume: VolumeOptions, name: string): Promise<Node | undefined> {
		const { listing } = directory;
		const freshAt = namesFreshSince(volume, listing);
		const since = Math.min(performance.now(), freshAt);
		const isNew = !listing.isStarted(freshAt);
		await this.loadPage(directory, isNew ? "" : listing.pageWith(name, since));
		let known = listing.find(name, since);
		if (known === undefined && isNew) {
			await this.loadPage(directory, listing.pageWith(name, since));
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

	/** What resolves when the names after that key are there, if somebody asks for them at this moment. */
	pageUnderWay(directory: DirectoryNode, after: string): Promise<void> | undefined {
		const name = pageName(directory, after);
		return this.#pages.get(name) ?? this.#readersPages.get(name);
	}

	/** Whoever wants the same names meanwhile may wait for a reader's page, though not count on it: the reader may be closed. */
	async asReader(directory: DirectoryNode, after: string, work: Promise<void>): Promise<void> {
		const name = pageName(directory, after);
		this.#readersPages.set(name, work);
		try {
			await work;
		} finally {
			if (this.#readersPages.get(name) === work) this.#readersPages.delete(name);
		}
	}

	/** Lists one page of the directory, from the keys after `after` on, and remembers it. */
	async loadPage(directory: DirectoryNode, after: string): Promise<void> {
		const { volume } = directory;
		if (volume === undefined) return;
		const name = pageName(directory, after);
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
		const inquiry = directory.listing.ask(performance.now());
		try {
			const page = await this.listPage(volume, { prefix: key, ...(after !== "" && { startAfter: key + after }) });
			this.takePage(directory, inquiry, after, page, key);
		} finally {
			directory.listing.end(inquiry);
		}
	}

	/** A page of the names of a directory, with their attributes where that is worth it. */
	async listPage(volume: VolumeOptions, request: Omit<ListRequest, "delimiter" | "metadata">): Promise<TimedPage> {
		const askedAt = performance.now();
		const attributes = this.#attributesIn(volume);
		const metadata = volume.attributes === "all" || attributes.isWorthAsking();
		const page = await volume.store.list({ ...request, delimiter: "/", metadata });
		// What was listed without is to be listed again.
		if (metadata && attributes.saw(page)) this.forgetListings(this.root);
		return { ...page, tookMs: performance.now() - askedAt };
	}

	/** Objects of the volume have attributes of ours. */
	storedAttributes(volume: VolumeOptions): void {
		this.#attributesIn(volume).stored();
	}

	#attributesIn(volume: VolumeOptions): ListedAttributes {
		const present = this.#listedAttributes.get(volume);
		if (present !== undefined) return present;
		const made = new ListedAttributes();
		this.#listedAttributes.set(volume, made);
		return made;
	}

	/** Takes a page of the keys after `after` into the directory's listing; returns what it says. */
	takePage(
		directory: DirectoryNode,
		inquiry: Inquiry,
		after: string,
		page: TimedPage,
		key: string,
	): DirectoryPageContent {
		const content = readPage(page, key);
		this.hiddenKeys += content.hidden;
		const isTaken = directory.listing.merge(inquiry, after, content, page.tookMs);
		if (isTaken && after === "") this.#takeMarker(directory, inquiry.at, content.marker);
		return content;
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
		this.nodes.detach(node);
		this.nodes.dropIfUnused(node);
	}

	async #withMetadata(node: Node): Promise<Node> {
		await this.ensureMetadata(node);
		return node;
	}

	/** Asks the server for the metadata of a node of which only the listing is known. */
	async ensureMetadata(node: Node): Promise<void> {
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
			await this.pageUnderWay(node, "")?.catch((error: unknown) => {
				// What was tried for as long as it may be is not tried once more.
				if (isGuess && !isAnswered(error)) throw error;
			});
		}
		if (!lacksMetadata(node)) return;
		const askedAt = performance.now();
		try {
			const marker = await store.head(keyOf(node), { mayBeHidden: true });
			this.properties.learned(node, marker.properties, askedAt);
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
			node.listing.isStarted(namesFreshSince(volume, node.listing)) || this.pageUnderWay(node, "") !== undefined;
		if (volume.ttlMs === 0 || isListed) return false;
		this.#unentered.add(node);
		if (this.#unenteredInRow >= maximumUnentered) return false;
		this.#unenteredInRow++;
		// Who enters it asks again, and is told.
		this.loadPage(node, "").catch(() => undefined);
		return true;
	}

	async #askForFile(node: FileNode, volume: VolumeOptions): Promise<void> {
		const { posix, version } = node;
		const key = keyOf(node);
		const askedAt = performance.now();
		const { etag, metadata, properties } = await volume.store.head(key, version && { as: version.etag });
		// Changed or moved here meanwhile: the answer is older than that.
		if (node.posix !== posix || node.version !== version) return this.ensureMetadata(node);
		if (etag !== node.version?.etag) throw new FuseError("ESTALE", `${key} was replaced`);
		this.properties.learned(node, properties, askedAt);
		this.#takeMetadata(node, metadata);
	}

	#takeMarker(node: DirectoryNode, askedAt: number, marker: DirectoryPageContent["marker"]): void {
		takeMarker(node, askedAt, marker);
		this.nodes.changed(node);
	}

	#takeMetadata(node: FileNode, metadata: ObjectMetadata): void {
		node.posixEtag = node.version?.etag;
		const { mtime, ...others } = parseMetadata(metadata);
		// The time is that of the content before it was changed here.
		const isOutdated = mtime === undefined || (node.draft !== undefined && node.changed !== undefined);
		node.posix = isOutdated ? others : { ...others, mtime };
		this.nodes.changed(node);
	}

	/**
	 * What the object of a node has beside bytes and attributes, for the one that takes its place; of a new one, what its name says. Whoever
	 * replaced it meanwhile has said what it has now, and one that is gone or must not be seen leaves nothing to keep.
	 */
	async propertiesOf(node: Node): Promise<ObjectProperties> {
		const { volume, posix } = node;
		const isThere = node.kind === "file" ? node.version !== undefined : node.hasMarker;
		if (volume === undefined || !isThere) return newProperties(node);
		const isAsked = node.kind === "file" && lacksMetadata(node);
		const known = this.properties.get(node);
		if (known !== undefined && !isAsked) return known.properties;
		const key = keyOf(node);
		const askedAt = performance.now();
		try {
			const { properties, metadata } = await volume.store.head(key, { mayBeHidden: true });
			// Changed here meanwhile: the answer is older than that.
			if (isAsked && node.posix !== posix) return await this.propertiesOf(node);
			this.properties.learned(node, properties, askedAt);
			if (isAsked) this.#takeMetadata(node, metadata);
			return properties;
		} catch (error) {
			if (!(error instanceof S3Error && (error.kind === "NOT_FOUND" || isOnlyHidden(error)))) throw error;
			return keyOf(node) === key ? newProperties(node) : this.propertiesOf(node);
		}
	}

	/**
	 * What the copy of a file under another name has, where that is not what the file has: its type is that of the new name, unless
	 * somebody has given it another one than that of the old.
	 */
	async propertiesAs(node: FileNode, newName: string): Promise<ObjectProperties | undefined> {
		const type = contentTypeOf(newName);
		if (!node.volume.contentTypes || type === contentTypeOf(node.name)) return undefined;
		const properties = await this.propertiesOf(node);
		if (isSymlink(node) || !isTypeOfName(properties.headers["content-type"], node.name)) return undefined;
		return { ...properties, headers: { ...properties.headers, "content-type": type } };
	}

	/** The names of a directory that are not in the bucket yet. */
	unlistedNames(directory: DirectoryNode): FileNode[] {
		return [...directory.drafted].filter(({ version }) => version === undefined);
	}

	/** What was listed below a directory is not true any more. */
	forgetListings(directory: DirectoryNode): void {
		directory.listing.clear();
		for (const child of directory.children.values()) if (child.kind === "directory") this.forgetListings(child);
	}
}

function pageName({ id }: DirectoryNode, after: string): string {
	return `${id}\0${after}`;
}

function newProperties({ kind, name, volume }: Node): ObjectProperties {
	if (kind === "directory") return { headers: { "content-type": "application/x-directory" } };
	return { headers: volume?.contentTypes ? { "content-type": contentTypeOf(name) } : {} };
}

/** Listings never hold a directory's own attributes: one request more, beside the one that lists it. */
function isToBeAskedFor(node: Node | undefined): node is Node {
	if (node === undefined) return false;
	return node.volume?.attributes === "all" ? lacksMetadata(node) : !areAttributesKnown(node);
}

/** What the server said, when asked at that time, of a directory's own object. */
function takeMarker(directory: DirectoryNode, askedAt: number, marker: DirectoryPageContent["marker"]): void {
	// A bucket has none, and keeps what it was given here.
	if (directory.isVolumeRoot && directory.volume?.prefix === "") return;
	// It was stored here meanwhile.
	if (directory.posixAt !== undefined && askedAt < directory.posixAt) return;
	directory.hasMarker = marker !== undefined || directory.isVolumeRoot;
	if (marker !== undefined) {
		const { modifiedMs = marker.modifiedMs } = directory;
		if (isYounger(marker, { modifiedMs })) directory.statusChanged = undefined;
		directory.modifiedMs = Math.max(modifiedMs, marker.modifiedMs);
	}
	if (marker !== undefined && marker.metadata === undefined) return;
	directory.posix = parseMetadata(marker?.metadata ?? {});
	directory.posixAt = askedAt;
}

/** Whether somebody else has stored the object since then; answers may leave out what is less than a second. */
function isYounger(object: { readonly modifiedMs: number }, known: { readonly modifiedMs: number }): boolean {
	return object.modifiedMs >= known.modifiedMs + 1000;
}

/** What the server could not keep is not there: MinIO takes shorter names for directories than for what is below them. */
function isAbsent({ kind }: S3Error): boolean {
	return kind === "NOT_FOUND" || kind === "NAME_TOO_LONG";
}

/** The key may not read this object; other refusals are of the key itself, and hold for everything. */
function isOnlyHidden({ kind, code = "AccessDenied" }: S3Error): boolean {
	return kind === "DENIED" && code === "AccessDenied";
}

/** That says something of the object, and not of the server or the key as a whole. */
function isAnswered(error: unknown): boolean {
	return error instanceof S3Error && (isAbsent(error) || isOnlyHidden(error));
}
