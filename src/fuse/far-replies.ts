import type { ThreadMessage, Threads } from "../threads.ts";

/** What a thread is to answer the kernel with. */
export interface ReplyOrder extends ThreadMessage {
	readonly to: "replies";
	readonly id: number;
	readonly fd: number;
	readonly header: Uint8Array;
	readonly views: readonly Uint8Array[];
}

export interface ReplyReport extends ThreadMessage {
	readonly to: "far-replies";
	readonly id: number;
	/** Why the kernel did not take it, by its name in errno(3). */
	readonly code: string | undefined;
}

/** Told once it is written; with a name of errno(3) if the kernel did not take it. */
export type Written = (code: string | undefined) => void;

/** To copy less than that takes no longer than to tell another thread. */
const worthwhileBytes = 256 * 1024;

/** Has other threads answer the kernel with what lies in memory that they see: that copies it. */
export class FarReplies {
	readonly #threads: Threads;
	readonly #leastBytes: number;
	readonly #writing = new Map<number, Written>();
	#ids = 0;

	/** `leastBytes`: of what they are used for. */
	constructor(threads: Threads, leastBytes = worthwhileBytes) {
		this.#threads = threads;
		this.#leastBytes = leastBytes;
		threads.listen<ReplyReport>("far-replies", ({ id, code }) => {
			const written = this.#writing.get(id);
			this.#writing.delete(id);
			written?.(code);
		});
	}

	/** Whether another thread can and should answer with these. */
	takes(views: readonly Uint8Array[]): boolean {
		let sizeBytes = 0;
		for (const { buffer, length } of views) {
			if (!(buffer instanceof SharedArrayBuffer)) return false;
			sizeBytes += length;
		}
		return sizeBytes >= this.#leastBytes && this.#threads.isRunning;
	}

	write(fd: number, header: Uint8Array, views: readonly Uint8Array[], written: Written): void {
		const thread = this.#threads.pick();
		const id = ++this.#ids;
		thread.tasks++;
		this.#writing.set(id, (code) => {
			thread.tasks--;
			written(code);
		});
		const order: ReplyOrder = { to: "replies", id, fd, header: Uint8Array.from(header), views };
		thread.post(order);
	}
}
