import type { Order, Report } from "../filesystem-process/messages.ts";
import type { Departure } from "./driver.ts";

/** What the process tells of a folder that it is to take away. */
export type DepartureReport = Extract<Report, { kind: "hidden" | "removed" }>;

/** Folders that the process was told to take away. */
export class Departures {
	readonly #send: (order: Order) => void;
	readonly #waiting = new Map<number, { readonly hidden: () => void; readonly removed: (lostFiles: number) => void }>();
	#count = 0;
	#isEnded = false;

	constructor(send: (order: Order) => void) {
		this.#send = send;
	}

	begin(folder: string, limits: { readonly visibleMs: number; readonly hiddenMs: number }): Departure {
		const departure = ++this.#count;
		const hidden = Promise.withResolvers<void>();
		const removed = Promise.withResolvers<number>();
		this.#waiting.set(departure, { hidden: hidden.resolve, removed: removed.resolve });
		this.#send({ kind: "remove", folder, departure, ...limits });
		if (this.#isEnded) this.end();
		return { hidden: hidden.promise, removed: removed.promise };
	}

	told(message: DepartureReport): void {
		const waiting = this.#waiting.get(message.departure);
		waiting?.hidden();
		if (message.kind === "hidden") return;
		waiting?.removed(message.lostFiles);
		this.#waiting.delete(message.departure);
	}

	get areUnderWay(): boolean {
		return this.#waiting.size > 0;
	}

	/** Nobody tells of them any more. */
	end(): void {
		this.#isEnded = true;
		for (const departure of this.#waiting.keys()) this.told({ kind: "removed", departure, lostFiles: 0 });
	}
}
