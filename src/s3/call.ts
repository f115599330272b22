import type { Priority } from "./http/concurrency.ts";
import type { Answer, Exchange, SentBody } from "./http/connection.ts";
import { S3Error, type S3ErrorKind } from "./object-store.ts";
import { describePlace } from "./verdict.ts";

export type RequestHeaders = Readonly<Record<string, string>>;

/** One request, as often as it takes. */
export interface S3Call {
	/** S3's name for it, such as GetObject. */
	readonly operation: string;
	readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
	/** Undefined: the bucket itself. */
	readonly key?: string;
	readonly query?: Readonly<Record<string, string>>;
	/** Names in lower case. Asked for before each try. */
	readonly headers?: () => RequestHeaders;
	readonly body?: SentBody;
	/** SHA-256 of the body in hex, if it is signed. */
	readonly bodyHash?: string;
	/** Asked for before each try: where its answer goes. */
	readonly into?: () => Buffer;
	readonly accept?: Exchange["accept"];
	/** The most that its answer may have, if it is collected. Default: 1 MiB. */
	readonly maximumAnswerBytes?: number;
	readonly onProgress?: Exchange["onProgress"];
	/** Bytes that all tries have brought so far: more of them begin the time for retries anew. */
	readonly progress?: () => number;
	/** What is wrong with an answer of a successful status; undefined: nothing. */
	readonly check?: (answer: Answer) => string | undefined;
	readonly priority: Priority;
	/** What a condition that does not hold means. Default: OBJECT_REPLACED. */
	readonly preconditionMeans?: S3ErrorKind;
	/** What it means that the server fails again and again in the same words. Default: that it may pass. */
	readonly repeatedFailureMeans?: S3ErrorKind | undefined;
	/** So many bytes the server has to copy before it answers, which takes longer, and during which it may keep the answer open with white space. */
	readonly workBytes?: number;
	/** Not over a connection that nobody has used for so long, in milliseconds; 0: over a new one. */
	readonly maximumIdleMs?: number;
	readonly signal?: AbortSignal | undefined;
	/** Told before a request may be carried out whose answer does not arrive. */
	readonly onDoubt?: () => void;
}

/** The caller does not wait for it any more. */
export function givenUp(call: S3Call): S3Error {
	return new S3Error("ABORTED", `${describePlace(call)}: given up`);
}
