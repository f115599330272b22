import { Turns } from "../turns.ts";

/** Lets one change at a time work on a node, in the order of asking. */
export class Locks {
	readonly #turns = new WeakMap<object, Turns>();

	async with<T>(owner: object, work: () => Promise<T>): Promise<T> {
		let turns = this.#turns.get(owner);
		if (turns === undefined) this.#turns.set(owner, (turns = new Turns()));
		return turns.take(work);
	}
}
