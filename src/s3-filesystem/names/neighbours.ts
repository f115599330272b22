import { listedKey, type Listed } from "./listed.ts";
import { compareKeys } from "./names.ts";
import type { WalkedDirectory } from "./next-names.ts";

/** So many files that were opened make it likely that others of the directory follow. */
const opensAtLeast = 4;
/** So many are brought in the hope that one of them is opened; each that is allows for some more. */
const hopes = 512;
const hopesForEachUsed = 64;
/** What each of them may have, on average. */
const bytesAHope = 8 * 1024;
/** So many that had to go before anybody opened them say that there is no room for this. */
const lostAtLeast = 16;
/** Names that are looked at for one that is to be brought. */
const maximumLooks = 256;
/** After a failure, or where there is no memory, so many files are opened before it is tried again. */
const opensToRest = 16;
/** Who comes back after so long may be another program, or the next epoch. */
const forgottenAfterMs = 60_000;

/** One directory of which small files are opened in whatever order. */
interface Visit {
	opened: number;
	openedAt: number;
	/** The sizes of those that were brought and that nobody has opened yet. */
	readonly brought: Map<string, number>;
	broughtBytes: number;
	used: number;
	lost: number;
	/** Once at least; each that gets used after all lets it go on. */
	hasStopped: boolean;
	/** The key after which the next ones are looked for. */
	at: string;
	/** Where that began. */
	readonly from: string;
	/** It has come to the end of what is known, and goes on from the beginning. */
	isSecondHalf: boolean;
	/** How many have to be opened before it goes on. */
	restsUntil: number;
}

/** How the guesses have done. */
export interface GuessCounts {
	brought: number;
	used: number;
	/** They had to go before anybody opened them. */
	lost: number;
	/** Directories in which it did not pay. */
	stopped: number;
}

/**
 * Guesses which small files of a directory are opened next where they are opened in no order at all, as by a data loader that shuffles: any of
 * them. On a distant server each is a round trip and little else, and all of them together may be a few megabytes. It begins with few, goes on
 * as long as they get used, and stops where they do not, or have to go before.
 */
export class Neighbours {
	readonly counts: GuessCounts = { brought: 0, used: 0, lost: 0, stopped: 0 };
	readonly #visits = new WeakMap<WalkedDirectory, Visit>();

	/** A file was opened. `isThere`: it is in memory, or on its way. */
	opened(directory: WalkedDirectory, name: string, isThere: boolean): void {
		const now = performance.now();
		let visit = this.#visits.get(directory);
		if (visit === undefined || now - visit.openedAt > forgottenAfterMs) {
			visit = begin(name);
			this.#visits.set(directory, visit);
		}
		visit.opened++;
		visit.openedAt = now;
		if (take(visit, name)) {
			const outcome = isThere ? "used" : "lost";
			visit[outcome]++;
			this.counts[outcome]++;
		}
		if (visit.hasStopped || !(isLost(visit) || isInVain(visit))) return;
		visit.hasStopped = true;
		this.counts.stopped++;
	}

	/** One more file to be brought now, if there is any. `since` is how old what is known may be. */
	next(directory: WalkedDirectory, since: number, isWanted: (listed: Listed) => boolean): Listed | undefined {
		const visit = this.#visits.get(directory);
		if (visit === undefined || visit.opened < opensAtLeast || visit.opened < visit.restsUntil) return undefined;
		if (isLost(visit) || isInVain(visit) || visit.brought.size >= visit.opened ** 2 / 4) return undefined;
		const found = lookOn(directory, visit, since, (listed) => !visit.brought.has(listed.name) && isWanted(listed));
		if (found === undefined) return undefined;
		visit.brought.set(found.name, found.sizeBytes);
		visit.broughtBytes += found.sizeBytes;
		this.counts.brought++;
		return found;
	}

	/** It could not be brought. */
	refused(directory: WalkedDirectory, name: string): void {
		const visit = this.#visits.get(directory);
		if (visit === undefined || !take(visit, name)) return;
		this.counts.brought--;
		visit.restsUntil = visit.opened + opensToRest;
	}
}

function begin(name: string): Visit {
	return {
		opened: 0,
		openedAt: 0,
		brought: new Map(),
		broughtBytes: 0,
		used: 0,
		lost: 0,
		hasStopped: false,
		at: name,
		from: name,
		isSecondHalf: false,
		restsUntil: 0,
	};
}

/** Whether it was one of those that were brought; it is not any more. */
function take(visit: Visit, name: string): boolean {
	visit.broughtBytes -= visit.brought.get(name) ?? 0;
	return visit.brought.delete(name);
}

function isLost({ used, lost }: Visit): boolean {
	return lost >= lostAtLeast && lost > used;
}

/** Too many were brought for those that were opened of them. */
function isInVain({ brought, broughtBytes, used }: Visit): boolean {
	const allowed = hopes + hopesForEachUsed * used;
	return brought.size >= allowed || broughtBytes >= allowed * bytesAHope;
}

/** The next name, in one round through those that are known. */
function lookOn(
	{ listing }: WalkedDirectory,
	visit: Visit,
	since: number,
	isWanted: (listed: Listed) => boolean,
): Listed | undefined {
	let looks = 0;
	for (;;) {
		for (const listed of listing.following(visit.at, since)) {
			const key = listedKey(listed);
			if (visit.isSecondHalf && compareKeys(key, visit.from) > 0) break;
			if (++looks > maximumLooks) return undefined;
			visit.at = key;
			if (listed.kind === "file" && isWanted(listed)) return listed;
		}
		if (visit.isSecondHalf) {
			// More names may be known by then.
			visit.restsUntil = visit.opened * 2;
			visit.isSecondHalf = false;
			visit.at = visit.from;
			return undefined;
		}
		visit.isSecondHalf = true;
		visit.at = "";
	}
}
