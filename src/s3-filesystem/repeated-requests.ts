import { FuseError, type Entry, type RequestContext } from "../fuse/filesystem.ts";
import type { Journal } from "./journal.ts";
import type { Outcome } from "./journal-records.ts";
import type { FilesystemSettings } from "./names/volume.ts";
import type { Past } from "./recall.ts";
import type { Tree } from "./tree.ts";

/** So many processes that die with one request in their hands may have died of it. */
const deadlyTimes = 2;

/** What must not be done twice: the kernel asks again for what a process has read and not answered when it died. */
export class RepeatedRequests {
	readonly #tree: Tree;
	readonly #journal: Journal | undefined;
	readonly #past: Past | undefined;
	readonly #log: FilesystemSettings["log"];

	constructor(options: {
		readonly tree: Tree;
		readonly journal: Journal | undefined;
		readonly past: Past | undefined;
		readonly log: FilesystemSettings["log"];
	}) {
		this.#tree = options.tree;
		this.#journal = options.journal;
		this.#past = options.past;
		this.#log = options.log;
	}

	/** Throws for one that processes die of. */
	begun({ unique, pid }: RequestContext): void {
		if (unique === undefined) return;
		if (this.#past?.isDeadly === true && (this.#past.repeated.get(unique) ?? 0) >= deadlyTimes) {
			this.#log?.(
				"error",
				{ caller: pid },
				"a request is refused that several processes had in their hands when they died",
			);
			throw new FuseError("EIO", "processes die of this request");
		}
		this.#journal?.repeated(unique);
	}

	/** What a process that died has done for it; undefined: it was not done. */
	outcome({ isRepeated, unique = 0 }: RequestContext): Outcome | undefined {
		return isRepeated === true ? this.#past?.outcomes.get(unique) : undefined;
	}

	/** Does it, unless it is done already: then `again` makes the same answer. */
	async once<T>(
		caller: RequestContext,
		work: () => Promise<T>,
		outcomeOf: (result: T) => Outcome,
		again: (outcome: Outcome) => T,
	): Promise<T> {
		const known = this.outcome(caller);
		if (known !== undefined) return again(known);
		const { unique } = caller;
		if (this.#journal === undefined || unique === undefined) return work();
		try {
			const result = await work();
			this.#journal.done(unique, outcomeOf(result));
			return result;
		} catch (error) {
			this.#journal.forgetSteps(unique);
			throw error;
		}
	}

	async onceEntry(caller: RequestContext, work: () => Promise<Entry>): Promise<Entry> {
		const again = ({ node }: Outcome): Entry => this.#tree.counted(this.#tree.node(node));
		return this.once(caller, work, ({ node }) => ({ node, handle: 0 }), again);
	}

	async onceVoid(caller: RequestContext, work: () => Promise<void>): Promise<void> {
		await this.once(
			caller,
			work,
			() => ({ node: 0, handle: 0 }),
			() => undefined,
		);
	}
}
