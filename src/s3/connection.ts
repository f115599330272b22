import net from "node:net";
import tls from "node:tls";

export interface Head {
	readonly status: number;
	readonly headers: ReadonlyMap<string, string>;
}

export interface Target {
	readonly host: string;
	readonly port: number;
	readonly secure: boolean;
	readonly context?: tls.SecureContext;
}

export interface Exchange {
	/** Request line and headers, ready to be sent. */
	readonly head: string;
	readonly body?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
	/** HEAD answers have no body whatever they say. */
	readonly noBody?: boolean;
	/** Where the body of this answer goes: into that buffer, or undefined to collect it. */
	readonly into: (head: Head) => Buffer | undefined;
	readonly onProgress?: (bytes: number) => void;
	readonly firstByteMs: number;
	readonly idleMs: number;
	readonly signal: AbortSignal | undefined;
}

export interface Answer extends Head {
	/** Collected body, if it did not go into a buffer. */
	readonly body: Buffer;
	/** Bytes that went into the buffer. */
	readonly filled: number;
}

const scratchBytes = 64 * 1024;

type Phase =
	| { kind: "idle" }
	| { kind: "head"; text: Buffer }
	| { kind: "into"; into: Buffer; filled: number; left: number }
	| { kind: "collect"; chunks: Buffer[]; left: number }
	| { kind: "chunked"; chunks: Buffer[]; pending: Buffer };

/** One kept-alive connection. Anything unexpected ends it, so that no answer is ever taken for another's. */
export class Connection {
	readonly #socket: net.Socket;
	readonly #scratch: Buffer;
	#phase: Phase = { kind: "idle" };
	#exchange: Exchange | undefined;
	#head: Head | undefined;
	#result: PromiseWithResolvers<Answer> | undefined;
	#timer: NodeJS.Timeout | undefined;
	#lastByteAt = 0;
	isUsable = true;
	/** Answers were read on it before. */
	wasUsed = false;

	constructor(socket: net.Socket, scratch: Buffer) {
		this.#scratch = scratch;
		this.#socket = socket;
	}

	static async open(target: Target, connectMs: number): Promise<Connection> {
		const opened = Promise.withResolvers<void>();
		let connection: Connection | undefined;
		const scratch = Buffer.allocUnsafeSlow(scratchBytes);
		const onread = {
			buffer: () => connection?.target() ?? scratch,
			callback: (bytes: number) => {
				connection?.received(bytes);
				return true;
			},
		};
		const options = { host: target.host, port: target.port, noDelay: true, keepAlive: true, onread };
		const socket = target.secure
			? tls.connect({
					...options,
					...(net.isIP(target.host) === 0 && { servername: target.host }),
					...(target.context !== undefined && { secureContext: target.context }),
				} as tls.ConnectionOptions)
			: net.connect(options as net.NetConnectOpts);
		connection = new Connection(socket, scratch);
		const timer = setTimeout(
			() => socket.destroy(Object.assign(new Error("no connection in time"), { code: "ETIMEDOUT" })),
			connectMs,
		);
		socket.once(target.secure ? "secureConnect" : "connect", () => opened.resolve());
		socket.on("error", (error) => {
			opened.reject(error);
			connection.fail(error);
		});
		socket.on("close", () => {
			opened.reject(new Error("closed"));
			connection.fail(Object.assign(new Error("the server closed the connection"), { code: "ECONNRESET" }));
		});
		socket.on("end", () =>
			connection.fail(Object.assign(new Error("the server ended the connection"), { code: "ECONNRESET" })),
		);
		try {
			await opened.promise;
			return connection;
		} finally {
			clearTimeout(timer);
		}
	}

