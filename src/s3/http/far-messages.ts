import type { ThreadMessage } from "../../threads.ts";
import type { Answer, Exchange } from "./connection.ts";
import type { ResponseHead } from "./response-head.ts";

/** What the thread that asks tells one that has connections. */
export interface FarOrder extends ThreadMessage {
	readonly to: "connections";
	/** Of a connection; where a destination is told, its own. */
	readonly id: number;
	readonly order: Order;
}

export type Order =
	/** As messages can carry it. */
	| {
			readonly kind: "destination";
			readonly url: string;
			readonly proxy: string | undefined;
			readonly ca: string | undefined;
			readonly verifies: boolean;
			readonly connectMs: number;
	  }
	/** A destination. */
	| { readonly kind: "forget" }
	| { readonly kind: "dial"; readonly destination: number }
	| ({
			readonly kind: "exchange";
			readonly into: Uint8Array | undefined;
			readonly body: { readonly descriptor: number; readonly sizeBytes: number } | undefined;
	  } & Pick<Exchange, "head" | "expectsContinue" | "maximumBytes" | "firstByteMs" | "idleMs">)
	/** What it is at is not wanted any more; its end is told all the same. */
	| { readonly kind: "abort" }
	| { readonly kind: "close" };

/** What that thread tells. */
export interface FarReport extends ThreadMessage {
	readonly to: "far-connections";
	readonly id: number;
	readonly told: Told;
}

/** Times are those of the thread that asks. */
export type Told =
	| { readonly kind: "dialed" }
	| ({ readonly kind: "progress" } & Seen)
	| ({
			readonly kind: "answered";
			readonly answer: Omit<Answer, "body"> & { readonly body: Uint8Array };
			/** Of the connection. */
			readonly isUsable: boolean;
	  } & Seen)
	/** Nothing comes into the memory that was lent from now on, and nothing is read of the file. */
	| ({
			readonly kind: "failed";
			readonly message: string;
			readonly code: string;
			readonly isStale: boolean;
			readonly lastByteAt: number;
	  } & Seen)
	/** It cannot be used any more, and is not at work. */
	| { readonly kind: "ended" };

export interface Seen {
	/** Of a successful answer, the first time that there is something to tell of it. */
	readonly head?: ResponseHead;
	readonly filledBytes: number;
}

/** Of a failure: the file of the body cannot be read. */
export const unreadable = "UNREADABLE";
