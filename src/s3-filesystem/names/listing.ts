import type { ListPage, ObjectMetadata } from "../../s3/object-store.ts";
import { listedDirectory, listedKey, type Listed } from "./listed.ts";
import { compareKeys, endOfPrefix, isName, keyBefore } from "./names.ts";
import { NamesMemory } from "./names-memory.ts";
import { PackedNames } from "./packed-names.ts";

/** What the server has said of a name, when it was asked at that time (of performance.now). */
export interface Known<Entry extends Listed | undefined = Listed | undefined> {
	/** Undefined: there is none. */
	readonly entry: Entry;
	readonly at: number;
}

/** Names between two keys of which all are known. Keys are relative to the directory. */
export interface KnownRange {
	/** Itself excluded. */
	readonly after: string;
	/** Itself included; undefined: to the end. */
	readonly through: string | undefined;
	/** What the server said may be as old as that. */
	readonly at: number;
	/** How long the server took to say it. */
	readonly tookMs: number;
	readonly names: PackedNames;
}

/** A question to the server that is under way, or several of which each goes on where the one before ended, as old as the first. */
export interface Inquiry {
	readonly at: number;
	/** What this mount has done since, of which the answer may know or not. Undefined: removed. */
	readonly changes: Map<string, Listed | undefined>;
	/** The answer says nothing: it may be what another directory had, in the middle of a rename, or too much has changed since. */
	isVoid: boolean;
}

/** What one page says, without the directory's own marker. */
export interface DirectoryPageContent {
	readonly entries: readonly Listed[];
	/** The directory's own object, if the page holds it. */
	readonly marker: { readonly modifiedMs: number; readonly metadata: ObjectMetadata | undefined } | undefined;
	/** The last relative key that the page covers; undefined: all to the end. */
	readonly through: string | undefined;
	/** Entries that are left out: no name can be made of them, or their size is none. */
	readonly hidden: number;
}

/** Reads a page of LIST below `directoryKey`. The directory wins where a file and a directory have the same name. */
export function readPage(page: ListPage, directoryKey: string): DirectoryPageContent {
	const entries: Listed[] = [];
	let marker: DirectoryPageContent["marker"];
	let hidden = page.undecodableKeys ?? 0;
	let last = "";
	const names = new Set<string>();
	for (const prefix of page.prefixes) {
		if (!prefix.startsWith(directoryKey) || !prefix.endsWith("/")) {
			hidden++;
			continue;
		}
		const name = prefix.slice(directoryKey.length, -1);
		if (compareKeys(endOfPrefix(`${name}/`), last) > 0) last = endOfPrefix(`${name}/`);
		if (!isName(name) || names.has(name)) {
			hidden++;
			continue;
		}
		names.add(name);
		entries.push(listedDirectory(name));
	}
	for (const object of page.objects) {
		if (!object.key.startsWith(directoryKey)) {
			hidden++;
			continue;
		}
		const name = object.key.slice(directoryKey.length);
		if (compareKeys(name, last) > 0) last = name;
		if (name === "") {
			marker = { modifiedMs: object.modifiedMs, metadata: object.metadata };
			continue;
		}
		if (!isName(name) || names.has(name)) {
			hidden++;
			continue;
		}
		names.add(name);
		const { sizeBytes, modifiedMs, etag, metadata } = object;
		entries.push({ name, kind: "file", sizeBytes, modifiedMs, etag, ...(metadata !== undefined && { metadata }) });
	}
	return { entries, marker, through: page.nextToken === undefined ? undefined : last, hidden };
}

/** Of a range, besides its names. */
const rangeBytes = 500;
/** A range into which this mount puts more is cut in two, so that each name costs the same. */
const namesPerRange = 2000;
/** As many as a server lists at a time. */
const namesPerPage = 1000;
/** Where this mount does more while a page is under way, the page says nothing. */
const maximumChanges = 20_000;

/**
 * What is known of a directory's names: which there are, and in which ranges there are no others.
 *
 * A range says what the server said, changed by all that this mount has done since it was asked. What this mount does goes, at that
 * moment, into the ranges that are there, and into all inquiries that are under way, from which it gets into their answers. So however old
 * the state is that a page comes from, between the first question of its inquiry and its answer, a range has each name that this mount has
 * made, and none that it has removed.
 */
export class DirectoryListing {
	readonly #memory: NamesMemory;
	/** In the order of their keys; none overlaps another. */
	#ranges: (KnownRange & { readonly sizeBytes: number; readonly forget: () => void })[] = [];
	#count = 0;
	#tookMs = 0;
	readonly #inquiries = new Set<Inquiry>();

	constructor(memory: NamesMemory = new NamesMemory(Number.POSITIVE_INFINITY)) {
		this.#memory = memory;
	}

	/** How long the server took to say all that is remembered; 0 where it takes one page. */
	get tookMs(): number {
		return this.#count > namesPerPage ? this.#tookMs : 0;
	}

