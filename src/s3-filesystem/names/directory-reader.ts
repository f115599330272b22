import { fileTypes } from "./posix-metadata.ts";
import { FuseError, type Attributes, type DirectoryPage, type Entry } from "../../fuse/filesystem.ts";
import { timeOf } from "../../fuse/time.ts";
import { S3Error } from "../../s3/object-store.ts";
import { Turns } from "../../turns.ts";
import { fromMachineTime, toMachineTime } from "./kept-nodes.ts";
import { listedKey, type Listed } from "./listed.ts";
import type { Inquiry, KnownRange } from "./listing.ts";
import type { Namespace } from "./namespace.ts";
import { attributesOf, keyOf, modeOf, type DirectoryNode, type Node } from "./nodes.ts";
import { compareKeys } from "./names.ts";
import type { NodeLimit } from "./node-limit.ts";
import { freshSince } from "./validity.ts";
import type { VolumeOptions } from "./volume.ts";

/** Attributes that are asked for at a time, where each takes a request. */
const headsAtATime = 64;

/** The kernel may come back for the last names it was given. */
const keptPlaces = 2000;

/** With so many known names left the next ones are asked for: a program that reads no further costs one request more. */
const namesAhead = 900;

/** Pages without a name, one after another, that a server may answer with before it is not believed that it comes to an end. */
const maximumEmptyPages = 1000;

/** What of a reader outlives its process, so that no name is skipped or repeated: plain data. */
export interface KeptReader {
	/** By the machine's clock. */
	readonly beganAt: number;
	readonly own: readonly string[];
	readonly shown: readonly string[];
	readonly places: readonly string[];
	readonly firstPlace: number;
}

const dots = [".", ".."];

/** A part of the directory that the kernel is given. */
class Reply {
	readonly page: DirectoryPage;
	/** Makes the kernel's entry of a node. */
	readonly entryOf: (node: Node) => Entry;
	count = 0;

	constructor(page: DirectoryPage, entryOf: (node: Node) => Entry) {
		this.page = page;
		this.entryOf = entryOf;
	}

	/** False when it is full. */
	add(name: string, attributes: Pick<Attributes, "ino" | "mode">, nextOffset: number, entry?: Entry): boolean {
		const isTaken = this.page.add(name, attributes, nextOffset, entry);
		if (isTaken) this.count++;
		return isTaken;
	}
}

/**
 * One opendir(3): hands out names in the order of their keys, in constant memory whatever the directory's size. It remembers at which key
 * it is, and no names: those are what the directory's listing has when they are handed out, so that nothing is shown that this mount has
 * removed meanwhile, and nothing left out that it has made before.
 */
export class DirectoryReader {
	readonly #namespace: Namespace;
	readonly directory: DirectoryNode;
	readonly #limit: NodeLimit;
	readonly #turns = new Turns();
	readonly #closing = new AbortController();
	/** When it was opened or rewound: what was listed since will do, whatever the TTL. */
	#beganAt = 0;
	/** What the server need not list: dots, volumes, and files with changes that are not in the bucket yet. They come first. */
	#own: readonly string[] = [];
	/** Those of them that are not to be shown a second time. */
	#shown = new Set<string>();
	/** An offset is a number of names; these are the keys after which the names go on, for the last offsets. */
	#places = [""];
	#firstPlace = 0;
	#pageBegan = { offset: 0, key: "" };
	/** For the page that was asked for last by its key, and those that went on where it ended. */
	#inquiry: Inquiry | undefined;
	/** What goes on after that key in the same inquiry, by the key that the directory had. */
	#next: { readonly key: string; readonly after: string; readonly token: string } | undefined;
	/** A page is on its way. */
	#asked: Promise<void> | undefined;
	/** Up to this key, attributes have been asked for where each name takes a request. */
	#filledThrough = "";
	#filled = new Set<Node>();

	constructor(namespace: Namespace, directory: DirectoryNode, limit: NodeLimit, kept?: KeptReader) {
		this.#namespace = namespace;
		this.directory = directory;
		this.#limit = limit;
		if (kept === undefined) return;
		this.#beganAt = fromMachineTime(kept.beganAt);
		this.#own = kept.own;
		this.#shown = new Set(kept.shown);
		this.#places = [...kept.places];
		this.#firstPlace = kept.firstPlace;
		this.#pageBegan = { offset: kept.firstPlace, key: kept.places[0] ?? "" };
	}

