import fs from "node:fs";
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { opcodes, pageBytes, sizes } from "./abi.ts";
import { bytesOf, Call, CallsInFlight, interrupted, type Observe } from "./call.ts";
import { Request } from "./decode.ts";
import { Page } from "./directory-page.ts";
import { encodeNothing } from "./encode.ts";
import { errnoNameOf, errnoOf } from "./errno.ts";
import type { FarReplies } from "./far-replies.ts";
import { FuseError, type Filesystem, type KernelConnection, type KernelLink, type Reply } from "./filesystem.ts";
import { decodeOffer, encodeConnection, encodeVersion, negotiate, type KernelOffer } from "./init.ts";
import { Interrupts } from "./interrupts.ts";
import { Notifier } from "./notifier.ts";
import { perform, type Answers, type Send, type TakeBack } from "./operations.ts";
import { presentMemory } from "./present-memory.ts";
import { Replies } from "./replies.ts";

export type FuseEnding = { readonly kind: "unmounted" } | { readonly kind: "failed"; readonly cause: unknown };

export interface ServeOptions {
	/** An open /dev/fuse that is mounted. It is not closed here. */
	readonly fd: number;
	readonly filesystem: Filesystem;
	/** Told of each call. Default: nobody is. */
	readonly observe?: Observe;
	/** What a process before this one has agreed with the kernel, which says it only once. Default: the kernel begins. */
	readonly connection?: KernelConnection;
	/** That process has died: what it has read and not answered is asked for again. Default: false. */
	readonly resend?: boolean;
	/** Other threads, for large answers. Default: this one gives all. */
	readonly farReplies?: FarReplies | undefined;
	/** Requests that are waited for at a time. Each holds a thread of libuv's pool, so that must be larger. Default: 4. */
	readonly readers?: number;
	/** The largest write in bytes, a multiple of 4096. Older kernels send 128 KiB at most. Default: 1 MiB. */
	readonly maxWriteBytes?: number;
	/** Changes what the kernel offers, to less only: for tests of older kernels. */
	readonly mask?: (offer: KernelOffer) => KernelOffer;
	readonly log?: (level: "warn" | "error", fields: object, message: string) => void;
}

export interface FuseSession {
	/** How serving ended. Never rejects. */
	readonly ended: Promise<FuseEnding>;
	/** What was agreed with the kernel; undefined before that. */
	readonly connection: KernelConnection | undefined;
	readonly requests: number;
	/** Requests that were answered with an error, a name that does not exist included. */
	readonly errors: number;
	readonly inFlight: number;
	/** What the kernel was told to forget. */
	readonly notifications: number;
}

/** One that can leave the mount to another process. */
export interface PausableSession extends FuseSession {
	/**
	 * Takes no more requests, and resolves when those that it has are answered. What waits for one already gets one more, so that somebody
	 * has to ask the mount for something meanwhile. Rejects after `limitMs`, and then goes on.
	 */
	pause(limitMs: number): Promise<void>;
	/** Takes requests again. */
	resume(): void;
}

/** Serves the mount behind an open /dev/fuse until it is unmounted. */
export function serve(options: ServeOptions): PausableSession {
	return new DeviceSession(options);
}

const defaultReaders = 4;
const defaultMaxWriteBytes = 1024 * 1024;

/** So many buffers may be kept by writes that are not answered; beyond that small writes are copied out of theirs. */
const keptRequestsLimit = 16;
const smallWriteBytes = 64 * 1024;

const sparePagesLimit = 8;

/** Nothing is left half done when these are given up. */
const asksOnly: ReadonlySet<number> = new Set([
	opcodes.lookup,
	opcodes.getattr,
	opcodes.readlink,
	opcodes.read,
	opcodes.statfs,
	opcodes.getxattr,
	opcodes.listxattr,
	opcodes.opendir,
	opcodes.readdir,
	opcodes.readdirplus,
]);

/** Between two looks whether a paused session is at rest. */
const restMs = 5;

class DeviceSession implements PausableSession, Answers {
	readonly ended: Promise<FuseEnding>;
	connection: KernelConnection | undefined;
	requests = 0;
	errors = 0;
	readonly #fd: number;
	readonly #filesystem: Filesystem;
	readonly #options: ServeOptions;
	readonly #maxWriteBytes: number;
	readonly #replies: Replies;
	readonly #notifier: Notifier;
	readonly #calls = new CallsInFlight();
	readonly #interrupts = new Interrupts(this.#calls);
	/** What has to be done although nobody waits for it: releases, and changes that went on without their callers. */
	readonly #unattended = new Set<Promise<void>>();
	readonly #end = Promise.withResolvers<FuseEnding>();
	readonly #spareRequests: Request[] = [];
	readonly #sparePages: Page[] = [];
	#keptRequests = 0;
	/** Reads that wait for a request. */
	#reading = 0;
	#isPaused = false;
	/** The request that is being dispatched is needed until its call is answered. */
	#isKept = false;
	#isEnded = false;
	#destroyed: Promise<void> | undefined;

