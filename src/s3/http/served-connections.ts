import { mebibyte } from "../../bytes.ts";
import { read } from "node:fs";
import { promisify } from "node:util";
import { ExchangeError, type Connection } from "./connection.ts";
import { Dialer } from "./dialer.ts";
import { unreadable, type FarOrder, type FarReport, type Order, type Seen, type Told } from "./far-messages.ts";
import type { ResponseHead } from "./response-head.ts";

/** After so many bytes the other thread is told of them, after twice as many again, and from 1 MiB on after each: that is how the kernel asks. */
const firstTellBytes = 128 * 1024;
const tellEveryBytes = mebibyte;
/** Of fewer it is told after so long: somebody may wait for just those. */
const tellAfterMs = 20;

interface Served {
	connection: Connection | undefined;
	/** Of what it is at. */
	abort: AbortController | undefined;
}

/** The connections of this thread, for the one that `FarConnections` is in. */
export class ServedConnections {
	readonly #post: (report: FarReport) => void;
	/** From this thread's time to that of the other. */
	readonly #laterMs: number;
	readonly #dialers = new Map<number, Dialer>();
	readonly #served = new Map<number, Served>();

	constructor(post: (report: FarReport) => void, laterMs: number) {
		this.#post = post;
		this.#laterMs = laterMs;
	}

	/** What is thrown is a bug. */
	obey({ id, order }: FarOrder): void {
		switch (order.kind) {
			case "destination": {
				const { url, proxy, ca, verifies, connectMs } = order;
				const at = { url: new URL(url), proxy: proxy === undefined ? undefined : new URL(proxy) };
				this.#dialers.set(id, new Dialer({ ...at, ca, verifies, connectMs }));
				return;
			}
			case "forget":
				this.#dialers.delete(id);
				return;
			case "dial":
				void this.#dial(id, order.destination);
				return;
			case "exchange":
				void this.#exchange(id, order);
				return;
			case "abort":
				this.#served.get(id)?.abort?.abort();
				return;
			case "close":
				this.#served.get(id)?.connection?.close();
				return;
			default:
				order satisfies never;
		}
	}

	async #dial(id: number, destination: number): Promise<void> {
		const served: Served = { connection: undefined, abort: new AbortController() };
		this.#served.set(id, served);
		try {
			const connection = await this.#dialers.get(destination)?.dial(served.abort?.signal);
			if (connection === undefined) throw new Error("a destination that nobody has told");
			served.connection = connection;
			served.abort = undefined;
			connection.onEnd = () => this.#ended(id);
			this.#tell(id, { kind: "dialed" });
			if (!connection.isUsable) this.#ended(id);
		} catch (error) {
			this.#failed(id, error, { filledBytes: 0 });
			served.abort = undefined;
			this.#ended(id);
		}
	}

	async #exchange(
		id: number,
		{ into, body: file, head: request, ...limits }: Extract<Order, { kind: "exchange" }>,
	): Promise<void> {
		const served = this.#served.get(id);
		let head: ResponseHead | undefined;
		let filledBytes = 0;
		let tellAtBytes = firstTellBytes;
		let timer: NodeJS.Timeout | undefined;
		/** The head once. */
		const seen = (): Seen => {
			const told = { ...(head !== undefined && { head }), filledBytes };
			head = undefined;
			return told;
		};
		const progressed = (): void => {
			clearTimeout(timer);
			timer = undefined;
			this.#tell(id, { kind: "progress", ...seen() });
		};
		try {
			const { connection } = served ?? {};
			if (served === undefined || connection?.isUsable !== true)
				throw new ExchangeError("the server closed the connection", { code: "ECONNRESET", isStale: true });
			served.abort = new AbortController();
			const { body, ...answer } = await connection.exchange({
				...limits,
				head: request,
				into: into && Buffer.from(into.buffer, into.byteOffset, into.length),
				body: file && { ...file, read: () => piecesOf(file) },
				signal: served.abort.signal,
				accept(found) {
					head = found;
				},
				onProgress: (bytes) => {
					filledBytes = bytes;
					if (bytes === into?.length) return;
					if (bytes < tellAtBytes) {
						timer ??= setTimeout(progressed, tellAfterMs);
						return;
					}
					while (tellAtBytes <= bytes) tellAtBytes += Math.min(tellAtBytes, tellEveryBytes);
					progressed();
				},
			});
			const firstByteAt = answer.firstByteAt + this.#laterMs;
			const { isUsable } = connection;
			this.#tell(id, { kind: "answered", answer: { ...answer, firstByteAt, body }, isUsable, ...seen() });
		} catch (error) {
			this.#failed(id, error, seen());
		} finally {
			clearTimeout(timer);
			if (served !== undefined) served.abort = undefined;
			if (served?.connection?.isUsable === false) this.#ended(id);
		}
	}

	#failed(id: number, error: unknown, seen: Seen): void {
		if (!(error instanceof ExchangeError)) throw error;
		const { message, code, isStale } = error;
		this.#tell(id, { kind: "failed", message, code, isStale, lastByteAt: error.lastByteAt + this.#laterMs, ...seen });
	}

	/** At once, or when what it is at has been told. */
	#ended(id: number): void {
		if (this.#served.get(id)?.abort !== undefined) return;
		if (this.#served.delete(id)) this.#tell(id, { kind: "ended" });
	}

	#tell(id: number, told: Told): void {
		this.#post({ to: "far-connections", id, told });
	}
}

const pieceBytes = mebibyte;
/** Of bodies that are sent, to be used again. */
const spares: Buffer[] = [];

async function* piecesOf({
	descriptor,
	sizeBytes,
}: {
	readonly descriptor: number;
	readonly sizeBytes: number;
}): AsyncGenerator<Buffer> {
	const piece = spares.pop() ?? Buffer.allocUnsafeSlow(pieceBytes);
	try {
		for (let at = 0; at < sizeBytes;) {
			const count = await readSome(descriptor, piece.subarray(0, sizeBytes - at), at);
			at += count;
			yield piece.subarray(0, count);
		}
	} finally {
		spares.push(piece);
	}
}

const readAt = promisify(read);

/** Where a disk hangs, this hangs alone. */
async function readSome(descriptor: number, into: Buffer, at: number): Promise<number> {
	try {
		const { bytesRead } = await readAt(descriptor, into, 0, into.length, at);
		if (bytesRead > 0) return bytesRead;
	} catch (error) {
		throw new ExchangeError((error as Error).message, { code: unreadable });
	}
	throw new ExchangeError("the file is shorter than it was", { code: unreadable });
}
