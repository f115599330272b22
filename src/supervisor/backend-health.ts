import type { MountStatus } from "../probe/status.ts";

/** What the checks of a mount's backend have come to. */
export class BackendHealth {
	#last: (NonNullable<MountStatus["backend"]> & { readonly problem?: string }) | undefined;
	/** Of performance.now. */
	#begunAt: number | undefined;

	/** The last check failed. */
	get ails(): boolean {
		return this.#last?.ok === false;
	}

	/** For a person: why it failed. */
	get problem(): string | undefined {
		return this.#last?.problem;
	}

	/** One begins, and what it comes to is told. */
	begins(): void {
		this.#begunAt = performance.now();
	}

	/** Says whether that is news: the check before had failed. */
	passed(): boolean {
		const isNews = this.ails;
		this.#last = this.#ended(true);
		return isNews;
	}

	/** `message` is redacted. Says whether that is news: the check before had not failed. */
	failed(message: string): boolean {
		const isNews = !this.ails;
		this.#last = { ...this.#ended(false), problem: `backend: ${message}` };
		return isNews;
	}

	#ended(ok: boolean): NonNullable<MountStatus["backend"]> {
		const tookMs = this.#begunAt === undefined ? undefined : performance.now() - this.#begunAt;
		this.#begunAt = undefined;
		const seconds = tookMs === undefined ? {} : { seconds: Math.round(tookMs) / 1000 };
		return { ok, checkedAt: new Date().toISOString(), ...seconds };
	}

	/** One that fails is asked six times as often. */
	untilNextCheckMs(everyMs: number): number {
		return this.ails ? everyMs / 6 : everyMs;
	}

	status(): Pick<MountStatus, "backend"> {
		if (this.#last === undefined) return {};
		const { problem: _, ...backend } = this.#last;
		return { backend };
	}
}
