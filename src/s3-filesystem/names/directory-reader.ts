import { fileTypes } from "./posix-metadata.ts";
import type { DirectoryPage, Entry } from "../../fuse/filesystem.ts";
import type { ListPage } from "../../s3/object-store.ts";
import type { DirectoryPageContent, Listed, ListingStart } from "./listing.ts";
import type { Namespace } from "./namespace.ts";
import { attributesOf, keyOf, modeOf, type DirectoryNode, type Node } from "./nodes.ts";
import { compareKeys } from "./names.ts";
import { freshSince } from "./validity.ts";
import type { VolumeOptions } from "./volume.ts";

/** Names of one directory reader that the kernel is given nodes for; those of a larger directory would only fill memory. */
const nodesPerReader = 100_000;

/** Attributes that are asked for at a time, where each takes a request. */
const headsAtATime = 64;

interface ListedName {
	readonly name: string;
	/** From the server, or undefined for what this mount knows by itself. */
	readonly listed: Listed | undefined;
}

interface AskedPage {
	/** Of the directory when it was asked for. */
	readonly key: string;
	readonly start: ListingStart;
	readonly page: Promise<ListPage>;
}

/** One opendir(3): hands out names page by page, in constant memory whatever the directory's size. */
export class DirectoryReader {
	readonly #namespace: Namespace;
	readonly directory: DirectoryNode;
	#window: ListedName[] = [];
	/** Position of the window's first name among all. */
	#windowStart = 0;
	/** For the rest, by the key that the directory had. */
	#token: { readonly key: string; readonly token: string } | undefined;
	#through = "";
	#isStarted = false;
	#isListed = false;
	/** When the page was asked for that came last. */
	#listedAt = 0;
	#next: Promise<void> | undefined;
	/** The page after the window, if it was asked for already. */
	#asked: AskedPage | undefined;
	readonly #closing = new AbortController();
	#nodesGiven = 0;
	/** Files beside which a directory of the same name may still be listed: then that one is shown. */
	#undecided: Listed[] = [];

	constructor(namespace: Namespace, directory: DirectoryNode) {
		this.#namespace = namespace;
		this.directory = directory;
		// Names that are removed meanwhile must not come back to life through this reader.
		directory.listing.begin("", 0);
	}

	close(): void {
		this.#closing.abort();
		this.#forgetAsked();
		this.directory.listing.end();
	}

