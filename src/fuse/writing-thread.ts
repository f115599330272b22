import type fs from "node:fs";
import type worker from "node:worker_threads";
import { Worker } from "node:worker_threads";

/**
 * A thread that writes many messages to a descriptor, one after the other, each as long as that takes. Done with the pool's threads, the thread
 * that answers requests would have as much to do for each of them as for a request.
 */
export class WritingThread {
	/** It ended, or could not be started: what it is given is lost. */
	isBroken = false;
	readonly #worker: Worker | undefined;

	/** `onWritten` is called when all messages that it was given are written, or have failed. */
	constructor(fd: number, onWritten: () => void) {
		// It has little to remember. The limit of the young generation is the process's, by `--max-semi-space-size`.
		const resourceLimits = { maxOldGenerationSizeMb: 16 };
		const program = `(${String(run)})(require("node:worker_threads"), require("node:fs"))`;
		try {
			this.#worker = new Worker(program, { eval: true, workerData: fd, resourceLimits });
		} catch {
			// The container may have as many threads as it is allowed.
			this.isBroken = true;
			return;
		}
		this.#worker.on("message", onWritten);
		this.#worker.on("error", () => {
			this.isBroken = true;
			onWritten();
		});
		this.#worker.unref();
	}

	/** Each begins with its length, as all that the kernel is sent. */
	write(messages: Uint8Array): void {
		// oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
		this.#worker?.postMessage(messages);
	}
}

/** What the thread does: its text is the program, so that it can use nothing but what it is given. */
function run({ parentPort, workerData }: typeof worker, { writeSync }: typeof fs): void {
	parentPort?.on("message", (messages: Uint8Array) => {
		const view = new DataView(messages.buffer, messages.byteOffset);
		for (let at = 0, lengthBytes = 0; at < messages.length; at += lengthBytes) {
			lengthBytes = view.getUint32(at, true);
			try {
				writeSync(workerData as number, messages, at, lengthBytes);
			} catch {
				// The kernel knows nothing of it, cannot drop it now, or is gone.
			}
		}
		// oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
		parentPort.postMessage("written");
	});
}
