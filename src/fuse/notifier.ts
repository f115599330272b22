import fs from "node:fs";
import { notifyCodes, sizes } from "./abi.ts";
import { writeUint64 } from "./encode.ts";
import type { KernelLink } from "./filesystem.ts";
import { WritingThread } from "./writing-thread.ts";

/** With so many waiting, a thread of their own sends them. */
const many = 64;
const atATime = 1000;

/**
 * Tells the kernel what to forget. Always on a thread and one after the other: the kernel waits for locks that a request of the same
 * file or directory may hold until it is answered, and the thread that answers must not wait for that.
 */
export class Notifier implements KernelLink {
	readonly #fd: number;
	/** Not sent yet; saying the same twice has no use. */
	readonly #waiting = new Map<string, Uint8Array>();
	#isSending = false;
	#sent = 0;
	#thread: WritingThread | undefined;

	constructor(fd: number) {
		this.#fd = fd;
	}

	/** Something is on its way to the kernel. */
	get isSending(): boolean {
		return this.#isSending;
	}

	/** How many the kernel was sent. */
	get sent(): number {
		return this.#sent;
	}

	invalidateNode(node: number, offset = 0, lengthBytes = 0): void {
		const key = `node ${node} ${offset} ${lengthBytes}`;
		if (this.#waiting.has(key)) return;
		this.#send(key, nodeMessage(node, offset, lengthBytes));
	}

	/** Asked alone, since what was sent before does not matter to it. */
	async isKnown(node: number): Promise<boolean> {
		return new Promise((resolve) => {
			fs.write(this.#fd, nodeMessage(node, -1, 0), (error) => resolve(error?.code !== "ENOENT"));
		});
	}

	/** What a process before this one has read and not answered comes again. Throws what the kernel says. */
	resend(): void {
		const message = new Uint8Array(sizes.replyHeader);
		begin(message, notifyCodes.resend);
		fs.writeSync(this.#fd, message);
	}

	invalidateEntry(parent: number, name: string): void {
		const key = `entry ${parent} ${name}`;
		if (this.#waiting.has(key)) return;
		const nameBytes = Buffer.from(name);
		const message = new Uint8Array(sizes.replyHeader + 16 + nameBytes.length + 1);
		const view = begin(message, notifyCodes.invalidateEntry);
		writeUint64(view, sizes.replyHeader, parent);
		view.setUint32(sizes.replyHeader + 8, nameBytes.length, true);
		message.set(nameBytes, sizes.replyHeader + 16);
		this.#send(key, message);
	}

	#send(key: string, message: Uint8Array): void {
		this.#waiting.set(key, message);
		if (this.#isSending) return;
		this.#isSending = true;
		this.#sendNext();
	}

	#sendNext(): void {
		if (this.#waiting.size >= many) this.#thread ??= new WritingThread(this.#fd, () => this.#sendNext());
		if (this.#waiting.size >= many && this.#thread?.isBroken === false) {
			const messages = [...this.#waiting.entries().take(atATime)];
			for (const [key] of messages) this.#waiting.delete(key);
			this.#sent += messages.length;
			this.#thread.write(Buffer.concat(messages.map(([, message]) => message)));
			return;
		}
		const [next] = this.#waiting;
		if (next === undefined) {
			this.#isSending = false;
			return;
		}
		this.#waiting.delete(next[0]);
		this.#sent++;
		// Every error is fine: the kernel knows nothing of it, cannot drop it now, or is gone.
		fs.write(this.#fd, next[1], () => this.#sendNext());
	}
}

function nodeMessage(node: number, offset: number, lengthBytes: number): Uint8Array {
	const message = new Uint8Array(sizes.replyHeader + 24);
	const view = begin(message, notifyCodes.invalidateInode);
	writeUint64(view, sizes.replyHeader, node);
	writeUint64(view, sizes.replyHeader + 8, offset);
	writeUint64(view, sizes.replyHeader + 16, lengthBytes);
	return message;
}

function begin(message: Uint8Array, code: number): DataView {
	const view = new DataView(message.buffer);
	view.setUint32(0, message.length, true);
	view.setInt32(4, code, true);
	return view;
}