	/** Fills the page; `entryOf` makes the kernel's entry of a node and counts it. */
	async fill(offset: number, page: DirectoryPage, entryOf: (node: Node) => Entry): Promise<void> {
		let position = offset;
		if (position < this.#windowStart) this.#restart();
		for (;;) {
			while (position >= this.#windowStart + this.#window.length) {
				if (this.#isStarted && this.#isListed) return;
				await this.#more();
			}
			const index = position - this.#windowStart;
			if (page.plus && this.directory.volume?.attributes === "all" && index % headsAtATime === 0) {
				await this.#fillMetadata(index);
			}
			const item = this.#window[index];
			position++;
			this.#askAhead(position);
			if (item !== undefined && !this.#add(item, position, page, entryOf)) return;
		}
	}

	/** False when the page is full. */
	#add({ name, listed }: ListedName, nextOffset: number, page: DirectoryPage, entryOf: (node: Node) => Entry): boolean {
		const directory = this.directory;
		if (name === "." || name === "..") {
			const node = name === "." ? directory : (directory.parent ?? directory);
			const attributes = attributesOf(node);
			return page.add(name, attributes, nextOffset, { node: 0, attributes, entryValidMs: 0, attributesValidMs: 0 });
		}
		const node = this.#nodeOf(name, listed, page.plus);
		if (node === undefined) {
			if (listed === undefined || this.#isGone(name)) return true;
			return page.add(name, this.#attributesWithoutNode(listed), nextOffset, this.#entryWithoutNode(listed));
		}
		const attributes = { ino: node.ino, mode: modeOf(node) };
		if (!page.plus) return page.add(name, attributes, nextOffset);
		const entry = entryOf(node);
		if (page.add(name, attributes, nextOffset, entry)) {
			node.lookups++;
			this.#nodesGiven++;
			return true;
		}
		this.#namespace.nodes.dropIfUnused(node);
		return false;
	}

	#nodeOf(name: string, listed: Listed | undefined, make: boolean): Node | undefined {
		const directory = this.directory;
		const present = directory.overlay.get(name) ?? directory.children.get(name);
		if (listed === undefined || directory.overlay.has(name)) return present;
		if (this.#isGone(name)) return undefined;
		const { volume } = directory;
		if (volume === undefined) return present;
		if (present === undefined && (!make || this.#nodesGiven >= nodesPerReader)) return undefined;
		// Nothing is remembered of a directory that is too large.
		const page = { entry: listed, at: this.#listedAt };
		const known = directory.listing.find(name, Number.NEGATIVE_INFINITY) ?? page;
		return this.#namespace.reconcile(directory, volume, name, known);
	}

	#isGone(name: string): boolean {
		const { listing, hidden, children } = this.directory;
		return (listing.wasRemoved(name) || hidden.has(name)) && !children.has(name);
	}

	#attributesWithoutNode({ name, kind }: Listed): { ino: number; mode: number } {
		const mode = kind === "directory" ? fileTypes.directory : fileTypes.file;
		return { ino: this.#namespace.nodes.inodeOfName(this.directory, name), mode };
	}

	#entryWithoutNode(listed: Listed): Entry {
		const time = listed.modifiedMs;
		const attributes = {
			...this.#attributesWithoutNode(listed),
			nlink: 1,
			uid: 0,
			gid: 0,
			sizeBytes: listed.sizeBytes,
			atimeMs: time,
			mtimeMs: time,
			ctimeMs: time,
		};
		return { node: 0, attributes, entryValidMs: 0, attributesValidMs: 0 };
	}

	async #fillMetadata(index: number): Promise<void> {
		const { volume } = this.directory;
		if (volume === undefined) return;
		const items = this.#window.slice(index, index + headsAtATime);
		const nodes = items.map(({ name, listed }) => this.#nodeOf(name, listed, true));
		await Promise.all(
			nodes.map(async (node) => {
				// One that was replaced or removed since it was listed shows what the listing said.
				if (node !== undefined) await this.#namespace.ensureMetadata(node).catch(() => undefined);
			}),
		);
	}

	#restart(): void {
		this.#forgetAsked();
		this.#window = [];
		this.#windowStart = 0;
		this.#token = undefined;
		this.#through = "";
		this.#isStarted = false;
		this.#isListed = false;
		this.#undecided = [];
	}

	async #more(): Promise<void> {
		// Two calls at a time wait for the same page.
		this.#next ??= this.#read().finally(() => {
			this.#next = undefined;
		});
		await this.#next;
	}

	async #read(): Promise<void> {
		const directory = this.directory;
		const { volume, overlay, listing } = directory;
		const found: ListedName[] = [];
		const isFirst = !this.#isStarted;
		if (isFirst) {
			found.push({ name: ".", listed: undefined }, { name: "..", listed: undefined });
			for (const name of overlay.keys()) found.push({ name, listed: undefined });
			// It may be on its way.
			await this.#namespace.firstPage(directory);
		}
		const known = isFirst && volume !== undefined ? listing.beginning(freshSince(volume)) : undefined;
		const take = ({ entries, through }: Pick<DirectoryPageContent, "entries" | "through">): void => {
			for (const listed of this.#decided({ entries, through }))
				if (!overlay.has(listed.name)) found.push({ name: listed.name, listed });
			this.#through = through ?? this.#through;
			this.#isListed = through === undefined;
		};
		if (volume === undefined) {
			this.#isListed = true;
		} else if (known !== undefined) {
			this.#listedAt = known.at;
			take(known);
		} else {
			const isOutdated = ({ start, key }: AskedPage): boolean =>
				start.at < freshSince(volume) || key !== keyOf(directory);
			if (this.#asked !== undefined && isOutdated(this.#asked)) this.#forgetAsked();
			const { key, start, page: answer } = this.#asked ?? this.#ask(volume);
			this.#asked = undefined;
			this.#listedAt = start.at;
			try {
				const page = await answer;
				this.#token = page.nextToken === undefined ? undefined : { key, token: page.nextToken };
				take(this.#namespace.takePage(directory, start, page, key));
			} finally {
				listing.end();
			}
		}
		if (this.#isListed) {
			const listedNames = new Set(found.map(({ name }) => name));
			for (const { name } of this.#namespace.unlistedNames(directory)) {
				if (!listedNames.has(name)) found.push({ name, listed: undefined });
			}
		}
		this.#isStarted = true;
		// The kernel may come back for the last names it was given, so the page before stays.
		const kept = this.#window.length > keptNames ? this.#window.slice(-keptNames) : this.#window;
		this.#windowStart += this.#window.length - kept.length;
		this.#window = isFirst ? found : [...kept, ...found];
	}

	/** `end` of the directory's listing must follow. */
	#ask(volume: VolumeOptions): AskedPage {
		const directory = this.directory;
		const key = keyOf(directory);
		const page = this.#namespace.listPage(volume, {
			prefix: key,
			...(this.#token?.key === key
				? { continuationToken: this.#token.token }
				: this.#through !== "" && { startAfter: key + this.#through }),
			signal: this.#closing.signal,
		});
		// Who reads on is told.
		page.catch(() => undefined);
		return { key, start: directory.listing.begin(this.#through, performance.now()), page };
	}

	/** The server lists the next names while the kernel takes in these. */
	#askAhead(position: number): void {
		const { volume } = this.directory;
		const isNear = position > this.#windowStart + this.#window.length - namesAhead;
		if (this.#isListed || this.#asked !== undefined || this.#next !== undefined || !isNear) return;
		if (volume !== undefined && volume.ttlMs > 0) this.#asked = this.#ask(volume);
	}

	/** Gives up what was asked for ahead. */
	#forgetAsked(): void {
		if (this.#asked !== undefined) this.directory.listing.end();
		this.#asked = undefined;
	}

	/** The names of a page, and those of earlier ones, of which it is known now whether they are directories. */
	#decided({ entries, through }: Pick<DirectoryPageContent, "entries" | "through">): Listed[] {
		const directories = new Set(entries.filter(({ kind }) => kind === "directory").map(({ name }) => name));
		const left = this.#undecided.filter(({ name }) => !directories.has(name));
		const isDecided = ({ name, kind }: Listed): boolean =>
			kind === "directory" || through?.startsWith(name) !== true || compareKeys(`${name}/`, through) <= 0;
		const all = left.length === 0 ? entries : [...left, ...entries];
		this.#undecided = all.filter((listed) => !isDecided(listed));
		return this.#undecided.length === 0 ? [...all] : all.filter(isDecided);
	}
}

const keptNames = 2000;
/** With so many names left of a page the next one is asked for: a program that reads no further costs one request more. */
const namesAhead = 900;
