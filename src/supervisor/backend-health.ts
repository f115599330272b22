import type { MountStatus } from "../probe/status.ts";

/** What the checks of a mount's backend have come to. */
export class BackendHealth {
	#last: { readonly ok: boolean; readonly checkedAt: Date; readonly problem?: string } | undefined;

	/** The last check failed. */
	get ails(): boolean {
		return this.#last?.ok === false;
	}

	/** For a person: why it failed. */
	get problem(): string | undefined {
		return this.#last?.problem;
	}

	/** Says whether that is news: the check before had failed. */
	passed(): boolean {
		const isNews = this.ails;
		this.#last = { ok: true, checkedAt: new Date() };
		return isNews;
	}

	/** `message` is redacted. Says whether that is news: the check before had not failed. */
	failed(message: string): boolean {
		const isNews = !this.ails;
		this.#last = { ok: false, checkedAt: new Date(), problem: `backend: ${message}` };
		return isNews;
	}

	/** One that fails is asked six times as often. */
	untilNextCheckMs(everyMs: number): number {
		return this.ails ? everyMs / 6 : everyMs;
	}

	status(): Pick<MountStatus, "backend"> {
		if (this.#last === undefined) return {};
		return { backend: { ok: this.#last.ok, checkedAt: this.#last.checkedAt.toISOString() } };
	}
}
