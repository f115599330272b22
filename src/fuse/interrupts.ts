import { readFile } from "node:fs/promises";
import { constants } from "node:os";
import { within } from "../within.ts";
import type { Call, CallsInFlight } from "./call.ts";

const lookEveryMs = 250;
/** The kernel usually tells at once, or only when the call is answered. */
const answerMs = 20;
/** Each that is not told of holds a thread of libuv's pool, which reads and files need, too. */
const maximumAsked = 4;

/**
 * Interrupts calls whose callers are being killed. The kernel tells of the first signal whatever it is, also of a child's end and of
 * what the Go runtime sends itself all the time; programs do not expect that to fail their reads, which no disk does. Of a later signal
 * it does not tell, nor of any while a process that was killed closes its files, or during direct I/O: so who waits for long is looked at.
 */
export class Interrupts {
	readonly #calls: CallsInFlight;
	#timer: NodeJS.Timeout | undefined;
	#isLooking = false;
	/** Threads whose state is being asked for. */
	readonly #asked = new Set<number>();

	constructor(calls: CallsInFlight) {
		this.#calls = calls;
	}

	/** A call is waiting. */
	watch(): void {
		this.#timer ??= setInterval(() => void this.#look(), lookEveryMs).unref();
	}

	/** A signal arrived. */
	signalled(call: Call): void {
		void this.#interruptIfDying(call);
	}

	async #look(): Promise<void> {
		if (this.#calls.count === 0) {
			clearInterval(this.#timer);
			this.#timer = undefined;
		}
		if (this.#isLooking) return;
		this.#isLooking = true;
		const waiting = [...this.#calls.all()];
		for (const call of waiting) {
			if (call.isWaitingLong) await within(this.#interruptIfDying(call), answerMs);
			call.isWaitingLong = true;
		}
		this.#isLooking = false;
	}

	async #interruptIfDying(call: Call): Promise<void> {
		const { pid, uniqueLow, uniqueHigh } = call;
		if (this.#asked.has(pid) || this.#asked.size >= maximumAsked) return;
		this.#asked.add(pid);
		const dying = await isDying(pid);
		this.#asked.delete(pid);
		// It may have been answered meanwhile.
		if (dying && this.#calls.find(uniqueLow, uniqueHigh) === call) call.interrupt();
	}
}

const killBit = 1n << BigInt(constants.signals.SIGKILL - 1);
/** The kernel's PF_EXITING. */
const exitingFlag = 0x4;

/**
 * Whether a thread has SIGKILL pending, as it has whenever its process is to end by a signal, or ends because of one. See proc(5). Never
 * rejects. Who executes another program closes files, and the kernel answers nothing about him until that is done: what closes them is
 * this process, which must never wait for it.
 */
async function isDying(thread: number): Promise<boolean> {
	// A caller in a container that we cannot see into.
	if (thread === 0) return false;
	try {
		const status = await readFile(`/proc/${thread}/status`, "latin1");
		for (const [, pending] of status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm))
			if ((BigInt(`0x${pending}`) & killBit) !== 0n) return true;
		return wasKilled(await readFile(`/proc/${thread}/stat`, "latin1"));
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
