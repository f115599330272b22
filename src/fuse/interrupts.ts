import { readFileSync } from "node:fs";
import { constants } from "node:os";
import type { Call } from "./call.ts";

const checkEveryMs = 250;

/**
 * Interrupts calls whose callers are being killed. The kernel tells of the first signal whatever it is, also of a child's end and of
 * what the Go runtime sends itself all the time; programs do not expect that to fail their reads, which no disk does.
 */
export class Interrupts {
	readonly #waiting = new Map<Call, NodeJS.Timeout>();

	/** A signal arrived; the kernel does not tell of the next. */
	signalled(call: Call): void {
		if (this.#waiting.has(call) || this.#interruptIfDying(call)) return;
		const timer = setInterval(() => {
			if (this.#interruptIfDying(call)) this.settled(call);
		}, checkEveryMs);
		this.#waiting.set(call, timer);
	}

	settled(call: Call): void {
		clearInterval(this.#waiting.get(call));
		this.#waiting.delete(call);
	}

	#interruptIfDying(call: Call): boolean {
		if (!isDying(call.pid)) return false;
		call.interrupt();
		return true;
	}
}

/** Whether a thread has SIGKILL pending, as it has whenever its process ends by a signal. See proc(5). */
function isDying(thread: number): boolean {
	// A caller in a container that we cannot see into.
	if (thread === 0) return false;
	try {
		const pending = /^SigPnd:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${thread}/status`, "latin1"))?.[1];
		return pending !== undefined && (BigInt(`0x${pending}`) & (1n << BigInt(constants.signals.SIGKILL - 1))) !== 0n;
	} catch {
		// It has ended.
		return true;
	}
}