	/** Call before the server is asked; `end` must follow. */
	ask(now: number): Inquiry {
		const inquiry: Inquiry = { at: now, changes: new Map(), isVoid: false };
		this.#inquiries.add(inquiry);
		return inquiry;
	}

	end(inquiry: Inquiry): void {
		this.#inquiries.delete(inquiry);
	}

	/**
	 * Takes over what a page, which came after `tookMs`, says of the keys after `after`, where nothing younger is known. Returns whether it says
	 * anything.
	 */
	merge(
		inquiry: Inquiry,
		after: string,
		{ entries, through }: Pick<DirectoryPageContent, "entries" | "through">,
		tookMs = 0,
	): boolean {
		if (inquiry.isVoid || !isBefore(after, through)) return false;
		const { at, changes } = inquiry;
		const made = [...changes.values()].filter((entry) => entry !== undefined);
		const names = PackedNames.of(
			[...entries.filter(({ name }) => !changes.has(name)), ...made]
				.map((entry) => ({ entry, key: listedKey(entry) }))
				.filter(({ key }) => covers(after, through, key))
				.toSorted((a, b) => compareKeys(a.key, b.key))
				.map(({ entry }) => entry),
		);
		this.#know({ after, through, at, tookMs, names });
		return true;
	}

	/** A directory below was looked for by itself. */
	knowDirectory(inquiry: Inquiry, name: string, exists: boolean): void {
		const directory = listedDirectory(name);
		// Only the keys of that one directory, of which there may be others before and after.
		const page = { entries: exists ? [directory] : [], through: endOfPrefix(listedKey(directory)) };
		this.merge(inquiry, `${name}.\u{10FFFD}`, page);
	}

	/** It was made here just now: nothing is in it. */
	knowEmpty(now: number): void {
		this.#know({ after: "", through: undefined, at: now, tookMs: 0, names: PackedNames.of([]) });
	}

	/** What is known of a name since `since`; undefined: nothing. */
	find(name: string, since: number): Known | undefined {
		const asDirectory = this.#knownAt(`${name}/`, since);
		if (asDirectory === undefined || asDirectory.entry !== undefined) return asDirectory;
		const asFile = this.#knownAt(name, since);
		return asFile && { entry: asFile.entry, at: Math.min(asFile.at, asDirectory.at) };
	}

