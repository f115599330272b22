import { pino, type DestinationStream, type Logger } from "pino";
import type { Redactor } from "./redact.ts";

export type { Logger } from "pino";

/** Beyond this, lines are dropped rather than memory grown: nobody reads our stdout. */
const maximumQueuedBytes = 4 * 1024 * 1024;

export interface Log {
	readonly logger: Logger;
	/** Writes what is queued, before the process ends. */
	readonly flush: () => void;
}

/**
 * The one logger: JSON lines on stdout, RFC 3339 times in UTC. Every line passes the redactor. Written asynchronously,
 * so that a log pipe that nobody reads cannot stop the supervision.
 */
export function createLog(level: string, redactor: Redactor): Log {
	const stdout = pino.destination({ dest: 1, sync: false, maxLength: maximumQueuedBytes });
	return { logger: createLogger(level, redactor, stdout), flush: () => stdout.flushSync() };
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