	/** Sends one request and waits for its answer. Calls must not overlap. */
	async exchange(exchange: Exchange): Promise<Answer> {
		const result = Promise.withResolvers<Answer>();
		this.#result = result;
		this.#exchange = exchange;
		this.#phase = { kind: "head", text: Buffer.alloc(0) };
		const abort = (): void => this.fail(Object.assign(new Error("aborted"), { code: "ABORTED" }));
		exchange.signal?.addEventListener("abort", abort);
		if (exchange.signal?.aborted === true) abort();
		this.#lastByteAt = performance.now();
		const isUpload = exchange.body !== undefined;
		this.#watch(isUpload ? exchange.idleMs : exchange.firstByteMs);
		try {
			const sending = this.#send(exchange);
			sending.catch((error: unknown) => this.fail(error as Error));
			return await result.promise;
		} finally {
			clearTimeout(this.#timer);
			exchange.signal?.removeEventListener("abort", abort);
			this.#exchange = undefined;
			this.#result = undefined;
			this.#head = undefined;
			this.wasUsed = true;
		}
	}

	close(): void {
		this.isUsable = false;
		this.#socket.destroy();
	}

	async #send({ head, body, firstByteMs }: Exchange): Promise<void> {
		this.#socket.write(head, "latin1");
		if (body === undefined) return;
		for await (const piece of body) {
			if (!this.isUsable || this.#result === undefined) return;
			// Waits until the kernel has it: the piece may be used again by then.
			await new Promise<void>((resolve, reject) => {
				this.#socket.write(piece, (error) => (error ? reject(error) : resolve()));
			});
			this.#lastByteAt = performance.now();
		}
		this.#lastByteAt = performance.now();
		this.#watch(firstByteMs);
	}

	#watch(limitMs: number): void {
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => {
			const leftMs = this.#lastByteAt + limitMs - performance.now();
			if (leftMs > 0) this.#watchAgain(limitMs, leftMs);
			else this.fail(Object.assign(new Error(`the server was silent for ${limitMs} ms`), { code: "ETIMEDOUT" }));
		}, limitMs);
	}

	#watchAgain(limitMs: number, leftMs: number): void {
		this.#timer = setTimeout(() => this.#watch(Math.min(limitMs, leftMs)), leftMs);
	}

	fail(error: Error): void {
		this.isUsable = false;
		this.#result?.reject(error);
		this.#socket.destroy();
	}

	/** Where the next bytes are to go. */
	target(): Buffer {
		const phase = this.#phase;
		return phase.kind === "into" ? phase.into.subarray(phase.filled, phase.filled + phase.left) : this.#scratch;
	}

	received(bytes: number): void {
		this.#lastByteAt = performance.now();
		const phase = this.#phase;
		if (phase.kind === "into") {
			phase.filled += bytes;
			phase.left -= bytes;
			this.#exchange?.onProgress?.(phase.filled);
			if (phase.left === 0) this.#done(Buffer.alloc(0), phase.filled);
			return;
		}
		const data = Buffer.from(this.#scratch.subarray(0, bytes));
		try {
			this.#take(data);
		} catch (error) {
			this.fail(error as Error);
		}
	}

	#take(data: Buffer): void {
		const phase = this.#phase;
		switch (phase.kind) {
			case "idle":
				// Nobody asked.
				this.close();
				return;
			case "head": {
				phase.text = phase.text.length === 0 ? data : Buffer.concat([phase.text, data]);
				const end = phase.text.indexOf("\r\n\r\n");
				if (end === -1) {
					if (phase.text.length > scratchBytes) throw broken("headers without end");
					return;
				}
				const rest = phase.text.subarray(end + 4);
				const head = parseHead(phase.text.subarray(0, end).toString("latin1"));
				if (head.status >= 100 && head.status < 200) {
					this.#phase = { kind: "head", text: Buffer.alloc(0) };
					if (rest.length > 0) this.#take(rest);
					return;
				}
				this.#begin(head, rest);
				return;
			}
			case "collect":
				if (data.length > phase.left) throw broken("more bytes than announced");
				phase.chunks.push(data);
				phase.left -= data.length;
				if (phase.left === 0) this.#done(Buffer.concat(phase.chunks), 0);
				return;
			case "chunked":
				phase.pending = Buffer.concat([phase.pending, data]);
				this.#chunks(phase);
				return;
			case "into":
				throw broken("body outside of its buffer");
		}
	}

	#begin(head: Head, rest: Buffer): void {
		const exchange = this.#exchange;
		if (exchange === undefined) throw broken("an answer that nobody asked for");
		this.#head = head;
		const { headers, status } = head;
		if (exchange.noBody === true || status === 204 || status === 304) {
			if (rest.length > 0) throw broken("a body where none may be");
			this.#done(rest, 0);
			return;
		}
		this.#watch(exchange.idleMs);
		if (headers.get("transfer-encoding")?.toLowerCase() === "chunked") {
			this.#phase = { kind: "chunked", chunks: [], pending: rest };
			this.#chunks(this.#phase);
			return;
		}
		const length = headers.get("content-length");
		if (length === undefined || !/^\d{1,15}$/.test(length)) throw broken("an answer without its length");
		const left = Number(length);
		const into = exchange.into(head);
		if (into === undefined) {
			this.#phase = { kind: "collect", chunks: [], left };
			if (left > 64 * 1024 * 1024) throw broken("an answer too large");
			if (left === 0) this.#done(Buffer.alloc(0), 0);
			else if (rest.length > 0) this.#take(rest);
			return;
		}
		if (left !== into.length || rest.length > left) throw broken("not as many bytes as asked for");
		rest.copy(into);
		if (rest.length > 0) exchange.onProgress?.(rest.length);
		this.#phase = { kind: "into", into, filled: rest.length, left: left - rest.length };
		if (this.#phase.left === 0) this.#done(Buffer.alloc(0), left);
	}

	#chunks(phase: Extract<Phase, { kind: "chunked" }>): void {
		for (;;) {
			const end = phase.pending.indexOf("\r\n");
			if (end === -1) return;
			const size = Number.parseInt(phase.pending.subarray(0, end).toString("latin1"), 16);
			if (!(size >= 0)) throw broken("a chunk without its size");
			const start = end + 2;
			if (phase.pending.length < start + size + 2) return;
			if (size === 0) {
				this.#done(Buffer.concat(phase.chunks), 0);
				return;
			}
			phase.chunks.push(phase.pending.subarray(start, start + size));
			phase.pending = phase.pending.subarray(start + size + 2);
		}
	}

	#done(body: Buffer, filled: number): void {
		const head = this.#head;
		this.#phase = { kind: "idle" };
		if (head === undefined) return;
		if (head.headers.get("connection")?.toLowerCase() === "close") this.close();
		this.#result?.resolve({ ...head, body, filled });
	}
}

function broken(what: string): Error {
	return Object.assign(new Error(`not the HTTP that was expected: ${what}`), { code: "EPROTO" });
}

export function parseHead(text: string): Head {
	const lines = text.split("\r\n");
	const status = /^HTTP\/1\.[01] (\d{3})/.exec(lines[0] ?? "")?.[1];
	if (status === undefined) throw broken("no status line");
	const headers = new Map<string, string>();
	for (const line of lines.slice(1)) {
		const colon = line.indexOf(":");
		if (colon <= 0) throw broken("a header without its name");
		headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
	}
	return { status: Number(status), headers };
}
