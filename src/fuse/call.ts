import { opcodes, repeatedBit } from "./abi.ts";
import type { Request } from "./decode.ts";
import { FuseError, type ErrnoName, type ReadResult, type RequestContext } from "./filesystem.ts";

/** Told once what a call came to: its error, if it is one, and the bytes that were read or written. */
export type Answered = (errno: ErrnoName | undefined, bytes: number) => void;

/** Told of each call before it is carried out: its node may be gone when it is answered. Undefined: nobody wants to know. */
export type Observe = (opcode: number, node: number) => Answered | undefined;

/** A request that is to be answered, without its content: that is gone as soon as its buffer takes the next one. */
export class Call implements RequestContext {
	readonly opcode: number;
	readonly uniqueLow: number;
	readonly uniqueHigh: number;
	readonly uid: number;
	readonly gid: number;
	readonly pid: number;
	readonly isRepeated: boolean;
	clearsSetId = false;
	/** Since the last look at those that wait. */
	isWaitingLong = false;
	/** Called once, when the caller is interrupted. */
	onInterrupted: (() => void) | undefined;
	onAnswered: Answered | undefined;
	#controller: AbortController | undefined;
	#isInterrupted = false;

	constructor(request: Request) {
		this.opcode = request.opcode;
		this.uniqueLow = request.uniqueLow;
		this.uniqueHigh = request.uniqueHigh;
		this.isRepeated = (request.uniqueHigh & repeatedBit) !== 0;
		this.uid = request.uid;
		this.gid = request.gid;
		this.pid = request.pid;
	}

	get unique(): number {
		return (this.uniqueHigh & ~repeatedBit) * 0x1_00_00_00_00 + this.uniqueLow;
	}

	/** Made when somebody asks: most requests are answered before anyone could interrupt them. */
	get signal(): AbortSignal {
		this.#controller ??= new AbortController();
		if (this.#isInterrupted) this.#controller.abort(interrupted());
		return this.#controller.signal;
	}

	interrupt(): void {
		if (this.#isInterrupted) return;
		this.#isInterrupted = true;
		this.onInterrupted?.();
		this.#controller?.abort(interrupted());
	}
}

export function interrupted(): FuseError {
	return new FuseError("EINTR", "the caller was interrupted");
}

/** That a call has read or written, by what the filesystem has answered. */
export function bytesOf(opcode: number, value: unknown): number {
	if (opcode === opcodes.write) return value as number;
	if (opcode !== opcodes.read) return 0;
	let bytes = 0;
	for (const { length } of (value as ReadResult).views) bytes += length;
	return bytes;
}

/** The calls that are being worked on, by what the kernel calls them. */
export class CallsInFlight {
	readonly #byHigh = new Map<number, Map<number, Call>>();
	#count = 0;

	get count(): number {
		return this.#count;
	}

	add(call: Call): void {
		let calls = this.#byHigh.get(call.uniqueHigh);
		if (calls === undefined) this.#byHigh.set(call.uniqueHigh, (calls = new Map()));
		calls.set(call.uniqueLow, call);
		this.#count++;
	}

	delete(call: Call): void {
		const calls = this.#byHigh.get(call.uniqueHigh);
		if (calls?.delete(call.uniqueLow) !== true) return;
		this.#count--;
		// It counts up to four billion requests; then one map takes over from another.
		if (calls.size === 0 && this.#byHigh.size > 1) this.#byHigh.delete(call.uniqueHigh);
	}

	find(uniqueLow: number, uniqueHigh: number): Call | undefined {
		return this.#byHigh.get(uniqueHigh)?.get(uniqueLow);
	}

	*all(): Generator<Call> {
		for (const calls of this.#byHigh.values()) yield* calls.values();
	}
}
