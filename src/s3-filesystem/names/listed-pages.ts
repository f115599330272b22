import type { ListPage, ListRequest } from "../../s3/object-store.ts";
import { ListedAttributes } from "./listed-attributes.ts";
import { readPage, type DirectoryPageContent, type Inquiry } from "./listing.ts";
import { keyOf, type DirectoryNode, type NodeTable } from "./nodes.ts";
import { takeMarker } from "./object-answers.ts";
import type { VolumeOptions } from "./volume.ts";

interface TimedPage extends ListPage {
	/** From the question to the answer. */
	readonly tookMs: number;
}

/** Pages of the server's listings, each asked for by one at a time. */
export class ListedPages {
	/** Keys that were listed and cannot be shown as names. */
	hiddenKeys = 0;
	readonly #nodes: NodeTable;
	readonly #onAttributes: () => void;
	readonly #loading = new Map<string, Promise<void>>();
	readonly #readers = new Map<string, Promise<void>>();
	readonly #attributes = new WeakMap<VolumeOptions, ListedAttributes>();

	/** `onAttributes`: some objects have attributes, after others were listed without. */
	constructor(nodes: NodeTable, onAttributes: () => void) {
		this.#nodes = nodes;
		this.#onAttributes = onAttributes;
	}

	/** What resolves when the names after that key are there, if somebody asks for them at this moment. */
	underWay(directory: DirectoryNode, after: string): Promise<void> | undefined {
		const name = pageName(directory, after);
		return this.#loading.get(name) ?? this.#readers.get(name);
	}

	/** Whoever wants the same names meanwhile may wait for a reader's page, though not count on it: the reader may be closed. */
	async asReader(directory: DirectoryNode, after: string, work: Promise<void>): Promise<void> {
		const name = pageName(directory, after);
		this.#readers.set(name, work);
		try {
			await work;
		} finally {
			if (this.#readers.get(name) === work) this.#readers.delete(name);
		}
	}

	/** Lists one page of the directory, from the keys after `after` on, and remembers it. */
	async load(directory: DirectoryNode, after: string): Promise<void> {
		const { volume } = directory;
		if (volume === undefined) return;
		const name = pageName(directory, after);
		const present = this.#loading.get(name);
		if (present !== undefined) return present;
		const work = this.#load(directory, volume, after);
		this.#loading.set(name, work);
		try {
			await work;
		} finally {
			this.#loading.delete(name);
		}
	}

	async #load(directory: DirectoryNode, volume: VolumeOptions, after: string): Promise<void> {
		const key = keyOf(directory);
		const inquiry = directory.listing.ask(performance.now());
		try {
			const page = await this.list(volume, { prefix: key, ...(after !== "" && { startAfter: key + after }) });
			this.take(directory, inquiry, after, page, key);
		} finally {
			directory.listing.end(inquiry);
		}
	}

	/** A page of the names of a directory, with their attributes where that is worth it. */
	async list(volume: VolumeOptions, request: Omit<ListRequest, "delimiter" | "metadata">): Promise<TimedPage> {
		const askedAt = performance.now();
		const attributes = this.#attributesIn(volume);
		const metadata = volume.attributes === "all" || attributes.isWorthAsking();
		const page = await volume.store.list({ ...request, delimiter: "/", metadata });
		// What was listed without is to be listed again.
		if (metadata && attributes.saw(page)) this.#onAttributes();
		return { ...page, tookMs: performance.now() - askedAt };
	}

	/** Objects of the volume have attributes of ours. */
	storedAttributes(volume: VolumeOptions): void {
		this.#attributesIn(volume).stored();
	}

	#attributesIn(volume: VolumeOptions): ListedAttributes {
		const present = this.#attributes.get(volume);
		if (present !== undefined) return present;
		const made = new ListedAttributes();
		this.#attributes.set(volume, made);
		return made;
	}

	/** Takes a page of the keys after `after` into the directory's listing; returns what it says. */
	take(directory: DirectoryNode, inquiry: Inquiry, after: string, page: TimedPage, key: string): DirectoryPageContent {
		const content = readPage(page, key);
		this.hiddenKeys += content.hidden;
		const isTaken = directory.listing.merge(inquiry, after, content, page.tookMs);
		if (isTaken && after === "") {
			takeMarker(directory, inquiry.at, content.marker);
			this.#nodes.changed(directory);
		}
		return content;
	}
}

function pageName({ id }: DirectoryNode, after: string): string {
	return `${id}\0${after}`;
}