	#knownAt(key: string, since: number): Known | undefined {
		const range = this.#ranges[this.#indexOf(key)];
		if (range === undefined || range.at < since) return undefined;
		this.#memory.used(range);
		const index = range.names.indexOf(key);
		return { entry: index === undefined ? undefined : range.names.at(index), at: range.at };
	}

	/** The range that begins with the keys right after that one, if it is known since `since`. */
	rangeAfter(key: string, since: number): KnownRange | undefined {
		const range = this.#ranges[this.#lastFrom(key)];
		const isKnown = range !== undefined && range.at >= since && isBefore(key, range.through);
		if (!isKnown) return undefined;
		this.#memory.used(range);
		return range;
	}

	/** The names after a key, as far as none is unknown between. */
	*following(key: string, since: number): Generator<Listed> {
		for (let range = this.rangeAfter(key, since); range !== undefined;) {
			const { names, through } = range;
			for (let index = names.countThrough(key); index < names.count; index++) yield names.at(index);
			range = through === undefined ? undefined : this.rangeAfter(through, since);
		}
	}

	/**
	 * After which key to ask for a page that says what is not known of a name since `since`: where the one before it began, so that pages which
	 * are asked for again, one for each name that somebody wants, are not more than there were.
	 */
	pageWith(name: string, since: number): string {
		const isKnown = (key: string): boolean =>
			(this.#ranges[this.#indexOf(key)]?.at ?? Number.NEGATIVE_INFINITY) >= since;
		const key = isKnown(name) ? `${name}/` : name;
		const range = this.#ranges[this.#indexOf(key)];
		if (range === undefined || range.names.countBefore(key) >= namesPerPage) return keyBefore(name);
		return range.after;
	}

	/** Whether anything is known since then. */
	isStarted(since: number): boolean {
		return this.#ranges.some(({ at }) => at >= since);
	}

	/** A name was made or changed here. */
	put(entry: Listed): void {
		this.#changed(entry.name, entry);
	}

	/** A name was removed here. */
	remove(name: string): void {
		this.#changed(name, undefined);
	}

	/** The server has another object there than it had listed: what came with the same page is to be listed again, and nothing else. */
	doubt(name: string): void {
		for (const inquiry of this.#inquiries) giveUp(inquiry);
		for (const key of [name, `${name}/`]) {
			const at = this.#indexOf(key);
			const range = this.#ranges[at];
			if (range !== undefined) this.#put(at, 1, [{ ...range, at: Number.NEGATIVE_INFINITY }]);
		}
	}

	/** Nothing is known any more, nor will what is under way say anything. */
	clear(): void {
		for (const inquiry of this.#inquiries) giveUp(inquiry);
		for (const range of this.#ranges) this.#memory.release(range);
		this.#ranges = [];
		this.#count = this.#tookMs = 0;
	}

	#changed(name: string, entry: Listed | undefined): void {
		for (const inquiry of this.#inquiries) {
			if (inquiry.isVoid) continue;
			inquiry.changes.set(name, entry);
			if (inquiry.changes.size > maximumChanges) giveUp(inquiry);
		}
		const key = entry === undefined ? undefined : listedKey(entry);
		for (const each of [name, `${name}/`]) this.#replace(each, each === key ? entry : undefined);
	}

	#replace(key: string, entry: Listed | undefined): void {
		const at = this.#indexOf(key);
		const range = this.#ranges[at];
		if (range === undefined) return;
		const { names } = range;
		const index = names.countBefore(key);
		const removed = names.countThrough(key) - index;
		if (removed === 0 && entry === undefined) return;
		this.#put(at, 1, split({ ...range, names: names.splice(index, removed, entry) }));
	}

	#know(added: KnownRange): void {
		const first = Math.max(0, this.#lastFrom(added.after));
		const ranges: KnownRange[] = [];
		let { after } = added;
		let end = first;
		for (; end < this.#ranges.length; end++) {
			const present = this.#ranges[end];
			if (present === undefined || !isBefore(present.after, added.through)) break;
			if (!isBefore(added.after, present.through)) {
				ranges.push(present);
				continue;
			}
			if (present.at > added.at) {
				if (compareKeys(after, present.after) < 0) ranges.push(part(added, after, present.after));
				ranges.push(present);
				if (present.through === undefined) return this.#put(first, end + 1 - first, ranges);
				after = present.through;
				continue;
			}
			if (compareKeys(present.after, added.after) < 0) ranges.push(part(present, present.after, added.after));
			if (added.through !== undefined && isBefore(added.through, present.through)) {
				ranges.push(part(added, after, added.through), part(present, added.through, present.through));
				return this.#put(first, end + 1 - first, ranges);
			}
		}
		if (isBefore(after, added.through)) ranges.push(part(added, after, added.through));
		return this.#put(first, end - first, ranges);
	}

	/** Others in place of so many ranges. */
	#put(index: number, removed: number, ranges: readonly KnownRange[]): void {
		const counted = ranges.map((range) => {
			const made = {
				after: range.after,
				through: range.through,
				at: range.at,
				tookMs: range.tookMs,
				names: range.names,
				sizeBytes: rangeBytes + range.names.sizeBytes,
				forget: () => this.#forget(made),
			};
			return made;
		});
		for (const range of this.#ranges.splice(index, removed, ...counted)) {
			this.#memory.release(range);
			this.#counted(range, -1);
		}
		for (const range of counted) {
			this.#counted(range, 1);
			this.#memory.keep(range);
		}
	}

	#counted({ names, tookMs }: KnownRange, times: 1 | -1): void {
		this.#count += times * names.count;
		this.#tookMs += times * tookMs;
	}

	#forget(range: KnownRange): void {
		const index = this.#lastFrom(range.after);
		if (this.#ranges[index] !== range) return;
		this.#ranges.splice(index, 1);
		this.#counted(range, -1);
	}

	/** Of the range that has the key; -1 if none has. */
	#indexOf(key: string): number {
		const index = this.#lastFrom(key, false);
		const range = this.#ranges[index];
		return range !== undefined && covers(range.after, range.through, key) ? index : -1;
	}

	/** Of the last range that begins before the key, or at it; -1 if none does. */
	#lastFrom(key: string, isAtCounted = true): number {
		let low = 0;
		let high = this.#ranges.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			const order = compareKeys(this.#ranges[middle]?.after ?? "", key);
			if (order < 0 || (isAtCounted && order === 0)) low = middle + 1;
			else high = middle;
		}
		return low - 1;
	}
}

function giveUp(inquiry: Inquiry): void {
	inquiry.isVoid = true;
	inquiry.changes.clear();
}

/** The keys of a range between these two. */
function part(range: KnownRange, after: string, through: string | undefined): KnownRange {
	const { names } = range;
	const from = after === "" ? 0 : names.countThrough(after);
	const to = through === undefined ? names.count : names.countThrough(through);
	const isWhole = from === 0 && to === names.count;
	if (isWhole) return { ...range, after, through };
	const tookMs = (range.tookMs * (to - from)) / names.count;
	return { after, through, at: range.at, tookMs, names: names.slice(from, to) };
}

function split(range: KnownRange): KnownRange[] {
	const { names, after, through } = range;
	if (names.count <= namesPerRange) return [range];
	const middle = names.at(names.count >>> 1);
	const key = listedKey(middle);
	const end = middle.kind === "directory" ? endOfPrefix(key) : key;
	return [part(range, after, end), part(range, end, through)];
}

/** There are keys after that one up to the end of a range. */
function isBefore(key: string, through: string | undefined): boolean {
	return through === undefined || compareKeys(key, through) < 0;
}

function covers(after: string, through: string | undefined, key: string): boolean {
	return (after === "" || compareKeys(key, after) > 0) && (through === undefined || compareKeys(key, through) <= 0);
}
