import type { Socket } from "node:net";
import { AnswerRoom, AnswerTooLong } from "./answer-room.ts";
import { ChunkedDecoder } from "./chunked-decoder.ts";
import { GrowingBuffer } from "./growing-buffer.ts";
import { parseResponseHead, ProtocolError, type ResponseHead } from "./response-head.ts";
import { Watch, type Pace } from "./watch.ts";

export interface Exchange {
	/** Request line and headers, with the empty line after them. */
	readonly head: string;
	readonly body?: SentBody | undefined;
	/** The head asks for 100-continue: the body waits for that, though not for long. */
	readonly expectsContinue?: boolean;
	/** The answer to a HEAD has no body, whatever its headers say. */
	readonly isHead?: boolean;
	/** Where the body of a successful answer goes, which must be exactly as long; undefined: it is collected. */
	readonly into?: Buffer | undefined;
	/** Sees a successful answer before its body counts. What it throws the exchange rejects with. */
	readonly accept?: ((head: ResponseHead) => void) | undefined;
	/** The most that a successful answer may have that is collected. Of an error the start is taken. */
	readonly maximumBytes: number;
	/** Told how many bytes are in `into`. */
	readonly onProgress?: ((filledBytes: number) => void) | undefined;
	/** From the request's last byte to the end of the answer's headers, however many bytes come meanwhile. */
	readonly firstByteMs: number;
	/** In each such time a body must go forward by a KiB a second, in both directions; an answer that is collected must end within ten. */
	readonly idleMs: number;
	/** As long as the server works on it, it may keep the answer open with a byte now and then, but no longer than this. */
	readonly keepAliveMs?: number | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** What takes time to carry. */
export type Carried = Pick<Exchange, "into" | "body">;

/** Carries requests to a server, one after the other. */
export interface Exchanger {
	readonly isUsable: boolean;
	/** Called once, when it can no longer be used. */
	onEnd: (() => void) | undefined;
	/**
	 * Sends one request and waits for its answer; calls must not overlap. Rejects with an ExchangeError, or with what `accept` or the body throws.
	 * Nothing is written to `into` from then on.
	 */
	exchange(exchange: Exchange): Promise<Answer>;
	close(): void;
}

export interface SentBody {
	readonly sizeBytes: number;
	/** A file that begins with the same bytes, for another thread to read them there. Whoever calls it closes the descriptor. */
	readonly open?: () => number;
	/** Pieces in order. Each is only used until the next one is asked for. */
	read(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface Answer {
	readonly status: number;
	readonly headers: ReadonlyMap<string, string>;
	/** Empty if it went into a buffer. */
	readonly body: Buffer;
	/** Bytes in that buffer. */
	readonly filledBytes: number;
	/** When it began, by `performance.now()`. */
	readonly firstByteAt: number;
}

/** There is no answer, or only a part of it. */
export class ExchangeError extends Error {
	override readonly name = "ExchangeError";
	/** Such as ECONNRESET; ETIMEDOUT when the server was silent for too long, EPROTO when it does not speak HTTP. */
	readonly code: string;
	/** The server closed a connection that it had kept, instead of taking a request from it. To ask again is not to try again. */
	readonly isStale: boolean;
	/** By `performance.now()`: since when nothing has gone forward. */
	readonly lastByteAt: number;

	constructor(
		message: string,
		facts: {
			readonly code: string;
			readonly isStale?: boolean;
			readonly lastByteAt?: number;
			readonly cause?: unknown;
		},
	) {
		super(message, { cause: facts.cause });
		this.code = facts.code;
		this.isStale = facts.isStale ?? false;
		this.lastByteAt = facts.lastByteAt ?? performance.now();
	}
}

/**
 * Shared by all connections: what is read is taken out of it before another connection can read. Small, since the first bytes of
 * a body come with the headers and have to be copied.
 */
const scratch = Buffer.allocUnsafeSlow(32 * 1024);
const noBytes = Buffer.alloc(0);

const maximumHeadBytes = 64 * 1024;
/** Of an error: what is wrong comes first, and a page for people is often all of it. */
const errorStartBytes = 64 * 1024;
/** What goes to the socket at once: a slow line must show progress before the limit of silence is over. */
const maximumWriteBytes = 256 * 1024;
/** What is slower than that all the time is not waited for. */
const slowestBytesPerSecond = 1024;
/** An answer that is collected ends within so many times the limit of silence. */
const collectedTimes = 10;
/** Servers that have never heard of 100-continue wait for the body. */
const continueWaitMs = 1000;

type Receiving =
	| { readonly kind: "idle" }
	| { readonly kind: "head"; readonly pending: GrowingBuffer }
	/** Bytes come straight from the kernel into this buffer, which is as long as the body. */
	| { readonly kind: "direct"; readonly buffer: Buffer; filledBytes: number; readonly isCallers: boolean }
	| { readonly kind: "chunked"; readonly decoder: ChunkedDecoder; readonly sink: Sink }
	| { readonly kind: "until-close"; readonly sink: Sink };

interface Sink {
	/** No more is wanted. */
	readonly isFull: boolean;
	take(bytes: Buffer): void;
	/** Throws if something is missing. */
	end(): { readonly body: Buffer; readonly filledBytes: number };
}

interface Current {
	readonly exchange: Exchange;
	readonly result: PromiseWithResolvers<Answer>;
	readonly continued: PromiseWithResolvers<void>;
	readonly room: AnswerRoom;
	head: ResponseHead | undefined;
	isSending: boolean;
	/** By `performance.now()`; undefined: nothing was received. */
	firstByteAt: number | undefined;
	isSettled: boolean;
}

/**
 * One kept-alive connection. Whatever is unexpected ends it, so that no byte of one answer is ever taken for another's.
 *
 * Made before its socket, since the socket is told where to put what it reads when it is made.
 */
export class Connection implements Exchanger {
	/** Of the socket: https://nodejs.org/api/net.html#new-netsocketoptions */
	readonly onread = {
		buffer: (): Buffer => this.#nextBuffer(),
		callback: (bytes: number): boolean => {
			this.#received(bytes);
			return true;
		},
	};
	onEnd: (() => void) | undefined;
	#socket: Socket | undefined;
	#receiving: Receiving = { kind: "idle" };
	#current: Current | undefined;
	#watch: Watch | undefined;
	#lastByteAt = 0;
	#isUsable = true;
	#answers = 0;

	attach(socket: Socket): void {
		this.#socket = socket;
		socket.on("error", (error: NodeJS.ErrnoException) =>
			this.#fail(error.code ?? "ECONNRESET", error.message, { cause: error }),
		);
		socket.on("end", () => this.#ended());
		socket.on("close", () => this.#fail("ECONNRESET", "the server closed the connection"));
		if (socket.destroyed) this.close();
	}

	/** What came over a socket that does not know `onread`. */
	push(bytes: Buffer): void {
		for (let start = 0; start < bytes.length && this.#isUsable;) {
			const copiedBytes = bytes.copy(this.#nextBuffer(), 0, start);
			this.#received(copiedBytes);
			start += copiedBytes;
		}
	}

	get isUsable(): boolean {
		return this.#isUsable;
	}

	async exchange(exchange: Exchange): Promise<Answer> {
		if (this.#current !== undefined || !this.#isUsable) throw new Error("the connection cannot be used");
		const current: Current = {
			exchange,
			result: Promise.withResolvers(),
			continued: Promise.withResolvers(),
			room: new AnswerRoom(exchange.maximumBytes),
			head: undefined,
			isSending: true,
			firstByteAt: undefined,
			isSettled: false,
		};
		this.#current = current;
		this.#receiving = { kind: "head", pending: new GrowingBuffer() };
		this.#lastByteAt = performance.now();
		const abort = (): void => this.#fail("ABORTED", "the request was given up");
		exchange.signal?.addEventListener("abort", abort);
		const sending = this.#send(current);
		try {
			return await current.result.promise;
		} finally {
			exchange.signal?.removeEventListener("abort", abort);
			this.#watch?.end();
			current.room.release();
			// The body's pieces are lent: whoever lent them gets them back before it hears of the end.
			current.continued.resolve();
			await sending;
			this.#current = undefined;
		}
	}

	close(): void {
		if (!this.#isUsable) return;
		this.#isUsable = false;
		this.#receiving = { kind: "idle" };
		this.#socket?.destroy();
		this.onEnd?.();
	}

	#fail(
		code: string,
		problem: string,
		{ cause, lastByteAt = this.#lastByteAt }: { readonly cause?: unknown; readonly lastByteAt?: number } = {},
	): void {
		const current = this.#current;
		if (current !== undefined && !current.isSettled) {
			const isStale =
				this.#answers > 0 && current.firstByteAt === undefined && code !== "ETIMEDOUT" && code !== "ABORTED";
			this.#reject(new ExchangeError(problem, { code, isStale, lastByteAt, cause }));
		}
		this.close();
	}

	#reject(error: unknown): void {
		const current = this.#current;
		if (current === undefined || current.isSettled) return;
		current.isSettled = true;
		current.room.collected.discard();
		current.result.reject(error);
		this.close();
	}

	async #send(current: Current): Promise<void> {
		const { exchange } = current;
		const { body } = exchange;
		const socket = this.#socket;
		if (socket === undefined) throw new Error("the connection has no socket");
		try {
			if (body === undefined) {
				socket.write(exchange.head, "latin1");
			} else {
				this.#begin({ limitMs: exchange.idleMs, leastBytes: 1 });
				// Together with the body's first bytes.
				if (exchange.expectsContinue !== true) socket.cork();
				socket.write(exchange.head, "latin1");
				if (exchange.expectsContinue === true) await this.#untilContinued(current);
				await this.#sendBody(current, body, socket);
			}
			this.#sent(current);
		} catch (error) {
			this.#reject(error);
		}
	}

	async #sendBody(current: Current, body: SentBody, socket: Socket): Promise<void> {
		let leftBytes = body.sizeBytes;
		// A body that is empty needs no reading.
		if (leftBytes > 0 && !current.isSettled) {
			for await (const piece of body.read()) {
				leftBytes -= piece.length;
				if (leftBytes < 0) throw new Error("a body is longer than was announced");
				for (let start = 0; start < piece.length && !current.isSettled; start += maximumWriteBytes) {
					const written = write(socket, piece.subarray(start, start + maximumWriteBytes));
					socket.uncork();
					// Until the kernel has it: the piece may be used again then. A failure is reported by the socket.
					await written;
					this.#forward(Math.min(maximumWriteBytes, piece.length - start));
				}
				if (current.isSettled) return;
				// All is sent, whatever time the body takes to see that it has no more.
				if (leftBytes === 0) this.#sent(current);
			}
			if (leftBytes > 0) throw new Error("a body is shorter than was announced");
		}
		socket.uncork();
	}

	#sent(current: Current): void {
		if (!current.isSending || current.isSettled) return;
		current.isSending = false;
		// Nothing but the end of the headers counts.
		if (current.head === undefined)
			this.#begin({ limitMs: current.exchange.firstByteMs, leastBytes: Number.POSITIVE_INFINITY });
	}

	async #untilContinued(current: Current): Promise<void> {
		const timer = setTimeout(() => current.continued.resolve(), continueWaitMs);
		await current.continued.promise;
		clearTimeout(timer);
	}

	#begin(pace: Pace): void {
		this.#watch?.end();
		this.#watch = new Watch(pace, (problem, since) => this.#fail("ETIMEDOUT", problem, { lastByteAt: since }));
	}

	#forward(bytes: number): void {
		this.#lastByteAt = performance.now();
		this.#watch?.forward(bytes);
	}

