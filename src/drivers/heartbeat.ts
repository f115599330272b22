export interface HeartbeatOptions {
	/** So long without an answer is silence. */
	readonly limitMs: number;
	readonly ask: () => void;
	/** Called once, and nothing is asked any more. */
	readonly onSilent: () => void;
}

/** So many questions in a row have no answer. */
const unansweredLimit = 4;

/**
 * Asks a process again and again whether it runs on. Questions are counted and not the time since the last answer: who asks may
 * have been stopped too, and has then asked nothing.
 */
export class Heartbeat {
	readonly #timer: NodeJS.Timeout;
	#unanswered = 0;

	constructor({ limitMs, ask, onSilent }: HeartbeatOptions) {
		this.#timer = setInterval(() => {
			if (this.#unanswered === unansweredLimit) {
				this.end();
				onSilent();
				return;
			}
			this.#unanswered++;
			ask();
		}, limitMs / unansweredLimit).unref();
	}

	answered(): void {
		this.#unanswered = 0;
	}

	end(): void {
		clearInterval(this.#timer);
	}
}
