import type { ListPage, ObjectMetadata } from "../../s3/object-store.ts";
import { compareKeys, endOfPrefix, isName } from "./names.ts";

/** One name of a directory, as the server lists it. */
export interface Listed {
	readonly name: string;
	readonly kind: "directory" | "file";
	readonly sizeBytes: number;
	readonly modifiedMs: number;
	readonly etag: string;
	readonly metadata?: ObjectMetadata;
}

/** What the server has said of a name, when it was asked at that time (of performance.now). */
export interface Known<Entry extends Listed | undefined = Listed | undefined> {
	/** Undefined: there is none. */
	readonly entry: Entry;
	readonly at: number;
}

export function listedDirectory(name: string): Listed {
	return { name, kind: "directory", sizeBytes: 0, modifiedMs: 0, etag: "" };
}

/** Names between two keys of which all are known. Keys are relative to the directory. */
interface KnownRange {
	/** Itself excluded. */
	readonly after: string;
	/** Itself included; undefined: to the end. */
	readonly through: string | undefined;
	readonly at: number;
}

/** Where a page of a listing began, and what was there when it was asked for. */
export interface ListingStart {
	readonly after: string;
	readonly sequence: number;
	readonly clearings: number;
	readonly at: number;
}

/** What one page says, without the directory's own marker. */
export interface DirectoryPageContent {
	readonly entries: readonly Listed[];
	/** The directory's own object, if the page holds it. */
	readonly marker: { readonly metadata: ObjectMetadata | undefined } | undefined;
	/** The last relative key that the page covers; undefined: all to the end. */
	readonly through: string | undefined;
	/** Keys that cannot be shown as names. */
	readonly hidden: number;
}

/** Reads a page of LIST below `directoryKey`. The directory wins where a file and a directory have the same name. */
export function readPage(page: ListPage, directoryKey: string): DirectoryPageContent {
	const entries: Listed[] = [];
	let marker: DirectoryPageContent["marker"];
	let hidden = 0;
	let last = "";
	const names = new Set<string>();
	for (const prefix of page.prefixes) {
		const name = prefix.slice(directoryKey.length, -1);
		if (compareKeys(endOfPrefix(`${name}/`), last) > 0) last = endOfPrefix(`${name}/`);
		if (!isName(name)) {
			hidden++;
			continue;
		}
		names.add(name);
		entries.push(listedDirectory(name));
	}
	for (const object of page.objects) {
		const name = object.key.slice(directoryKey.length);
		if (compareKeys(name, last) > 0) last = name;
		if (name === "") {
			marker = { metadata: object.metadata };
			continue;
		}
		if (!isName(name) || names.has(name)) {
			hidden++;
			continue;
		}
		const { sizeBytes, modifiedMs, etag, metadata } = object;
		entries.push({ name, kind: "file", sizeBytes, modifiedMs, etag, ...(metadata !== undefined && { metadata }) });
	}
	return { entries, marker, through: page.nextToken === undefined ? undefined : last, hidden };
}

/** What is known of a directory's names: which there are, and in which ranges there are no others. */
export class DirectoryListing {
	#entries = new Map<string, Listed>();
	#ranges: KnownRange[] = [];
	/** Changes made here while a listing was under way, which must not undo them. */
	readonly #changes = new Map<string, { readonly sequence: number; readonly removed: boolean }>();
	#sequence = 0;
	#clearings = 0;
	#observers = 0;

	get size(): number {
		return this.#entries.size;
	}

