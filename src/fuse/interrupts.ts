import { readFileSync } from "node:fs";
import { constants } from "node:os";
import type { Call, CallsInFlight } from "./call.ts";

const lookEveryMs = 250;

/**
 * Interrupts calls whose callers are being killed. The kernel tells of the first signal whatever it is, also of a child's end and of
 * what the Go runtime sends itself all the time; programs do not expect that to fail their reads, which no disk does. Of a later signal
 * it does not tell, nor of any while a process that was killed closes its files, or during direct I/O: so who waits for long is looked at.
 */
export class Interrupts {
	readonly #calls: CallsInFlight;
	#timer: NodeJS.Timeout | undefined;

	constructor(calls: CallsInFlight) {
		this.#calls = calls;
	}

	/** A call is waiting. */
	watch(): void {
		this.#timer ??= setInterval(() => this.#look(), lookEveryMs).unref();
	}

	/** A signal arrived. */
	signalled(call: Call): void {
		if (isDying(call.pid)) call.interrupt();
	}

	#look(): void {
		if (this.#calls.count === 0) {
			clearInterval(this.#timer);
			this.#timer = undefined;
		}
		for (const call of this.#calls.all()) {
			if (call.isWaitingLong && isDying(call.pid)) call.interrupt();
			call.isWaitingLong = true;
		}
	}
}

const killBit = 1n << BigInt(constants.signals.SIGKILL - 1);
/** The kernel's PF_EXITING. */
const exitingFlag = 0x4;

/** Whether a thread has SIGKILL pending, as it has whenever its process is to end by a signal, or ends because of one. See proc(5). */
function isDying(thread: number): boolean {
	// A caller in a container that we cannot see into.
	if (thread === 0) return false;
	try {
		const status = readFileSync(`/proc/${thread}/status`, "latin1");
		for (const [, pending] of status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm))
			if ((BigInt(`0x${pending}`) & killBit) !== 0n) return true;
		return wasKilled(readFileSync(`/proc/${thread}/stat`, "latin1"));
	} catch {
		// It has ended, and does not wait: what it has asked for may be for others, such as what is read ahead.
		return false;
	}
}

/** What a thread was killed with is not pending any more while it ends. */
function wasKilled(stat: string): boolean {
	// The command's name, in parentheses, may hold anything.
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
	const [flags, exitCode] = [Number(fields[6]), Number(fields[49])];
	return (flags & exitingFlag) !== 0 && (exitCode & 0x7f) !== 0;
}
