import fc from "fast-check";
import { expect, test } from "vitest";
import { listedDirectory, listedKey, type Listed } from "../../../src/s3-filesystem/names/listed.ts";
import { DirectoryListing, readPage, type Inquiry } from "../../../src/s3-filesystem/names/listing.ts";
import { NamesMemory } from "../../../src/s3-filesystem/names/names-memory.ts";
import { compareKeys, endOfPrefix } from "../../../src/s3-filesystem/names/names.ts";
import type { ListPage } from "../../../src/s3/object-store.ts";

type Keys = ReadonlySet<string>;

/** What LIST with the delimiter / answers for keys after `after`. */
function list(keys: Keys, after: string, maximum: number): ListPage {
	const items = [...new Set([...keys].map((key) => key.replace(/\/.*/, "/")))]
		.filter((key) => compareKeys(key.endsWith("/") ? endOfPrefix(key) : key, after) > 0)
		.toSorted(compareKeys);
	const page = items.slice(0, maximum);
	return {
		objects: page.filter((key) => !key.endsWith("/")).map((key) => ({ key, sizeBytes: 1, modifiedMs: 1, etag: key })),
		prefixes: page.filter((key) => key.endsWith("/")),
		nextToken: items.length > maximum ? "more" : undefined,
	};
}

/** A question that is under way, answered from any state of the server since its inquiry began. */
interface Asked {
	readonly inquiry: Inquiry;
	readonly after: string;
	readonly firstState: number;
}

/** One that goes through the directory, as an opendir(3) does. */
class Player {
	readonly since: number;
	readonly seen: string[] = [];
	/** What it must see, and must not. */
	readonly wanted: Set<string>;
	readonly unwanted: Set<string>;
	key = "";
	asked: Asked | undefined;
	isDone = false;

	constructor(since: number, wanted: Iterable<string>, unwanted: Iterable<string>) {
		this.since = since;
		this.wanted = new Set(wanted);
		this.unwanted = new Set(unwanted);
	}
}

const names = ["a", "a-", "b", "é"];

/** A server whose states are all kept, this mount, which knows of it by a listing, and other clients. */
class World {
	readonly listing: DirectoryListing;
	readonly states: Keys[] = [new Set()];
	readonly players: Player[] = [];
	readonly #lookups: Asked[] = [];
	/** What this mount has told the server and not heard the end of. */
	readonly #pending: { readonly names: readonly string[]; readonly steps: (() => void)[] }[] = [];
	/** Names that are there, or are not, as this mount left them, and nobody else has touched since. */
	readonly #made = new Set<string>();
	readonly #removed = new Set<string>();
	/** Names that the server has as this mount told it, which this mount has not heard yet. */
	readonly #told = new Set<string>();
	#now = 1;

	constructor(memoryBytes: number) {
		this.listing = new DirectoryListing(new NamesMemory(memoryBytes));
	}

