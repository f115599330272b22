/** Lets one change at a time work on a node, in the order of asking. */
export class Locks {
	readonly #tails = new WeakMap<object, Promise<unknown>>();

	async with<T>(owner: object, work: () => Promise<T>): Promise<T> {
		const before = this.#tails.get(owner);
		const turn = before === undefined ? work() : before.then(work, work);
		const tail = turn.catch(() => undefined);
		this.#tails.set(owner, tail);
		try {
			return await turn;
		} finally {
			if (this.#tails.get(owner) === tail) this.#tails.delete(owner);
		}
	}
}
