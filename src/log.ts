import { constants, openSync, write, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { pino, type DestinationStream, type Logger } from "pino";
import { RecentLines } from "./recent-lines.ts";
import type { Redactor } from "./secrets/redact.ts";
import { within } from "./within.ts";

export type { Logger } from "pino";

/** Beyond this, lines are lost rather than memory grown: nobody reads our stdout, or its disk is full. */
const maximumQueuedBytes = 4 * 1024 * 1024;

const writeSome = promisify(write);
const nothing = Buffer.alloc(0);

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

export type LogLevel = (typeof logLevels)[number];

export interface Log {
	readonly logger: Logger;
	/** Waits until what is queued is written, but not long: somebody has to read it, or its disk to take it. */
	readonly flush: () => Promise<void>;
	/** Has written each line, after what was queued, when it returns, for whom the next moment may be the last. */
	readonly atOnce: Logger;
	/** From now on, of this and of all that came of it. */
	readonly setLevel: (level: LogLevel) => void;
	/** The last lines, as they were written. */
	readonly recent: () => string;
}

/** What is kept of them for `fluid-fuse report`. */
const recentBytes = 256 * 1024;

/** How long the last lines may wait for somebody to read them. */
const farewellMs = 500;

/** Between attempts to write what cannot be written. */
const retryMs = 20;

/**
 * The one logger: JSON lines on stdout, RFC 3339 times in UTC. Every line passes the redactor. A log that nobody reads or whose
 * disk is full stops neither the supervision nor the end: lines are lost then, and counted.
 */
export function createLog(level: string, redactor: Redactor): Log {
	const stdout = new Lines(openStdout(), (lostLines) =>
		logger.warn({ lostLines }, "log lines were lost: nobody read them, or their disk was full"),
	);
	const recent = new RecentLines(recentBytes);
	const kept = {
		write(line: string): void {
			recent.add(line);
			stdout.write(line);
		},
	};
	/** Each has a level of its own. */
	const loggers = new Set<WeakRef<Logger>>();
	const gone = new FinalizationRegistry<WeakRef<Logger>>((reference) => void loggers.delete(reference));
	const logger = createLogger(level, redactor, kept, (child) => {
		const reference = new WeakRef(child);
		loggers.add(reference);
		gone.register(child, reference);
	});
	const atOnce = createLogger(level, redactor, { write: (line) => stdout.writeAtOnce(line) });
	// What ends by an error that nobody has caught has not flushed.
	process.once("exit", () => stdout.writeAtOnce());
	return {
		logger,
		flush: () => stdout.flush(),
		recent: () => recent.toString(),
		atOnce,
		setLevel(next) {
			logger.level = atOnce.level = next;
			for (const reference of loggers) {
				const child = reference.deref();
				if (child !== undefined) child.level = next;
			}
		},
	};
}

/**
 * Lines on their way out. Not pino's own destination: where its flushSync cannot write, as on a full disk, it tries again for
 * ever, and nothing else happens in the process.
 */
class Lines implements DestinationStream {
	readonly #descriptor: number;
	readonly #tellLost: (lines: number) => void;
	/** What is being written, and after it what came meanwhile. */
	#batch: Buffer = nothing;
	#queue: string[] = [];
	#queuedBytes = 0;
	#lostLines = 0;
	/** Until all is written. */
	#writing: Promise<void> | undefined;
	#isOnItsWay = false;

	constructor(descriptor: number, tellLost: (lines: number) => void) {
		this.#descriptor = descriptor;
		this.#tellLost = tellLost;
	}

	write(line: string): void {
		const bytes = Buffer.byteLength(line);
		if (this.#batch.length + this.#queuedBytes + bytes > maximumQueuedBytes) {
			this.#lostLines++;
			return;
		}
		this.#queue.push(line);
		this.#queuedBytes += bytes;
		this.#writing ??= this.#writeAll();
	}

	/** Better to lose the last lines than not to end. */
	async flush(): Promise<void> {
		if (this.#writing !== undefined) await within(this.#writing, farewellMs);
		this.#batch = nothing;
		this.#takeQueue();
	}

	writeAtOnce(line = ""): void {
		// What is on its way already, in another thread, is nobody else's to write.
		const before = this.#isOnItsWay ? nothing : this.#batch;
		writeNow(this.#descriptor, Buffer.concat([before, this.#takeQueue(), Buffer.from(line)]));
		if (!this.#isOnItsWay) this.#batch = nothing;
	}

	async #writeAll(): Promise<void> {
		for (;;) {
			if (this.#batch.length === 0) {
				if (this.#queue.length === 0 && this.#lostLines > 0) {
					this.#tellLost(this.#lostLines);
					this.#lostLines = 0;
				}
				this.#batch = this.#takeQueue();
			}
			if (this.#batch.length === 0) break;
			this.#isOnItsWay = true;
			const written = await writeSome(this.#descriptor, this.#batch).catch(() => undefined);
			this.#isOnItsWay = false;
			this.#batch = this.#batch.subarray(written?.bytesWritten ?? 0);
			// Nobody reads it, or its disk is full.
			if (written === undefined) await sleep(retryMs, undefined, { ref: false });
		}
		this.#writing = undefined;
	}

	#takeQueue(): Buffer {
		const bytes = Buffer.from(this.#queue.join(""));
		this.#queue = [];
		this.#queuedBytes = 0;
		return bytes;
	}
}

function writeNow(descriptor: number, bytes: Buffer): void {
	const untilMs = performance.now() + farewellMs;
	for (let written = 0; written < bytes.length;) {
		try {
			written += writeSync(descriptor, bytes, written);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || performance.now() > untilMs) return;
			// Whoever reads it is not that fast.
			Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
		}
	}
}

/**
 * Stdout, opened once more so that writing to it never blocks: a thread that hangs in a write keeps the process from ending, and
 * the flag on the descriptor itself would be everybody's who shares it.
 */
function openStdout(): number {
	try {
		return openSync("/proc/self/fd/1", constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK);
	} catch {
		// A socket cannot be opened again.
		return 1;
	}
}

export function createLogger(
	level: string,
	redactor: Redactor,
	destination: DestinationStream,
	onChild: (child: Logger) => void = () => undefined,
): Logger {
	return pino(
		{
			level,
			onChild,
			base: null,
			timestamp: () => `,"time":"${new Date().toISOString()}"`,
			formatters: { level: (label) => ({ level: label }) },
		},
		{ write: (line) => destination.write(redactor.redact(line)) },
	);
}