	#nextBuffer(): Buffer {
		const receiving = this.#receiving;
		return receiving.kind === "direct" ? receiving.buffer.subarray(receiving.filledBytes) : scratch;
	}

	#received(bytes: number): void {
		const current = this.#current;
		if (current === undefined || current.isSettled) {
			// Nobody asked.
			this.close();
			return;
		}
		current.firstByteAt ??= performance.now();
		if (current.isSending && current.head === undefined) this.#lastByteAt = performance.now();
		else this.#forward(bytes);
		try {
			const receiving = this.#receiving;
			if (receiving.kind === "direct") {
				receiving.filledBytes += bytes;
				this.#progressed(receiving, current);
			} else {
				this.#take(scratch.subarray(0, bytes), current);
			}
		} catch (error) {
			if (error instanceof ProtocolError || error instanceof AnswerTooLong)
				this.#fail(error.code, error.message, { cause: error });
			else this.#reject(error);
		}
	}

	#progressed(receiving: Receiving & { readonly kind: "direct" }, current: Current): void {
		const { buffer, filledBytes, isCallers } = receiving;
		const isWhole = filledBytes === buffer.length;
		// The connection must be at rest before somebody is told.
		if (isWhole) this.#done(isCallers ? { body: noBytes, filledBytes } : { body: buffer, filledBytes: 0 }, current);
		if (isCallers) current.exchange.onProgress?.(filledBytes);
	}

	#take(bytes: Buffer, current: Current): void {
		const receiving = this.#receiving;
		switch (receiving.kind) {
			case "head":
				this.#takeHead(receiving, bytes, current);
				return;
			case "chunked": {
				const usedBytes = receiving.decoder.push(bytes);
				if (receiving.decoder.isDone) this.#done(receiving.sink.end(), current, usedBytes < bytes.length);
				else if (receiving.sink.isFull) this.#done(receiving.sink.end(), current, true);
				return;
			}
			case "until-close":
				receiving.sink.take(bytes);
				if (receiving.sink.isFull) this.#done(receiving.sink.end(), current, true);
				return;
			case "idle":
			case "direct":
				throw new ProtocolError("bytes after the answer's end");
			default:
				receiving satisfies never;
		}
	}

	#takeHead(receiving: Receiving & { readonly kind: "head" }, bytes: Buffer, current: Current): void {
		const { pending } = receiving;
		const seenBytes = pending.length;
		if (seenBytes > 0) pending.append(bytes);
		const all = seenBytes > 0 ? pending.bytes : bytes;
		const end = all.indexOf("\r\n\r\n", Math.max(0, seenBytes - 3), "latin1");
		if (end === -1) {
			if (all.length > maximumHeadBytes) throw new ProtocolError("headers without end");
			if (seenBytes === 0) pending.append(bytes);
			return;
		}
		const head = parseResponseHead(all.toString("latin1", 0, end));
		const rest = all.subarray(end + 4);
		if (head.status < 200) {
			// 101 would be another protocol.
			if (head.status === 101) throw new ProtocolError("another protocol");
			current.continued.resolve();
			this.#receiving = { kind: "head", pending: new GrowingBuffer() };
			if (rest.length > 0) this.#take(rest, current);
			return;
		}
		current.head = head;
		this.#beginBody(head, rest, current);
	}

	#beginBody(head: ResponseHead, rest: Buffer, current: Current): void {
		const { exchange } = current;
		const { framing } = head;
		if (exchange.isHead === true || head.status === 204 || head.status === 304) {
			this.#done({ body: noBytes, filledBytes: 0 }, current, rest.length > 0);
			return;
		}
		const isError = head.status >= 300;
		if (!isError) exchange.accept?.(head);
		const into = isError ? undefined : exchange.into;
		this.#begin(paceOf(exchange, into));
		const sink =
			into === undefined
				? collectingSink(current.room, isError ? errorStartBytes : undefined)
				: fillingSink(into, exchange.onProgress);
		switch (framing.kind) {
			case "length": {
				if (into !== undefined && into.length !== framing.bytes)
					throw new ProtocolError("another length than asked for");
				if (into === undefined && isError && framing.bytes > errorStartBytes) {
					this.#receiving = { kind: "until-close", sink };
					break;
				}
				if (into === undefined) current.room.require(framing.bytes);
				const buffer = into ?? Buffer.allocUnsafeSlow(framing.bytes);
				const copiedBytes = rest.copy(buffer);
				const receiving = { kind: "direct", buffer, filledBytes: copiedBytes, isCallers: into !== undefined } as const;
				this.#receiving = receiving;
				if (rest.length > framing.bytes) this.#done(directResult(receiving), current, true);
				else if (copiedBytes > 0 || framing.bytes === 0) this.#progressed(receiving, current);
				return;
			}
			case "chunked": {
				this.#receiving = { kind: "chunked", decoder: new ChunkedDecoder((bytes) => sink.take(bytes)), sink };
				break;
			}
			case "close":
				this.#receiving = { kind: "until-close", sink };
				break;
			default:
				framing satisfies never;
		}
		if (rest.length > 0) this.#take(rest, current);
	}

	#ended(): void {
		const current = this.#current;
		const receiving = this.#receiving;
		if (receiving.kind === "until-close" && current !== undefined && !current.isSettled) {
			try {
				this.#done(receiving.sink.end(), current);
			} catch (error) {
				this.#fail("EPROTO", (error as Error).message, { cause: error });
			}
		}
		this.#fail("ECONNRESET", "the server ended the connection");
	}

	/** With an answer that leaves doubt where the next one begins, the connection ends. */
	#done(
		{ body, filledBytes }: { readonly body: Buffer; readonly filledBytes: number },
		current: Current,
		hasMore = false,
	): void {
		const { head } = current;
		if (head === undefined) throw new ProtocolError("a body without its head");
		this.#receiving = { kind: "idle" };
		this.#answers++;
		current.isSettled = true;
		// An error may be answered before the body was read, here or in the server, which then closes without having said so.
		const mayBeClosed = current.isSending || (head.status >= 400 && current.exchange.body !== undefined);
		if (hasMore || mayBeClosed || !head.keepsAlive) this.close();
		const { firstByteAt = performance.now() } = current;
		current.result.resolve({ status: head.status, headers: head.headers, body, filledBytes, firstByteAt });
	}
}