	/** Where it is, for the process that goes on with it. */
	keep(): KeptReader {
		return {
			beganAt: toMachineTime(this.#beganAt),
			own: this.#own,
			shown: [...this.#shown],
			places: this.#places,
			firstPlace: this.#firstPlace,
		};
	}

	close(): void {
		this.#closing.abort();
		if (this.#asked === undefined) this.#endInquiry();
		for (const node of this.#filled) this.#namespace.nodes.dropIfUnused(node);
	}

	/** Where the last page began: nobody asks for names before it, but who rewinds. */
	get place(): { readonly offset: number; readonly key: string } {
		return this.#pageBegan;
	}

	/** There are names that a process after this one could not tell by the place. */
	get hasOwnNames(): boolean {
		return this.#own.length > dots.length;
	}

	/** Fills the page; `entryOf` makes the kernel's entry of a node. */
	async fill(offset: number, page: DirectoryPage, entryOf: (node: Node) => Entry): Promise<void> {
		await this.#turns.take(async () => this.#fill(offset, new Reply(page, entryOf)));
	}

	async #fill(offset: number, reply: Reply): Promise<void> {
		if (offset === 0) this.#begin();
		for (let position = offset; position < this.#own.length; position++) {
			if (!this.#addOwn(this.#own[position] ?? "", position + 1, reply)) return;
		}
		const { volume } = this.directory;
		if (volume !== undefined) await this.#fillListed(offset, volume, reply);
	}

	#begin(): void {
		const directory = this.directory;
		this.#beganAt = performance.now();
		this.#next = undefined;
		const names = [...directory.overlay.keys(), ...Array.from(directory.drafted, ({ name }) => name)];
		this.#own = [...dots, ...names];
		this.#shown = new Set(names);
		this.#places = [""];
		this.#firstPlace = this.#own.length;
		this.#pageBegan = { offset: this.#firstPlace, key: "" };
		this.#filledThrough = "";
	}

	async #fillListed(offset: number, volume: VolumeOptions, reply: Reply): Promise<void> {
		const { count } = reply;
		let key = this.#goTo(Math.max(offset, this.#own.length));
		this.#pageBegan = { offset: this.#firstPlace + this.#places.length - 1, key };
		for (;;) {
			const range = this.#rangeAfter(key, volume);
			if (range === undefined) {
				// Names that are there are not kept waiting. With none, the kernel would not ask for attributes any more.
				if (reply.count > count) {
					this.#askAhead(key, volume);
					return;
				}
				await this.#ask(key, volume);
				continue;
			}
			const { names, through, at } = range;
			let index = names.countThrough(key);
			for (; index < names.count; index++) {
				const listed = names.at(index);
				const isDirectory = this.#isDirectoryToo(listed, range, volume);
				if (isDirectory === undefined) {
					await this.#askWhetherDirectory(listed.name, range, volume);
					break;
				}
				if (this.#lacksAttributes(listed, volume, reply)) {
					await this.#fillAttributes(range, index);
					break;
				}
				const nextOffset = this.#firstPlace + this.#places.length;
				const isShown = nextOffset > offset && !isDirectory;
				if (isShown && !this.#addListed(listed, at, nextOffset, reply)) {
					if (names.count - index < namesAhead && through !== undefined) this.#askAhead(through, volume);
					return;
				}
				key = listedKey(listed);
				this.#rememberPlace(key);
			}
			// Otherwise the range may have changed meanwhile.
			if (index === names.count) {
				if (through === undefined) return;
				key = through;
			}
		}
	}

	/** The key after which the names go on at that offset, or else one before it, from which they are to be counted. */
	#goTo(offset: number): string {
		const place = Math.min(offset - this.#firstPlace, this.#places.length - 1);
		const key = this.#places[place];
		if (key !== undefined) {
			this.#places.length = place + 1;
			return key;
		}
		this.#places = [""];
		this.#firstPlace = this.#own.length;
		return "";
	}

	#rememberPlace(key: string): void {
		this.#places.push(key);
		if (this.#places.length <= 2 * keptPlaces) return;
		this.#places = this.#places.slice(keptPlaces);
		this.#firstPlace += keptPlaces;
	}

	#rangeAfter(key: string, volume: VolumeOptions): KnownRange | undefined {
		return this.directory.listing.rangeAfter(key, this.#since(volume));
	}

	#since(volume: VolumeOptions): number {
		return Math.min(freshSince(volume), this.#beganAt);
	}

	/** Whether there is a directory of the same name, which is shown in place of a file; undefined: its key is farther than what is known. */
	#isDirectoryToo({ name, kind }: Listed, { through }: KnownRange, volume: VolumeOptions): boolean | undefined {
		const isDecided =
			kind === "directory" || through?.startsWith(name) !== true || compareKeys(`${name}/`, through) <= 0;
		if (isDecided) return false;
		const known = this.directory.listing.find(name, this.#since(volume));
		return known && known.entry?.kind === "directory";
	}

	async #askWhetherDirectory(name: string, { through = "" }: KnownRange, volume: VolumeOptions): Promise<void> {
		if (this.#rangeAfter(through, volume) === undefined) await this.#ask(through, volume);
		// What sorts between "name" and "name/" can fill pages.
		else await this.#namespace.askWhetherDirectory(this.directory, volume, name);
	}

	/** False when the page is full. */
	#addOwn(name: string, nextOffset: number, reply: Reply): boolean {
		const directory = this.directory;
		if (name === "." || name === "..") {
			const node = name === "." ? directory : (directory.parent ?? directory);
			const attributes = attributesOf(node);
			return reply.add(name, attributes, nextOffset, { node: 0, attributes, entryValidMs: 0, attributesValidMs: 0 });
		}
		const node = directory.overlay.get(name) ?? directory.children.get(name);
		if (node !== undefined) return this.#addNode(name, node, nextOffset, reply);
		// It is in the bucket by now, or gone.
		this.#shown.delete(name);
		return true;
	}

	#addListed(listed: Listed, at: number, nextOffset: number, reply: Reply): boolean {
		const { name } = listed;
		if (!this.#isToBeShown(name)) return true;
		const node = this.#nodeOf(listed, at, reply.page.plus);
		if (node !== undefined) return this.#addNode(name, node, nextOffset, reply);
		return reply.add(name, this.#attributesWithoutNode(listed), nextOffset, this.#entryWithoutNode(listed));
	}

	#addNode(name: string, node: Node, nextOffset: number, reply: Reply): boolean {
		const attributes = { ino: node.ino, mode: modeOf(node) };
		if (!reply.page.plus) return reply.add(name, attributes, nextOffset);
		if (reply.add(name, attributes, nextOffset, reply.entryOf(node))) {
			node.lookups++;
			return true;
		}
		if (!this.#filled.has(node)) this.#namespace.nodes.dropIfUnused(node);
		return false;
	}

	#nodeOf(listed: Listed, at: number, make: boolean): Node | undefined {
		const directory = this.directory;
		const { volume } = directory;
		const present = directory.children.get(listed.name);
		if (volume === undefined) return present;
		// Without one the kernel asks for the name if somebody wants more of it.
		if (present === undefined && !(make && this.#limit.makeRoom())) return undefined;
		return this.#namespace.reconcile(directory, volume, listed.name, { entry: listed, at });
	}

	/** Not what comes first, nor what was removed and has an object until nobody has it open any more. */
	#isToBeShown(name: string): boolean {
		const { hidden, children, overlay } = this.directory;
		if (this.#shown.has(name) || overlay.has(name)) return false;
		return !hidden.has(name) || children.has(name);
	}

	#attributesWithoutNode({ name, kind }: Listed): { ino: number; mode: number } {
		const mode = kind === "directory" ? fileTypes.directory : fileTypes.file;
		return { ino: this.#namespace.nodes.inodeOfName(this.directory, name), mode };
	}

	#entryWithoutNode(listed: Listed): Entry {
		const time = timeOf(listed.modifiedMs);
		const attributes = {
			...this.#attributesWithoutNode(listed),
			nlink: 1,
			uid: 0,
			gid: 0,
			sizeBytes: listed.sizeBytes,
			atime: time,
			mtime: time,
			ctime: time,
		};
		return { node: 0, attributes, entryValidMs: 0, attributesValidMs: 0 };
	}

	#lacksAttributes(listed: Listed, volume: VolumeOptions, { page }: Reply): boolean {
		return page.plus && volume.attributes === "all" && compareKeys(listedKey(listed), this.#filledThrough) > 0;
	}

	async #fillAttributes({ names, at }: KnownRange, index: number): Promise<void> {
		const count = Math.min(headsAtATime, names.count - index);
		const listed = Array.from({ length: count }, (_, place) => names.at(index + place));
		const nodes = new Set(
			listed
				.filter(({ name }) => this.#isToBeShown(name))
				.map((each) => this.#nodeOf(each, at, true))
				.filter((node) => node !== undefined),
		);
		await Promise.all(
			nodes.values().map(async (node) => {
				// One that was replaced or removed since it was listed shows what the listing said.
				await this.#namespace.metadata.ensure(node).catch(() => undefined);
			}),
		);
		for (const node of this.#filled) if (!nodes.has(node)) this.#namespace.nodes.dropIfUnused(node);
		this.#filled = nodes;
		const last = listed.at(-1);
		if (last !== undefined) this.#filledThrough = listedKey(last);
	}

	/** The server lists the next names while the kernel takes in these. */
	#askAhead(after: string, volume: VolumeOptions): void {
		if (volume.ttlMs === 0 || this.#asked !== undefined || this.#rangeAfter(after, volume) !== undefined) return;
		// Who reads on asks again, and is told.
		this.#ask(after, volume).catch(() => undefined);
	}

	/** Returns when a page is there: the one that was on its way, if there was one. */
	async #ask(after: string, volume: VolumeOptions): Promise<void> {
		this.#asked ??= this.#load(after, volume).finally(() => {
			this.#asked = undefined;
			if (this.#closing.signal.aborted) this.#endInquiry();
		});
		return this.#asked;
	}

	async #load(after: string, volume: VolumeOptions): Promise<void> {
		const directory = this.directory;
		// Somebody else may wait for it already. What he is told is for all: another try would take as long once more.
		for (let page = this.#namespace.pages.underWay(directory, after); page !== undefined;) {
			await page.catch(unlessGivenUp);
			if (this.#rangeAfter(after, volume) !== undefined) return;
			page = this.#namespace.pages.underWay(directory, after);
		}
		await this.#namespace.pages.asReader(directory, after, this.#loadPage(after, volume));
	}

	async #loadPage(after: string, volume: VolumeOptions): Promise<void> {
		const directory = this.directory;
		for (let emptyPages = 0; emptyPages < maximumEmptyPages; emptyPages++) {
			const key = keyOf(directory);
			const { inquiry, token } = this.#continued(key, after, volume) ?? {
				inquiry: this.#newInquiry(),
				token: undefined,
			};
			this.#next = undefined;
			const page = await this.#namespace.pages.list(volume, {
				prefix: key,
				...(token !== undefined ? { continuationToken: token } : after !== "" && { startAfter: key + after }),
				signal: this.#closing.signal,
			});
			const { through } = this.#namespace.pages.take(directory, inquiry, after, page, key);
			if (through === undefined) return;
			const isFarther = compareKeys(through, after) > 0;
			if (page.nextToken !== undefined) this.#next = { key, after: isFarther ? through : after, token: page.nextToken };
			if (isFarther) return;
		}
		throw new FuseError("EIO", `the server lists ${keyOf(directory)} without end`);
	}

	/**
	 * MinIO goes on from what it found when it was asked first, so that all pages of an inquiry are as old as their first one. It is not to
	 * get so old that its pages come with the TTL half over.
	 */
	#continued(key: string, after: string, { ttlMs }: VolumeOptions): { inquiry: Inquiry; token: string } | undefined {
		const inquiry = this.#inquiry;
		if (inquiry === undefined || inquiry.isVoid || this.#next?.key !== key || this.#next.after !== after)
			return undefined;
		const oldest = ttlMs === 0 ? this.#beganAt : Math.max(this.#beganAt, performance.now() - ttlMs / 2);
		if (inquiry.at < oldest) return undefined;
		return { inquiry, token: this.#next.token };
	}

	#newInquiry(): Inquiry {
		this.#endInquiry();
		return (this.#inquiry = this.directory.listing.ask(performance.now()));
	}

	#endInquiry(): void {
		if (this.#inquiry !== undefined) this.directory.listing.end(this.#inquiry);
		this.#inquiry = undefined;
	}
}

/** Whose reader was closed has no answer for others. */
function unlessGivenUp(error: unknown): void {
	if (!(error instanceof S3Error && error.kind === "ABORTED")) throw error;
}
