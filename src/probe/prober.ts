import { statfs } from "../mounts/statfs.ts";

export type StatfsVerdict =
	| { readonly kind: "answered" }
	| { readonly kind: "dead" }
	| { readonly kind: "failed"; readonly reason: string }
	| { readonly kind: "hung" };

/** Asks one mount for its statfs, with never more than one child at a time: on a mount that hangs it hangs too. */
export class Prober {
	readonly #path: string;
	readonly #timeoutMs: number;
	#stuck = false;
	#answeredAt: number | undefined;

	constructor(path: string, timeoutMs: number) {
		this.#path = path;
		this.#timeoutMs = timeoutMs;
	}

	/** Milliseconds since the last answer; undefined before the first. */
	get silentMs(): number | undefined {
		return this.#answeredAt === undefined ? undefined : performance.now() - this.#answeredAt;
	}

	async ask(): Promise<StatfsVerdict> {
		if (this.#stuck) return { kind: "hung" };
		const answer = await statfs(this.#path, this.#timeoutMs);
		if (answer.kind === "answered") this.#answeredAt = performance.now();
		if (answer.kind !== "hung") return answer;
		this.#stuck = true;
		void answer.gone.then(() => {
			this.#stuck = false;
		});
		return { kind: "hung" };
	}
}