	/** Call before asking for a page; `end` must follow. */
	begin(after: string, now: number): ListingStart {
		this.#observers++;
		return { after, sequence: this.#sequence, clearings: this.#clearings, at: now };
	}

	end(): void {
		this.#observers--;
		if (this.#observers === 0) this.#changes.clear();
	}

	/**
	 * Takes over what a page says; names changed here since it was asked for stay as they are. Nothing, if all was cleared since: it may
	 * be what another directory had, in the middle of a rename. Returns whether it has taken it.
	 */
	merge(start: ListingStart, page: DirectoryPageContent, limit: number): boolean {
		if (start.clearings !== this.#clearings) return false;
		if (this.#entries.size + page.entries.length > limit) this.#forget();
		const isOlder = (name: string): boolean => !this.#hasChanged(name, start);
		if (this.#ranges.length > 0) {
			const listed = new Set(page.entries.map(({ name }) => name));
			// What was known in this range and is not listed any more is gone.
			for (const name of this.#entries.keys()) {
				if (!listed.has(name) && isOlder(name) && covers(start.after, page.through, keyOf(this.#entries.get(name)))) {
					this.#entries.delete(name);
				}
			}
		}
		for (const entry of page.entries) {
			if (!isOlder(entry.name)) continue;
			const present = this.#entries.get(entry.name);
			// The directory wins, also when it is on another page than the file.
			const isElsewhere = !covers(start.after, page.through, `${entry.name}/`);
			if (present?.kind === "directory" && entry.kind === "file" && isElsewhere) continue;
			this.#entries.set(entry.name, entry);
		}
		this.#addRange({ after: start.after, through: page.through, at: start.at });
		return true;
	}

	/** What is known of a name since `since`; undefined: nothing. */
	find(name: string, since: number): Known | undefined {
		const entry = this.#entries.get(name);
		const asDirectory = this.#knownAt(`${name}/`);
		const at = entry?.kind === "directory" ? asDirectory : Math.min(asDirectory, this.#knownAt(name));
		return at >= since && at > never ? { entry, at } : undefined;
	}

	/** When it was last listed whether there is such a key. */
	#knownAt(key: string): number {
		let last = never;
		for (const { after, through, at } of this.#ranges) if (at > last && covers(after, through, key)) last = at;
		return last;
	}

	/** Whether anything is known since then. */
	isStarted(since: number): boolean {
		return this.#ranges.some(({ at }) => at >= since);
	}

	/** The names of which all are known since then, from the first one on; `through` is undefined when that is every one. */
	beginning(since: number): (Pick<DirectoryPageContent, "entries" | "through"> & { readonly at: number }) | undefined {
		const range = this.#fromTheFirst(since);
		if (range === undefined) return undefined;
		const { through, at } = range;
		const entries = [...this.#entries.values()];
		return {
			entries: through === undefined ? entries : entries.filter((entry) => covers("", through, keyOf(entry))),
			through,
			at,
		};
	}

	/** All names, if every one is known since then. */
	complete(since: number): Listed[] | undefined {
		const range = this.#fromTheFirst(since);
		return range !== undefined && range.through === undefined ? [...this.#entries.values()] : undefined;
	}

	/** A page that was listed anew does not hide that all is known. */
	#fromTheFirst(since: number): KnownRange | undefined {
		const fresh = this.#ranges.filter(({ after, at }) => after === "" && at >= since);
		return fresh.find(({ through }) => through === undefined) ?? fresh.at(-1);
	}

	/** A directory below was looked for by itself. */
	knowDirectory(start: ListingStart, name: string, exists: boolean): void {
		if (start.clearings !== this.#clearings || this.#hasChanged(name, start)) return;
		if (exists) this.#entries.set(name, listedDirectory(name));
		else if (this.#entries.get(name)?.kind === "directory") this.#entries.delete(name);
		this.#addRange({ after: name, through: endOfPrefix(`${name}/`), at: start.at, exact: true });
	}

	/** A name was made or changed here. */
	put(entry: Listed): void {
		this.#changed(entry.name, false);
		this.#entries.set(entry.name, entry);
	}

	/** A name was removed here. */
	remove(name: string): void {
		this.#changed(name, true);
		this.#entries.delete(name);
	}

	wasRemoved(name: string): boolean {
		return this.#changes.get(name)?.removed === true;
	}

	clear(): void {
		this.#clearings++;
		this.#forget();
	}

	#forget(): void {
		this.#entries = new Map();
		this.#ranges = [];
	}

	#hasChanged(name: string, since: ListingStart): boolean {
		return (this.#changes.get(name)?.sequence ?? 0) > since.sequence;
	}

	#changed(name: string, removed: boolean): void {
		this.#sequence++;
		if (this.#observers > 0) this.#changes.set(name, { sequence: this.#sequence, removed });
	}

	#addRange(added: KnownRange & { exact?: boolean }): void {
		if (added.exact === true) {
			// Only the keys of that one directory, of which there may be ranges before and after.
			const after = `${added.after}.\u{10FFFD}`;
			this.#ranges.push({ after, through: added.through, at: added.at });
		} else {
			this.#ranges = this.#ranges.filter(
				({ after, through }) =>
					compareKeys(after, added.after) < 0 ||
					(added.through !== undefined && (through === undefined || compareKeys(through, added.through) > 0)),
			);
			const before = this.#ranges.findIndex(({ through }) => through === added.after);
			const previous = this.#ranges[before];
			// Pages of one listing are one range, as old as its oldest page.
			if (previous !== undefined && added.after !== "") {
				this.#ranges[before] = {
					after: previous.after,
					through: added.through,
					at: Math.min(previous.at, added.at),
				};
			} else this.#ranges.push({ after: added.after, through: added.through, at: added.at });
		}
		if (this.#ranges.length > maximumRanges) this.#ranges = this.#ranges.slice(-maximumRanges / 2);
	}
}

const maximumRanges = 128;
const never = Number.NEGATIVE_INFINITY;

function covers(after: string, through: string | undefined, key: string): boolean {
	return (after === "" || compareKeys(key, after) > 0) && (through === undefined || compareKeys(key, through) <= 0);
}

function keyOf(entry: Listed | undefined): string {
	return entry === undefined ? "" : entry.kind === "directory" ? `${entry.name}/` : entry.name;
}