	constructor(options: ServeOptions) {
		this.#options = options;
		this.#fd = options.fd;
		this.#filesystem = options.filesystem;
		this.#maxWriteBytes = options.maxWriteBytes ?? defaultMaxWriteBytes;
		this.#replies = new Replies(
			options.fd,
			(call, code) => options.log?.("error", { opcode: call.opcode, code }, "the kernel refused an answer"),
			options.filesystem.beforeAnswer && (() => options.filesystem.beforeAnswer?.()),
			options.farReplies,
		);
		this.#notifier = new Notifier(options.fd);
		this.ended = this.#end.promise;
		if (options.connection === undefined) {
			// INIT comes first and alone.
			this.#read();
			return;
		}
		this.connection = options.connection;
		this.#filesystem.init?.(this.#notifier, options.connection);
		// First: what is read from then on is not among what comes once more.
		if (options.resend === true) this.#notifier.resend();
		this.#readAll();
	}

	get inFlight(): number {
		return this.#calls.count;
	}

	get notifications(): number {
		return this.#notifier.sent;
	}

	async pause(limitMs: number): Promise<void> {
		this.#isPaused = true;
		const until = performance.now() + limitMs;
		while (this.#isAtWork) {
			if (performance.now() > until) {
				this.resume();
				throw new Error(`requests were not answered within ${limitMs / 1000} s`);
			}
			await sleep(restMs);
		}
	}

	get #isAtWork(): boolean {
		if (this.#reading > 0 || this.#calls.count > 0 || this.#unattended.size > 0 || this.#keptRequests > 0) return true;
		return this.#notifier.isSending || this.#replies.underWay > 0;
	}

	resume(): void {
		this.#isPaused = false;
		this.#readAll();
	}

	#readAll(): void {
		while (!this.#isEnded && this.#reading < (this.#options.readers ?? defaultReaders)) this.#read();
	}

	#read(): void {
		if (this.#isEnded || this.#isPaused) return;
		this.#reading++;
		const request =
			this.#spareRequests.pop() ?? new Request(presentMemory(Math.max(this.#maxWriteBytes, pageBytes) + pageBytes));
		fs.read(this.#fd, request.bytes, 0, request.bytes.length, null, (error, receivedBytes) => {
			this.#reading--;
			if (error === null) this.#received(request, receivedBytes);
			else {
				this.#spareRequests.push(request);
				this.#readFailed(error);
			}
		});
	}

	#readFailed(error: NodeJS.ErrnoException): void {
		// ENOENT: the request was interrupted before it was read.
		if (error.code === "EINTR" || error.code === "EAGAIN" || error.code === "ENOENT") this.#read();
		else if (error.code === "ENODEV") this.#finish({ kind: "unmounted" });
		else this.#finish({ kind: "failed", cause: error });
	}

	#received(request: Request, receivedBytes: number): void {
		if (receivedBytes < sizes.requestHeader || request.lengthBytes !== receivedBytes) {
			this.#finish({ kind: "failed", cause: new Error(`the kernel sent ${receivedBytes} bytes that are no request`) });
			return;
		}
		this.requests++;
		this.#isKept = false;
		const pending = this.#dispatch(request);
		if (pending !== undefined && request.opcode === opcodes.release) this.#goesOn(pending);
		if (this.#isKept && pending !== undefined) {
			this.#keptRequests++;
			void pending.then(() => {
				this.#keptRequests--;
				this.#giveRequest(request);
			});
		} else this.#giveRequest(request);
		this.#read();
	}

	#giveRequest(request: Request): void {
		if (this.#spareRequests.length < keptRequestsLimit) this.#spareRequests.push(request);
	}

	#dispatch(request: Request): Promise<void> | undefined {
		switch (request.opcode) {
			// These three are not answered.
			case opcodes.forget:
				this.#forget(request.node, request.uint64(0));
				return undefined;
			case opcodes.batchForget:
				for (let index = 0, count = request.uint32(0); index < count; index++)
					this.#forget(request.uint64(8 + 16 * index), request.uint64(16 + 16 * index));
				return undefined;
			case opcodes.interrupt:
				this.#interrupt(request);
				return undefined;
			default: {
				const call = new Call(request);
				call.onAnswered = this.#options.observe?.(call.opcode, request.node);
				try {
					if (call.opcode === opcodes.init) this.#initialize(request, call);
					else if (call.opcode === opcodes.destroy) return this.settle(call, this.#destroy(), sendDestroyed);
					else {
						// Whatever becomes of it, the open file goes.
						if (call.isRepeated && call.opcode !== opcodes.release) this.#filesystem.repeated?.(call);
						return perform(this.#filesystem, request, call, this);
					}
				} catch (error) {
					this.#fail(call, error);
				}
				return undefined;
			}
		}
	}

	#forget(node: number, count: number): void {
		try {
			this.#filesystem.forget(node, count);
		} catch (error) {
			this.#options.log?.("error", { err: error }, "a request failed unexpectedly");
		}
	}

	#interrupt(request: Request): void {
		const call = this.#calls.find(request.uint32(0), request.uint32(4));
		if (call !== undefined) this.#interrupts.signalled(call);
		// Another reader may have the request and not have told us. The kernel sends the interrupt again if it was not answered since.
		else this.#replies.error(new Call(request), constants.errno.EAGAIN);
	}

	#initialize(request: Request, call: Call): void {
		const offer = decodeOffer(request);
		const result = negotiate(this.#options.mask?.(offer) ?? offer, this.#maxWriteBytes);
		switch (result.kind) {
			case "retry":
				this.#replies.encoded(call, undefined, encodeVersion);
				return;
			case "too-old": {
				this.#replies.error(call, constants.errno.EPROTO);
				const cause = new Error(`this kernel's FUSE ${offer.major}.${offer.minor} is too old`);
				this.#finish({ kind: "failed", cause });
				return;
			}
			case "agreed":
				this.connection = result.connection;
				this.#filesystem.init?.(this.#notifier, result.connection);
				this.#replies.encoded(call, result.connection, encodeConnection);
				// The reader of this one comes back for the next.
				for (let more = 1; more < (this.#options.readers ?? defaultReaders); more++) this.#read();
				return;
			default:
				result satisfies never;
		}
	}

	get kernel(): KernelLink {
		return this.#notifier;
	}

	settle<T>(call: Call, value: Reply<T>, send: Send<T>, takeBack?: TakeBack<T>): Promise<void> | undefined {
		if (value instanceof Promise) return this.#settleLater(call, value, send, takeBack);
		this.#send(call, value, send);
		return undefined;
	}

	#send<T>(call: Call, value: T, send: Send<T>): void {
		// What was read is not there any more when it is sent.
		const bytes = bytesOf(call.opcode, value);
		send(this.#replies, call, value);
		call.onAnswered?.(undefined, bytes);
	}

	/** Who is killed does not wait: the answer is EINTR at once, and what was begun goes on without its caller. */
	async #settleLater<T>(call: Call, value: Promise<T>, send: Send<T>, takeBack?: TakeBack<T>): Promise<void> {
		const ended = Promise.withResolvers<void>();
		let isAttended = true;
		call.onInterrupted = () => {
			isAttended = false;
			this.#calls.delete(call);
			this.#fail(call, interrupted());
			if (!asksOnly.has(call.opcode)) this.#goesOn(ended.promise);
		};
		this.#calls.add(call);
		this.#interrupts.watch();
		let result: T | undefined;
		try {
			result = await value;
			if (isAttended) {
				this.#calls.delete(call);
				this.#send(call, result, send);
				return;
			}
		} catch (error) {
			if (isAttended) {
				this.#calls.delete(call);
				this.#fail(call, error);
				return;
			}
			this.#logIfUnexpected(call, error);
		}
		try {
			await takeBack?.(result);
		} catch (error) {
			this.#logIfUnexpected(call, error);
		}
		ended.resolve();
	}

	#goesOn(work: Promise<void>): void {
		this.#unattended.add(work);
		void work.then(() => this.#unattended.delete(work));
	}

	keepUntilAnswered(request: Request, offset: number, lengthBytes: number): Buffer {
		const data = request.data(offset, lengthBytes);
		if (lengthBytes <= smallWriteBytes && this.#keptRequests >= keptRequestsLimit) return Buffer.from(data);
		this.#isKept = true;
		return data;
	}

	takePage(sizeBytes: number, plus: boolean): Page {
		const spare = this.#sparePages.pop();
		if (spare?.begin(sizeBytes, plus) === true) return spare;
		const page = new Page(sizeBytes);
		page.begin(sizeBytes, plus);
		return page;
	}

	givePage(page: Page): void {
		if (this.#sparePages.length < sparePagesLimit) this.#sparePages.push(page);
	}

	#fail(call: Call, thrown: unknown): void {
		this.errors++;
		this.#logIfUnexpected(call, thrown);
		this.#replies.error(call, errnoOf(thrown));
		call.onAnswered?.(errnoNameOf(thrown), 0);
	}

	#logIfUnexpected({ opcode }: Call, thrown: unknown): void {
		if (thrown instanceof FuseError) return;
		this.#options.log?.("error", { opcode, err: thrown }, "a request failed unexpectedly");
	}

	#finish(ending: FuseEnding): void {
		if (this.#isEnded) return;
		this.#isEnded = true;
		for (const call of this.#calls.all()) call.interrupt();
		void this.#lastWork().then(() => this.#end.resolve(ending));
	}

	/** Never rejects. close(2) does not wait for RELEASE: those that are under way at the unmount have the filesystem's last work to do. */
	async #lastWork(): Promise<void> {
		// What ends may begin another.
		while (this.#unattended.size > 0) await Promise.all(this.#unattended);
		await this.#destroy();
	}

	/** Never rejects. */
	async #destroy(): Promise<void> {
		this.#destroyed ??= (async () => {
			try {
				await this.#filesystem.destroy?.();
			} catch (error) {
				this.#options.log?.("error", { err: error }, "the filesystem did not end cleanly");
			}
		})();
		return this.#destroyed;
	}
}

const sendDestroyed: Send<void> = (replies, call) => replies.encoded(call, undefined, encodeNothing);
