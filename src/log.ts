import { constants, openSync, writeSync } from "node:fs";
import { pino, type DestinationStream, type Logger } from "pino";
import type { Redactor } from "./secrets/redact.ts";

export type { Logger } from "pino";

/** Beyond this, lines are dropped rather than memory grown: nobody reads our stdout. */
const maximumQueuedBytes = 4 * 1024 * 1024;

export interface Log {
	readonly logger: Logger;
	/** Writes what is queued, before the process ends. */
	readonly flush: () => void;
	/** Has written each line when it returns, for whom the next moment may be the last. */
	readonly atOnce: Logger;
}

/** How long the last lines may wait for somebody to read them. */
const farewellMs = 500;

/**
 * The one logger: JSON lines on stdout, RFC 3339 times in UTC. Every line passes the redactor. A log pipe that nobody reads
 * stops neither the supervision nor the end: lines are lost then.
 */
export function createLog(level: string, redactor: Redactor): Log {
	let giveUpAt = Number.POSITIVE_INFINITY;
	const descriptor = openStdout();
	const stdout = pino.destination({
		dest: descriptor,
		sync: false,
		maxLength: maximumQueuedBytes,
		retryEAGAIN: () => performance.now() < giveUpAt,
	});
	return {
		logger: createLogger(level, redactor, stdout),
		flush: () => {
			giveUpAt = performance.now() + farewellMs;
			try {
				stdout.flushSync();
			} catch {
				// Nobody reads it: better to lose the last lines than not to end.
				stdout.destroy();
			}
		},
		atOnce: createLogger(level, redactor, { write: (line) => writeAtOnce(descriptor, line) }),
	};
}

function writeAtOnce(descriptor: number, line: string): void {
	const bytes = Buffer.from(line);
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

export function createLogger(level: string, redactor: Redactor, destination: DestinationStream): Logger {
	return pino(
		{
			level,
			base: null,
			timestamp: () => `,"time":"${new Date().toISOString()}"`,
			formatters: { level: (label) => ({ level: label }) },
		},
		{ write: (line) => destination.write(redactor.redact(line)) },
	);
}