/** How fast the body of an answer must come. */
function paceOf({ idleMs, keepAliveMs }: Exchange, into: Buffer | undefined): Pace {
	if (keepAliveMs !== undefined) return { limitMs: idleMs, leastBytes: 1, wholeMs: keepAliveMs };
	const leastBytes = Math.max(1, (idleMs / 1000) * slowestBytesPerSecond);
	// What has a buffer has a length.
	return { limitMs: idleMs, leastBytes, ...(into === undefined && { wholeMs: idleMs * collectedTimes }) };
}

function directResult({ buffer, isCallers }: Receiving & { readonly kind: "direct" }): {
	readonly body: Buffer;
	readonly filledBytes: number;
} {
	return isCallers ? { body: noBytes, filledBytes: buffer.length } : { body: buffer, filledBytes: 0 };
}

/** Resolves also when it fails: the socket tells. */
async function write(socket: Socket, bytes: Uint8Array): Promise<void> {
	return new Promise((resolve) => {
		socket.write(bytes, () => resolve());
	});
}

/** For bodies whose length is not known before their end; of an error, for those that are longer than what is taken of them. */
function collectingSink(room: AnswerRoom, startBytes = Number.POSITIVE_INFINITY): Sink {
	const { collected } = room;
	return {
		get isFull() {
			return collected.length >= startBytes;
		},
		take(bytes) {
			const wanted = bytes.subarray(0, startBytes - collected.length);
			if (startBytes === Number.POSITIVE_INFINITY) room.require(collected.length + wanted.length);
			collected.append(wanted);
		},
		end: () => ({ body: collected.bytes, filledBytes: 0 }),
	};
}

function fillingSink(into: Buffer, onProgress: Exchange["onProgress"]): Sink {
	let filledBytes = 0;
	return {
		isFull: false,
		take(bytes) {
			if (filledBytes + bytes.length > into.length) throw new ProtocolError("more bytes than asked for");
			bytes.copy(into, filledBytes);
			filledBytes += bytes.length;
			onProgress?.(filledBytes);
		},
		end() {
			if (filledBytes < into.length) throw new ProtocolError("fewer bytes than asked for");
			return { body: noBytes, filledBytes };
		},
	};
}