	get #keys(): Keys {
		return this.states.at(-1) ?? new Set();
	}

	#hasName(name: string): boolean {
		return [name, `${name}/`, `${name}/x`].some((key) => this.#keys.has(key));
	}

	/** From now on nobody can count on what this mount did to the name. */
	#touch(name: string): void {
		this.#made.delete(name);
		this.#removed.delete(name);
		this.#told.delete(name);
		for (const player of this.players) {
			player.wanted.delete(name);
			player.unwanted.delete(name);
		}
	}

	#store(change: (keys: Set<string>) => void): void {
		const keys = new Set(this.#keys);
		change(keys);
		this.states.push(keys);
	}

	#steps(entry: Listed, isMade: boolean): (() => void)[] {
		const { name } = entry;
		return [
			() => {
				this.#touch(name);
				this.#told.add(name);
				this.#store((keys) => {
					keys.delete(name);
					for (const below of [`${name}/`, `${name}/x`]) keys.delete(below);
					if (isMade) keys.add(listedKey(entry));
				});
			},
			() => {
				if (isMade) this.listing.put(entry);
				else this.listing.remove(name);
				if (this.#told.delete(name)) (isMade ? this.#made : this.#removed).add(name);
			},
		];
	}

	/** This mount makes the name, or removes it, or gives it another name. */
	act(name: string, other: string, isDirectory: boolean): void {
		if (this.#pending.some((pending) => pending.names.includes(name) || pending.names.includes(other))) return;
		const isThere = this.#hasName(name);
		const isFile = isThere ? this.#keys.has(name) : !isDirectory;
		const entryOf = (named: string): Listed =>
			isFile ? { name: named, kind: "file", sizeBytes: 1, modifiedMs: 1, etag: named } : listedDirectory(named);
		const isRename = isThere && name !== other && !this.#hasName(other);
		const steps = isRename
			? [...this.#steps(entryOf(other), true), ...this.#steps(entryOf(name), false)]
			: this.#steps(entryOf(name), !isThere);
		this.#pending.push({ names: [name, other], steps });
	}

	goOn(index: number): void {
		if (this.#pending.length === 0) return;
		const at = index % this.#pending.length;
		const pending = this.#pending[at];
		pending?.steps.shift()?.();
		if (pending?.steps.length === 0) this.#pending.splice(at, 1);
	}

	/** Another client does the same. */
	interfere(name: string, isDirectory: boolean): void {
		this.#touch(name);
		const key = isDirectory ? `${name}/x` : name;
		this.#store((keys) => {
			if (!keys.delete(key)) keys.add(key);
		});
	}

	#ask(after: string): Asked {
		return { inquiry: this.listing.ask(this.#now), after, firstState: this.states.length - 1 };
	}

	/** A page for somebody who looks a name up. */
	lookup(after: string): void {
		this.#lookups.push(this.#ask(after));
	}

	/** Answers one of those. */
	answerLookup(index: number, state: number, size: number): void {
		const [asked] = this.#lookups.splice(index % Math.max(1, this.#lookups.length), 1);
		if (asked === undefined) return;
		this.#answer(asked, state, size);
		this.listing.end(asked.inquiry);
	}

	/** Returns where the next page goes on. */
	#answer({ inquiry, after, firstState }: Asked, state: number, size: number): string | undefined {
		const states = this.states.slice(firstState);
		const content = readPage(list(states[state % states.length] ?? new Set(), after, size), "");
		this.listing.merge(inquiry, after, content);
		return content.through;
	}

	/** Somebody begins to go through the directory; `isFresh`: for whom nothing is young enough that was known before. */
	begin(isFresh: boolean): void {
		this.players.push(new Player(isFresh ? this.#now : 0, this.#made, this.#removed));
	}

	play(index: number, state: number, size: number, isContinued: boolean): void {
		const player = this.players[index % Math.max(1, this.players.length)];
		if (player === undefined || player.isDone) return;
		const { asked } = player;
		if (asked !== undefined && asked.after === player.key) {
			const through = this.#answer(asked, state, size);
			player.asked = isContinued && through !== undefined ? { ...asked, after: through } : undefined;
			if (player.asked === undefined) this.listing.end(asked.inquiry);
		}
		const range = this.listing.rangeAfter(player.key, player.since);
		if (range === undefined) {
			if (player.asked !== undefined && player.asked.after !== player.key) this.listing.end(player.asked.inquiry);
			if (player.asked?.after !== player.key) player.asked = this.#ask(player.key);
			return;
		}
		const start = range.names.countThrough(player.key);
		for (let place = start; place < Math.min(range.names.count, start + size); place++) {
			const listed = range.names.at(place);
			player.seen.push(listed.name);
			player.key = listedKey(listed);
		}
		if (range.names.countThrough(player.key) < range.names.count) return;
		if (range.through === undefined) player.isDone = true;
		else player.key = range.through;
	}

	clear(): void {
		this.listing.clear();
	}

	tick(): void {
		this.#now++;
	}
}

const name = fc.constantFrom(...names);
const index = fc.nat({ max: 5 });
const size = fc.integer({ min: 1, max: 4 });
/** A function of the world, and what it is called with: so that a failure can be read. */
const step = fc.oneof(
	{ weight: 3, arbitrary: fc.tuple(fc.constant("act" as const), name, name, fc.boolean()) },
	{ weight: 6, arbitrary: fc.tuple(fc.constant("goOn" as const), index) },
	{ weight: 1, arbitrary: fc.tuple(fc.constant("interfere" as const), name, fc.boolean()) },
	{ weight: 2, arbitrary: fc.tuple(fc.constant("lookup" as const), fc.constantFrom("", ...names)) },
	{ weight: 2, arbitrary: fc.tuple(fc.constant("answerLookup" as const), index, index, size) },
	{ weight: 2, arbitrary: fc.tuple(fc.constant("begin" as const), fc.boolean()) },
	{ weight: 12, arbitrary: fc.tuple(fc.constant("play" as const), index, index, size, fc.boolean()) },
	{ weight: 1, arbitrary: fc.tuple(fc.constant("clear" as const)) },
);

test("who goes through a directory sees each name that this mount made before, and none that it removed, whatever the server answers from", () => {
	let finished = 0;
	fc.assert(
		fc.property(
			fc.array(step, { minLength: 20, maxLength: 120 }),
			fc.constantFrom(700, 1500, Number.POSITIVE_INFINITY),
			(steps, memoryBytes) => {
				const world = new World(memoryBytes);
				for (const [method, ...given] of steps) {
					(world[method] as (...args: unknown[]) => void)(...given);
					world.tick();
				}
				// Whoever is under way comes to its end.
				for (const [at, player] of world.players.entries()) {
					for (let left = 200; left > 0 && !player.isDone; left--) world.play(at, left, 3, left % 2 === 0);
					expect(player.isDone).toBe(true);
					finished++;
					expect(player.seen).toEqual(expect.arrayContaining([...player.wanted]));
					expect(player.seen.filter((seen) => player.unwanted.has(seen))).toEqual([]);
				}
			},
		),
		{ numRuns: 3000 },
	);
	expect(finished).toBeGreaterThan(5000);
});
