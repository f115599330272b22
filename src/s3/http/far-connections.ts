import { closeSync } from "node:fs";
import type { Thread, Threads } from "../../threads.ts";
import { ExchangeError, type Answer, type Carried, type Exchange, type Exchanger } from "./connection.ts";
import type { Destination } from "./dialer.ts";
import { unreadable, type FarOrder, type FarReport, type Order, type Seen, type Told } from "./far-messages.ts";
import type { Dials } from "./pool.ts";

/** Less is not worth the messages. */
const worthwhileBytes = 256 * 1024;

/** Connections that other threads have, that receive straight into shared memory, and send from files: what this thread sees of them. */
export class FarConnections {
	readonly #threads: Threads;
	readonly #leastBytes: number;
	readonly #connections = new Map<number, FarConnection>();
	#destinations = 0;
	#ids = 0;

	/** `leastBytes`: of what they are used for. */
	constructor(threads: Threads, leastBytes = worthwhileBytes) {
		this.#threads = threads;
		this.#leastBytes = leastBytes;
		threads.listen<FarReport>("far-connections", ({ id, told }) => this.#connections.get(id)?.told(told));
	}

	/** Whether another thread can and should receive, or send, these. */
	takes({ into, body }: Carried): boolean {
		const canCarry =
			body === undefined
				? into !== undefined && into.length >= this.#leastBytes && into.buffer instanceof SharedArrayBuffer
				: body.open !== undefined && body.sizeBytes >= this.#leastBytes;
		return canCarry && this.#threads.isRunning;
	}

	/** Makes connections by whichever thread has least to do. */
	dialer({ url, proxy, ca, verifies = true, connectMs }: Destination): Dials {
		const id = ++this.#destinations;
		const order = { kind: "destination", url: url.href, proxy: proxy?.href, ca, verifies, connectMs } as const;
		const told = new Set<Thread>();
		return {
			dial: async (signal) => {
				const thread = this.#threads.pick();
				if (!told.has(thread)) post(thread, id, order);
				told.add(thread);
				const number = ++this.#ids;
				const connection = new FarConnection(thread, number, () => this.#connections.delete(number));
				this.#connections.set(number, connection);
				await connection.dial(id, signal);
				return connection;
			},
			close() {
				for (const thread of told) post(thread, id, { kind: "forget" });
				told.clear();
			},
		};
	}
}

/** What a thread was told to do ends when it says so and not before: until then it writes into the memory that it was lent, or reads the file. */
class FarConnection implements Exchanger {
	onEnd: (() => void) | undefined;
	readonly #thread: Thread;
	readonly #id: number;
	readonly #gone: () => void;
	#isUsable = true;
	#work: PromiseWithResolvers<Answer | undefined> | undefined;
	#exchange: Exchange | undefined;
	/** The answer is refused: what the exchange ends with. */
	#refusal: { readonly reason: unknown } | undefined;

	constructor(thread: Thread, id: number, gone: () => void) {
		this.#thread = thread;
		this.#id = id;
		this.#gone = gone;
	}

	get isUsable(): boolean {
		return this.#isUsable;
	}

	async dial(destination: number, signal: AbortSignal | undefined): Promise<void> {
		await this.#do({ kind: "dial", destination }, signal);
	}

	async exchange(exchange: Exchange): Promise<Answer> {
		const { head, into, body, expectsContinue = false, maximumBytes, firstByteMs, idleMs, signal } = exchange;
		// As where the server has closed it: there are others.
		if (!this.#isUsable) throw new ExchangeError("the connection was closed", { code: "ECONNRESET", isStale: true });
		const file = body?.open && { descriptor: body.open(), sizeBytes: body.sizeBytes };
		this.#exchange = exchange;
		const order = { kind: "exchange", head, into, body: file, expectsContinue } as const;
		try {
			const answer = await this.#do({ ...order, maximumBytes, firstByteMs, idleMs }, signal);
			if (answer === undefined) throw new Error("an exchange that ended without an answer");
			return answer;
		} catch (error) {
			// Whose file it is knows what is wrong with it, and says so.
			if (error instanceof ExchangeError && error.code === unreadable) for await (const _ of body?.read() ?? []);
			throw error;
		} finally {
			if (file !== undefined) closeSync(file.descriptor);
		}
	}

	close(): void {
		if (!this.#isUsable) return;
		post(this.#thread, this.#id, { kind: "close" });
		this.#end();
	}

	told(report: Told): void {
		switch (report.kind) {
			case "dialed":
				this.#work?.resolve(undefined);
				return;
			case "progress":
				this.#see(report);
				return;
			case "answered": {
				const { body, ...answer } = report.answer;
				if (!report.isUsable) this.#end();
				this.#see(report);
				if (this.#refusal !== undefined) this.#work?.reject(this.#refusal.reason);
				else this.#work?.resolve({ ...answer, body: Buffer.from(body.buffer, body.byteOffset, body.length) });
				return;
			}
			case "failed":
				this.#end();
				this.#see(report);
				this.#work?.reject(
					this.#refusal === undefined ? new ExchangeError(report.message, report) : this.#refusal.reason,
				);
				return;
			case "ended":
				this.#end();
				return;
			default:
				report satisfies never;
		}
	}

	async #do(order: Order, signal: AbortSignal | undefined): Promise<Answer | undefined> {
		if (this.#work !== undefined) throw new Error("the connection is at work");
		const abort = (): void => post(this.#thread, this.#id, { kind: "abort" });
		this.#work = Promise.withResolvers();
		this.#thread.tasks++;
		post(this.#thread, this.#id, order);
		signal?.addEventListener("abort", abort);
		if (signal?.aborted === true) abort();
		try {
			return await this.#work.promise;
		} finally {
			signal?.removeEventListener("abort", abort);
			this.#thread.tasks--;
			this.#work = undefined;
			this.#exchange = undefined;
			this.#refusal = undefined;
			if (!this.#isUsable) this.#gone();
		}
	}

	/** Whoever keeps it must not wait for the thread to say so: it would be taken for the next request. */
	#end(): void {
		// The thread has still to say how what it was told ends.
		if (this.#work === undefined) this.#gone();
		if (!this.#isUsable) return;
		this.#isUsable = false;
		this.onEnd?.();
	}

	#see({ head, filledBytes }: Seen): void {
		if (this.#refusal !== undefined) return;
		try {
			if (head !== undefined) this.#exchange?.accept?.(head);
			if (filledBytes > 0) this.#exchange?.onProgress?.(filledBytes);
		} catch (reason) {
			this.#refusal = { reason };
			this.close();
		}
	}
}

function post(thread: Thread, id: number, order: Order): void {
	const message: FarOrder = { to: "connections", id, order };
	thread.post(message);
}
