import { FuseError, type RequestContext } from "../../fuse/filesystem.ts";
import type { DirectoryNode } from "./nodes.ts";

/** A name of a directory, and all that is below it. A node is where its name is at the moment. */
export interface Path {
	readonly parent: DirectoryNode | undefined;
	readonly name: string;
}

/** Only asked for its signal when it has to wait. */
type Caller = Pick<RequestContext, "signal">;

interface Claim {
	readonly paths: readonly Path[];
	readonly isAlone: boolean;
}

/**
 * Who may count on a path staying what it is. Objects have no other place than their key: what is stored below a directory while that is
 * renamed would be stored at a key that goes. So who changes what names lead to has those names, and all below them, alone; who stores
 * something of a file or directory shares its path with others that do.
 *
 * The kernel orders changes of one directory's names, but nothing below a directory that moves; and of neither does it know any more when
 * the caller of an operation that goes on was killed.
 *
 * Claims are granted in the order of asking, as far as they concern each other: nobody starves. All paths of a claim are granted at once,
 * and who has a claim asks for no other: nobody waits in a circle.
 */
export class PathLocks {
	/** Told whenever a path is free again. */
	readonly #onFree: () => void;
	readonly #held = new Set<Claim>();
	/** Of those. */
	#alone = 0;
	/** In the order of asking. */
	readonly #waiting = new Map<Claim, () => void>();
	readonly #reads = new Set<{ readonly path: Path; readonly read: Promise<unknown> }>();

	constructor(onFree: () => void) {
		this.#onFree = onFree;
	}

	/** How many wait for others. */
	get waiting(): number {
		return this.#waiting.size;
	}

	/** Runs what stores something at the path, or below it: at once, if nobody has it alone or waits for that. */
	async shared<T>(path: Path, work: () => Promise<T>, caller?: Caller): Promise<T> {
		return this.#with({ paths: [path], isAlone: false }, work, caller);
	}

	/** Runs what makes these paths lead to something else, when nobody else is at work there. */
	async alone<T>(paths: readonly Path[], work: () => Promise<T>, caller?: Caller): Promise<T> {
		return this.#with({ paths, isAlone: true }, work, caller);
	}

	/** Whether somebody has it, or what it lies in, alone. */
	isTaken(path: Path): boolean {
		return this.#alone > 0 && this.#held.values().some((held) => held.isAlone && isOneIn([path], held.paths));
	}

	/** Notes that names or objects are read there until then. Reads wait for nobody. */
	async reading<T>(path: Path, read: Promise<T>): Promise<T> {
		const noted = { path, read };
		this.#reads.add(noted);
		try {
			return await read;
		} finally {
			this.#reads.delete(noted);
		}
	}

	/** Resolves when those reads at the path or below it have ended that are under way now. */
	async readsEnd(path: Path): Promise<void> {
		await Promise.allSettled([...this.#reads].filter((noted) => isIn(noted.path, path)).map(({ read }) => read));
	}

	async #with<T>(claim: Claim, work: () => Promise<T>, caller: Caller | undefined): Promise<T> {
		if (this.#isFree(claim, this.#waiting.keys())) this.#hold(claim);
		else await this.#wait(claim, caller);
		try {
			return await work();
		} finally {
			this.#held.delete(claim);
			if (claim.isAlone) {
				this.#alone--;
				this.#onFree();
			}
			this.#grant();
		}
	}

	#hold(claim: Claim): void {
		this.#held.add(claim);
		if (claim.isAlone) this.#alone++;
	}

	async #wait(claim: Claim, caller: Caller | undefined): Promise<void> {
		const granted = Promise.withResolvers<void>();
		const signal = caller?.signal;
		const giveUp = (): void => {
			if (!this.#waiting.delete(claim)) return;
			granted.reject(new FuseError("EINTR", "interrupted before it began"));
			this.#grant();
		};
		this.#waiting.set(claim, granted.resolve);
		signal?.addEventListener("abort", giveUp);
		if (signal?.aborted === true) giveUp();
		try {
			await granted.promise;
		} finally {
			signal?.removeEventListener("abort", giveUp);
		}
	}

	#grant(): void {
		if (this.#waiting.size === 0) return;
		const earlier: Claim[] = [];
		for (const [claim, go] of this.#waiting) {
			if (this.#isFree(claim, earlier)) {
				this.#waiting.delete(claim);
				this.#hold(claim);
				go();
			} else earlier.push(claim);
		}
	}

	/** Nobody has, and nobody who came earlier waits for, what would be in its way. */
	#isFree(claim: Claim, earlier: Iterable<Claim>): boolean {
		if (claim.isAlone || this.#alone > 0) {
			for (const other of this.#held) if (isInTheWay(claim, other)) return false;
		}
		for (const other of earlier) if (isInTheWay(claim, other)) return false;
		return true;
	}
}

function isInTheWay(a: Claim, b: Claim): boolean {
	return (b.isAlone && isOneIn(a.paths, b.paths)) || (a.isAlone && isOneIn(b.paths, a.paths));
}

/** Called for each pair of calls that are under way at once. */
function isOneIn(paths: readonly Path[], tops: readonly Path[]): boolean {
	for (const top of tops) for (const path of paths) if (isIn(path, top)) return true;
	return false;
}

/** Whether it is this path, or below it. */
function isIn(path: Path, { parent, name }: Path): boolean {
	for (let at: Path | undefined = path; at !== undefined; at = at.parent) {
		if (at.parent === parent && at.name === name) return true;
	}
	return false;
}
